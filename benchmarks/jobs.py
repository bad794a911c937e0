"""CPU that each worker framework's integration adds to a job, and what a scrape of many endpoints costs.

Jobs that do nothing run in process through the framework's own code: taskiq's receiver, arq's way to call a function,
Celery's tracer, RQ's `Job.perform`. Each round runs bare and measured in turn; the figure is the median over rounds of
the difference, CPU of the worker's thread. Run: `python benchmarks/jobs.py`.
"""

import argparse
import asyncio
import gc
import gzip
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from carbon_sdk import Carbon
from carbon_sdk.integrations.jobs import Jobs
from carbon_sdk.process import default
from carbon_sdk.sinks.sink import Total, Totals
from carbon_sdk.testing import FakeMeter, FixedIntensity

Run = Callable[[int], float]
"""Runs so many jobs; answers CPU nanoseconds of each."""


def carbon() -> Carbon:
    """Measures without a sink."""
    return Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks={})


def in_loop(loop: asyncio.AbstractEventLoop, job: Callable[[], Any]) -> Run:
    """Each job a task of its own, as the workers make them."""

    async def many(count: int) -> float:
        begun = time.thread_time_ns()
        for _ in range(count):
            await loop.create_task(job())
        return (time.thread_time_ns() - begun) / count

    return lambda count: loop.run_until_complete(many(count))


def taskiq(measuring: Carbon) -> tuple[Run, Run]:
    """Through the receiver, from the message's bytes to its result."""
    import logging

    from taskiq import InMemoryBroker, TaskiqMessage
    from taskiq.receiver import Receiver

    from carbon_sdk.integrations.taskiq import CarbonTaskiqMiddleware

    logging.getLogger("taskiq").setLevel(logging.ERROR)
    runs = []
    for measured in (False, True):
        broker = InMemoryBroker()
        broker.is_worker_process = True
        middlewares = [CarbonTaskiqMiddleware(carbon=measuring)] if measured else []
        broker.add_middlewares(*middlewares)

        @broker.task("nothing")
        async def nothing() -> None:
            pass

        loop = asyncio.new_event_loop()
        loop.run_until_complete(broker.startup())
        for middleware in middlewares:  # as every broker does that is not in memory
            loop.run_until_complete(middleware.startup())
        receiver = Receiver(broker, max_async_tasks=10)
        message = TaskiqMessage(task_id="1", task_name="nothing", labels={}, args=[], kwargs={})
        data = broker.formatter.dumps(message).message
        runs.append(in_loop(loop, lambda receiver=receiver, data=data: receiver.callback(data)))
    return runs[0], runs[1]


def arq(measuring: Carbon) -> tuple[Run, Run]:
    """The function as the worker calls it, in a task under a time limit."""
    from carbon_sdk.integrations.arq import measured

    async def nothing(ctx: dict[Any, Any]) -> None:
        pass

    settings: dict[str, Any] = measured({"functions": [nothing]}, carbon=measuring)
    (function,) = settings["functions"]
    runs = []
    for coroutine, start in ((nothing, None), (function.coroutine, settings["on_startup"])):
        loop = asyncio.new_event_loop()
        if start is not None:
            loop.run_until_complete(start({}))

        async def job(coroutine: Any = coroutine, loop: asyncio.AbstractEventLoop = loop) -> None:
            await asyncio.wait_for(loop.create_task(coroutine({"job_try": 1})), 300)

        runs.append(in_loop(loop, job))
    return runs[0], runs[1]


def celery(measuring: Carbon) -> tuple[Run, Run]:
    """The tracer that a pool's process runs for each message."""
    from celery import Celery, signals
    from celery.app.trace import build_tracer

    from carbon_sdk.integrations.celery import measured

    app = Celery("bench")

    @app.task(name="nothing")
    def nothing() -> None:
        pass

    app.finalize()
    trace = build_tracer("nothing", app.tasks["nothing"], app=app)
    request = {"delivery_info": {"routing_key": "celery"}, "retries": 0}

    def many(count: int) -> float:
        begun = time.thread_time_ns()
        for number in range(count):
            trace(str(number), (), {}, request)
        return (time.thread_time_ns() - begun) / count

    def with_signals(count: int) -> float:
        measured(app, carbon=measuring)
        try:
            return many(count)
        finally:
            for signal in (signals.task_prerun, signals.task_postrun):
                signal.disconnect(dispatch_uid="carbon_sdk")

    return many, with_signals


def rq(measuring: Carbon) -> tuple[Run, Run]:
    """`Job.perform`, in place."""
    from redis import Redis
    from rq.job import Job

    from carbon_sdk.integrations import rq as integration

    integration._JOBS = Jobs(measuring)
    job = Job.create(time.monotonic, connection=Redis())
    bare, measured = job.perform, integration._measured(job, "default", repeated=False)

    def run_of(perform: Callable[[], Any]) -> Run:
        def many(count: int) -> float:
            begun = time.thread_time_ns()
            for _ in range(count):
                perform()
            return (time.thread_time_ns() - begun) / count

        return many

    return run_of(bare), run_of(measured)


def compare(bare: Run, measured: Run, rounds: int, jobs: int) -> tuple[float, float, float]:
    """Microseconds bare, and added with its quartiles' distance, as medians over rounds."""
    figures: list[tuple[float, float]] = []
    for turn in range(rounds + 2):
        gc.collect()
        pair = bare(jobs), measured(jobs)
        if turn >= 2:
            figures.append(pair)
    added = [(with_it - without) / 1000 for without, with_it in figures]
    first, _, third = statistics.quantiles(added, n=4)
    return statistics.median(without for without, _ in figures) / 1000, statistics.median(added), third - first


def forked(rounds: int) -> float:
    """Milliseconds of CPU that a forked process spends on measuring one job: start, first reading, end."""
    jobs = Jobs()
    jobs.load()
    spent = []
    for _ in range(rounds):
        read, write = os.pipe()
        if os.fork() == 0:
            begun = time.process_time_ns()
            jobs.start()
            jobs.begin("queue", "task").end()
            jobs.close()
            os.write(write, str(time.process_time_ns() - begun).encode())
            os._exit(0)
        os.wait()
        spent.append(int(os.read(read, 100)) / 1e6)
    return statistics.median(spent)


def _totals(turn: int, endpoints: int) -> Totals:
    """After so many windows, each of which used the same."""
    accounts = [
        Total(
            kind="request",
            root=f"GET /items/{number}",
            name=f"GET /items/{number}",
            requests=turn,
            errors=0,
            duration_seconds=turn * 0.1,
            cpu_seconds=turn * 0.01,
            energy_joules={"package": turn * 0.5, "dram": turn * 0.1},
            emissions_g=turn * 0.001,
        )
        for number in range(endpoints)
    ]
    return Totals(
        instance="a" * 16,
        service="shop",
        at=datetime.now(UTC),
        intensity=FixedIntensity().answer,
        accounts=accounts,
    )


ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
"""What Prometheus 2.42 asks for; it takes gzip, too."""


def scrape(endpoints: int, rounds: int) -> tuple[float, float, float]:
    """Milliseconds of a window's update, of a scrape, and of prometheus_client's writing and packing of the same."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    from carbon_sdk.sinks.prometheus import PrometheusSink
    from carbon_sdk.sinks.prometheus_text import GZIP_LEVEL, expose

    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    encode, _ = choose_encoder(ACCEPT)
    updates, ours, theirs = [], [], []
    for turn in range(1, rounds + 1):
        totals = _totals(turn, endpoints)
        moments = [time.thread_time_ns()]
        sink.update(totals)
        moments.append(time.thread_time_ns())
        gzip.compress(expose(registry, ACCEPT)[0], GZIP_LEVEL)
        moments.append(time.thread_time_ns())
        gzip.compress(encode(registry))
        moments.append(time.thread_time_ns())
        for taken, begun, ended in zip((updates, ours, theirs), moments, moments[1:], strict=False):
            taken.append((ended - begun) / 1e6)
    return statistics.median(updates), statistics.median(ours), statistics.median(theirs)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--jobs", type=int, default=1000)
    arguments = parser.parse_args()
    os.environ["CARBON_SDK_SINKS"] = "jsonlines"
    os.environ["CARBON_SDK_JSONLINES_PATH"] = os.devnull
    default()
    print(f"CPython {platform.python_version()}, {arguments.rounds} rounds of {arguments.jobs} jobs")
    child_ms = forked(arguments.rounds)
    print("| framework | us a job, bare | added us | between quartiles |\n|---|---|---|---|")
    with carbon() as measuring:
        for name, build in {"taskiq": taskiq, "arq": arq, "Celery": celery, "RQ, in place": rq}.items():
            bare, added, spread = compare(*build(measuring), arguments.rounds, arguments.jobs)
            print(f"| {name} | {bare:.1f} | {added:.1f} | {spread:.1f} |")
    print(f"\nA forked work-horse spends {child_ms:.1f} ms of CPU on measuring its job.")
    update_ms, ours_ms, theirs_ms = scrape(1000, arguments.rounds)
    print(
        f"1,000 endpoints: a window's update {update_ms:.1f} ms, a scrape in OpenMetrics and gzip {ours_ms:.1f} ms ",
        end="",
    )
    print(f"({theirs_ms:.1f} ms where prometheus_client writes and packs it).")


if __name__ == "__main__":
    main()
