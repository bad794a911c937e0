"""What the collector costs on ClickHouse: CPU a record on both sides, bytes a row, the dashboard over many rows.

Starts two shards of Debian's `clickhouse-server` on loopback and one collector. All of them share the machine, so the
rate of the run says little; CPU time a record says what one core of each would carry. The rows for the dashboard are
made inside ClickHouse: a quarter of an hour that came through the collector's own store, moved back in time again and
again, with joules that differ. Prints one table.

    python -m benchmarks.cluster                            3 million rows, about three minutes
    python -m benchmarks.cluster --rows 100000000           30 days of rows, about half an hour
    python -m benchmarks.cluster --rows 0                   without the dashboard
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import zstandard

from benchmarks.dashboard import COLUMNS, ENDPOINTS, SERVICES, batch
from benchmarks.ingest import INSTANCES, emissions
from carbon_sdk.collector import clickhouse_upkeep
from carbon_sdk.collector.clickhouse_schema import RECORD_COLUMNS
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from carbon_sdk.collector.clickhouse_store import ClickHouseStore
from carbon_sdk.collector.decode import Bounds, decode
from carbon_sdk.collector.report import DAY_SECONDS, SLOT_SECONDS
from carbon_sdk.wire import to_columns, to_object
from tests.collector.clickhouse import PASSWORD, ClickHouse
from tests.collector.engines import cluster_of, migrated

SENDERS, MINUTES = 16, 15
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
PROCESSES = 10
"""Of each service, each on a machine of its own: they lie on both shards."""
SLOTS_A_DAY = DAY_SECONDS // SLOT_SECONDS
RUNS = 9
PAGES = {
    "overview of 30 days": "/dashboard/?period=30d",
    "overview of 24 hours": "/dashboard/?period=24h",
    "chains of calls, 30 days": "/dashboard/chains?period=30d",
    "service of 200 endpoints, 30 days": "/dashboard/service?period=30d&service=catalogue",
}
SCALED = ("duration_seconds", "cpu_seconds", "energy_joules", "emissions_g")
"""What differs from one quarter of an hour to the next."""
COLUMN_FORM, ROW_FORM = "columns + zstd", "JSON + gzip"


@dataclass(slots=True, kw_only=True)
class Cost:
    """What a record costs, microseconds of CPU, and bytes on a shard's disk."""

    collector_us: float
    shards_us: float
    row_bytes: float
    sums_us: float = 0.0


def cpu_seconds(process: int) -> float:
    """CPU time of a process."""
    times = psutil.Process(process).cpu_times()
    return times.user + times.system


def made(form: str) -> tuple[dict[tuple[int, int], bytes], dict[str, str]]:
    """A body for each sender and minute, and the headers of all."""
    bodies = {}
    for instance in range(SENDERS):
        for minute in range(MINUTES):
            records = emissions(instance, minute, START)
            if form == COLUMN_FORM:
                bodies[instance, minute] = zstandard.compress(to_columns(records).encode(), 1)
            else:
                bodies[instance, minute] = gzip.compress(json.dumps([to_object(one) for one in records]).encode(), 1)
    if form == COLUMN_FORM:
        return bodies, {"content-type": COLUMNS, "content-encoding": "zstd"}
    return bodies, {"content-type": "application/json", "content-encoding": "gzip"}


async def send(
    url: str, form: str, bodies: dict[tuple[int, int], bytes], headers: dict[str, str], seconds: float
) -> int:
    """Send batches for so long; how many records were acknowledged."""
    ended = time.monotonic() + seconds
    kept = 0

    async def one(instance: int) -> None:
        nonlocal kept
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60.0) as client:
            turn = 0
            while time.monotonic() < ended:
                answer = await client.post(
                    "/v1/emissions",
                    params={"project": f"{form.split(maxsplit=1)[0]}{turn // MINUTES}"},
                    content=bodies[instance, turn % MINUTES],
                    headers=headers,
                )
                if answer.status_code == 503:
                    await asyncio.sleep(1.0)
                    continue
                kept += answer.json()["stored"]
                turn += 1

    await asyncio.gather(*(one(number) for number in range(SENDERS)))
    return kept


@contextlib.contextmanager
def serving(folder: Path, cluster: Cluster) -> Iterator[tuple[int, str]]:
    """A collector: its process and its address."""
    (folder / "password").write_text(PASSWORD)
    words = [word for urls in cluster.shards for word in ("--clickhouse", *urls)]
    words += ["--clickhouse-database", cluster.database, "--clickhouse-password-file", str(folder / "password")]
    serve = [sys.executable, "-m", "carbon_sdk.collector", "serve", "--data", str(folder / "data"), "--port", "0"]
    collector = subprocess.Popen(
        [*serve, *words], stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert collector.stderr is not None
    try:
        yield collector.pid, json.loads(collector.stderr.readline())["url"]
    finally:
        collector.send_signal(signal.SIGTERM)
        collector.wait()


def ingest(folder: Path, cluster: Cluster, servers: Sequence[ClickHouse], seconds: float, form: str) -> Cost:
    """One collector under load."""
    bodies, headers = made(form)
    with serving(folder, cluster) as (collector, url):
        before = cpu_seconds(collector), sum(cpu_seconds(one.process.pid) for one in servers)
        began = time.monotonic()
        kept = asyncio.run(send(url, form, bodies, headers, seconds))
        sent = time.monotonic() - began
        while "records_waiting 0\n" not in httpx.get(f"{url}/metrics", trust_env=False).text:
            time.sleep(0.2)
        took = time.monotonic() - began
        collector_us = (cpu_seconds(collector) - before[0]) / kept * 1e6
        shards_us = (sum(cpu_seconds(one.process.pid) for one in servers) - before[1]) / kept * 1e6
    count, size = asyncio.run(stored(cluster, "records"))
    print(f"| {form}: acknowledged | {kept:,} in {sent:.1f} s, all on the shards after {took:.1f} s |")
    print(f"| {form}: collector | {collector_us:.1f} us CPU a record: {1e6 / collector_us:,.0f} records/s a core |")
    print(f"| {form}: shards | {shards_us:.1f} us CPU a record, merges so far included |")
    return Cost(collector_us=collector_us, shards_us=shards_us, row_bytes=size / count)


async def stored(cluster: Cluster, table: str) -> tuple[int, int]:
    """Rows of a table on all shards, and their bytes on disk."""
    rows = size = 0
    for number in range(len(cluster.shards)):
        shard = Shard(cluster, number)
        (found,) = await shard.rows(
            "select sum(rows), sum(bytes_on_disk) from system.parts where active "
            f"and database = '{cluster.database}' and table = '{table}'"
        )
        await shard.aclose()
        rows, size = rows + int(found[0]), size + int(found[1])
    return rows, size


async def fill(folder: Path, cluster: Cluster, days: int) -> None:
    """Days of minutes on both shards, which end half an hour ago."""
    now = datetime.now(UTC)
    end = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) - timedelta(minutes=30)
    store = await asyncio.to_thread(ClickHouseStore, folder / "first", cluster)
    for process in range(PROCESSES):
        for place, service in enumerate(SERVICES):
            body = batch(service, process * len(SERVICES) + place, end - timedelta(minutes=MINUTES), MINUTES, 0)
            bounds = Bounds(records=10_000, oldest_us=0, newest_us=2**62)
            await store.ingest("default", decode(json.dumps(body).encode(), "columns", bounds))
    await store.settled()
    await store.aclose()
    await asyncio.gather(*(repeat(cluster, number, days) for number in range(len(cluster.shards))))


async def repeat(cluster: Cluster, number: int, days: int) -> None:
    """Move a shard's one quarter of an hour back in time, again and again."""
    shard = Shard(cluster, number, seconds=600.0)
    newest = await shard.value("select max(slot) from records")
    moved = {
        "slot": f"slot - back * {SLOT_SECONDS}",
        "window_start": f"window_start - back * {SLOT_SECONDS}000000",
        "window_end": f"window_end - back * {SLOT_SECONDS}000000",
        "sequence": "sequence + back * 10000",
        **{name: f"{name} * busy" for name in SCALED},
    }
    names = ", ".join(f"`{name}`" for name in RECORD_COLUMNS)
    text = ", ".join(moved.get(name, f"`{name}`") for name in RECORD_COLUMNS)
    for day in range(days):
        first = max(day * SLOTS_A_DAY, 1)
        times = f"toInt64(arrayJoin(range(toUInt64({(day + 1) * SLOTS_A_DAY - first})))) + {first} as back"
        await shard.execute(
            f"insert into records ({names}) select {text} from (select *, {times}, "
            f"0.3 + 0.7 * abs(sin(back / {SLOTS_A_DAY} * 3.14159)) as busy from records where slot = {newest})"
        )
    await shard.aclose()


async def sum_up(cluster: Cluster) -> int:
    """All that has come to rest; how many slots of how many shards."""
    shards = [Shard(cluster, number, seconds=600.0) for number in range(len(cluster.shards))]
    slots = await asyncio.gather(*(clickhouse_upkeep.roll(shard, mark_seconds=-1) for shard in shards))
    for shard in shards:
        await shard.aclose()
    return sum(slots)


def dashboard(folder: Path, cluster: Cluster, servers: Sequence[ClickHouse], rows: int) -> float:
    """Fill, sum up, look; what summing up costs, microseconds of CPU a record."""
    began = time.monotonic()
    asyncio.run(fill(folder, cluster, max(round(rows / (ENDPOINTS * PROCESSES * 1440)), 1)))
    count, size = asyncio.run(stored(cluster, "records"))
    print(
        f"| rows on both shards | {count:,}, made in {time.monotonic() - began:.0f} s, {size / count:.0f} bytes each |"
    )
    before = sum(cpu_seconds(one.process.pid) for one in servers)
    began = time.monotonic()
    slots = asyncio.run(sum_up(cluster))
    sums_us = (sum(cpu_seconds(one.process.pid) for one in servers) - before) / count * 1e6
    print(f"| summing {slots:,} slots up | {time.monotonic() - began:.0f} s, {sums_us:.1f} us CPU a record |")
    for table in ("rollup", "service_rollup", "day_rollup", "day_service_rollup"):
        held, size = asyncio.run(stored(cluster, table))
        print(f"| `{table}` | {held:,} rows, {size / max(held, 1):.0f} bytes each |")
    with serving(folder, cluster) as (_, url), httpx.Client(base_url=url, trust_env=False, timeout=120.0) as client:
        for name, path in PAGES.items():
            times = []
            for _ in range(RUNS):
                began = time.monotonic()
                client.get(path).raise_for_status()
                times.append((time.monotonic() - began) * 1e3)
            middle = statistics.median(times)
            print(f"| {name}, at the collector | median {middle:,.0f} ms, greatest {max(times):,.0f} |", flush=True)
    return sums_us


def on_paper(cost: Cost) -> None:
    """What services of three processes, ten endpoints and the machine book's three records a minute would need."""
    print(
        "\n| services | records/s | rows a day | 30 days of records | collectors | shards |\n|---|---|---|---|---|---|"
    )
    for services in (1_000, 100_000):
        rate = services * 3 * (10 + 3) / 60
        print(
            f"| {services:,} | {rate:,.0f} | {rate * DAY_SECONDS / 1e6:,.0f} million | "
            f"{rate * DAY_SECONDS * 30 * cost.row_bytes / 1e9:,.0f} GB | {rate * cost.collector_us / 1e6:.2f} cores | "
            f"{rate * (cost.shards_us + cost.sums_us) / 1e6:.2f} cores |"
        )


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rows", type=int, default=3_000_000)
    arguments = parser.parse_args()
    assert INSTANCES >= SENDERS
    folder = Path(tempfile.mkdtemp(prefix="cluster"))
    servers: list[ClickHouse] = []
    try:
        servers += [ClickHouse(folder / "one"), ClickHouse(folder / "two")]
        print("| what | figure |\n|---|---|")
        cluster = asyncio.run(migrated(cluster_of(servers, "figures")))
        ingest(folder, cluster, servers, arguments.seconds, ROW_FORM)
        cost = ingest(folder, cluster, servers, arguments.seconds, COLUMN_FORM)
        print(f"| `records`, as they came | {cost.row_bytes:.0f} bytes each |")
        if arguments.rows:
            filled = asyncio.run(migrated(cluster_of(servers, "filled")))
            cost.sums_us = dashboard(folder, filled, servers, arguments.rows)
        on_paper(cost)
    finally:
        for one in servers:
            one.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
