"""A past period has one figure however it is cut, and every figure says how it is known."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_sdk.collector.report import REPORTS
from carbon_sdk.emission import Emission
from tests.collector.engines import Engine
from tests.collector.service import HOUR, LONG, emission

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Auckland")
MEASURES = (
    "records",
    "requests",
    "cpu_seconds",
    "energy_joules",
    "idle_energy_joules",
    "emissions_g",
    "duration_seconds",
)
SHARES = ("quality", "method", "source", "idle_rule")


def month_of(zone: str, months_ago: int) -> tuple[datetime, datetime]:
    """A whole month of a time zone that is over, in UTC: some have a day of 23 or 25 hours."""
    first = HOUR.astimezone(ZoneInfo(zone)).replace(day=1, hour=0, tzinfo=None)
    starts = [first]
    for _ in range(months_ago):
        starts.append((starts[-1] - timedelta(days=1)).replace(day=1))
    begin, end = (one.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for one in (starts[-1], starts[-2]))
    return begin, end


@st.composite
def made(draw: st.DrawFn) -> list[Emission]:
    """Records of the last two hundred days, priced in several ways."""
    return [
        emission(
            sequence,
            joules=draw(st.floats(0.0, 1e6)),
            service=draw(st.sampled_from(("shop", "mail"))),
            window_start=HOUR - timedelta(seconds=draw(st.integers(0, 200 * 86_400))),
            intensity_quality=draw(st.sampled_from(("measured", "estimated", "static"))),
            energy_method=draw(st.sampled_from(("counter", "power_integral", "model"))),
            duration_seconds=draw(st.floats(0.0, 60.0)),
        )
        for sequence in range(draw(st.integers(1, 60)))
    ]


def summed(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The measures of all rows together, and the joules of each quality."""
    total = {name: sum(row[name] or 0.0 for row in rows) for name in MEASURES}
    for row in rows:
        for quality, share in row["quality"].items():
            total[quality] = total.get(quality, 0.0) + share * (row["energy_joules"] or 0.0)
    return total


@settings(max_examples=25 if LONG else 3, deadline=None)
@given(records=made(), zone=st.sampled_from(ZONES), months_ago=st.integers(1, 5))
def test_a_past_month_is_the_sum_of_its_parts_however_it_is_cut(
    fresh: Callable[[], Awaitable[Engine]], records: list[Emission], zone: str, months_ago: int
) -> None:
    """By day, week, hour, service, or asked for in two halves: to 1e-9, the joules of each quality too."""
    begin, end = month_of(zone, months_ago)
    middle = begin + timedelta(days=11, hours=7)

    async def run() -> None:
        async with (await fresh()).inside(raw_days=400) as collector:
            await collector.send(*records)

            async def rows(report: str, start: datetime, until: datetime, **asked: str) -> list[dict[str, Any]]:
                stretch = {"from": start.isoformat(), "to": until.isoformat(), "tz": zone}
                found: list[dict[str, Any]] = (await collector.ask(f"/v1/reports/{report}", **stretch, **asked))["rows"]
                return found

            whole = summed(await rows("totals", begin, end))
            inside = [one for one in records if begin <= one.window_start < end]
            assert whole["records"] == len(inside)
            assert whole["energy_joules"] == pytest.approx(sum(one.energy_joules or 0.0 for one in inside), rel=1e-9)
            for bucket in ("hour", "day", "week", "month"):
                parts = summed(await rows("totals", begin, end, bucket=bucket))
                assert parts == pytest.approx(whole, rel=1e-9), bucket
            assert summed(await rows("services", begin, end)) == pytest.approx(whole, rel=1e-9)
            halves = [*await rows("totals", begin, middle), *await rows("totals", middle, end)]
            assert summed(halves) == pytest.approx(whole, rel=1e-9)

    anyio.run(run)


@pytest.mark.anyio
async def test_every_figure_of_the_api_says_how_it_is_known(engine: Engine) -> None:
    """Shares of its joules by quality, method, source and idle rule, each adding up to one."""
    books = [
        emission(10 + number, kind=kind, root=kind, name=kind, intensity_quality=None, emissions_g=None)
        for number, kind in enumerate(("measured", "idle", "unattributed"))
    ]
    async with engine.inside() as collector:
        await collector.send(
            emission(0), emission(1, intensity_quality="stale", energy_method="model", idle_rule="set"), *books
        )
        found = [row for name in REPORTS for row in (await collector.ask(f"/v1/reports/{name}", bucket="day"))["rows"]]
        ways = await collector.ask("/v1/books")
        heat = await collector.ask("/v1/heat-map", measure="energy_joules")

    assert len(found) >= len(REPORTS)
    assert ways["known"].keys() == {"request", "measured", "idle", "unattributed"}
    for figure in (*found, *ways["known"].values(), heat["known"]):
        for share in SHARES:
            assert sum(figure[share].values()) == pytest.approx(1.0), share
    assert heat["known"]["quality"] == pytest.approx({"measured": 0.5, "stale": 0.5})
