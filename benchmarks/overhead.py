"""CPU that the middleware adds to a request of a one-line Starlette endpoint, in process, beside its peers.

Each round runs every variant in turn; the figure is the median over rounds of the difference to bare in the same round.
Run: `python benchmarks/overhead.py`.
"""

import argparse
import asyncio
import gc
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from carbon_sdk import Carbon, CarbonMiddleware
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


def peers() -> dict[str, ASGIApp]:
    """What is compared, those that are installed."""
    found = {"bare": application(), "empty middleware": empty(application())}
    try:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        found["OpenTelemetry ASGI middleware"] = OpenTelemetryMiddleware(application())
    except ImportError:
        pass
    return found


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=2000)
    arguments = parser.parse_args()
    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks={})
    variants = {**peers(), "carbon_sdk": CarbonMiddleware(application(), carbon=carbon)}
    figures: dict[str, list[float]] = {name: [] for name in variants}
    async with carbon:
        for turn in range(arguments.rounds + 2):
            gc.collect()
            for name, app in variants.items():
                figure = await serve(app, arguments.requests)
                if turn >= 2:
                    figures[name].append(figure)
    bare = figures["bare"]
    print(f"CPython {platform.python_version()}, {arguments.rounds} rounds of {arguments.requests} requests")
    print("| variant | us a request | added us | share of bare |\n|---|---|---|---|")
    for name, values in figures.items():
        added = statistics.median(value - base for value, base in zip(values, bare, strict=True))
        share = statistics.median((value - base) / base for value, base in zip(values, bare, strict=True))
        print(f"| {name} | {statistics.median(values) / 1000:.2f} | {added / 1000:.2f} | {share:.2f} |")


if __name__ == "__main__":
    asyncio.run(main())
