"""The pure rules: how long a value lives, how long a source is left alone, what is believed; and the static answers."""

import csv
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.intensity.constant import Constant
from carbon_sdk.intensity.freshness import backoff_seconds, life_of, rest_seconds
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.intensity.location import known_zone
from carbon_sdk.intensity.plausible import checked, zone_answers
from carbon_sdk.intensity.yearly_averages import YearlyAverages, ancestry
from tests.intensity.sources import DE, HOUR, value

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
chances = st.floats(0, 1)


@given(validity=st.integers(-7200, 30 * 86400), chance=chances)
def test_a_life_has_its_stages_in_order(validity: int, chance: float) -> None:
    """Not asked ahead before the interval ends, at most 60 s fresh past it, three hours usable."""
    valid_until = NOON + timedelta(seconds=validity)

    life = life_of(valid_until, NOON, chance)

    end = min(valid_until, NOON + timedelta(hours=24))
    assert end <= life.refresh_from <= life.fresh_until <= end + timedelta(seconds=60)
    assert life.usable_until == valid_until + 3 * HOUR


@given(
    failures=st.integers(1, 10_000), chance=chances, credentials=st.booleans(), asked=st.none() | st.floats(0, 86400)
)
def test_pauses_grow_to_a_limit_and_never_undercut_what_was_asked_for(
    failures: int, chance: float, credentials: bool, asked: float | None
) -> None:
    """At least half a minute, at most an hour and a quarter of our own accord."""
    pause = backoff_seconds(failures, chance, credentials=credentials, asked_for=asked)
    longer = backoff_seconds(failures + 1, chance, credentials=credentials, asked_for=asked)

    assert longer >= pause >= max(30, asked or 0)
    assert pause <= max(3600, asked or 0) * 1.25


def test_a_source_that_repeats_itself_is_asked_ever_more_slowly() -> None:
    """From a minute to a quarter of an hour."""
    assert [rest_seconds(repeats) for repeats in range(6)] == [60, 120, 240, 480, 900, 900]


@pytest.mark.parametrize(
    ("asked", "answered", "good"),
    [
        ("DE", "DE", True),
        ("DK-DK1", "DK", True),
        ("DK", "DK-DK1", True),
        ("DE", "DK", False),
        ("SE-SE1", "SE-SE2", False),
        ("D", "DE", False),
        ("US-CAL-CISO", "US", True),
    ],
)
def test_a_zone_answers_for_itself_its_parts_and_its_parent(asked: str, answered: str, good: bool) -> None:
    """A prefix of letters is no parent."""
    assert zone_answers(asked, answered) is good


@pytest.mark.parametrize(
    ("known_by", "answered", "good"),
    [
        ("cloud_region", "US-CAL-CISO", True),
        ("cloud_region", "US-MIDA-PJM", True),
        ("cloud_region", "US", True),
        ("cloud_region", "MX", False),
        ("metadata", "US-CAL-CISO", True),
        ("setting", "US-CAL-CISO", False),
    ],
)
def test_a_source_may_know_better_in_which_zone_a_cloud_s_region_lies(known_by: str, answered: str, good: bool) -> None:
    """Its own mapping stands, within the country; a zone that a person has set is answered for or not at all."""
    place = Place(zone="US-MIDA-PJM", cloud_provider="aws", cloud_region="us-east-1", known_by=known_by)
    said = value(start=NOON, zone=answered)

    def believe() -> Intensity:
        return checked(
            said, source="live", signal="average", emission_scope="lifecycle", place=place, now=NOON, when="now"
        )

    if good:
        assert believe() is said
    else:
        with pytest.raises(IntensityError, match="answered for 'US-MIDA-PJM'"):
            believe()


def test_a_date_in_the_future_is_refused_and_the_clocks_are_named() -> None:
    """A date in 2031 is the source's fault or our clock's: the message holds both."""
    with pytest.raises(IntensityError, match=r"observed_at 2031-01-01.*this machine's clock says 2026-03-29"):
        checked(
            value(start=datetime(2031, 1, 1, tzinfo=UTC)),
            source="x",
            signal="average",
            emission_scope="lifecycle",
            place=DE,
            now=NOON,
            when="now",
        )


def test_a_time_without_its_offset_is_refused() -> None:
    """It would mean another moment on another machine."""
    with pytest.raises(IntensityError, match="without its offset"):
        checked(
            value(start=datetime(2026, 3, 29, 12)),
            source="x",
            signal="average",
            emission_scope="lifecycle",
            place=DE,
            now=NOON,
            when="now",
        )


@pytest.mark.parametrize(
    ("zone", "answered"),
    [
        ("DE", "DE"),
        ("DK-DK1", "DK"),
        ("SE-SE3", "SE-SE3"),
        ("US-CAL-CISO", "US"),
        ("US-CA", "US"),
        ("AQ", "WORLD"),
        (None, "WORLD"),
    ],
)
async def test_the_averages_walk_to_the_parent_and_then_to_the_world(zone: str | None, answered: str) -> None:
    """And say which one answered."""
    value = await YearlyAverages().intensity(Place(zone=zone))

    assert value.zone == answered
    assert value.quality == "static"
    if zone not in (None, answered):
        assert f"{zone} has no row of its own" in (value.method or "")


def test_every_bundled_average_has_its_year_source_and_licence() -> None:
    """All lifecycle averages, in bounds, of zones that can be set."""
    text = files("carbon_sdk.intensity").joinpath("data", "yearly_averages.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))

    assert len(rows) > 200
    assert {row["zone"] for row in rows} == YearlyAverages().zones
    for row in rows:
        assert known_zone(row["zone"]) == row["zone"]
        assert row["emission_scope"] == "lifecycle"
        assert 0 < float(row["g_per_kwh"]) < 1400
        assert 2000 < int(row["year"]) < 2027
        assert all(row[name] for name in ("name", "source", "source_url", "licence"))


def test_ancestry_ends_with_the_world() -> None:
    """Each zone once."""
    assert ancestry("US-CAL-CISO") == ("US-CAL-CISO", "US-CAL", "US", "WORLD")
    assert ancestry(None) == ancestry("WORLD") == ("WORLD",)


@pytest.mark.parametrize("number", [-1, 2000.5, float("nan"), float("inf"), True])
def test_a_constant_that_is_no_intensity_is_refused(number: float) -> None:
    """At start, with its setting and unit."""
    with pytest.raises(SettingsError, match=r"^CARBON_SDK_CONSTANT_G_PER_KWH: .*grams CO2e per kWh"):
        Constant(number)


async def test_a_constant_answers_for_every_place() -> None:
    """With what was said about it."""
    constant = Constant(12.5, emission_scope="direct", method="supplier's contract")

    value = await constant.intensity(DE)

    assert (value.g_per_kwh, value.zone, value.emission_scope, value.quality) == (12.5, "DE", "direct", "static")
    assert value.method == "supplier's contract"
    await constant.aclose()
