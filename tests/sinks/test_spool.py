"""Batches that wait: in order, bounded, and inherited once."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.sinks.spool import Spool


def drained(spool: Spool) -> list[bytes]:
    """All bodies, in the order in which they would be sent."""
    bodies = []
    while (waiting := spool.oldest()) is not None:
        bodies.append(waiting[1])
        spool.remove(waiting[0])
    return bodies


def test_batches_leave_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """The collector takes an instance's records in sequence."""
    spool = Spool(tmp_path / "spool", maximum_bytes=1000)
    for number in range(12):
        spool.put(b"%d" % number, 1)

    assert drained(spool) == [b"%d" % number for number in range(12)]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """Folders 0700, files 0600."""
    spool = Spool(tmp_path / "spool", maximum_bytes=1000)
    spool.put(b"body", 1)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    files = list(tmp_path.rglob("*.gz"))

    assert len(folders) == 2
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_what_a_process_left_is_sent_first_by_the_next_and_by_no_other(tmp_path: Path) -> None:
    """Its lock has gone with it, and one heir gets it."""
    dead = Spool(tmp_path, maximum_bytes=1000)
    dead.put(b"left", 3)
    dead.close()
    heir, other = Spool(tmp_path, maximum_bytes=1000), Spool(tmp_path, maximum_bytes=1000)
    heir.put(b"own", 1)

    assert drained(heir) == [b"left", b"own"]
    assert drained(other) == []


def test_batches_may_be_left_again_and_again(tmp_path: Path) -> None:
    """A job each minute, and a collector that is away for a day: who inherits leaves his own behind them."""
    for number in range(20):
        spool = Spool(tmp_path, maximum_bytes=10_000)
        spool.put(b"%02d" % number, 1)
        spool.close()
        assert spool.problem is None
    heir = Spool(tmp_path, maximum_bytes=10_000)

    assert heir.problem is None
    assert sorted(drained(heir)) == [b"%02d" % number for number in range(20)]


def test_what_is_none_of_ours_stays_where_it_is_and_hinders_nobody(tmp_path: Path) -> None:
    """A network file system leaves files behind, a desktop too."""
    dead = Spool(tmp_path, maximum_bytes=1000)
    dead.put(b"left", 3)
    dead.close()
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for name in (".nfs0001", ".DS_Store", "notes.json.gz"):
        (folder / name).write_text("no batch")
    heir = Spool(tmp_path, maximum_bytes=1000)

    assert heir.problem is None
    assert drained(heir) == [b"left"]
    assert len(list(folder.iterdir())) == 3


def test_the_batches_of_a_living_process_are_its_own(tmp_path: Path) -> None:
    """Workers share the folder."""
    living = Spool(tmp_path, maximum_bytes=1000)
    living.put(b"mine", 1)
    other = Spool(tmp_path, maximum_bytes=1000)

    assert drained(other) == []
    assert drained(living) == [b"mine"]


def test_a_forked_child_does_not_let_go_of_its_parents_batches(tmp_path: Path) -> None:
    """The child drops what it inherited and ends; the parent still lives, so nobody adopts."""
    program = textwrap.dedent(
        """
        import gc, os, sys
        from pathlib import Path
        from carbon_sdk.sinks.spool import Spool

        parent = Spool(Path(sys.argv[1]), maximum_bytes=1000)
        parent.put(b"mine", 1)
        child = os.fork()
        if child == 0:
            del parent
            gc.collect()
            os._exit(0)
        os.waitpid(child, 0)
        other = Spool(Path(sys.argv[1]), maximum_bytes=1000)
        print(other.oldest(), parent.oldest()[1], parent.dropped_records)
        """
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, env=environ
    )

    assert done.stdout.split() == ["None", "b'mine'", "0"]


def test_a_process_that_has_delivered_everything_leaves_nothing_behind(tmp_path: Path) -> None:
    """No folder and no lock stays."""
    spool = Spool(tmp_path, maximum_bytes=1000)
    spool.put(b"body", 1)
    drained(spool)
    spool.close()
    spool.close()

    assert [path.name for path in tmp_path.iterdir() if path.name != "guard"] == []


def test_where_nothing_can_be_written_batches_wait_in_memory_and_that_is_said(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "taken").write_text("")
    spool = Spool(tmp_path / "taken" / "spool", maximum_bytes=1000)
    spool.put(b"body", 1)

    assert spool.problem is not None
    assert "taken" in spool.problem
    assert drained(spool) == [b"body"]


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_a_full_spool_drops_its_oldest_and_counts_every_record(tmp_path_factory: object, sizes: list[int]) -> None:
    """What is kept and what was dropped add up to what came, and what is kept is the newest."""
    folder: Path = tmp_path_factory.mktemp("spool")  # type: ignore[attr-defined]
    spool = Spool(folder, maximum_bytes=100)
    for number, size in enumerate(sizes):
        spool.put(bytes([number]) * size, size)
    kept = drained(spool)
    spool.close()

    assert spool.dropped_records + sum(map(len, kept)) == sum(sizes)
    assert sum(map(len, kept)) <= 100
    assert [body[0] for body in kept] == list(range(len(sizes) - len(kept), len(sizes)))
