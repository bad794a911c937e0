"""The clocks: by which providers are asked and waited for, by which steps are clocked, and the chance that spreads
questions of many machines.

A test hands in its own, so that a day of failures takes a moment.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _utcnow() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Clocks and chance.

    Args:
        utcnow: The moment that it is, UTC: validity, and dates in headers.
        monotonic: Seconds that only go forward: pauses.
        sleep: Waits for so many seconds.
        chance: Random numbers from 0 to 1.
        monotonic_ns: Monotonic nanoseconds, by which steps are clocked.
        thread_time_ns: CPU nanoseconds of the calling thread, by which long steps are.
    """

    utcnow: Callable[[], datetime] = _utcnow
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    thread_time_ns: Callable[[], int] = time.thread_time_ns
