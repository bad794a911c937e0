"""What it would cost each step of a process to follow the callbacks of `call_soon`, by the ways that there are.

Each round runs every way in turn; the figure is the median over rounds of the difference to the loop as it is.
Run: `python benchmarks/call_soon.py`.
"""

import argparse
import asyncio
import gc
import platform
import statistics
import sys
import time
from asyncio.events import Handle
from collections.abc import Callable
from typing import Any

import uvloop

from carbon_sdk.cpu.clock import THREAD, Owner, Touched, bound

STEPS = 20_000


class Looks(asyncio.SelectorEventLoop):
    """Asks whose step runs, and does nothing with the answer: all that code outside spans would pay."""

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if THREAD.slot.owner is not None:
            pass
        return super().call_soon(callback, *args, context=context)


class Binds(asyncio.SelectorEventLoop):
    """Books what it can, and leaves the steps of tasks alone: they are C methods of a task."""

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        owner = THREAD.slot.owner
        if owner is not None and not isinstance(getattr(callback, "__self__", None), asyncio.Task):
            callback = bound(callback, owner)
        return super().call_soon(callback, *args, context=context)


class UvloopLooks(uvloop.Loop):
    """As `Looks`, on uvloop."""

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if THREAD.slot.owner is not None:
            pass
        return super().call_soon(callback, *args, context=context)


async def steps() -> float:
    """CPU nanoseconds of one step of a task."""
    begun = time.thread_time_ns()
    for _ in range(STEPS):
        await asyncio.sleep(0)
    return (time.thread_time_ns() - begun) / STEPS


def run(loop: Callable[[], asyncio.AbstractEventLoop], *, span: bool = False) -> float:
    """One step, in a span or outside of any."""
    slot = THREAD.slot
    with asyncio.Runner(loop_factory=loop) as runner:
        slot.owner = Owner(None, Touched(lambda where, exc: None, maximum=1), slot) if span else None
        try:
            return runner.run(steps())
        finally:
            slot.owner = None


def told_by_the_interpreter() -> float:
    """One step, with events on the code of `Handle._run`, through which each callback and each step goes."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    events = monitoring.events
    monitoring.use_tool_id(4, "benchmark")
    try:
        for event in (events.PY_START, events.PY_RETURN):
            monitoring.register_callback(4, event, lambda *_: None)
        monitoring.set_local_events(4, Handle._run.__code__, events.PY_START | events.PY_RETURN)
        return run(asyncio.SelectorEventLoop)
    finally:
        monitoring.set_local_events(4, Handle._run.__code__, 0)
        monitoring.free_tool_id(4)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    ways: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
        "a wrapper that looks, outside spans": (lambda: run(asyncio.SelectorEventLoop), lambda: run(Looks)),
        "a wrapper that books, in a span": (lambda: run(asyncio.SelectorEventLoop), lambda: run(Binds, span=True)),
        "a wrapper that looks, on uvloop": (lambda: run(uvloop.Loop), lambda: run(UvloopLooks)),
    }
    if sys.version_info >= (3, 12):
        ways["events on `Handle._run`, that do nothing"] = (
            lambda: run(asyncio.SelectorEventLoop),
            told_by_the_interpreter,
        )
    print(f"CPython {platform.python_version()}, {rounds} rounds of {STEPS} steps")
    print("| way | a step ns | added ns |\n|---|---|---|")
    for name, (plain, followed) in ways.items():
        pairs = []
        for _ in range(rounds):
            gc.collect()
            pairs.append((plain(), followed()))
        added = statistics.median(other - one for one, other in pairs)
        print(f"| {name} | {statistics.median(one for one, _ in pairs):.0f} | {added:.0f} |")


if __name__ == "__main__":
    main()
