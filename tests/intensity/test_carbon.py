"""The whole `Carbon` with a provider: windows and waiting from any loop."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from carbon_sdk import Carbon, CarbonSDKError, track
from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.log import Log
from carbon_sdk.testing import FakeMeter, FixedIntensity, ManualClock, RecordingSink
from tests.intensity.sources import HOUR, value

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_collection")]


class Foretold(FixedIntensity):
    """300 g/kWh now and 100 from the next hour on; Norway has 50 throughout."""

    async def forecast(self, place: Place) -> list[Intensity]:
        """Eight hours from now."""
        start = datetime.now(UTC) - timedelta(minutes=1)
        zone = place.zone or "DE"
        grams = [50.0] * 8 if zone == "NO" else [300.0, *[100.0] * 7]
        return [
            replace(value(each, start=start + hour * HOUR, zone=zone, source="fixed"), quality="forecast")
            for hour, each in enumerate(grams)
        ]


def carbon(provider: Any, sink: RecordingSink | None = None) -> Carbon:
    """One that measures a machine of 20 W."""
    return Carbon(zone="DE", meters=[FakeMeter(20.0)], provider=provider, sinks={"record": sink or RecordingSink()})


async def test_the_greenest_window_is_told_to_a_caller_on_another_loop() -> None:
    """The chain lives on our thread; the answer is the later hour, with what it saves."""
    async with carbon(Foretold(300.0)) as running:
        best = await running.greenest_window(HOUR, before=datetime.now(UTC) + 6 * HOUR, zones=["DE"])

    assert best.window.zone == "DE"
    assert best.window.g_per_kwh == pytest.approx(100.0)
    assert best.saving_g_per_kwh == pytest.approx(200.0 - 200.0 / 60, abs=1.0)


async def test_of_several_zones_the_greenest_is_told() -> None:
    """Work that may run elsewhere runs where the power is clean."""
    async with carbon(Foretold(300.0)) as running:
        best = await running.greenest_window(HOUR, before=datetime.now(UTC) + 6 * HOUR, zones=["DE", "NO"])

    assert best.window.zone == "NO"
    assert best.window.g_per_kwh == pytest.approx(50.0)


async def test_without_a_forecast_both_say_so_at_once() -> None:
    """The static averages have none, and nobody waits a night to learn it."""
    async with carbon(FixedIntensity(300.0)) as running:
        with pytest.raises(IntensityError, match="has no forecast"):
            await running.greenest_window(HOUR, before=datetime.now(UTC) + 6 * HOUR)
        with pytest.raises(IntensityError, match="has no forecast"):
            await running.wait_until_green(max_g_per_kwh=100.0, at_most=6 * HOUR)


@pytest.mark.parametrize("zone", ["WORLD", "FR", "DK-DK1"])
@pytest.mark.parametrize("moment", [datetime(2020, 2, 29, tzinfo=UTC), datetime(2031, 12, 31, 23, 59, tzinfo=UTC)])
async def test_the_double_of_a_provider_answers_for_any_place_and_time(zone: str, moment: datetime) -> None:
    """A test of a service need not say where it runs, nor go bad with the years."""
    clock = ManualClock(moment)
    sink = RecordingSink()
    async with Carbon(
        zone=zone,
        meters=[FakeMeter(20.0)],
        provider=FixedIntensity(123.0, utcnow=clock.utcnow),
        sinks={"record": sink},
        timing=clock.timing,
    ) as running:
        await asyncio.sleep(0.05)

    assert {(one.intensity_source, one.zone, one.intensity_quality) for one in sink.emissions} == {
        ("fixed", zone, "measured")
    }
    assert not running.log.faults


async def test_a_provider_of_the_caller_s_own_is_asked_once_not_at_each_window() -> None:
    """It may cost a request; what it says holds for an hour."""

    class Counting(FixedIntensity):
        asked = 0

        async def intensity(self, place: Place) -> Intensity:
            self.asked += 1
            return await super().intensity(place)

    provider, sink = Counting(300.0), RecordingSink()
    async with Carbon(
        zone="DE", sample_interval_seconds=0.1, meters=[FakeMeter(20.0)], provider=provider, sinks={"record": sink}
    ):
        await asyncio.sleep(0.5)

    assert provider.asked == 1
    assert {emission.intensity_source for emission in sink.emissions} == {"fixed"}


async def test_a_failing_source_is_a_fault_of_the_log_with_its_remedy() -> None:
    """Whoever looks at the faults of a running service finds it there, counted."""

    class Failing(FixedIntensity):
        async def intensity(self, place: Place) -> Intensity:
            raise IntensityError("fixed", "down", remedy="Mend CARBON_SDK_FIXED_URL")

    running = carbon(Failing())
    lines: list[dict[str, Any]] = []
    running.log = Log(lambda _level, _event, fields: lines.append(dict(fields)))
    async with running, track("job"):
        await asyncio.sleep(0.2)

    assert running.log.faults["intensity.fixed"] == 1
    assert [line for line in lines if line.get("fault") == "intensity.fixed"] == [
        {"fault": "intensity.fixed", "problem": "fixed: down", "remedy": "Mend CARBON_SDK_FIXED_URL"}
    ]


async def test_a_green_grid_is_not_waited_for() -> None:
    """The limit is met, so the worker goes on."""
    async with carbon(FixedIntensity(80.0)) as running:
        waited = await running.wait_until_green(max_g_per_kwh=100.0, at_most=6 * HOUR)

    assert waited.green
    assert waited.intensity.g_per_kwh == 80.0


async def test_closing_ends_the_waiting_with_an_error() -> None:
    """A worker that waits for green power does not hang when its process shuts down."""
    running = carbon(Foretold(300.0))
    async with running:
        waiting = asyncio.create_task(running.wait_until_green(max_g_per_kwh=10.0, at_most=6 * HOUR))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    with pytest.raises(CarbonSDKError, match="closed"):
        await asyncio.wait_for(waiting, 10)
