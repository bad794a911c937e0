"""Green hours through `Carbon`: recorded forecasts from a real server, by a clock that passes hours at once."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk import Carbon
from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.settings import from_environment
from carbon_sdk.testing import FakeMeter, ManualClock, RecordingSink
from tests.upstream import Upstream, answer, upstream

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent.parent
RECORDED = ROOT / "tests" / "providers" / "recorded"
BEGIN = datetime(2023, 12, 3, 10, 35, tzinfo=UTC)
"""Five minutes into the first half hour of NESO's recorded forecast (CC BY 4.0)."""
HALF = timedelta(minutes=30)
HOUR = timedelta(hours=1)
ROWS: Sequence[dict[str, Any]] = json.loads(
    (RECORDED / "gb_carbon_intensity" / "intensity_fw48h.json").read_text(encoding="utf-8")
)["data"]
GRAMS = {datetime.fromisoformat(row["from"]): row["intensity"]["forecast"] for row in ROWS}


def as_neso(server: Upstream) -> None:
    """Answers `/intensity/{from}/fw48h` and `/intensity/{from}/{to}` from the recording."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        _, path, _ = server.asked[-1].split()
        since, until = path.split("/")[-2:]
        start = datetime.fromisoformat(since)
        end = start + 48 * HOUR if until == "fw48h" else datetime.fromisoformat(until)
        rows = [
            row
            for row in ROWS
            if start < datetime.fromisoformat(row["to"]) and datetime.fromisoformat(row["from"]) < end
        ]
        await answer({"data": rows})(writer)

    server.serve = serve


@asynccontextmanager
async def british(clock: ManualClock, **more: str) -> AsyncIterator[tuple[Carbon, Upstream]]:
    """A service in Great Britain that asks NESO's stand-in."""
    async with upstream() as server:
        as_neso(server)
        settings = from_environment(
            {
                "CARBON_SDK_PROVIDER": "gb_carbon_intensity,yearly_averages",
                "CARBON_SDK_GB_CARBON_INTENSITY_BASE_URL": server.address,
                "CARBON_SDK_ZONE": "GB",
                **more,
            }
        )
        sinks = {"record": RecordingSink()}
        async with Carbon(settings, meters=[FakeMeter(20.0)], sinks=sinks, timing=clock.timing) as carbon:
            yield carbon, server


def lowest_mean(halves: int, begin: datetime, end: datetime) -> tuple[float, datetime]:
    """By trying each start at a half hour: the smallest mean, and when."""
    starts = [start for start in GRAMS if begin <= start and start + halves * HALF <= end]
    return min((sum(GRAMS[start + index * HALF] for index in range(halves)) / halves, start) for start in starts)


async def test_the_greenest_hours_of_a_recorded_forecast_are_found() -> None:
    """As one finds them by trying every half hour; the saving is against starting at once."""
    async with british(ManualClock(BEGIN)) as (carbon, server):
        best = await carbon.greenest_window(2 * HOUR, before=BEGIN + 24 * HOUR)
        again = await carbon.greenest_window(HOUR, before=BEGIN + 24 * HOUR)

    mean, start = lowest_mean(4, BEGIN, BEGIN + 24 * HOUR)
    assert (best.window.start, best.window.zone, best.source) == (start, "GB", "gb_carbon_intensity")
    assert best.window.g_per_kwh == pytest.approx(mean)
    at_once = 25 * 206 + 30 * (216 + 220 + 222) + 5 * 227  # the first half hour has its actual value
    assert best.now_g_per_kwh == pytest.approx(at_once / 120)
    assert best.saving_g_per_kwh == pytest.approx((best.now_g_per_kwh or 0.0) - mean)
    assert again.window.g_per_kwh <= best.window.g_per_kwh
    assert len([line for line in server.asked if "fw48h" in line]) == 1, "the forecast is remembered"


async def test_a_worker_waits_until_the_recorded_grid_is_green() -> None:
    """The hours of the recording pass in a moment; it is asked once a half hour, not at each look."""
    clock = ManualClock(BEGIN)
    green_from = next(start for start, grams in GRAMS.items() if grams <= 150 and start >= BEGIN)
    async with british(clock) as (carbon, server):
        waited = await carbon.wait_until_green(max_g_per_kwh=150, at_most=48 * HOUR)

    assert waited.green
    assert waited.intensity.g_per_kwh == GRAMS[green_from]
    assert waited.intensity.observed_at == green_from
    assert clock.utcnow() - green_from <= timedelta(minutes=1), "a source may publish up to a minute late"
    hours = (green_from - BEGIN) / HOUR
    assert hours > 3
    assert len([line for line in server.asked if "fw48h" not in line]) <= 2 * hours + 3


async def test_a_worker_waits_no_longer_than_it_may() -> None:
    """The work runs at the deadline, and its owner knows that the grid is not green."""
    clock = ManualClock(BEGIN)
    async with british(clock) as (carbon, _):
        waited = await carbon.wait_until_green(max_g_per_kwh=1, at_most=3 * HOUR)

    assert not waited.green
    assert waited.seconds == pytest.approx(3 * 3600, abs=1)


async def test_a_forecast_that_ends_early_is_used_as_far_as_it_goes() -> None:
    """NESO often knows less than it was asked for."""
    async with british(ManualClock(BEGIN + 44 * HOUR)) as (carbon, _):
        best = await carbon.greenest_window(HOUR, before=BEGIN + 90 * HOUR)
        with pytest.raises(IntensityError, match="no forecast covers 6:00:00"):
            await carbon.greenest_window(6 * HOUR, before=BEGIN + 90 * HOUR)

    assert best.window.end <= max(GRAMS) + HALF


async def test_where_no_provider_has_a_forecast_both_say_so_before_anyone_is_asked() -> None:
    """RTE and the averages know none; nobody waits a night to learn it."""
    async with british(ManualClock(BEGIN), CARBON_SDK_PROVIDER="eco2mix,yearly_averages") as (carbon, server):
        with pytest.raises(IntensityError, match="eco2mix: has no forecast; yearly_averages: has no forecast"):
            await carbon.greenest_window(HOUR, before=BEGIN + 24 * HOUR)
        with pytest.raises(IntensityError, match="eco2mix: has no forecast; yearly_averages: has no forecast"):
            await carbon.wait_until_green(max_g_per_kwh=1, at_most=24 * HOUR)

    assert not server.asked


async def test_a_zone_is_known_in_any_case_and_one_that_is_none_names_the_nearest() -> None:
    """Before anyone is asked."""
    async with british(ManualClock(BEGIN)) as (carbon, server):
        best = await carbon.greenest_window(HOUR, before=BEGIN + 24 * HOUR, zones=["gb"])
        asked = len(server.asked)
        with pytest.raises(SettingsError, match=r"^zones: there is no zone 'DK-DK9'. Did you mean DK-DK"):
            await carbon.greenest_window(HOUR, before=BEGIN + 24 * HOUR, zones=["GB", "DK-DK9"])

    assert best.window.zone == "GB"
    assert len(server.asked) == asked


async def test_a_recorded_french_day_is_compared_with_a_danish_one() -> None:
    """Energy-Charts' forecast has its last hours empty; a country that it cannot tell drops out."""
    body = (RECORDED / "energy_charts" / "co2eq_fr_2026_trailing_nulls.json").read_bytes()
    told = json.loads(body)
    known = [index for index, grams in enumerate(told["co2eq_forecast"]) if grams is not None]
    begin = datetime.fromtimestamp(told["unix_seconds"][known[0]], UTC)
    clock = ManualClock(begin)
    async with upstream() as server:

        async def serve(writer: asyncio.StreamWriter) -> None:
            french = "country=fr" in server.asked[-1]
            await (answer(body) if french else answer({"detail": "no data"}, status=404))(writer)

        server.serve = serve
        environ = {
            "CARBON_SDK_PROVIDER": "energy_charts,yearly_averages",
            "CARBON_SDK_ENERGY_CHARTS_BASE_URL": server.address,
            "CARBON_SDK_ZONE": "DK",
        }
        async with Carbon(
            from_environment(environ), meters=[FakeMeter(20.0)], sinks={"r": RecordingSink()}, timing=clock.timing
        ) as carbon:
            best = await carbon.greenest_window(timedelta(minutes=15), before=begin + 24 * HOUR, zones=["DK", "FR"])

    lowest = min(told["co2eq_forecast"][index] for index in known)
    assert best.window.zone == "FR"
    assert best.window.g_per_kwh == pytest.approx(lowest)
    assert best.now_g_per_kwh is None, "Denmark, where it would run at once, has no forecast"
    assert best.saving_g_per_kwh is None


async def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """With a provider that knows the coming hours."""
    page = (ROOT / "docs" / "intensity.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict[str, Any] = {"__name__": "intensity"}
    exec(block, names)

    async with british(ManualClock(BEGIN)) as (carbon, _):
        await names["report"](carbon)

    first, second = capsys.readouterr().out.splitlines()
    assert " GB " in first
    assert second.startswith("False ")
