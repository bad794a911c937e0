"""The books of a clock under test, and work whose CPU is known."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from carbon_sdk.cpu.accounts import Account, Cut, Use
from carbon_sdk.cpu.clock import THREAD, Clock, Tally, drive
from carbon_sdk.spans.span import SpanShare
from carbon_sdk.spans.track import Track

Loop = Callable[[], asyncio.AbstractEventLoop]
"""Makes a loop."""
Shape = Callable[["Book"], Coroutine[Any, Any, None]]
"""A way in which a span's code can run."""

JOB = Account("worker", "job", "job")
NEIGHBOUR_SECONDS = 0.002
"""What a neighbour burns at a time: longer than a reading of a thread's CPU clock lasts."""


def burn(seconds: float) -> None:
    """Use the calling thread's CPU for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def beside_a_neighbour(work: Coroutine[Any, Any, Any]) -> None:
    """Run work while another task burns, longer than a clock's reading lasts, whenever the work sleeps."""
    done = asyncio.Event()

    async def neighbour() -> None:
        while not done.is_set():
            burn(NEIGHBOUR_SECONDS)
            await asyncio.sleep(0)

    other = asyncio.ensure_future(neighbour())
    await asyncio.sleep(0)
    try:
        await work
    finally:
        done.set()
        await other


class Book:
    """What a clock has booked, and what the process used by its own clock.

    Args:
        monotonic_ns: What steps are clocked by.
        thread_time_ns: What long steps are.
    """

    def __init__(
        self,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        thread_time_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self.errors: list[tuple[str, BaseException]] = []
        """Of ours: none is expected."""
        self.clock = Clock(
            on_error=lambda where, exc: self.errors.append((where, exc)),
            monotonic_ns=monotonic_ns,
            thread_time_ns=thread_time_ns,
        )
        self.clock.start()
        self.clock.cut()
        self._begun_ns = time.process_time_ns()
        self.cuts: list[Cut] = []
        self.burned_seconds = 0.0
        """What `burn` has used, by the clock of each thread."""
        self.children_seconds = 0.0
        """CPU of child processes so far."""

    def burn(self, seconds: float) -> None:
        """`burn`, noted down as the truth about some span."""
        begun = time.thread_time()
        burn(seconds)
        self.burned_seconds += time.thread_time() - begun

    async def span(self, work: Awaitable[Any], account: Account = JOB) -> Any:
        """Drive a coroutine as the middleware does a request's."""
        self.clock.follow_loop()
        tally = Tally(account, self.clock.touched, THREAD.slot)
        try:
            return await drive(work, tally)  # type: ignore[arg-type]
        finally:
            tally.ended = True
            tally.touch()

    def track(self, name: str = "job") -> Track:
        """`carbon_sdk.track`, of this clock."""
        return Track(name, source=lambda: (self.clock, self), begun=self._begun)

    async def _begun(self) -> None:
        pass

    def estimate(self, cpu_seconds: float, *, in_request: bool) -> SpanShare | None:
        """Joules are nothing to this book."""
        return None

    def cut(self) -> dict[Account, Use]:
        """Close a window; the books of all of them balance against the process's own clock."""
        assert not self.errors
        self.cuts.append(self.clock.cut())
        used = (time.process_time_ns() - self._begun_ns) / 1e9
        process = sum(cut.process_cpu_seconds for cut in self.cuts)
        booked = sum(use.cpu_seconds for cut in self.cuts for use in cut.accounts.values())
        assert booked <= process + 0.002
        self.children_seconds = process - used
        assert self.children_seconds > -0.002
        return dict(self.cuts[-1].accounts)

    def seconds(self) -> dict[str, float]:
        """Close a window; CPU seconds by account's name in all windows."""
        self.cut()
        seconds: dict[str, float] = {}
        for cut in self.cuts:
            for account, use in cut.accounts.items():
                seconds[account.name] = seconds.get(account.name, 0.0) + use.cpu_seconds
        return seconds
