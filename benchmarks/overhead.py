"""CPU that the middleware adds to a request of a one-line Starlette endpoint, in process, beside its peers.

Each round runs every variant in turn; the figure is the median over rounds of the difference to bare in the same round.
What a Prometheus sink adds is told by two Carbons that take turns in each round.
Run: `python benchmarks/overhead.py`.
"""

import argparse
import asyncio
import gc
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.sinks.sink import TotalsSink
from carbon_sdk.testing import FakeMeter, FixedIntensity

Scope = MutableMapping[str, Any]
ASGIApp = Callable[[Scope, Any, Any], Awaitable[None]]


async def hello(request: Request) -> JSONResponse:
    """The one line."""
    return JSONResponse({"hello": "world"})


def application() -> ASGIApp:
    """A new application, its middleware stack built."""
    return Starlette(routes=[Route("/items/{item}", hello)])


def empty(app: ASGIApp) -> ASGIApp:
    """A middleware that does nothing."""

    async def middleware(scope: Scope, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return middleware


async def serve(app: ASGIApp, requests: int) -> float:
    """CPU nanoseconds of one request, as the mean of so many."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    begun = time.thread_time_ns()
    for _ in range(requests):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/items/7",
            "raw_path": b"/items/7",
            "root_path": "",
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("test", 80),
            "client": ("test", 1),
            "asgi": {"version": "3.0"},
        }
        await app(scope, receive, send)
    return (time.thread_time_ns() - begun) / requests


def logging(app: ASGIApp) -> ASGIApp:
    """A middleware that logs one JSON line a request through structlog."""
    import structlog

    log = structlog.wrap_logger(
        structlog.PrintLogger(Path(os.devnull).open("w")),  # noqa: SIM115  # open as long as the process
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
    )

    async def middleware(scope: Scope, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        log.info("request", method=scope["method"], path=scope["path"], status=200, duration_seconds=0.01)

    return middleware


def peers() -> dict[str, ASGIApp]:
    """What is compared, those that are installed."""
    found = {
        "bare": application(),
        "empty middleware": empty(application()),
        "one structlog line": logging(application()),
    }
    try:
        from prometheus_fastapi_instrumentator.metrics import default
        from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware as Prometheus

        found["prometheus-fastapi-instrumentator"] = Prometheus(application(), instrumentations=[default()])
    except ImportError:
        pass
    try:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        found["OpenTelemetry ASGI middleware"] = OpenTelemetryMiddleware(application())
    except ImportError:
        pass
    return found


async def nothing() -> None:
    """Returns at once."""


async def steps(count: int) -> None:
    """So many further steps."""
    for _ in range(count):
        await asyncio.sleep(0)


async def children(count: int) -> None:
    """So many child tasks, one after the other."""
    for _ in range(count):
        await asyncio.create_task(nothing())


async def hops(count: int) -> None:
    """So many functions in a thread, one after the other."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.run_in_executor(None, int)


PARTS: dict[str, Callable[[int], Awaitable[None]]] = {
    "a further step": steps,
    "a child task": children,
    "a hop to a thread": hops,
}
COUNT = 50


async def part(work: Callable[[int], Awaitable[None]], middleware: Callable[[ASGIApp], ASGIApp]) -> float:
    """CPU nanoseconds of the whole process for one of the parts of a request that has `COUNT` of them."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await work(COUNT)

    measured = middleware(app)
    begun = time.process_time_ns()
    for _ in range(20):
        await measured({"type": "http", "method": "GET", "path": "/"}, None, None)
    return (time.process_time_ns() - begun) / 20 / COUNT


async def outside() -> tuple[float, float]:
    """CPU nanoseconds of a task outside any span, without and with our task factory."""
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    figures = []
    for each in (None, factory):
        loop.set_task_factory(each)
        begun = time.process_time_ns()
        await children(1000)
        figures.append((time.process_time_ns() - begun) / 1000)
    return figures[0], figures[1]


async def parts(middleware: Callable[[ASGIApp], ASGIApp], rounds: int) -> dict[str, float]:
    """Nanoseconds added to each part, as the median over rounds of the difference in the same round."""
    added: dict[str, list[float]] = {name: [] for name in [*PARTS, "a task outside any span"]}
    for _ in range(rounds):
        gc.collect()
        for name, work in PARTS.items():
            bare = await part(work, lambda app: app)
            added[name].append(await part(work, middleware) - bare)
        without, with_factory = await outside()
        added["a task outside any span"].append(with_factory - without)
    return {name: statistics.median(values) for name, values in added.items()}


async def rounds(variants: Mapping[str, ASGIApp], count: int, requests: int) -> dict[str, list[float]]:
    """CPU nanoseconds of a request of each variant in each round; two rounds before them do not count."""
    figures: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(count + 2):
        gc.collect()
        for name, app in variants.items():
            figure = await serve(app, requests)
            if turn >= 2:
                figures[name].append(figure)
    return figures


def with_prometheus() -> dict[str, TotalsSink]:
    """The Prometheus sink, whose counters move at each window in the sampler's thread."""
    from prometheus_client import CollectorRegistry

    from carbon_sdk.sinks.prometheus import PrometheusSink

    return {"prometheus": PrometheusSink(CollectorRegistry())}


def measuring(sinks: Mapping[str, TotalsSink]) -> Carbon:
    """Carbon whose joules and grams come from nowhere else."""
    return Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks=sinks, zone="DE")


SECONDS = 2.0
"""How long each of two Carbons serves in a round: two windows, at each of which the sink's counters move."""


async def serve_for(seconds: float, app: ASGIApp, requests: int) -> float:
    """CPU nanoseconds of the whole process, our own thread included, for each request served in so many seconds."""
    begun, until, served = time.process_time_ns(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        await serve(app, requests)
        served += requests
    return (time.process_time_ns() - begun) / served


async def added_by_prometheus(count: int, requests: int) -> list[float]:
    """CPU nanoseconds that the sink adds to a request, in each round.

    One Carbon runs in a process at a time, so each round runs one without the sink and one with it, in alternating
    order; the first requests of each do not count.
    """
    added = []
    for turn in range(count):
        figures = {}
        for with_sink in (False, True) if turn % 2 else (True, False):
            async with measuring(with_prometheus() if with_sink else {}) as carbon:
                app = CarbonMiddleware(application(), carbon=carbon)
                await serve(app, requests)
                gc.collect()
                figures[with_sink] = await serve_for(SECONDS, app, requests)
        added.append(figures[True] - figures[False])
    return added


def show(figures: Mapping[str, list[float]]) -> None:
    """Print a row of each variant."""
    bare = figures["bare"]
    for name, values in figures.items():
        added = statistics.median(value - base for value, base in zip(values, bare, strict=True))
        share = statistics.median((value - base) / base for value, base in zip(values, bare, strict=True))
        print(f"| {name} | {statistics.median(values) / 1000:.2f} | {added / 1000:.2f} | {share:.2f} |")


async def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=2000)
    arguments = parser.parse_args()
    print(f"CPython {platform.python_version()}, {arguments.rounds} rounds of {arguments.requests} requests")
    print("| variant | us a request | added us | share of bare |\n|---|---|---|---|")
    async with measuring({}) as carbon:
        measured = {"carbon_sdk": CarbonMiddleware(application(), carbon=carbon)}
        show(await rounds({**peers(), **measured}, arguments.rounds, arguments.requests))
        inside = await parts(lambda app: CarbonMiddleware(app, carbon=carbon), arguments.rounds)
    print("\n| carbon_sdk adds to | us |\n|---|---|")
    for name, nanoseconds in inside.items():
        print(f"| {name} | {nanoseconds / 1000:.2f} |")
    added = await added_by_prometheus(arguments.rounds, arguments.requests)
    first, middle, third = (value / 1000 for value in statistics.quantiles(added, n=4))
    print(f"\nPrometheus adds to a request: {middle:.2f} us (quartiles {first:.2f}..{third:.2f})")


if __name__ == "__main__":
    asyncio.run(main())
