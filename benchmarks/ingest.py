"""How many records a second the collector keeps, durable before it answers, and how long an answer takes.

The server is pinned to one core and the load to another. Each body is sent under several projects, which makes its
records new: compressing them anew would cost the client more than they cost the server. Prints one table.

    python -m benchmarks.ingest                                      about three minutes
    python -m benchmarks.ingest --seconds 300 --history 10000000     the whole table, about 23 minutes

`--keep FOLDER` makes the history once; `--forms json --paces offered` is one run of the four.
"""

import argparse
import asyncio
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
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import zstandard

from benchmarks.filled import PROJECT, fill
from carbon_sdk.emission import Emission
from carbon_sdk.wire import to_columns, to_json

RECORDS = 500
SERVICES, INSTANCES, MINUTES = 16, 64, 30
"""Each instance has a connection of its own, and one batch in flight at a time, as senders must."""
SERVER_CORE, LOAD_CORE = 1, 0
HISTORY = {f"service-{number:02d}": 15 for number in range(SERVICES)}
"""Endpoints of the services whose history is there before the first run: ten million records are 29 days of it."""


@dataclass(slots=True)
class Run:
    """What one run saw."""

    name: str
    records: int = 0
    busy: int = 0
    seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    peak_bytes: int = 0
    answers_ms: list[float] = field(default_factory=list)
    overview_ms: list[float] = field(default_factory=list)


def emissions(instance: int, minute: int, start: datetime) -> list[Emission]:
    """One interval of one process: endpoints with a counter's joules, and the machine book."""
    service = f"service-{instance % SERVICES:02d}"
    window = start + timedelta(minutes=minute)
    made = []
    for number in range(RECORDS):
        kind = ("measured", "idle", "unattributed")[RECORDS - 1 - number] if number >= RECORDS - 3 else "request"
        root = kind if number >= RECORDS - 3 else f"GET /catalogue/{number:03d}/{{item}}"
        joules = 0.37 + (number * 7919 + minute * 104_729 + instance * 1_299_709) % 100_003 / 1_009.0
        made.append(
            Emission(
                instance=f"{instance:016x}",
                sequence=minute * RECORDS + number,
                service=service,
                machine=f"{instance // 5:016x}",
                kind=kind,  # type: ignore[arg-type]
                root=root,
                name=root,
                window_start=window,
                window_end=window + timedelta(minutes=1),
                meter="powercap",
                meter_scope="machine",
                basis="powercap: package-0, dram",
                idle_rule="learnt",
                requests=number * 3 % 50,
                duration_seconds=joules / 21.0,
                cpu_seconds=joules / 17.3,
                energy_joules=joules,
                energy_package_joules=joules * 0.9,
                energy_dram_joules=joules * 0.1,
                energy_package_method="counter",
                energy_dram_method="counter",
                energy_method="counter",
                idle_energy_joules=0.0,
                emissions_g=joules / 3.6e6 * 312.5,
                idle_emissions_g=0.0,
                emissions_embodied_g=joules / 1e6,
                intensity_g_per_kwh=312.5,
                intensity_source="electricity_maps",
                intensity_quality="measured",
                intensity_signal="average",
                intensity_scope="lifecycle",
                intensity_observed_at=window.replace(minute=0),
                intensity_valid_until=window.replace(minute=0) + timedelta(hours=1),
                zone="DE",
                place="DE",
                release="2026.3.1",
            )
        )
    return made


def bodies(form: str) -> tuple[list[bytes], str, str]:
    """Bodies in the order of their minutes, with Content-Type and Content-Encoding."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    batches = (emissions(instance, minute, start) for minute in range(MINUTES) for instance in range(INSTANCES))
    if form == "json":
        made = [gzip.compress(f"[{','.join(map(to_json, batch))}]".encode(), 6) for batch in batches]
        return made, "application/json", "gzip"
    packer = zstandard.ZstdCompressor(level=3)
    return (
        [packer.compress(to_columns(batch).encode()) for batch in batches],
        "application/vnd.carbon-sdk.columns+json",
        "zstd",
    )


class Server:
    """A collector on a folder."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [
                *(
                    "taskset",
                    "-c",
                    str(SERVER_CORE),
                    sys.executable,
                    "-m",
                    "carbon_sdk.collector",
                    "serve",
                    "--port",
                    "0",
                ),
                *("--data", str(folder), "--threads", "1", "--requests-per-second", "100000"),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        while "url" not in (line := self.process.stderr.readline() or sys.exit("the collector did not start")):
            pass
        self.port = int(json.loads(line)["url"].rsplit(":", 1)[1])

    def cpu_seconds(self) -> float:
        """CPU seconds that it has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def peak_bytes(self) -> int:
        """The most resident memory that it has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def settle(self) -> None:
        """Return when it has loaded all that it acknowledged: each run begins with an empty queue."""
        url = f"http://localhost:{self.port}/metrics"
        while b"records_waiting 0\n" not in urllib.request.urlopen(url).read():
            time.sleep(0.2)

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


class Load:
    """Sends each instance's bodies in order over its own connection, under one project after another."""

    def __init__(self, port: int, form: str) -> None:
        self._port = port
        self._form = form
        self._bodies, self._type, self._encoding = bodies(form)
        self._sent = [0] * INSTANCES

    def _take(self, instance: int) -> bytes:
        project, minute = divmod(self._sent[instance], MINUTES)
        self._sent[instance] += 1
        body = self._bodies[minute * INSTANCES + instance]
        head = (
            f"POST /v1/emissions?project={self._form}{project} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: {self._type}\r\nContent-Encoding: {self._encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def _instance(self, run: Run, instance: int, due: AsyncIterator[float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        async for at in due:
            writer.write(self._take(instance))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            answer = json.loads(await reader.readexactly(length))
            if head.startswith(b"HTTP/1.1 503"):
                run.busy += 1
                self._sent[instance] -= 1
                await asyncio.sleep(0.1)
                continue
            if answer.get("stored") != RECORDS:
                raise RuntimeError(f"not all stored: {head!r} {answer}")
            run.records += RECORDS
            run.answers_ms.append((time.perf_counter() - at) * 1e3)
        writer.close()

    async def run(self, run: Run, seconds: float, rate: float | None) -> None:
        """So many records a second, an answer's time counting from when its batch was due; None: as many as go."""
        started = time.perf_counter()

        async def closed() -> AsyncIterator[float]:
            while (now := time.perf_counter()) < started + seconds:
                yield now

        async def offered(instance: int) -> AsyncIterator[float]:
            assert rate is not None
            for number in range(instance, int(seconds * rate / RECORDS), INSTANCES):
                due = started + number * RECORDS / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                yield due

        await asyncio.gather(
            *(self._instance(run, one, offered(one) if rate else closed()) for one in range(INSTANCES))
        )


async def overview(run: Run, port: int, stop: asyncio.Event) -> None:
    """Ask for the overview of the history once a second."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=30)
    period = f"project={PROJECT}&from={start:%Y-%m-%dT%H:%M:%SZ}&to={start + timedelta(days=31):%Y-%m-%dT%H:%M:%SZ}"
    url = f"http://localhost:{port}/v1/reports/services?{period}"
    while not stop.is_set():
        started = time.perf_counter()
        await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
        run.overview_ms.append((time.perf_counter() - started) * 1e3)
        await asyncio.sleep(1.0)


async def measure(server: Server, load: Load, run: Run, seconds: float, rate: float | None, *, asked: bool) -> Run:
    """One run."""
    stop = asyncio.Event()
    asking = asyncio.create_task(overview(run, server.port, stop)) if asked else None
    before, started = server.cpu_seconds(), time.perf_counter()
    await load.run(run, seconds, rate)
    run.seconds = time.perf_counter() - started
    run.server_cpu_seconds = server.cpu_seconds() - before
    run.peak_bytes = server.peak_bytes()
    stop.set()
    if asking is not None:
        await asking
    return run


def shown(run: Run) -> str:
    """One line of the table."""
    answers = statistics.quantiles(run.answers_ms, n=100)
    return (
        f"| {run.name} | {run.records / run.seconds:,.0f} | {run.server_cpu_seconds / run.records * 1e6:.1f} "
        f"| {answers[49]:.0f} / {answers[98]:.0f} / {max(run.answers_ms):.0f} "
        f"| {statistics.median(run.overview_ms or [0.0]):.0f} / {max(run.overview_ms, default=0.0):.0f} "
        f"| {run.peak_bytes / 1e9:.2f} | {run.busy} |"
    )


async def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--history", type=int, default=1_000_000, help="records that are there before the first run")
    parser.add_argument("--keep", type=Path, help="make the history in this folder, or use the one that is there")
    parser.add_argument("--rate", type=float, default=50_000.0, help="records a second where they are offered")
    parser.add_argument("--no-overview", action="store_true", help="ask for no overview meanwhile")
    parser.add_argument("--paces", nargs="+", default=["full", "offered"], choices=["full", "offered"])
    parser.add_argument("--forms", nargs="+", default=["json", "columns"], choices=["json", "columns"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="carbon-ingest-") as temporary:
        history = arguments.keep or Path(temporary, "history")
        if not history.exists():
            print(f"{fill(history, arguments.history, HISTORY):,} records were made before the first run\n")
        folder = Path(temporary, "data")
        shutil.copytree(history, folder)
        await compare(folder, arguments)


async def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Each form as fast as it goes, then as offered."""
    os.sched_setaffinity(0, {LOAD_CORE})
    print("| run | records/s | CPU us a record | answer p50 / p99 / max ms | overview p50 / max ms | peak GB | 503 |")
    print("|---|---|---|---|---|---|---|")
    server = Server(folder)
    try:
        for form in arguments.forms:
            load = Load(server.port, form)
            label = "JSON + gzip" if form == "json" else "columns + zstd"
            for pace in arguments.paces:
                rate = arguments.rate if pace == "offered" else None
                server.settle()
                run = Run(name=f"{label}, {f'{rate:,.0f}/s offered' if rate else 'as fast as it goes'}")
                await measure(server, load, run, arguments.seconds, rate, asked=not arguments.no_overview)
                print(shown(run), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    asyncio.run(main())
