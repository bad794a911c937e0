"""Pricing stored records again: new grams beside the old ones, and why; never worse, never of another kind."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.emission import Emission, grams
from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.repricing import LONGEST_SPAN, Repriced, reprice
from carbon_sdk.testing import ManualClock
from carbon_sdk.wire import from_json, to_json
from tests.intensity.sources import HOUR, Source, value
from tests.providers.bench import bench, body

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def record(**changed: Any) -> Emission:
    """3.6 MJ in the minute after noon, priced by Germany's yearly average of 400 g/kWh: 400 g."""
    fields: dict[str, Any] = {
        "instance": "0123456789abcdef",
        "sequence": 7,
        "service": "shop",
        "machine": "f" * 16,
        "kind": "request",
        "root": "GET /",
        "name": "GET /",
        "window_start": NOON,
        "window_end": NOON + MINUTE,
        "meter": "powercap",
        "meter_scope": "machine",
        "basis": "package-0",
        "idle_rule": "learnt",
        "energy_joules": 3.6e6,
        "emissions_g": 400.0,
        "intensity_g_per_kwh": 400.0,
        "intensity_source": "yearly_averages",
        "intensity_quality": "static",
        "intensity_signal": "average",
        "intensity_scope": "lifecycle",
        "zone": "DE",
        "place": "DE",
    }
    return Emission(**{**fields, **changed})


class Historian(Source):
    """Knows these values, and remembers which spans it was asked for."""

    def __init__(self, *values: Intensity, failing: Sequence[str] = ()) -> None:
        super().__init__(ManualClock())
        self.values = values
        self.failing = failing
        self.spans: list[tuple[str | None, datetime, datetime]] = []

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """Those of the place that overlap."""
        self.spans.append((place.zone, start, end))
        if place.zone in self.failing:
            raise IntensityError("live", f"knows no {place.zone}")
        return [
            one for one in self.values if one.zone == place.zone and one.valid_until > start and one.observed_at < end
        ]


async def one(emission: Emission, *values: Intensity) -> Repriced:
    """One record by a history."""
    (result,) = await reprice([emission], Historian(*values))
    return result


async def test_a_static_price_is_replaced_by_what_was_measured() -> None:
    """The joules and the key stay, the grams are new, the old record is beside it, and the reason names both."""
    old = record()

    result = await one(old, value(250.0, start=NOON))

    assert result.changed
    assert result.before is old
    assert (result.emission.key, result.emission.energy_joules) == (old.key, old.energy_joules)
    assert result.emission.emissions_g == pytest.approx(250.0)
    assert (result.emission.intensity_g_per_kwh, result.emission.intensity_quality) == (250.0, "measured")
    assert result.difference_g == pytest.approx(-150.0)
    assert result.reason == "measured by live replaces static 400.0 g/kWh of yearly_averages"


async def test_a_record_over_two_intervals_gets_their_mean_by_time() -> None:
    """A quarter of its minute lies before noon."""
    across = record(window_start=NOON - timedelta(seconds=15), window_end=NOON + timedelta(seconds=45))

    result = await one(across, value(100.0, start=NOON - HOUR), value(200.0, start=NOON, quality="estimated"))

    assert result.emission.intensity_g_per_kwh == pytest.approx(175.0)
    assert (result.emission.intensity_quality, result.emission.mixed) == ("estimated", True)
    assert result.emission.intensity_observed_at == NOON - HOUR
    assert result.emission.intensity_valid_until == NOON + HOUR


MEASURED = value(250.0, start=NOON)


@pytest.mark.parametrize(
    ("emission", "values", "reason"),
    [
        (record(energy_joules=None, emissions_g=None), [MEASURED], "its energy is unknown"),
        (record(zone="WORLD", place="WORLD"), [MEASURED], "its zone is unknown"),
        (record(zone=None), [MEASURED], "its zone is unknown"),
        (record(), [], "its time is not covered by history"),
        (record(), [value(250.0, start=NOON + HOUR)], "its time is not covered by history"),
        (
            record(),
            [value(250.0, start=NOON, step=timedelta(seconds=30))],
            "its time is not covered by history",
        ),
        (record(), [value(250.0, start=NOON, quality="forecast")], "its time is not covered by history"),
        (record(), [value(250.0, start=NOON, emission_scope="direct")], "history has another signal or emission scope"),
        (record(), [value(250.0, start=NOON, signal="marginal")], "history has another signal or emission scope"),
        (
            record(intensity_quality="estimated"),
            [value(250.0, start=NOON, quality="estimated")],
            "history is an estimate still",
        ),
        (record(intensity_quality="measured"), [MEASURED], "it was measured already"),
    ],
)
async def test_a_record_keeps_its_price_where_nothing_better_is_known(
    emission: Emission, values: list[Intensity], reason: str
) -> None:
    """And says why; an unknown stays unknown."""
    result = await one(emission, *values)

    assert (result.emission, result.changed, result.reason) == (emission, False, f"kept: {reason}")
    assert result.difference_g in (0.0, None)


async def test_a_mixed_record_is_priced_again_though_most_of_it_was_measured() -> None:
    """Some of its joules were not."""
    assert (await one(record(intensity_quality="measured", mixed=True), MEASURED)).changed


async def test_a_parent_that_answered_for_a_part_is_asked_for_the_part() -> None:
    """The yearly average knew Denmark; history knows its west."""
    west = record(zone="DK", place="DK-DK1")

    result = await one(west, value(80.0, start=NOON, zone="DK-DK1"))

    assert (result.emission.zone, result.emission.intensity_g_per_kwh) == ("DK-DK1", 80.0)


async def test_each_zone_is_asked_for_once_in_spans_of_a_month_at_most() -> None:
    """A thousand records of a year make a dozen questions; a zone that is not known costs only itself its price."""
    moments = [NOON + timedelta(hours=8.76 * index) for index in range(1000)]
    german = [record(sequence=index, window_start=at, window_end=at + MINUTE) for index, at in enumerate(moments)]
    french = record(sequence=1000, zone="FR", place="FR")
    historian = Historian(MEASURED, failing=["FR"])

    results = await reprice([*german, french], historian)

    assert [result.before for result in results] == [*german, french]
    assert len([span for span in historian.spans if span[0] == "DE"]) == 12
    assert all(until - since <= LONGEST_SPAN for _, since, until in historian.spans)
    assert [result.changed for result in results[:2]] == [True, False]
    assert results[-1].reason == "kept: live: knows no FR"
    with pytest.raises(IntensityError, match="knows no FR"):
        await reprice([french], historian)


async def test_sci_and_idle_grams_follow_and_the_making_of_the_machine_does_not() -> None:
    """SCI is ((E x I) + M) per request: (300 + 100) + 50 over 10, at half the intensity (150 + 50) + 50 over 10."""
    reserved = record(
        requests=10,
        energy_joules=2.7e6,
        emissions_g=300.0,
        idle_energy_joules=0.9e6,
        idle_emissions_g=100.0,
        emissions_embodied_g=50.0,
        sci_g=450.0,
        sci_g_per_request=45.0,
        idle_policy="reserved",
    )

    new = (await one(reserved, value(200.0, start=NOON))).emission

    assert new.emissions_g == pytest.approx(150.0)
    assert new.idle_emissions_g == pytest.approx(50.0)
    assert new.emissions_embodied_g == 50.0
    assert new.sci_g_per_request == pytest.approx(25.0)
    assert new.sci_g == pytest.approx(250.0)


@given(
    joules=st.lists(st.floats(0.0, 1e9), min_size=1, max_size=8),
    intensity=st.floats(0.0, 2000.0),
    pue=st.floats(1.0, 3.0),
    wall=st.none() | st.floats(1.0, 5.0),
)
async def test_the_new_total_is_the_joules_at_the_new_price_and_pricing_twice_changes_nothing(
    joules: list[float], intensity: float, pue: float, wall: float | None
) -> None:
    """PUE and wall factor stay as they were applied; a record goes to disk and back between the two."""
    records = [record(sequence=index, energy_joules=one, pue=pue, wall_factor=wall) for index, one in enumerate(joules)]
    historian = Historian(value(intensity, start=NOON))

    once = [result.emission for result in await reprice(records, historian)]
    twice = await reprice([from_json(to_json(emission)) for emission in once], historian)

    total = sum(emission.emissions_g or 0.0 for emission in once)
    assert total == pytest.approx(grams(sum(joules), intensity, pue) * (wall or 1.0), rel=1e-9)
    assert [emission.energy_joules for emission in once] == joules
    assert [result.emission for result in twice] == once
    assert not any(result.changed for result in twice)


async def test_a_provider_s_recorded_history_prices_an_estimate_again() -> None:
    """Electricity Maps' newest hours are estimates; a day later history has them measured."""
    rows = json.loads(body("electricity_maps/history_v4_24h.composed.json"))["history"]
    hours = {datetime.fromisoformat(row["datetime"]): row for row in rows}
    records = [
        record(
            sequence=index,
            window_start=at + 30 * MINUTE,
            window_end=at + 31 * MINUTE,
            zone="DK-DK1",
            place="DK-DK1",
            intensity_quality="estimated",
        )
        for index, at in enumerate(hours)
    ]

    with respx.mock(using="httpx", assert_all_called=False) as router:
        provider: Any = bench("electricity_maps", router).provider
        results = await reprice(records, provider)
        asked = len(router.calls)

    for result, row in zip(results, hours.values(), strict=True):
        assert result.changed == (not row["isEstimated"])
        if result.changed:
            assert result.emission.intensity_g_per_kwh == pytest.approx(row["carbonIntensity"])
            assert result.emission.intensity_source == "electricity_maps"
    assert 0 < sum(result.changed for result in results) < len(results)
    assert asked == 1
