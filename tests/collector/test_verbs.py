"""The command line's verbs over ClickHouse: through the collector that runs, or with none."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from carbon_sdk.collector.__main__ import main
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from carbon_sdk.collector.inventory.command import main as report
from carbon_sdk.collector.server import SOCKET
from carbon_sdk.emission import Emission
from tests.collector.service import HOUR, Collector, emission
from tests.collector.test_backup import CODECARBON
from tests.collector.test_cluster import shard_value, spread, words

Start = Callable[..., Collector]
YEAR = {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}
DAY = f"{HOUR:%Y-%m-%d}"


def nothing_better(_provider: str, records: Sequence[Emission]) -> Sequence[Emission | None]:
    """A provider that knows no other price."""
    return [None for _ in records]


async def a_minute_passes(cluster: Cluster) -> None:
    """For the shards: whoever said that he would write late is older by so much."""
    for number in range(len(cluster.shards)):
        shard = Shard(cluster, number)
        await shard.execute("insert into late select slot, mark, marked_at - 61, done from late final")
        await shard.aclose()


@pytest.mark.parametrize("running", [True, False])
async def test_a_codecarbon_history_is_counted_once_however_often_it_is_imported(
    start: Start, tmp_path: Path, cluster: Cluster, *, running: bool
) -> None:
    """Rows older than single records are kept are summed up, and counted still."""
    given = words(cluster, tmp_path)
    data = ["--data", str(tmp_path / "data"), *given]
    collector = start(*given) if running else None
    for _ in range(2):
        assert await asyncio.to_thread(main, ["import", "codecarbon", str(CODECARBON), *data]) == 0
        assert await asyncio.to_thread(main, ["retention", *data]) == 0
        await a_minute_passes(cluster)
    (total,) = (collector or start(*given)).ask("/v1/reports/totals", **YEAR)["rows"]

    assert total["records"] == 3
    assert total["energy_kwh"] == pytest.approx(0.0004 + 0.0001)


@pytest.mark.parametrize("running", [True, False])
async def test_a_report_is_the_same_from_the_collector_that_runs_or_from_the_shards(
    start: Start, tmp_path: Path, cluster: Cluster, *, running: bool
) -> None:
    """As JSON; both shards' joules are in it."""
    given, output = words(cluster, tmp_path), tmp_path / "report.json"
    collector = start(*given)
    collector.send(spread(8))
    collector.ask("/v1/projects")
    if not running:
        collector.stop()
    asked = ["--from", DAY, "--to", DAY, "--format", "json", "--data", str(collector.folder), "--output", str(output)]
    assert await asyncio.to_thread(report, [*asked, *given], nothing_better) == 0
    lines = json.loads(output.read_text())["lines"]

    assert sum(line["energy_kwh"] for line in lines) == pytest.approx(8 * 1.5 / 3.6e6)


async def test_retention_drops_old_days_and_no_total_changes(start: Start, tmp_path: Path, cluster: Cluster) -> None:
    """By the command line alone, with no collector; what came within the last minute is left for the next time."""
    given = words(cluster, tmp_path)
    data = ["--data", str(tmp_path / "data"), *given]
    assert await asyncio.to_thread(main, ["import", "codecarbon", str(CODECARBON), *data]) == 0
    kept = []
    for days in ("30", "4000", "30"):
        assert await asyncio.to_thread(main, ["retention", "--raw-days", days, *data]) == 0
        counts = [await shard_value(cluster, number, "select count() from records final") for number in (0, 1)]
        kept.append(sum(int(str(count)) for count in counts))
        await a_minute_passes(cluster)
    (total,) = start(*given).ask("/v1/reports/totals", **YEAR)["rows"]

    assert (kept, total["records"]) == ([3, 3, 0], 3)


async def test_a_backup_is_clickhouse_s_own(
    start: Start, tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which is said, and nothing is written."""
    collector = start(*words(cluster, tmp_path))
    assert await asyncio.to_thread(main, ["backup", "--data", str(collector.folder), str(tmp_path / "copy")]) == 2

    assert "BACKUP DATABASE" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


async def test_two_collectors_never_share_a_folder(
    start: Start, tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their journals would overwrite each other."""
    given = words(cluster, tmp_path)
    collector = start(*given)
    (collector.folder / SOCKET).unlink()
    assert await asyncio.to_thread(main, ["retention", "--data", str(collector.folder), *given]) == 2
    assert "is held by another collector" in capsys.readouterr().err
    assert collector.send([emission(0)])["stored"] == 1
    assert collector.total("records") == 1
