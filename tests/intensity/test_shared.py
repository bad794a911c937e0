"""One answer for all workers of a host: real processes, torn files, a folder that cannot be used."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import Place, RefusedCredentialsError, UnknownZoneError
from carbon_sdk.intensity.remedy import Fault, to_logger
from carbon_sdk.intensity.shared import Shared
from carbon_sdk.log import Log
from carbon_sdk.testing import ManualClock
from tests.intensity.sources import DE, HOUR, Source, cached, value

WORKER = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from carbon_sdk.intensity.cached import Cached
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.intensity.shared import Shared

folder = Path(sys.argv[1])

class Upstream:
    name, signal, emission_scope = "live", "average", "lifecycle"

    async def intensity(self, place):
        with (folder / "asked").open("a") as file:
            file.write("x")
        await asyncio.sleep(0.2)
        now = datetime.now(UTC)
        return Intensity(g_per_kwh=123.0, source="live", signal="average", emission_scope="lifecycle", zone="DE",
                         quality="measured", observed_at=now, valid_until=now + timedelta(hours=1))

    async def aclose(self):
        pass

async def main():
    sys.stdin.readline()
    cache = Cached(Shared(Upstream(), folder / "cache"))
    print((await cache.intensity(Place(zone="DE"))).g_per_kwh)

asyncio.run(main())
"""


def shared(source: Source, folder: Path, *, fault: Fault = to_logger) -> Shared:
    """A worker's view of the folder."""
    return Shared(source, folder, utcnow=source.clock.utcnow, chance=lambda: 0.5, fault=fault)


def test_eight_processes_make_one_request(tmp_path: Path) -> None:
    """Eight real workers start on a cold folder at once: one asks, all answer."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()

    answers = [worker.communicate(timeout=60)[0].strip() for worker in workers]

    assert answers == ["123.0"] * 8
    assert (tmp_path / "asked").read_text() == "x"


async def test_workers_see_each_other_s_answers_and_failures(tmp_path: Path, clock: ManualClock) -> None:
    """A source that is down is not asked by each of them."""
    first, second = Source(clock), Source(clock)
    first.fails(IntensityError("live", "HTTP 503", retry_after_seconds=100))
    with pytest.raises(IntensityError, match="HTTP 503"):
        await shared(first, tmp_path).intensity(DE)
    with pytest.raises(IntensityError, match="HTTP 503") as caught:
        await shared(second, tmp_path).intensity(DE)
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds >= 100
    assert not second.asked

    clock.advance(200)
    assert (await shared(second, tmp_path).intensity(DE)).g_per_kwh == 100
    assert (await shared(first, tmp_path).intensity(DE)).g_per_kwh == 100
    assert len(first.asked) == 1


@pytest.mark.parametrize("kind", [UnknownZoneError, RefusedCredentialsError, IntensityError])
async def test_a_failure_keeps_its_kind(tmp_path: Path, clock: ManualClock, kind: type[IntensityError]) -> None:
    """So that the cache above pauses as long as it would have; and its remedy."""
    source = Source(clock)
    source.fails(kind("live", "no", remedy="Say yes"))
    with pytest.raises(kind):
        await shared(source, tmp_path).intensity(DE)

    with pytest.raises(kind, match="live: no") as caught:
        await shared(Source(clock), tmp_path).intensity(DE)
    assert caught.value.remedy == "Say yes"


async def test_a_value_is_asked_for_again_when_it_is_over(tmp_path: Path, clock: ManualClock) -> None:
    """And not before, by whoever."""
    source = Source(clock)
    for _ in range(3):
        await shared(source, tmp_path).intensity(DE)
    assert len(source.asked) == 1

    clock.advance(3601)
    await shared(source, tmp_path).intensity(DE)

    assert len(source.asked) == 2


async def test_a_source_that_is_late_rests_for_a_minute(tmp_path: Path, clock: ManualClock) -> None:
    """Its newest interval is over: eight workers do not ask eight times."""
    source = Source(clock)
    source.says(value(start=clock.utcnow() - 2 * HOUR))
    for _ in range(8):
        await shared(source, tmp_path).intensity(DE)
        clock.advance(5)

    assert len(source.asked) == 1


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"edition": 2}',
        b'{"edition": 99}',
        b'{"edition": 2, "asked_at": "x", "until": "y", "value": null, "problem": null}',
        b'{"edition": 2, "asked_at": "2026-03-29T12:00:00+00:00", "until": "2026-03-29T13:00:00+00:00", "failures": 0,'
        b' "value": {"g_per_kwh": 1, "nonsense": true}}',
        b'{"edition": 2, "asked_at": "2026-03-29T12:00:00", "until": "2026-03-29T13:00:00", "failures": 0,'
        b' "value": null, "problem": ["KeyboardInterrupt", "x", null]}',
        b"x" * 1_000_000,
    ],
)
async def test_a_torn_file_counts_as_nothing(tmp_path: Path, clock: ManualClock, torn: bytes) -> None:
    """It is asked for anew and written over."""
    source = Source(clock)
    await shared(source, tmp_path).intensity(DE)
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(torn)

    assert (await shared(source, tmp_path).intensity(DE)).g_per_kwh == 100
    assert len(source.asked) == 2
    assert json.loads(path.read_bytes())["value"]["g_per_kwh"] == 100


async def test_an_answer_from_tomorrow_is_not_believed(tmp_path: Path, clock: ManualClock) -> None:
    """A clock that was wrong when the file was written does not freeze the value."""
    ahead = ManualClock()
    ahead.advance(86_400)
    await shared(Source(ahead), tmp_path).intensity(DE)
    source = Source(clock)

    await shared(source, tmp_path).intensity(DE)

    assert len(source.asked) == 1


async def test_places_and_scopes_do_not_share_an_answer(tmp_path: Path, clock: ManualClock) -> None:
    """Each question has a file of its own, readable by its owner alone."""
    source, direct = Source(clock), Source(clock, emission_scope="direct")
    await shared(source, tmp_path / "made" / "here").intensity(DE)
    await shared(source, tmp_path / "made" / "here").intensity(Place(zone="DE-X"))
    await shared(direct, tmp_path / "made" / "here").intensity(DE)

    notes = list((tmp_path / "made" / "here").glob("*.json"))
    assert len(notes) == 3
    assert {note.stat().st_mode & 0o777 for note in notes} == {0o600}
    assert (tmp_path / "made" / "here").stat().st_mode & 0o777 == 0o700


async def test_a_folder_that_cannot_be_used_is_told_once_and_done_without(tmp_path: Path, clock: ManualClock) -> None:
    """Each worker asks for itself then; the line names the setting."""
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    log = Log(lambda _level, _event, fields: lines.append(str(fields)))
    provider = shared(Source(clock), tmp_path / "file" / "cache", fault=log.fault)

    assert (await provider.intensity(DE)).g_per_kwh == 100
    assert (await provider.intensity(DE)).g_per_kwh == 100

    log.flush()
    assert log.faults == {"intensity.cache": 2}
    assert len(lines) == 1
    assert "cannot be used" in lines[0]
    assert "CARBON_SDK_INTENSITY_CACHE" in lines[0]


async def test_a_number_that_json_does_not_know_is_not_written(tmp_path: Path, clock: ManualClock) -> None:
    """The cache above refuses it; the others never see it."""
    source = Source(clock)
    source.says(value(float("nan"), start=clock.utcnow()))
    above = cached(source)
    above._provider = shared(source, tmp_path)

    with pytest.raises(IntensityError, match="refused"):
        await above.intensity(DE)

    assert not list(tmp_path.glob("*.json"))


async def test_a_worker_that_dies_while_asking_leaves_the_lock(tmp_path: Path, clock: ManualClock) -> None:
    """Cancelled in the middle of its question, it holds nobody up."""
    dying, source = Source(clock), Source(clock)
    dying.gate = asyncio.Event()
    task = asyncio.create_task(shared(dying, tmp_path).intensity(DE))
    while not dying.asked:
        await asyncio.sleep(0.001)
    waiting = asyncio.create_task(shared(source, tmp_path).intensity(DE))
    await asyncio.sleep(0.02)
    assert not source.asked

    task.cancel()

    assert (await waiting).g_per_kwh == 100


async def test_series_and_names_pass_through(tmp_path: Path, clock: ManualClock) -> None:
    """They are asked for rarely, and not shared."""
    source = Source(clock)
    source.series = [value(start=clock.utcnow(), quality="forecast")]
    provider: Any = shared(source, tmp_path)

    assert await provider.forecast(DE) == source.series
    assert await provider.history(DE, clock.utcnow(), clock.utcnow()) == source.series
    assert (provider.name, provider.signal, provider.emission_scope) == ("live", "average", "lifecycle")
    await provider.aclose()
    assert source.closed == 1
