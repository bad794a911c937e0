"""Copies of a store, and histories that are brought in, by the command line over a running collector."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from carbon_sdk.collector.__main__ import main
from tests.collector.sender import BATCH, JOULES, Sender, heard, sending
from tests.collector.service import Collector, emission

Start = Callable[..., Collector]

CODECARBON = Path(__file__).parent / "codecarbon.csv"


def test_a_backup_while_records_come_holds_whole_batches_and_can_be_restored(start: Start, tmp_path: Path) -> None:
    """What was acknowledged before it is in it; a repetition is known to it; a second store is not put over a first."""
    collector, copy, folder = start(), tmp_path / "copy.duckdb", tmp_path / "restored"
    senders = [Sender(f"{number:016d}") for number in range(4)]
    told: list[object] = []

    def back_up() -> None:
        while heard(senders) < 20 * BATCH:
            threading.Event().wait(0.001)
        before = heard(senders)
        told.extend([before, main(["backup", "--data", str(collector.folder), str(copy)]), heard(senders)])
        collector.stop()

    thread = threading.Thread(target=back_up)
    with sending(senders, collector):
        thread.start()
    thread.join()
    before, code, _after = told
    assert code == 0
    assert main(["restore", "--data", str(folder), str(copy)]) == 0
    assert main(["restore", "--data", str(folder), str(copy)]) == 2
    restored = start(folder=folder)
    keys = restored.keys()

    assert len(keys) == len(set(keys)) == restored.total("records")
    assert isinstance(before, int)
    assert len(keys) >= before
    assert len(keys) % BATCH == 0
    assert restored.total() == JOULES * len(keys)
    assert restored.send([emission(0, instance=f"{0:016d}")])["known"] == 1


def test_a_backup_is_the_owners_alone_and_replaces_no_file(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds everything that the store holds."""
    collector, copy = start(), tmp_path / "copy.duckdb"
    collector.send([emission(0)])
    assert main(["backup", "--data", str(collector.folder), str(copy)]) == 0
    content = copy.read_bytes()

    assert copy.stat().st_mode & 0o777 == 0o600
    assert main(["backup", "--data", str(collector.folder), str(copy)]) == 2
    assert "exists; name a new file" in capsys.readouterr().err
    assert copy.read_bytes() == content


def test_what_is_no_backup_is_not_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is left where it would have gone."""
    (tmp_path / "notes.txt").write_text("no database")
    assert main(["restore", "--data", str(tmp_path / "data"), str(tmp_path / "notes.txt")]) == 2

    assert "is no backup of a collector" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("running", [True, False])
def test_a_codecarbon_history_comes_in_once_however_often_it_is_imported(
    start: Start, capsys: pytest.CaptureFixture[str], tmp_path: Path, *, running: bool
) -> None:
    """Through the collector that runs, or with none; a file that has grown brings its new rows alone."""
    folder, file = tmp_path / "data", tmp_path / "emissions.csv"
    head, *rows = CODECARBON.read_text().splitlines(keepends=True)
    file.write_text("".join((head, *rows[:2])))
    collector = start() if running else None
    for _ in range(2):
        assert main(["import", "codecarbon", "--data", str(folder), str(file)]) == 0
    file.write_text("".join((head, *rows)))
    assert main(["import", "codecarbon", "--data", str(folder), str(file)]) == 0
    told = capsys.readouterr().out.splitlines()
    collector = collector or start()
    period = {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}
    (total,) = collector.ask("/v1/reports/totals", **period)["rows"]

    assert told == [
        "2 rows stored, 0 known already, 0 refused",
        "0 rows stored, 2 known already, 0 refused",
        "1 rows stored, 2 known already, 0 refused",
    ]
    assert total["records"] == 3
    assert total["energy_kwh"] == pytest.approx(0.0004 + 0.0001)
    assert total["emissions_g"] == pytest.approx(0.152 + 0.038)
    assert total["method"] == {"model": 1.0}
