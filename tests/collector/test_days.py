"""Whole days of ClickHouse are read from sums of days, and every figure is what it was."""

from datetime import timedelta
from pathlib import Path

from carbon_sdk.collector import clickhouse_sums
from carbon_sdk.collector.clickhouse_schema import migrate, note
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from tests.collector.engines import clickhouse_engine
from tests.collector.service import HOUR, emission
from tests.collector.test_cluster import MACHINES, shard_value

MIDDAY = HOUR.replace(hour=12) - timedelta(days=3)
SLOT = int(MIDDAY.timestamp())
DAYS = {
    "from": (MIDDAY.replace(hour=0) - timedelta(days=1)).isoformat(),
    "to": (MIDDAY.replace(hour=0) + timedelta(days=2)).isoformat(),
}


async def in_days(cluster: Cluster) -> int:
    """Records in the sums of days."""
    text = "select toInt64(sum(records)) from day_service_rollup final"
    return sum([int(str(await shard_value(cluster, number, text))) for number in (0, 1)])


async def test_a_record_that_comes_late_into_a_summed_day_is_counted_at_once_and_after(
    tmp_path: Path, cluster: Cluster
) -> None:
    """First beside the day's sum, then in it."""
    seen = []
    async with clickhouse_engine(tmp_path / "data", cluster).inside() as collector:
        for number in range(3):
            await collector.send(emission(number, window_start=MIDDAY + timedelta(hours=number)))
            for _ in range(2):
                (total,) = (await collector.ask("/v1/reports/totals", **DAYS))["rows"]
                seen.append((total["records"], await in_days(cluster)))
                await collector.store.retain()

    assert seen == [(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]


async def test_a_day_that_an_older_collector_summed_up_again_is_read_by_its_quarters(
    tmp_path: Path, cluster: Cluster
) -> None:
    """It knows of no sums of days, so it leaves them as they were; a newer one makes them again."""
    async with clickhouse_engine(tmp_path / "data", cluster).inside() as collector:
        await collector.send(emission(0, window_start=MIDDAY))
        await collector.store.retain()
        await collector.send(emission(1, window_start=MIDDAY))
        shard = Shard(cluster, cluster.shard_of("default", MACHINES[0]))
        for statement in clickhouse_sums.roll([SLOT]):
            await shard.execute(statement)
        await shard.execute("insert into late select slot, mark, marked_at, 1 from late final where done = 0")
        await shard.aclose()
        (older,) = (await collector.ask("/v1/reports/totals", **DAYS))["rows"]
        stale = await in_days(cluster)
        await collector.store.retain()
        (newer,) = (await collector.ask("/v1/reports/totals", **DAYS))["rows"]

    assert (older["records"], stale) == (2, 1)
    assert (newer["records"], await in_days(cluster)) == (2, 2)


async def test_tables_of_the_version_before_go_on_and_have_days_once_they_are_migrated(
    tmp_path: Path, cluster: Cluster
) -> None:
    """Of what they held already, too."""
    shards = [Shard(cluster, number) for number in (0, 1)]
    for shard in shards:
        for table in ("day_rollup", "day_service_rollup", "day_unit_rollup"):
            await shard.execute(f"drop table {table}")
        await shard.execute("truncate table meta")
        await note(shard, {"version": 1, "compatible": 1, "shards": 2})
    async with clickhouse_engine(tmp_path / "data", cluster).inside() as collector:
        await collector.send(*(emission(n, window_start=MIDDAY) for n in range(2)))
        await collector.store.retain()
        (before,) = (await collector.ask("/v1/reports/totals", **DAYS))["rows"]
        assert [await migrate(shard, cluster) for shard in shards] == [1, 1]
        await collector.store.retain()
        (after,) = (await collector.ask("/v1/reports/totals", **DAYS))["rows"]
    for shard in shards:
        await shard.aclose()

    assert (before["records"], after["records"], await in_days(cluster)) == (2, 2, 2)


async def test_what_a_project_has_keeps_its_first_and_last_quarter(tmp_path: Path, cluster: Cluster) -> None:
    """Not the beginning of their days."""
    async with clickhouse_engine(tmp_path / "data", cluster).inside() as collector:
        await collector.send(*(emission(n, window_start=MIDDAY + timedelta(hours=n)) for n in range(3)))
        before = await collector.ask("/v1/projects")
        await collector.store.retain()
        after = await collector.ask("/v1/projects")

    assert before == after
    assert before["projects"][0]["first"].startswith(f"{MIDDAY:%Y-%m-%dT%H:%M}")


async def test_a_chart_of_hours_or_of_another_zone_s_days_is_cut_from_quarters(
    tmp_path: Path, cluster: Cluster
) -> None:
    """And adds up to the whole."""
    async with clickhouse_engine(tmp_path / "data", cluster).inside() as collector:
        await collector.send(*(emission(n, window_start=MIDDAY + timedelta(hours=11 + n)) for n in range(3)))
        await collector.store.retain()
        rows = {
            tz: (await collector.ask("/v1/reports/totals", bucket="day", tz=tz, **DAYS))["rows"]
            for tz in ("UTC", "Asia/Kathmandu")
        }
        hours = (await collector.ask("/v1/reports/totals", bucket="hour", **DAYS))["rows"]

    assert [row["records"] for row in rows["UTC"] if row["records"]] == [1, 2]
    assert [row["records"] for row in rows["Asia/Kathmandu"] if row["records"]] == [3]
    assert [row["records"] for row in hours if row["records"]] == [1, 1, 1]


async def test_both_shards_have_sums_of_days(tmp_path: Path, cluster: Cluster) -> None:
    """Each of what it holds."""
    async with clickhouse_engine(tmp_path / "data", cluster).inside() as collector:
        await collector.send(*(emission(9, instance=one, machine=one, window_start=MIDDAY) for one in MACHINES))
        await collector.store.retain()
        (total,) = (await collector.ask("/v1/reports/totals", **{**DAYS, "to": HOUR.isoformat()}))["rows"]

    assert total["records"] == await in_days(cluster) == 4
