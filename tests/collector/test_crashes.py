"""Ends of the process in the middle of its work: nothing that was acknowledged is lost, and nothing is stored twice."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.collector.sender import BATCH, Sender, assert_exactly_once, heard, sending
from tests.collector.service import LONG, Collector, emission

Start = Callable[..., Collector]

KILLS = 50 if LONG else 6
"""How often the collector is killed."""


def test_kill_nine_in_mid_ingest_loses_nothing_acknowledged_and_stores_nothing_twice(start: Start) -> None:
    """Again and again on one folder, at any moment, with senders that repeat what was not answered."""
    senders = [Sender(f"{number:016d}") for number in range(4)]
    moment = random.Random(20261125)
    for _ in range(KILLS):
        collector = start()
        assert_exactly_once(collector, senders)
        enough = heard(senders) + BATCH * moment.randrange(8)
        with sending(senders, collector):
            while heard(senders) < enough:
                time.sleep(0.001)
            time.sleep(moment.uniform(0.0, 0.03))
            collector.stop(signal.SIGKILL)

    assert_exactly_once(start(), senders)
    assert heard(senders) > 0


def test_sigterm_in_mid_batch_answers_what_is_under_way_and_ends_with_zero(start: Start) -> None:
    """Each sender heard of its last batch, or it was not kept."""
    senders = [Sender(f"{number:016d}") for number in range(4)]
    for _ in range(2):
        collector = start()
        with sending(senders, collector):
            while not heard(senders):
                time.sleep(0.001)
            assert collector.stop(signal.SIGTERM) == 0
        assert collector.log[-1]["event"] == "collector_stopped"

    assert_exactly_once(start(), senders)


def killed(start: Start) -> Path:
    """The folder of a collector that kept 60 records, then was killed."""
    collector = start()
    for number in range(3):
        assert collector.send([emission(20 * number + one) for one in range(20)])["stored"] == 20
    collector.ask("/v1/projects")
    collector.stop(signal.SIGKILL)
    return collector.folder


def journal(folder: Path) -> Path:
    """The last segment of the journal."""
    return max((folder / "journal").glob("*.journal"))


@pytest.mark.parametrize("torn", [b"CJ1\n", b"CJ1\n" + bytes(30), bytes(4096), b"\xff" * 100])
def test_a_torn_end_of_the_journal_is_cut_off(start: Start, torn: bytes) -> None:
    """A frame that was being written, or zeros that a power loss left: nobody was answered for it."""
    folder = killed(start)
    with journal(folder).open("ab") as segment:
        segment.write(torn)
    collector = start()

    assert collector.total() == 90.0
    assert collector.send([emission(60)])["stored"] == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeros"])
def test_a_damaged_log_of_the_database_is_built_again_from_the_journal(start: Start, damage: str) -> None:
    """It is set aside, which the log says, and every record is there once."""
    folder = killed(start)
    log = folder / "emissions.duckdb.wal"
    content = bytearray(log.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        content[-600:] = bytes(600)
    log.write_bytes(content)
    collector = start()

    assert collector.total() == 90.0
    assert len(set(collector.keys())) == 60
    assert collector.send([emission(59)])["known"] == 1
    if damage == "flipped":
        assert "collector_log_set_aside" in [line["event"] for line in collector.log]


def test_a_journal_damaged_in_its_middle_is_not_touched_and_the_place_is_said(start: Start) -> None:
    """Whole frames stand behind the damage: cutting there would lose what was acknowledged."""
    folder = killed(start)
    segment = journal(folder)
    content = bytearray(segment.read_bytes())
    content[200] ^= 0xFF
    segment.write_bytes(content)
    (folder / "emissions.duckdb").unlink()
    (folder / "emissions.duckdb.wal").unlink()
    with pytest.raises(AssertionError, match="damaged at byte 0"):
        start()

    assert segment.read_bytes() == content
