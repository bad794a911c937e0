"""What a data centre draws for each joule of its computers: as set, as its cloud states it, else one."""

import csv
from importlib.resources import files
from typing import Any

import pytest

from carbon_sdk import Carbon, track
from carbon_sdk.intensity.pue import stated
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink


def test_a_regions_own_figure_comes_before_that_of_all_its_clouds_sites() -> None:
    """AWS states 1.42 for Mumbai and 1.14 for all its sites."""
    mumbai, unlisted = stated("aws", "ap-south-1"), stated("aws", "xx-nowhere-1")

    assert mumbai is not None
    assert unlisted is not None
    assert (mumbai.factor, unlisted.factor) == (1.42, 1.14)
    assert "2024" in mumbai.basis


@pytest.mark.parametrize("cloud", [None, "a cellar"])
def test_in_no_cloud_nothing_is_stated(cloud: str | None) -> None:
    """Nothing is made up."""
    assert stated(cloud, "eu-west-1") is None


def test_every_row_has_a_source_a_year_and_a_plausible_figure() -> None:
    """A PUE below one would make energy from nothing."""
    text = files("carbon_sdk.intensity").joinpath("data", "pue.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        assert 1.0 < float(row["pue"]) < 2.0, row
        assert row["source"], row
        assert row["source_url"].startswith("https://"), row
        assert 2020 <= int(row["year"]) <= 2026, row


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "factor", "words"),
    [
        ({"cloud_provider": "aws", "cloud_region": "ap-south-1"}, 1.42, "PUE 1.42"),
        ({"zone": "IN-WE", "cloud_provider": "aws", "cloud_region": "ap-south-1"}, 1.42, "PUE 1.42"),
        ({"cloud_provider": "aws", "cloud_region": "ap-south-1", "pue": 1.1}, 1.1, "PUE as set"),
        ({"zone": "DE"}, 1.0, "PUE not known"),
    ],
)
async def test_a_record_names_the_factor_that_its_grams_hold(
    arguments: dict[str, Any], factor: float, words: str
) -> None:
    """Grams are joules times intensity times PUE, and the record shows which."""
    sink = RecordingSink()
    zone = "DE" if arguments.get("zone") == "DE" else "IN-WE"
    provider = FixedIntensity(360.0, zone=zone)
    async with Carbon(meters=[FakeMeter(20.0)], provider=provider, sinks={"record": sink}, **arguments):
        with track("job"):
            sum(range(100_000))

    (job,) = [emission for emission in sink.emissions if emission.name == "job"]
    assert job.pue == factor
    assert words in job.basis
    assert job.energy_joules is not None
    assert job.emissions_g == pytest.approx(job.energy_joules / 3.6e6 * 360.0 * factor)
