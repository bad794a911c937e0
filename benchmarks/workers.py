"""Four workers of one server under load: does what they book add up to what the machine used?

Each worker measures for itself and knows nothing of the others. An observer reads the machine's busy CPU and each
worker's own CPU at the same moments as they do. What the workers have booked together is held against the machine's
active joules (measured less idle), and against the share of them that the workers' CPU has in the machine's; what is
left of that share is the error of sampling: boundaries that are not met to the millisecond, and clock ticks of 10 ms.

Run: `python -m benchmarks.workers [--intervals 20]`, from the root of the repository.
"""

import argparse
import platform
import tempfile
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from carbon_sdk.meters.scope import MachineScope
from tests.servers.serving import PATIENCE_SECONDS, Server, free_port

APP = "tests.servers.application:measured"
WORKERS = 4
CLIENTS = 8
WINDOW_SECONDS = 0.5
INTERVAL_SECONDS = 1.0

SERVERS: dict[str, Callable[[int], list[str]]] = {
    "gunicorn --preload": lambda port: [
        *("gunicorn", APP, "--preload", "--workers", str(WORKERS), "--bind", f"127.0.0.1:{port}"),
        *("--worker-class", "uvicorn_worker.UvicornWorker"),
    ],
    "uvicorn": lambda port: ["uvicorn", APP, "--workers", str(WORKERS), "--port", str(port)],
}


@dataclass(frozen=True)
class Figures:
    """What came of one server.

    Args:
        sent: Requests that were answered.
        counted: Requests in the records.
        instances: Who reported.
        seconds: The time that all workers and the observer have seen.
        booked_joules: What the workers' own accounts got in it.
        active_joules: What the machine used in it less idle, as the workers have measured it, in the mean.
        expected_joules: The part of it that the workers' CPU has in the machine's, as the observer saw it.
    """

    sent: int
    counted: int
    instances: int
    seconds: float
    booked_joules: float
    active_joules: float
    expected_joules: float

    @property
    def of_active(self) -> float:
        """The workers' share of what the machine used, idle left out."""
        return self.booked_joules / self.active_joules

    @property
    def error(self) -> float:
        """How far the sum is from what the observer expects, relative."""
        return self.booked_joules / self.expected_joules - 1.0


class Growth:
    """A figure that only grows, known at some moments (UTC seconds); straight lines between them."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self._values: list[float] = []

    def add(self, moment: float, value: float) -> None:
        """It had this value then; moments come in order."""
        self.moments.append(moment)
        self._values.append(value)

    def between(self, first: float, last: float) -> float:
        """How much it grew."""
        return self._at(last) - self._at(first)

    def _at(self, moment: float) -> float:
        after = min(max(bisect_left(self.moments, moment), 1), len(self.moments) - 1)
        (early, late), (low, high) = self.moments[after - 1 : after + 1], self._values[after - 1 : after + 1]
        return low + (high - low) * (moment - early) / (late - early)


class Observer:
    """Reads the machine's and the workers' CPU seconds at each boundary of a window.

    Args:
        parent: The process whose descendants are the workers.
    """

    def __init__(self, parent: int) -> None:
        self._processes = psutil.Process(parent).children(recursive=True)
        self._scope = MachineScope()
        self.busy = Growth()
        self.own = Growth()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(WINDOW_SECONDS - time.monotonic() % WINDOW_SECONDS):
            own = sum(sum(process.cpu_times()[:2]) for process in self._processes)
            now = time.time()
            self.busy.add(now, self._scope.busy_cpu_seconds() or 0.0)
            self.own.add(now, own)


def measure(server: str, folder: Path, *, intervals: int) -> Figures:
    """Load four workers for so many intervals, and add up what they have booked.

    Args:
        server: A name of `SERVERS`.
        folder: For records and logs.
        intervals: Of one second.
    """
    port = free_port()
    running = Server(
        SERVERS[server](port),
        port,
        folder,
        CARBON_SDK_SAMPLE_INTERVAL_SECONDS=str(WINDOW_SECONDS),
        CARBON_SDK_EMIT_INTERVAL_SECONDS=str(INTERVAL_SECONDS),
        CARBON_SDK_FIRST_RECORD_SECONDS=str(INTERVAL_SECONDS),
    )
    try:
        running.wait_for("startup", times=WORKERS)
        observer = Observer(running.process.pid)
        sent = _load(running, intervals)
        observer.stop()
    finally:
        running.stop()
    records = running.records()
    booked, active = _growths(records)
    seen = [observer.busy, *booked, *active]
    first, last = max(one.moments[0] for one in seen), min(one.moments[-1] for one in seen)
    expected = 0.0
    cells = [first, *(moment for moment in observer.busy.moments if first < moment < last), last]
    for begun, ended in pairwise(cells):
        used = sum(one.between(begun, ended) for one in active) / WORKERS
        expected += used * observer.own.between(begun, ended) / observer.busy.between(begun, ended)
    return Figures(
        sent=sent,
        counted=sum(record["requests"] for record in records if record["kind"] == "request"),
        instances=len({record["instance"] for record in records}),
        seconds=last - first,
        booked_joules=sum(one.between(first, last) for one in booked),
        active_joules=sum(one.between(first, last) for one in active) / WORKERS,
        expected_joules=expected,
    )


def _load(server: Server, intervals: int) -> int:
    """Requests of so many clients, each on a connection of its own, until each worker has told of so many intervals."""
    counts = [0] * CLIENTS
    done = threading.Event()

    def client(number: int) -> None:
        while not done.is_set():
            assert b"200" in server.ask("GET", f"/items/{number}")
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS + 2 * intervals * INTERVAL_SECONDS
    while time.monotonic() < deadline and not done.wait(INTERVAL_SECONDS / 2):
        booked, _ = _growths(server.records())
        if len(booked) == WORKERS and min(len(one.moments) for one in booked) > intervals:
            break
    done.set()
    for thread in threads:
        thread.join()
    return sum(counts)


def _growths(records: list[dict[str, Any]]) -> tuple[list[Growth], list[Growth]]:
    """Of each worker what its accounts got, and what it measured the machine to use less idle, from where it can."""
    ends: dict[str, dict[float, list[float]]] = defaultdict(dict)
    for record in records:
        ended_at = datetime.fromisoformat(record["window_end"]).timestamp()
        sums = ends[record["instance"]].setdefault(ended_at, [0.0, 0.0])
        joules = record["energy_joules"] or 0.0
        if record["cpu_seconds"] is not None:
            sums[0] += joules
        elif record["kind"] in ("measured", "idle"):
            sums[1] += joules if record["kind"] == "measured" else -joules
    booked, active = [], []
    for intervals in ends.values():
        growths = Growth(), Growth()
        totals = [0.0, 0.0]
        for ended_at, sums in sorted(intervals.items()):  # the first interval holds the time before the first reading
            totals = [one + more for one, more in zip(totals, sums, strict=True)]
            for growth, total in zip(growths, totals, strict=True):
                growth.add(ended_at, total)
        booked.append(growths[0])
        active.append(growths[1])
    return booked, active


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--intervals", type=int, default=20, help="of a second, of load for each server")
    intervals = parser.parse_args().intervals
    print(f"CPython {platform.python_version()}, {psutil.cpu_count()} CPUs, {WORKERS} workers")
    print(f"{'server':20} {'requests':>8} {'counted':>8} {'seconds':>9} {'of active':>9} {'error of the sum':>16}")
    for name in SERVERS:
        with tempfile.TemporaryDirectory() as folder:
            got = measure(name, Path(folder), intervals=intervals)
        print(f"{name:20} {got.sent:8} {got.counted:8} {got.seconds:9.1f} {got.of_active:9.1%} {got.error:+16.1%}")


if __name__ == "__main__":
    main()
