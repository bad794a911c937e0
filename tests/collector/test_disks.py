"""Disks that are full, or may not be written: what was acknowledged stays, senders are told to come back."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from carbon_sdk.collector.journal import Disk
from carbon_sdk.wire import to_object
from tests.collector.inside import inside
from tests.collector.sender import Sender, assert_exactly_once, sending
from tests.collector.service import Collector, emission

Start = Callable[..., Collector]


def limit_files(collector: Collector, length_bytes: int) -> None:
    """No file of this process may grow beyond so many bytes: a full disk, for one process."""
    resource.prlimit(collector.process.pid, resource.RLIMIT_FSIZE, (length_bytes, resource.RLIM_INFINITY))


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true; the test's runner ends a wait without end."""
    while not true():
        time.sleep(0.02)


def ready(collector: Collector) -> dict[str, str]:
    """What /readyz says."""
    answer = collector.client.get("/readyz")
    body: dict[str, str] = answer.json()
    assert answer.status_code == (200 if body["status"] == "ok" else 503)
    return body


@pytest.mark.anyio
async def test_who_waits_for_a_load_is_answered_when_its_second_try_succeeds(tmp_path: Path) -> None:
    """Questions that see all that was acknowledged, backups and prices wait for it."""
    failures = iter([OSError(errno.EIO, "as told")])

    def clock() -> float:
        error = next(failures, None) if threading.current_thread().name == "carbon_sdk-load" else None
        if error is not None:
            raise error
        return time.time()

    async with inside(tmp_path, clock=clock) as collector:
        with anyio.fail_after(20):
            assert (await collector.send(emission(0)))["stored"] == 1
        assert next(failures, None) is None


def test_on_a_full_disk_senders_wait_and_all_goes_on_when_there_is_room(start: Start) -> None:
    """503 with Retry-After and the reason; nothing half-written stays; the sender's own repetition is stored once."""
    collector = start()
    assert collector.send([emission(0), emission(1)])["stored"] == 2
    collector.ask("/v1/projects")
    limit_files(collector, 0)
    answer = collector.client.post("/v1/emissions", json=[])
    assert answer.status_code == 200, "nothing to write"
    refused = collector.send([emission(2)])
    assert (refused["status"], "disk" in refused["error"]) == (503, True)
    assert ready(collector)["status"] == "failing"
    assert "too large" in ready(collector)["reason"]
    assert str(collector.folder) not in ready(collector)["reason"]
    limit_files(collector, resource.RLIM_INFINITY)
    assert collector.send([emission(2)])["stored"] == 1
    assert ready(collector) == {"status": "ok"}
    assert collector.total() == 4.5
    collector.stop()
    events = [line["event"] for line in collector.log]
    assert events.count("collector_store_failing") == events.count("collector_store_recovered") == 1
    assert start().total() == 4.5


def own_file_system(folder: Path, options: str = "size=24m") -> tuple[str, ...]:
    """Words before a command that give it a file system of its own at a folder; it goes when the command ends."""
    mount = f'mount -t tmpfs -o {options} tmpfs "{folder}" && exec "$@"'
    before = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    folder.mkdir(parents=True)
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system of its own (unshare --map-root-user --mount)")
    return before


def test_a_disk_that_fills_up_under_load_loses_nothing_and_is_used_again_when_freed(
    start: Start, tmp_path: Path
) -> None:
    """Journal, database and its log all meet the end of the disk, in whatever order."""
    disk = tmp_path / "disk"
    senders = [Sender(f"{number:016d}") for number in range(4)]
    collector = start(folder=disk / "data", before=own_file_system(disk))
    within = Path(f"/proc/{collector.process.pid}/root{disk}")
    for room in (500_000, 3_000_000):
        (within / "ballast").write_bytes(bytes(shutil.disk_usage(within).free - room))
        with sending(senders, collector):
            until(lambda: ready(collector)["status"] == "failing")
        heard = [one.acknowledged for one in senders]
        (within / "ballast").unlink()
        until(lambda: ready(collector)["status"] == "ok")
        assert_exactly_once(collector, senders)
        assert heard == [one.acknowledged for one in senders]
    assert collector.stop() == 0


def test_on_a_read_only_disk_it_does_not_start_and_names_the_folder_and_the_remedy(tmp_path: Path) -> None:
    """Exit code 2, one line."""
    disk = tmp_path / "disk"
    serve = [sys.executable, "-m", "carbon_sdk.collector", "serve", "--data", str(disk / "data"), "--port", "0"]
    ended = subprocess.run(
        [*own_file_system(disk, "ro"), *serve], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert str(disk) in ended.stderr
    assert "Read-only file system" in ended.stderr
    assert "--data" in ended.stderr


async def test_a_disk_that_becomes_read_only_is_told_and_what_was_kept_can_be_read(tmp_path: Path) -> None:
    """As a kernel does that has met an error: writes fail, reads go on; and it is found out when it is over."""
    read_only: list[bool] = [False]

    def write(file: int, content: bytes) -> int:
        if read_only[0]:
            raise OSError(errno.EROFS, "Read-only file system")
        return os.write(file, content)

    async with inside(tmp_path, disk=Disk(write=write)) as collector:
        await collector.send(emission(0))
        read_only[0] = True
        refused = await collector.client.post("/v1/emissions", json=[to_object(emission(1))])
        failing = await collector.client.get("/readyz")
        (total,) = (await collector.ask("/v1/reports/totals"))["rows"]
        read_only[0] = False
        while (await collector.client.get("/readyz")).status_code != 200:
            await anyio.sleep(0.05)
        stored = await collector.send(emission(1))

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert (failing.status_code, failing.json()["reason"]) == (503, "the disk takes no records: Read-only file system")
    assert total["records"] == 1
    assert stored["stored"] == 1
