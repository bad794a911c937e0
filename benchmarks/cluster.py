"""What the collector costs on ClickHouse: CPU a record on both sides, bytes a row, questions over many rows.

Starts two shards of Debian's `clickhouse-server` on loopback and one collector. All of them share the machine, so the
rate of the run says little; CPU time a record says what one core of each would carry. The rows for the questions are
made inside ClickHouse from the records sent, by moving them back in time.

    python -m benchmarks.cluster [--seconds 15] [--rows 10000000]
"""

import argparse
import asyncio
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil

from benchmarks.ingest import INSTANCES, emissions
from carbon_sdk.collector import clickhouse_report, clickhouse_upkeep
from carbon_sdk.collector.clickhouse_schema import RECORD_COLUMNS
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from carbon_sdk.collector.report import REPORTS, Query
from carbon_sdk.wire import to_object
from tests.collector.clickhouse import PASSWORD, ClickHouse
from tests.collector.engines import cluster_of, migrated

SENDERS, MINUTES = 16, 15
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)


def cpu_seconds(process: int) -> float:
    """CPU time of a process."""
    times = psutil.Process(process).cpu_times()
    return times.user + times.system


def made() -> dict[tuple[int, int], bytes]:
    """A body for each sender and minute."""
    return {
        (instance, minute): gzip.compress(
            json.dumps([to_object(one) for one in emissions(instance, minute, START)]).encode(), 1
        )
        for instance in range(SENDERS)
        for minute in range(MINUTES)
    }


async def send(url: str, bodies: dict[tuple[int, int], bytes], seconds: float) -> int:
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
                    params={"project": f"p{turn // MINUTES}"},
                    content=bodies[instance, turn % MINUTES],
                    headers={"content-type": "application/json", "content-encoding": "gzip"},
                )
                if answer.status_code == 503:
                    await asyncio.sleep(1.0)
                    continue
                kept += answer.json()["stored"]
                turn += 1

    await asyncio.gather(*(one(number) for number in range(SENDERS)))
    return kept


def ingest(folder: Path, cluster: Cluster, servers: list[ClickHouse], seconds: float) -> None:
    """One collector under load."""
    (folder / "password").write_text(PASSWORD)
    words = [word for urls in cluster.shards for word in ("--clickhouse", *urls)]
    words += ["--clickhouse-database", cluster.database, "--clickhouse-password-file", str(folder / "password")]
    serve = [sys.executable, "-m", "carbon_sdk.collector", "serve", "--data", str(folder / "data"), "--port", "0"]
    collector = subprocess.Popen(
        [*serve, *words], stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert collector.stderr is not None
    url = json.loads(collector.stderr.readline())["url"]
    bodies = made()
    before = cpu_seconds(collector.pid), sum(cpu_seconds(one.process.pid) for one in servers)
    began = time.monotonic()
    kept = asyncio.run(send(url, bodies, seconds))
    sent = time.monotonic() - began
    while "records_waiting 0\n" not in httpx.get(f"{url}/metrics", trust_env=False).text:
        time.sleep(0.2)
    took = time.monotonic() - began
    collector_us = (cpu_seconds(collector.pid) - before[0]) / kept * 1e6
    shards_us = (sum(cpu_seconds(one.process.pid) for one in servers) - before[1]) / kept * 1e6
    collector.send_signal(signal.SIGTERM)
    collector.wait()
    print(f"| records acknowledged | {kept:,} in {sent:.1f} s, all on the shards after {took:.1f} s |")
    print(f"| collector | {collector_us:.1f} us CPU a record: {1e6 / collector_us:,.0f} records/s a core |")
    print(
        f"| shards | {shards_us:.1f} us CPU a record: {1e6 / shards_us:,.0f} records/s a core, merges so far included |"
    )


async def fill(shard: Shard, rows: int) -> int:
    """Double a shard's rows, each time further back, until there are so many."""
    slot_us = 1_000_000
    while (held := int(await shard.value("select count() from records"))) < rows:
        days = (
            1 << (await shard.value("select toInt64(intDiv(max(slot) - min(slot), 86400)) from records")).bit_length()
        )
        back = days * 86400
        moved = {
            "slot": f"slot - {back}",
            "window_start": f"window_start - {back * slot_us}",
            "window_end": f"window_end - {back * slot_us}",
            "project": "'p0'",
            "instance": "concat(project, instance)",
        }
        text = ", ".join(moved.get(name, f"`{name}`") for name in RECORD_COLUMNS)
        names = ", ".join(f"`{name}`" for name in RECORD_COLUMNS)
        share = min(1.0, (rows - held) / held)
        await shard.execute(
            f"insert into records ({names}) select {text} from records where cityHash64(sequence) % 100 < {share * 100}"
        )
    return held


async def bytes_a_row(shard: Shard, database: str, table: str) -> str:
    """Rows of a table, and bytes on disk for each."""
    rows = await shard.rows(
        f"select sum(rows), sum(bytes_on_disk) from system.parts where active and database = '{database}' "
        f"and table = '{table}'"
    )
    count, size = map(int, rows[0])
    return f"{count:,} rows, {size / max(count, 1):.0f} bytes each"


async def questions(cluster: Cluster, rows: int) -> None:
    """Fill one shard, ask, sum up, ask again."""
    shard = Shard(cluster, 0, seconds=600.0)
    began = time.monotonic()
    held = await fill(shard, rows)
    print(f"| rows on one shard | {held:,}, made in {time.monotonic() - began:.0f} s |")
    print(f"| `records` | {await bytes_a_row(shard, cluster.database, 'records')} |")
    query = {
        name: Query(project="p0", start=START - timedelta(days=400), end=START + timedelta(days=2), by=REPORTS[name].by)
        for name in ("totals", "services", "endpoints")
    }

    async def ask(told: str) -> None:
        for name, one in query.items():
            took = []
            for _ in range(2):
                began = time.monotonic()
                await clickhouse_report.sums(shard, one)
                took.append(time.monotonic() - began)
            print(f"| {name}, {told} | {min(took) * 1e3:,.0f} ms |", flush=True)

    await ask("from the records")
    for end in ("", " final"):
        began = time.monotonic()
        await shard.rows(f"select service, sum(energy_joules) from records{end} where project = 'p0' group by service")
        print(f"| one sum by service{end or ', no final'} | {(time.monotonic() - began) * 1e3:,.0f} ms |", flush=True)
    began = time.monotonic()
    slots = await clickhouse_upkeep.roll(shard, mark_seconds=-1)
    print(f"| summing {slots} slots up | {time.monotonic() - began:.1f} s |")
    print(f"| `service_rollup` | {await bytes_a_row(shard, cluster.database, 'service_rollup')} |")
    print(f"| `rollup` | {await bytes_a_row(shard, cluster.database, 'rollup')} |")
    await ask("from the sums")
    await shard.aclose()


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rows", type=int, default=10_000_000)
    arguments = parser.parse_args()
    assert INSTANCES >= SENDERS
    folder = Path(tempfile.mkdtemp(prefix="cluster"))
    servers: list[ClickHouse] = []
    try:
        servers += [ClickHouse(folder / "one"), ClickHouse(folder / "two")]
        cluster = asyncio.run(migrated(cluster_of(servers, "figures")))
        print("| what | figure |\n|---|---|")
        ingest(folder, cluster, servers, arguments.seconds)
        asyncio.run(questions(cluster, arguments.rows))
    finally:
        for one in servers:
            one.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
