"""The intensity in a terminal: what a person sees now, follows, and of the coming hours."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.fallback import Fallback
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.intensity.terminal import EIGHTHS, bars, show
from carbon_sdk.intensity.yearly_averages import YearlyAverages
from carbon_sdk.testing import ManualClock
from tests.intensity.sources import DE, HOUR, Source, cached, seconds, value

pytestmark = pytest.mark.anyio
HALF = timedelta(minutes=30)


def coming(clock: ManualClock, numbers: Sequence[float]) -> list[Intensity]:
    """A forecast in half hours from now on."""
    begin = clock.utcnow()
    return [value(one, start=begin + index * HALF, step=HALF, quality="forecast") for index, one in enumerate(numbers)]


class Enough(Exception):
    """Ends a watch."""


async def shown(source: Source, *, looks: int = 1, **how: Any) -> tuple[int | None, str]:
    """Exit code, and what stands on the screen after so many looks, five minutes apart."""
    stream, left = io.StringIO(), looks
    clock = source.clock

    async def sleep(_seconds: float) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Enough
        clock.advance(300)

    chain = Fallback(cached(source), YearlyAverages(), utcnow=clock.utcnow, monotonic=seconds(clock))
    try:
        code = await show(chain, DE, stream=stream, utcnow=clock.utcnow, sleep=sleep, watch=looks > 1, **how)
    except Enough:
        code = None
    return code, stream.getvalue()


async def test_the_first_line_says_what_holds_and_how_it_is_known(source: Source, clock: ManualClock) -> None:
    """Then its age, and how each source of the chain does."""
    clock.advance(600)
    code, screen = await shown(source)

    lines = [line.rstrip() for line in screen.splitlines()]
    assert code == 0
    assert lines[0] == "100 g CO2e/kWh  DE  measured, average, lifecycle, by live"
    assert "interval  2026-03-29 12:00Z to 2026-03-29 13:00Z, 10 min old" in lines
    assert "live             average, lifecycle  1         0       1      -" in lines
    assert "yearly_averages  average, lifecycle  0         0       -      -" in lines


async def test_a_stale_value_is_shown_as_such_with_the_reason(source: Source, clock: ManualClock) -> None:
    """Who watches sees when it became so, and when the source is asked again."""
    chain = Fallback(cached(source), YearlyAverages(), utcnow=clock.utcnow, monotonic=seconds(clock))
    await chain.intensity(DE)
    source.fails(IntensityError("live", "HTTP 502", remedy="Wait"))
    clock.advance(2 * 3600)
    stream = io.StringIO()
    await show(chain, DE, stream=stream, utcnow=clock.utcnow)

    screen = stream.getvalue()
    assert "100 g CO2e/kWh  DE  stale" in screen
    assert ", 2 h old" in screen
    assert "live: HTTP 502\nWait.\n" in screen
    assert "34 s" in screen

    source.answer = source.hourly
    clock.advance(60)
    await show(chain, DE, stream=stream, utcnow=clock.utcnow)
    assert "HTTP 502" not in stream.getvalue()[len(screen) :]


async def test_the_coming_hours_are_drawn_with_their_lowest_and_highest(source: Source, clock: ManualClock) -> None:
    """And the hours below."""
    source.series = coming(clock, [400, 300, 200, 100, 200, 300, 400, 400, 400, 400, 400, 400, 800])
    code, screen = await shown(source, forecast=True)

    lines = screen.splitlines()
    assert code == 0
    assert "by live: 100 at 2026-03-29 13:30Z, 800 at 2026-03-29 18:00Z" in " ".join(screen.split())
    assert lines[-2] == "▄▃▂▁▂▃▄▄▄▄▄▄█"
    assert lines[-1] == "12:00       18:00"[:13]


async def test_without_a_forecast_it_is_said_and_the_exit_code_tells(source: Source) -> None:
    """The value is shown all the same."""
    source.series = IntensityError("live", "no forecast in this plan")
    code, screen = await shown(source, forecast=True)

    assert code == 1
    assert screen.startswith("100 g CO2e/kWh")
    assert "no forecast in this plan" in screen


async def test_watching_follows_the_value(source: Source, clock: ManualClock) -> None:
    """The screen is drawn anew at each look; the cache decides when the source is asked."""
    clock.advance(3500)
    _, screen = await shown(source, looks=3)

    assert screen.count("g CO2e/kWh") == 3
    assert "12:00Z to 2026-03-29 13:00Z" in screen
    assert "13:00Z to 2026-03-29 14:00Z" in screen
    assert len(source.asked) == 2


async def test_watching_as_json_writes_a_line_for_each_look(source: Source, clock: ManualClock) -> None:
    """For a program at the other end of a pipe."""
    source.series = coming(clock, [1, 2])
    _, screen = await shown(source, looks=3, as_json=True, forecast=True)

    looks = [json.loads(line) for line in screen.splitlines()]
    assert [look["asked_at"] for look in looks] == [
        "2026-03-29T12:00:00Z",
        "2026-03-29T12:05:00Z",
        "2026-03-29T12:10:00Z",
    ]
    assert [one["g_per_kwh"] for one in looks[0]["forecast"]] == [1, 2]
    assert len(source.asked) == 1


def test_an_interrupt_ends_the_watch_without_a_traceback(tmp_path: Path) -> None:
    """Ctrl-C, as with every tool that follows something."""
    command = [sys.executable, "-m", "carbon_sdk.cli", "intensity", "DE", "--watch", "--json"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    first = json.loads(running.stdout.readline())
    os.kill(running.pid, signal.SIGINT)
    _, problems = running.communicate(timeout=30)

    assert first["quality"] == "static"
    assert (running.returncode, problems) == (130, "")


@given(st.lists(st.floats(0.0, 2000.0), max_size=300), st.integers(1, 80))
def test_bars_fit_their_width_and_rise_with_the_values(numbers: list[float], width: int) -> None:
    """The highest is full; as many values as there are find their place."""
    drawn, hours = bars(coming(ManualClock(), numbers), width=width)

    assert len(drawn) <= width
    assert len(hours) <= max(len(drawn), 5)
    assert bool(drawn) == bool(numbers)
    if numbers and max(numbers) > 0 and len(numbers) <= width:
        assert EIGHTHS[-1] in drawn
        ranked = sorted(zip(numbers, (EIGHTHS.index(one) for one in drawn), strict=True))
        assert [height for _, height in ranked] == sorted(height for _, height in ranked)
    assert bars([value(1.0, start=ManualClock().utcnow(), step=HOUR)], width=width)[1] == "12:00"
