"""A FastAPI service that works in every way: inline, awaited, in a thread, in child tasks, while streaming."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from carbon_sdk import CarbonMiddleware, track
from carbon_sdk.environment import environment
from carbon_sdk.integrations.httpx import instrument
from carbon_sdk.process import default

CALLED = environment().get("DEMO_CALLED")
"""The address that an order is passed on to; None: it ends here."""


@asynccontextmanager
async def read_once(app: FastAPI) -> AsyncIterator[None]:
    """Serve from the meters' first reading on: on a busy machine all of a short demo could lie before it."""
    await asyncio.to_thread(default().wait_ready)
    async with instrument(httpx.AsyncClient(timeout=10.0, trust_env=False)) as client:
        app.state.client = client
        yield


app = FastAPI(title="carbon_sdk demo", lifespan=read_once)
app.add_middleware(CarbonMiddleware)


def compute(milliseconds: float) -> int:
    """Use the CPU of this thread for so long."""
    end, rounds = time.thread_time() + milliseconds / 1000, 0
    while time.thread_time() < end:
        rounds += sum(range(200))
    return rounds


@app.get("/compute/{ms}")
async def inline(ms: float) -> dict[str, int]:
    """Computes in the event loop, and tracks a part of it on its own."""
    with track("prepare"):
        compute(ms / 4)
    return {"rounds": compute(3 * ms / 4)}


@app.get("/wait")
async def wait() -> dict[str, str]:
    """Awaits for 50 ms: long, but cheap."""
    await asyncio.sleep(0.05)
    return {"waited": "50 ms"}


@app.get("/thread")
def thread() -> dict[str, int]:
    """A synchronous endpoint, which the framework runs in a worker thread."""
    return {"rounds": compute(8)}


@app.get("/fan-out")
async def fan_out() -> dict[str, int]:
    """Four child tasks and a thread."""

    async def part() -> int:
        await asyncio.sleep(0.001)
        return compute(2)

    async with asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(part()) for _ in range(4)]
    return {"rounds": sum(task.result() for task in parts) + await asyncio.to_thread(compute, 2)}


@app.get("/order")
async def order(request: Request) -> dict[str, str]:
    """Computes, then calls the next service, which learns on whose behalf."""
    compute(3)
    if CALLED is None:
        return {"order": "taken"}
    (await request.app.state.client.get(CALLED)).raise_for_status()
    return {"order": "passed on"}


@app.get("/stream")
async def stream() -> StreamingResponse:
    """Five chunks, each computed when it is sent, and counted."""

    async def chunks() -> AsyncIterator[str]:
        for _ in range(5):
            with track("chunk") as span:
                chunk = f"{compute(1)}\n"
                span.count("chunks")
            yield chunk
            await asyncio.sleep(0)

    return StreamingResponse(chunks(), media_type="text/plain")
