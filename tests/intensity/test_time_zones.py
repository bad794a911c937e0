"""The same answers wherever a program runs: no time of this machine's own zone comes in or goes out."""

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import respx

from carbon_sdk import plugins
from carbon_sdk.intensity.fallback import Fallback
from carbon_sdk.intensity.forecast import greenest_window
from carbon_sdk.intensity.intensity import Place
from carbon_sdk.intensity.terminal import show
from carbon_sdk.intensity.yearly_averages import YearlyAverages
from carbon_sdk_providers.file import File
from tests.intensity.sources import DE
from tests.providers.bench import GROUP, RECORDED, bench, build

pytestmark = pytest.mark.anyio
PLACES = ("UTC", "America/Los_Angeles", "Asia/Kathmandu", "Europe/London")
"""The last has its clock set forward in the night before the tests' usual noon."""


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Moves this process to another time zone."""

    def to(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield to
    monkeypatch.delenv("TZ", raising=False)
    time.tzset()


@pytest.mark.parametrize("name", plugins.names(GROUP))
async def test_a_recorded_answer_means_the_same_moments_everywhere(name: str, move: Callable[[str], None]) -> None:
    """Value, interval, history and forecast; a time without an offset is read as its source means it."""
    told = set()
    for zone in PLACES:
        move(zone)
        with respx.mock(using="httpx", assert_all_called=False) as router:
            one = bench(name, router)
            provider: Any = one.provider
            now = datetime.fromisoformat(one.case["now"])
            values = [await provider.intensity(one.place)]
            if name != "watttime":  # its history is another answer
                values += await provider.history(one.place, now - timedelta(hours=12), now)
            if hasattr(provider, "forecast") and name != "energinet":  # likewise its forecast
                values += await provider.forecast(one.place)
            asked = [str(call.request.url) for call in router.calls]
        assert {value.observed_at.utcoffset() for value in values} == {timedelta(0)}
        told.add(repr((values, asked)))

    assert len(told) == 1


async def test_the_greenest_window_does_not_move(move: Callable[[str], None]) -> None:
    """Nor does it matter in which zone the deadline is written."""
    found = set()
    now = datetime(2023, 12, 3, 10, 35, tzinfo=UTC)
    for zone in PLACES:
        move(zone)
        for deadline in ("2023-12-04T10:35:00+00:00", "2023-12-04T16:20:00+05:45", "2023-12-04T02:35:00-08:00"):
            with respx.mock(using="httpx", assert_all_called=False) as router:
                router.route(path__regex="/fw48h$").respond(
                    200, content=(RECORDED / "gb_carbon_intensity" / "intensity_fw48h.json").read_bytes()
                )
                provider: Any = build("gb_carbon_intensity", {}, now=now)
                best = await greenest_window(
                    provider,
                    [Place(zone="GB")],
                    duration=timedelta(hours=2),
                    before=datetime.fromisoformat(deadline),
                    utcnow=lambda: now,
                )
            found.add(repr(best))

    assert len(found) == 1


async def test_a_company_s_own_file_is_read_by_its_offsets(tmp_path: Path, move: Callable[[str], None]) -> None:
    """`18:00Z` is 18:00 UTC on every machine."""
    path = tmp_path / "site.csv"
    path.write_text("start,g_per_kwh\n2026-03-29T18:00:00.000Z,1\n2026-03-29T21:00:00+02:00,2\n", encoding="utf-8")
    moments = []
    for zone in PLACES:
        move(zone)
        provider = File(path, utcnow=lambda: datetime(2026, 3, 29, 18, 30, tzinfo=UTC))
        rows = await provider.history(DE, datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC))
        moments.append([row.observed_at for row in rows])

    assert moments == [[datetime(2026, 3, 29, 18, tzinfo=UTC), datetime(2026, 3, 29, 19, tzinfo=UTC)]] * len(PLACES)


async def test_what_a_person_and_a_script_read_is_byte_for_byte_the_same(move: Callable[[str], None]) -> None:
    """And each time in it carries its Z."""
    seen = set()
    for zone in PLACES:
        move(zone)
        stream = io.StringIO()
        chain = Fallback(YearlyAverages())
        for as_json in (False, True):
            await show(
                chain,
                DE,
                as_json=as_json,
                stream=stream,
                utcnow=lambda: datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
            )
        seen.add(stream.getvalue())
    (screen,) = seen

    moments = re.findall(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(\S?)", screen)
    assert moments
    assert set(moments) == {"Z"}
    assert json.loads(screen.splitlines()[-1])["asked_at"] == "2026-03-29T00:30:00Z"
