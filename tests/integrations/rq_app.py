"""Jobs of an RQ worker for the tests."""

import asyncio
import os
import time

from carbon_sdk import track


def burn(seconds: float) -> None:
    """Use the CPU of this thread for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def burning(seconds: float) -> int:
    """Computes, half of it in a span of its own; answers which process."""
    burn(seconds / 2)
    with track("inner"):
        burn(seconds / 2)
    return os.getpid()


async def waiting(seconds: float) -> None:
    """A coroutine function, with child tasks."""
    await asyncio.gather(asyncio.sleep(seconds), asyncio.to_thread(burn, 0.02))
    burn(0.02)


def failing() -> None:
    """Raises."""
    raise ValueError("as told")


def too_long() -> None:
    """Runs until RQ interrupts it."""
    time.sleep(30)
