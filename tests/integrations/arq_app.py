"""Jobs of an arq worker for the tests."""

import asyncio
import os
import sys
import time
from typing import Any

from arq import Retry, cron, func
from arq.connections import RedisSettings

from carbon_sdk import track
from carbon_sdk.integrations.arq import measured

Context = dict[Any, Any]


def burn(seconds: float) -> None:
    """Use the CPU of this thread for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def overlapping(ctx: Context, seconds: float) -> None:
    """In ten steps, between which others run."""
    for _ in range(10):
        burn(seconds / 10)
        await asyncio.sleep(0.001)


async def waiting(ctx: Context) -> None:
    """Hardly any CPU while others use it."""
    await asyncio.sleep(0.3)


async def children(ctx: Context) -> None:
    """A thread, a task and a span of its own."""
    await asyncio.to_thread(burn, 0.05)
    await asyncio.create_task(overlapping(ctx, 0.05))
    async with track("inner"):
        burn(0.05)


async def long_step(ctx: Context, seconds: float) -> None:
    """One step of several windows."""
    burn(seconds)


async def again(ctx: Context) -> str:
    """Is done at the third try."""
    if ctx["job_try"] < 3:
        raise Retry(defer=0.01)
    return "done"


async def failing(ctx: Context) -> None:
    """Raises."""
    raise ValueError("as told")


async def endless(ctx: Context) -> None:
    """Says that it runs, until somebody ends it."""
    await ctx["redis"].set(ctx["job_id"], "runs")
    await asyncio.sleep(60)


async def at_start(ctx: Context) -> None:
    """Runs by itself, once."""
    assert ctx["greeting"] == "hello"


async def greet(ctx: Context) -> None:
    """A hook of the application's own."""
    ctx["greeting"] = "hello"


async def say_goodbye(ctx: Context) -> None:
    """Another."""
    sys.stdout.write("goodbye\n")


@measured
class WorkerSettings:
    """What arq's worker reads."""

    functions = (
        overlapping,
        waiting,
        children,
        long_step,
        again,
        failing,
        endless,
        func(endless, name="too_long", timeout=0.1),
    )
    cron_jobs = (cron(at_start, run_at_startup=True, month=1, day=1),)
    on_startup = greet
    on_shutdown = say_goodbye
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://127.0.0.1:1"))
    queue_name = "tests"
    allow_abort_jobs = True
    poll_delay = 0.05
