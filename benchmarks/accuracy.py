"""How exact the CPU account is: known burns in many shapes of endpoint, 40 requests at a time.

Each burn reads its own thread's CPU clock as the truth; what the framework uses is counted as error of ours, though it
belongs to the endpoint. Run: `python benchmarks/accuracy.py [--loop uvloop] [--busy]`.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import platform
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink

TRUTH: Counter[str] = Counter()
SCALE = 5  # 4 ms become 20 ms a request; the framework's own 0.3 ms and more are the rest of the error
app = FastAPI()
wrapped = FastAPI()
left: set[asyncio.Task[None]] = set()


def burn(name: str, milliseconds: float) -> None:
    """Use this thread's CPU for so long, and note it down."""
    begun = time.thread_time_ns()
    end = begun + milliseconds * SCALE * 1e6
    while time.thread_time_ns() < end:
        pass
    TRUTH[name] += time.thread_time_ns() - begun


async def later(name: str, milliseconds: float) -> None:
    """Burn after a pause."""
    await asyncio.sleep(0.001)
    burn(name, milliseconds)


@app.get("/inline")
async def inline() -> None:
    burn("/inline", 4)


@app.get("/around")
async def around() -> None:
    burn("/around", 2)
    await asyncio.sleep(0.002)
    burn("/around", 2)


@app.get("/steps")
async def steps() -> None:
    for _ in range(20):
        burn("/steps", 0.2)
        await asyncio.sleep(0)


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            burn("/stream", 1)
            yield b"x"
            await asyncio.sleep(0)

    return StreamingResponse(chunks())


@app.get("/background")
async def background(tasks: BackgroundTasks) -> None:
    tasks.add_task(later, "/background", 4)


@app.get("/create-task")
async def create_task() -> None:
    await asyncio.create_task(later("/create-task", 4))


@app.get("/gather")
async def gather() -> None:
    await asyncio.gather(later("/gather", 2), later("/gather", 2))


@app.get("/task-group")
async def task_group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(later("/task-group", 2))
        tasks.create_task(later("/task-group", 2))


@app.get("/anyio-group")
async def anyio_group() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later, "/anyio-group", 2)
        tasks.start_soon(later, "/anyio-group", 2)


@app.get("/wait-for")
async def wait_for() -> None:
    await asyncio.wait_for(later("/wait-for", 4), 10)


@app.get("/fire-and-forget")
async def fire_and_forget() -> None:
    task = asyncio.create_task(later("/fire-and-forget", 4))
    left.add(task)
    task.add_done_callback(left.discard)


@app.get("/to-thread")
async def to_thread() -> None:
    await asyncio.to_thread(burn, "/to-thread", 4)


@app.get("/executor")
async def executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, burn, "/executor", 4)


@app.get("/sync")
def sync() -> None:
    burn("/sync", 4)


def dependency() -> None:
    """A synchronous dependency."""
    burn("/dependency", 4)


@app.get("/dependency")
async def depending(_: None = Depends(dependency)) -> None:
    pass


@wrapped.get("/base-http")
async def base_http() -> None:
    await later("/wrapped/base-http", 4)


class Plain(BaseHTTPMiddleware):
    """Starlette's middleware that runs the application in a task of its own."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


wrapped.add_middleware(Plain)
app.mount("/wrapped", wrapped)
PATHS = sorted({route.path for route in app.routes if getattr(route, "methods", None) == {"GET"}})


def spin(seconds: float) -> None:
    """Keep another core busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@contextlib.contextmanager
def neighbour(busy: bool, seconds: float = 60.0) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=spin, args=(seconds,)) if busy else None
    if process is not None:
        process.start()
    try:
        yield
    finally:
        if process is not None:
            process.terminate()
            process.join()


async def measure(each: int) -> dict[str, float]:
    """CPU nanoseconds by endpoint, as carbon_sdk books them."""
    paths = [path for path in (*PATHS, "/wrapped/base-http") if not path.startswith(("/docs", "/openapi", "/redoc"))]
    sink = RecordingSink()
    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks={"r": sink}, emit_interval_seconds=3600)
    bare = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=bare, base_url="http://test", timeout=60) as client:
        for path in paths:  # imports and first calls are nobody's burn
            await client.get(path)
        while left:
            await asyncio.sleep(0.01)
    TRUTH.clear()
    transport = httpx.ASGITransport(CarbonMiddleware(app, carbon=carbon))
    forty = asyncio.Semaphore(40)
    async with carbon, httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:

        async def visit(path: str) -> None:
            async with forty:
                (await client.get(path)).raise_for_status()

        await asyncio.gather(*(visit(path) for _ in range(each) for path in paths))
        while left:
            await asyncio.sleep(0.01)
    booked: dict[str, float] = {}
    for emission in sink.emissions:
        if emission.kind == "request":
            path = emission.root.removeprefix("GET ")
            booked[path] = booked.get(path, 0.0) + (emission.cpu_seconds or 0.0) * 1e9
    return booked


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=15, help="requests to each endpoint")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--busy", action="store_true", help="keep the other core busy")
    arguments = parser.parse_args()
    run: Any = asyncio.run
    if arguments.loop == "uvloop":
        import uvloop

        run = uvloop.run
    with neighbour(arguments.busy):
        booked = run(measure(arguments.each))
    errors = {path: booked.get(path, 0.0) / truth - 1 for path, truth in TRUTH.items()}
    print(f"CPython {platform.python_version()}, {arguments.loop}, {'other core busy' if arguments.busy else 'alone'}")
    print("| shape | truth ms | error |\n|---|---|---|")
    for path, error in sorted(errors.items()):
        print(f"| {path} | {TRUTH[path] / 1e6:.0f} | {error:+.1%} |")
    sizes = [abs(error) for error in errors.values()]
    print(f"| **mean, worst** | | {statistics.fmean(sizes):.1%}, {max(sizes):.1%} |")


if __name__ == "__main__":
    main()
