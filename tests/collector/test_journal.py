"""The journal alone: what was appended is read again, whatever happened to the disk and the process in between."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.collector.columns import ACCOUNT
from carbon_sdk.collector.decode import Bounds, decode
from carbon_sdk.collector.dimensions import Limits
from carbon_sdk.collector.group import Group, Index
from carbon_sdk.collector.journal import HEADER_BYTES, Disk, Journal
from carbon_sdk.collector.store import StoreError
from carbon_sdk.wire import to_json
from tests.collector.service import emission

EVER = Bounds(records=1_000, oldest_us=0, newest_us=2**62)
PAYLOADS = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=12)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A new folder for each example."""
    return lambda: tmp_path_factory.mktemp("journal")


def write(folder: Path, payloads: list[bytes], *, segment_bytes: int = 10**6, disk: Disk | None = None) -> Journal:
    """A journal that holds these."""
    journal = Journal(folder, segment_bytes=segment_bytes, disk=disk)
    assert list(journal.open(0)) == []
    for payload in payloads:
        journal.append(payload)
    return journal


def read(folder: Path, loaded: int = 0) -> list[bytes]:
    """The frames after `loaded`."""
    journal = Journal(folder)
    frames = list(journal.open(loaded))
    journal.close()
    assert [number for number, _ in frames] == list(range(loaded + 1, loaded + 1 + len(frames)))
    return [payload for _, payload in frames]


@given(payloads=PAYLOADS, segment_bytes=st.integers(1, 300))
def test_what_was_appended_is_read_in_order_over_any_number_of_segments(
    fresh: Callable[[], Path], payloads: list[bytes], segment_bytes: int
) -> None:
    """And from any frame on."""
    folder = fresh()
    write(folder, payloads, segment_bytes=segment_bytes).close()

    assert read(folder) == payloads
    assert read(folder, loaded=len(payloads) // 2) == payloads[len(payloads) // 2 :]


@given(payloads=PAYLOADS, cut=st.integers(0, 2_000))
def test_cut_anywhere_it_holds_the_whole_frames_before_and_goes_on_behind_them(
    fresh: Callable[[], Path], payloads: list[bytes], cut: int
) -> None:
    """A crash in the middle of a write."""
    folder = fresh()
    write(folder, payloads).close()
    (segment,) = folder.glob("*.journal")
    os.truncate(segment, min(cut, segment.stat().st_size))
    journal = Journal(folder)
    kept = [payload for _, payload in journal.open(0)]
    number = journal.append(b"next")
    journal.close()

    assert kept == payloads[: len(kept)]
    assert sum(len(payload) + HEADER_BYTES for payload in payloads[: len(kept) + 1]) > cut or kept == payloads
    assert number == len(kept) + 1
    assert read(folder) == [*kept, b"next"]


@given(payloads=st.lists(st.binary(min_size=1, max_size=60), min_size=2, max_size=6), data=st.data())
def test_a_flipped_byte_costs_the_last_frame_or_is_reported(
    fresh: Callable[[], Path], payloads: list[bytes], data: st.DataObject
) -> None:
    """Whatever byte of whatever frame: nothing wrong is ever read."""
    folder = fresh()
    write(folder, payloads).close()
    (segment,) = folder.glob("*.journal")
    content = bytearray(segment.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    segment.write_bytes(content)
    last = len(content) - len(payloads[-1]) - HEADER_BYTES
    if place >= last:
        assert read(folder) == payloads[:-1]
        return
    with pytest.raises(StoreError, match="with whole frames behind it"):
        read(folder)
    assert segment.read_bytes() == content


class Failing:
    """A disk whose calls fail as planned, having written a part."""

    def __init__(self, plan: list[bool]) -> None:
        self.plan = plan

    def fails(self) -> bool:
        return self.plan.pop(0) if self.plan else False

    def write(self, file: int, content: bytes) -> int:
        if self.fails():
            os.write(file, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(file, content)

    def flush(self, file: int) -> None:
        if self.fails():
            raise OSError(errno.EIO, "Input/output error")

    def cut(self, path: Path, length: int) -> None:
        if self.fails():
            raise OSError(errno.EIO, "Input/output error")
        os.truncate(path, length)


@given(payloads=PAYLOADS, plan=st.lists(st.booleans(), max_size=30), segment_bytes=st.integers(1, 300))
def test_frames_that_failed_leave_nothing_behind_and_those_that_did_not_are_all_there(
    fresh: Callable[[], Path], payloads: list[bytes], plan: list[bool], segment_bytes: int
) -> None:
    """Writing, flushing, even the taking back may fail, each at any time."""
    folder, disk = fresh(), Failing(plan)
    journal = write(
        folder, [], segment_bytes=segment_bytes, disk=Disk(write=disk.write, flush=disk.flush, cut=disk.cut)
    )
    kept = []
    for payload in payloads:
        try:
            journal.append(payload)
            kept.append(payload)
        except OSError:
            continue
    journal.close()

    assert read(folder)[: len(kept)] == kept
    assert len(read(folder)) <= len(kept) + 1, "at most the last, unanswered one"


def test_segments_that_the_store_holds_are_deleted_and_no_others(tmp_path: Path) -> None:
    """Whole segments; the one being written too, once all of it is held."""
    journal = write(tmp_path, [b"x" * 50] * 6, segment_bytes=150)
    segments = sorted(int(path.stem) for path in tmp_path.glob("*.journal"))
    journal.forget(3)
    kept = sorted(int(path.stem) for path in tmp_path.glob("*.journal"))
    journal.forget(6)

    assert segments == [1, 3, 5]
    assert kept == [3, 5]
    assert not list(tmp_path.glob("*.journal"))
    assert journal.append(b"next") == 7
    journal.close()


def test_a_missing_segment_is_reported(tmp_path: Path) -> None:
    """Somebody deleted acknowledged records."""
    write(tmp_path, [b"x" * 50] * 6, segment_bytes=150).close()
    next(iter(sorted(tmp_path.glob("*.journal")))).unlink()

    with pytest.raises(StoreError, match="frames between are missing"):
        read(tmp_path)


def test_a_frame_of_an_earlier_version_is_read_with_what_it_does_not_know_left_unknown() -> None:
    """A collector that was killed is updated before it starts again."""
    records = ",".join(to_json(emission(number, origin_service="gate")) for number in range(3))
    index = Index(Limits(), lambda _keys: {})
    part = index.take(index.number("default", decode(f"[{records}]".encode(), "array", EVER)))
    assert part is not None
    frame = index.group([part]).to_bytes()
    end = 8 + int.from_bytes(frame[:8], "little")
    words = json.loads(frame[8:end])
    words[0] = [[number, project, key[:4]] for number, project, key in words[0]]
    words[5] = words[5][:4]
    earlier = json.dumps(words).encode()
    group = Group.from_bytes(len(earlier).to_bytes(8, "little") + earlier + frame[end:])

    assert Group.from_bytes(frame).accounts[0][2][ACCOUNT.index("origin_service")] == "gate"
    assert group.accounts == [(1, "default", ("shop", "request", "GET /items/{id}", "GET /items/{id}", None, None))]
    assert group.table.equals(Group.from_bytes(frame).table)
