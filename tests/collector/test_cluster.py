"""What only a cluster has: several collectors beside each other, shards that fail, tables of other versions."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk.collector import clickhouse_schema
from carbon_sdk.collector.__main__ import main
from carbon_sdk.collector.clickhouse_schema import meta, migrate, note
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from carbon_sdk.collector.duckdb_open import FILE
from carbon_sdk.collector.store import StoreError
from carbon_sdk.emission import Emission
from tests.collector import clickhouse
from tests.collector.clickhouse import PASSWORD, ClickHouse
from tests.collector.engines import clickhouse_engine, cluster_of, duckdb_engine, migrated
from tests.collector.inside import over
from tests.collector.sender import JOULES, Sender, assert_exactly_once, sending
from tests.collector.service import DAYS, HOUR, Collector, emission
from tests.collector.test_disks import own_file_system, until

MACHINES = ("m" * 16, "n" * 16, "o" * 16, "p" * 16)
"""They lie on both of two shards."""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[ClickHouse]]:
    """Two shards of the test's own, to be treated badly."""
    if not clickhouse.HERE:
        pytest.skip(clickhouse.MISSING)
    started = [ClickHouse(tmp_path / name) for name in ("one", "two")]
    yield started
    for one in started:
        one.stop()


@pytest.fixture
def own(two: list[ClickHouse]) -> Cluster:
    """Their tables."""
    return asyncio.run(migrated(cluster_of(two, "ours")))


def words(cluster: Cluster, folder: Path) -> list[str]:
    """A collector's command line."""
    (folder / "password").write_text(PASSWORD)
    shards = [word for urls in cluster.shards for word in ("--clickhouse", *urls)]
    return [
        *shards,
        "--clickhouse-database",
        cluster.database,
        "--clickhouse-password-file",
        str(folder / "password"),
    ]


def spread(count: int) -> list[Emission]:
    """Records of machines on both shards; one instance a machine."""
    return [
        emission(number, instance=f"instance {number % 4}", machine=MACHINES[number % 4]) for number in range(count)
    ]


def of_many(name: str, count: int) -> list[Emission]:
    """One record of each of so many instances, on both shards."""
    return [emission(9, instance=f"{name} {number}", machine=MACHINES[number % 4]) for number in range(count)]


async def shard_value(cluster: Cluster, number: int, text: str) -> object:
    shard = Shard(cluster, number)
    try:
        return await shard.value(text)
    finally:
        await shard.aclose()


async def test_a_batch_that_came_to_two_collectors_is_counted_once(tmp_path: Path, cluster: Cluster) -> None:
    """Before and after its slot was summed up; equal batches of two workers are both true."""
    engine = clickhouse_engine(tmp_path / "one", cluster)
    async with engine.inside() as one, engine.inside(folder=tmp_path / "two") as two:
        batch = spread(8)
        await asyncio.gather(one.send(*batch), two.send(*batch))
        assert (await one.send(*batch))["known"] == 8
        await two.send(*(emission(0, instance=f"worker {number}") for number in range(2)))
        (total,) = (await one.ask("/v1/reports/totals"))["rows"]
        lines = await two.ask("/v1/records")
        await one.store.retain()
        await two.store.retain()
        (rolled,) = (await two.ask("/v1/reports/totals"))["rows"]
        await two.send(emission(1, instance="worker 0"))
        (more,) = (await two.ask("/v1/reports/totals"))["rows"]
        written = sum([int(await shard_value(cluster, n, "select count() from records")) for n in (0, 1)])  # type: ignore[call-overload]

    assert (total["records"], total["energy_joules"]) == (10, 10 * JOULES)
    assert len(lines.splitlines()) == 10
    assert (rolled["records"], rolled["energy_joules"]) == (10, 10 * JOULES)
    assert more["records"] == 11
    assert written >= 11


async def test_both_shards_hold_a_part_and_a_machine_lies_on_one(tmp_path: Path, cluster: Cluster) -> None:
    """Otherwise the tests above show little."""
    async with clickhouse_engine(tmp_path / "data", cluster).inside() as collector:
        await collector.send(*spread(8))
    counts = [await shard_value(cluster, number, "select count() from records") for number in (0, 1)]

    assert sum(counts) == 8  # type: ignore[arg-type]
    assert 0 not in counts


def test_a_shard_that_is_down_is_named_by_reads_and_loses_nothing(
    start: Callable[..., Collector], tmp_path: Path, two: list[ClickHouse], own: Cluster
) -> None:
    """Records are acknowledged into the log until it is full, then refused with Retry-After; all of it arrives."""
    collector = start(*words(own, tmp_path), "--waiting-records", "60")
    assert collector.send(spread(8))["stored"] == 8
    assert collector.total("records") == 8
    two[1].kill()
    assert collector.send(of_many("late", 50))["stored"] == 50
    read = collector.client.get("/v1/reports/totals", params=DAYS)
    full = collector.send(of_many("more", 50))
    assert collector.client.get("/readyz").status_code == 200
    collector.stop(signal.SIGKILL)
    two[1].start()
    again = start(*words(own, tmp_path))

    assert read.status_code == 503
    assert f"shard 2 of 2 (127.0.0.1:{two[1].port}) does not answer" in read.json()["error"]
    assert full["status"] == 503
    assert again.total("records") == 58


def test_kill_9_of_a_collector_and_of_a_shard_under_load_costs_no_acknowledged_record(
    start: Callable[..., Collector], tmp_path: Path, two: list[ClickHouse], own: Cluster
) -> None:
    """And none is there twice, in records and in sums; senders go on at another collector."""
    senders = [Sender(f"sender {number}") for number in range(3)]
    for victim in ("collector", "both"):
        collector = start(*words(own, tmp_path))
        with sending(senders, collector):
            time.sleep(0.7)
            if victim == "both":
                two[0].kill()
                time.sleep(0.3)
            collector.stop(signal.SIGKILL)
        if victim == "both":
            two[0].start()
        elsewhere = start(*words(own, tmp_path), folder=tmp_path / f"beside {victim}")
        with sending(senders, elsewhere):
            time.sleep(0.3)
            elsewhere.stop(signal.SIGTERM)
    last = start(*words(own, tmp_path))
    last.ask("/v1/projects")
    assert_exactly_once(last, senders)


async def test_a_question_that_fails_breaks_none_that_is_under_way(cluster: Cluster) -> None:
    """Others begin with fresh connections; it keeps its own."""
    shard = Shard(cluster, 0)
    slow = asyncio.create_task(shard.value("select 1 + sleep(1)"))
    await asyncio.sleep(0.3)
    with pytest.raises(StoreError):
        await shard.rows("select what_is_not_there")
    assert await slow == 1
    await shard.aclose()


def test_a_slow_shard_delays_no_acknowledgement(
    start: Callable[..., Collector], tmp_path: Path, two: list[ClickHouse], own: Cluster
) -> None:
    """It is stopped in its tracks: the other shard is written, and what waits arrives when it goes on."""
    collector = start(*words(own, tmp_path))
    collector.send(spread(4))
    collector.total()
    two[1].process.send_signal(signal.SIGSTOP)
    answer = collector.send(of_many("late", 4))
    of_first = sum(own.shard_of("default", machine) == 0 for machine in MACHINES)
    held = asyncio.run(_until(own, 0, 2 * of_first))
    two[1].process.send_signal(signal.SIGCONT)

    assert answer["stored"] == 4
    assert held
    assert collector.total("records") == 8


def test_a_full_disk_on_one_shard_stops_the_other_in_nothing(start: Callable[..., Collector], tmp_path: Path) -> None:
    """What is meant for it waits, and arrives when there is room; the log says which and why."""
    if not clickhouse.HERE:
        pytest.skip(clickhouse.MISSING)
    small = tmp_path / "two" / "data"
    before = own_file_system(small, "size=100m")
    servers = [ClickHouse(tmp_path / "one"), ClickHouse(tmp_path / "two", before)]
    try:
        cluster = asyncio.run(migrated(cluster_of(servers, "ours")))
        collector = start(*words(cluster, tmp_path))
        filler = Path(f"/proc/{servers[1].process.pid}/root{small}/filler")
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as full:
            while True:
                full.write(bytes(1024 * 1024))
        answer = collector.send(of_many("late", 4))
        of_first = sum(cluster.shard_of("default", machine) == 0 for machine in MACHINES)
        held = asyncio.run(_until(cluster, 0, of_first))
        until(lambda: any(line["event"] == "collector_store_failing" for line in collector.log))
        filler.unlink()
        total = collector.total("records")
    finally:
        for one in servers:
            one.stop()

    assert (answer["stored"], held, total) == (4, True, 4)
    (failing,) = [line for line in collector.log if line["event"] == "collector_store_failing"]
    assert "shard 2 of 2" in failing["what"]
    assert "disk is full" in failing["problem"]


async def _until(cluster: Cluster, number: int, records: int) -> bool:
    for _ in range(100):
        if int(str(await shard_value(cluster, number, "select count() from records"))) >= records:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_an_older_collector_goes_on_beside_a_newer_one(tmp_path: Path, cluster: Cluster) -> None:
    """A newer version adds columns, which the older one leaves empty; one that it cannot write is refused by name."""
    engine = clickhouse_engine(tmp_path / "data", cluster)
    for number in (0, 1):
        shard = Shard(cluster, number)
        await shard.execute("alter table records add column newer Nullable(Float64)")
        await note(shard, {"version": clickhouse_schema.VERSION + 1})
        await shard.aclose()
    async with engine.inside() as older:
        await older.send(*spread(8))
        (total,) = (await older.ask("/v1/reports/totals"))["rows"]
    assert total["records"] == 8
    for number in (0, 1):
        shard = Shard(cluster, number)
        await note(shard, {"compatible": clickhouse_schema.VERSION + 1})
        await shard.aclose()
    async with engine.inside() as older:
        answer = await older.client.post("/v1/emissions", content="[]", headers={"content-type": "application/json"})
        with pytest.raises(StoreError, match="install the newer carbon-sdk"):
            await older.send(emission(99))
    assert answer.status_code == 200


async def test_migration_is_done_once_and_a_cluster_of_another_size_is_refused(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard more would send repetitions where the first is not."""
    shard = Shard(cluster, 0)
    assert await migrate(shard, cluster) == clickhouse_schema.VERSION
    assert (await meta(shard))["shards"] == 2
    await shard.aclose()
    given = words(cluster, tmp_path)
    assert await asyncio.to_thread(main, ["migrate", *given]) == 0
    assert await asyncio.to_thread(main, ["migrate", *given[2:]]) == 2
    told = capsys.readouterr()
    assert "shard 1 of 2" in told.out
    assert "a cluster of 2 shards, not 1" in told.err
    assert PASSWORD not in told.out + told.err


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["--clickhouse", "127.0.0.1:8123"], "is no ClickHouse"),
        (["--clickhouse", "http://user:word@127.0.0.1"], "is no ClickHouse"),
        (["--clickhouse", "http://a:1,http://b:1"], "--clickhouse-replicated"),
        (["--clickhouse", "http://a:1", "--clickhouse-database", "a b"], "no name for a database"),
        (["--clickhouse", "http://a:1", "--clickhouse", "http://a:1/"], "named twice"),
        (["--clickhouse", "http://127.0.0.1:9"], "does not answer"),
        ([], "--clickhouse"),
    ],
)
def test_what_cannot_be_found_is_said(given: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In words that help."""
    assert main(["migrate", *given]) == 2
    assert problem in capsys.readouterr().err


def test_a_wrong_password_is_said_without_it(
    shards: list[ClickHouse], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who may not come in, and where."""
    (tmp_path / "password").write_text("a secret word")
    given = ["--clickhouse", shards[0].url, "--clickhouse-password-file", str(tmp_path / "password")]
    assert main(["migrate", *given]) == 2
    told = capsys.readouterr().err
    assert "refuses the user 'default' or the password" in told
    assert "a secret word" not in told


def rounded(value: Any) -> Any:
    """With nine digits: sums depend on their order."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


async def test_a_history_is_copied_once_however_often_and_the_totals_agree(
    tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days, quarters and single records, units and both books; a copy that was cut off is begun again."""
    ages = (0, 1, 3, 20, 60)
    books: list[dict[str, Any]] = [
        {"units": {"images": 2.0}},
        {"kind": "measured", "root": "measured", "name": "measured", "joules": 9.0},
    ]
    source = duckdb_engine(tmp_path / "source")
    store = await source.store(raw_days=5, fine_days=30)
    async with over(store, source.folder) as embedded:
        for place, fields in enumerate(books):
            await embedded.send(
                *(
                    emission(5 * place + n, window_start=HOUR - timedelta(days=age), **fields)
                    for n, age in enumerate(ages)
                )
            )
        await store.retain()
        start = (HOUR - timedelta(days=90)).replace(hour=0)
        asked = {"from": start.isoformat(), "to": (start + timedelta(days=92)).isoformat()}
        names = ("totals", "endpoints", "machines", "zones")
        before = {name: (await embedded.ask(f"/v1/reports/{name}", **asked))["rows"] for name in names}
    given = ["copy", "--from", f"duckdb:{source.folder / FILE}", *words(cluster, tmp_path)]
    for _ in range(2):
        assert await asyncio.to_thread(main, given) == 0
    assert (
        "default: 5 records and 7.5 J in the file, 5 records and 7.5 J in ClickHouse: the same"
        in capsys.readouterr().out
    )
    async with clickhouse_engine(tmp_path / "data", cluster).inside() as collector:
        after = {name: (await collector.ask(f"/v1/reports/{name}", **asked))["rows"] for name in names}
        cut = await collector.client.get("/v1/reports/totals", params={**asked, "from": "2020-01-01T05:00:00Z"})
        await collector.store.retain()
        rolled = {name: (await collector.ask(f"/v1/reports/{name}", **asked))["rows"] for name in names}
        await collector.send(emission(500, joules=100.0))
    assert rounded(before) == rounded(after) == rounded(rolled)
    assert (cut.status_code, "only days are kept" in cut.json()["error"]) == (400, True)
    assert await asyncio.to_thread(main, given) == 2
    assert "not the same" in capsys.readouterr().out


def test_what_cannot_be_copied_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words that help."""
    assert main(["copy", "--from", "duckdb:/none", "--clickhouse", "http://127.0.0.1:9"]) == 2
    assert "duckdb:FILE" in capsys.readouterr().err
