"""Tasks of a taskiq worker for the tests; each says in Redis that it has ended."""

import asyncio
import os
import time

from taskiq import SimpleRetryMiddleware
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from carbon_sdk import track
from carbon_sdk.integrations.taskiq import CarbonTaskiqMiddleware

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:1")
broker = RedisStreamBroker(URL, queue_name="tests").with_result_backend(RedisAsyncResultBackend(URL))
broker.add_middlewares(CarbonTaskiqMiddleware(), SimpleRetryMiddleware(default_retry_count=3))


def burn(seconds: float) -> None:
    """Use the CPU of this thread for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@broker.task("overlapping")
async def overlapping(seconds: float) -> None:
    """In ten steps, between which others run."""
    for _ in range(10):
        burn(seconds / 10)
        await asyncio.sleep(0.001)


@broker.task("waiting")
async def waiting() -> None:
    """Hardly any CPU while others use it."""
    await asyncio.sleep(0.3)


@broker.task("long step")
async def long_step(seconds: float) -> None:
    """One step of several windows."""
    burn(seconds)


@broker.task("in a thread")
def in_a_thread(seconds: float) -> None:
    """taskiq sends it to its pool."""
    burn(seconds)


@broker.task("nested")
async def nested() -> None:
    """With a span of its own inside."""
    async with track("inner"):
        burn(0.05)
        await asyncio.sleep(0)
        burn(0.05)
    burn(0.05)


@broker.task("failing", retry_on_error=True)
async def failing() -> None:
    """Is run three times."""
    raise ValueError("as told")


@broker.task("too long", timeout=0.05)
async def too_long() -> None:
    """Runs out of time."""
    await asyncio.sleep(10)


@broker.task("cancelling")
async def cancelling() -> None:
    """Cancels itself."""
    raise asyncio.CancelledError
