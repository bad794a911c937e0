"""What reading a clock costs, and how exact steps are when they are clocked by it: alone, and with every core busy.

Steps of a span take turns with as much work of nobody's. Each burn reads its own thread's CPU clock as the truth; what
the loop and the driver use is counted as error. A rule is a `Clock` that was handed other clocks: wall time alone, the
thread's CPU clock alone, and both, as it is by default.
Run: `python benchmarks/clocks.py`.
"""

import argparse
import asyncio
import gc
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager

from carbon_sdk.cpu.clock import THREAD, Account, Clock, Tally, drive

CLOCKS: dict[str, Callable[[], int]] = {
    "time.monotonic_ns": time.monotonic_ns,
    "time.perf_counter_ns": time.perf_counter_ns,
    "time.thread_time_ns": time.thread_time_ns,
    "time.process_time_ns": time.process_time_ns,
}
RULES: dict[str, tuple[Callable[[], int], Callable[[], int]]] = {
    "wall": (time.monotonic_ns, time.monotonic_ns),
    "thread's CPU clock": (time.thread_time_ns, time.thread_time_ns),
    "wall, clamped by the CPU clock": (time.monotonic_ns, time.thread_time_ns),
}
"""By which clocks steps are clocked, and long ones clamped."""
JOB = Account("worker", "job", "job")
STEP_NS = (20_000, 200_000, 2_000_000, 20_000_000)
WORK_NS = 100_000_000
"""So much CPU in steps of each length."""


def cost_ns(read: Callable[[], int], calls: int = 200_000) -> float:
    """Nanoseconds of one call, the loop around it left out."""
    begun = time.thread_time_ns()
    for _ in range(calls):
        read()
    called = time.thread_time_ns()
    for _ in range(calls):
        pass
    return (2 * called - begun - time.thread_time_ns()) / calls


def burn(nanoseconds: int) -> int:
    """Use this thread's CPU; how much it was."""
    begun = time.thread_time_ns()
    while time.thread_time_ns() - begun < nanoseconds:
        pass
    return time.thread_time_ns() - begun


async def steps(step_ns: int) -> int:
    """Steps of this length; the CPU that they used."""
    used_ns = 0
    for _ in range(WORK_NS // step_ns):
        used_ns += burn(step_ns)
        await asyncio.sleep(0)
    return used_ns


async def error(rule: tuple[Callable[[], int], Callable[[], int]], step_ns: int) -> float:
    """What is booked for such steps, as a share of the truth, less one."""
    clock = Clock(on_error=print, monotonic_ns=rule[0], thread_time_ns=rule[1])
    clock.start()
    try:
        tally = Tally(JOB, clock.touched, THREAD.slot)
        used_ns, _ = await asyncio.gather(drive(steps(step_ns), tally), steps(step_ns))
        return float(tally.total_ns / used_ns - 1)
    finally:
        clock.stop()


def spin() -> None:
    """Use a core until it is ended."""
    while True:
        pass


@contextmanager
def neighbours(count: int):  # type: ignore[no-untyped-def]
    """So many processes that use all they get."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        time.sleep(0.5 * bool(count))
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    cores = len(os.sched_getaffinity(0))
    print(f"CPython {platform.python_version()}, {cores} cores, {rounds} rounds")
    print("| clock | ns a call |\n|---|---|")
    for name, read in CLOCKS.items():
        print(f"| `{name}` | {statistics.median(cost_ns(read) for _ in range(rounds)):.0f} |")
    columns = " | ".join(f"{step_ns // 1000} us" for step_ns in STEP_NS)
    print(f"\n| steps clocked by | others | {columns} |\n|---|---|{'---|' * len(STEP_NS)}")
    for others, count in (("none", 0), ("every core busy", cores)):
        errors: dict[str, list[list[float]]] = {name: [] for name in RULES}
        with neighbours(count):
            for _ in range(rounds):
                for name, rule in RULES.items():
                    gc.collect()
                    errors[name].append([asyncio.run(error(rule, step_ns)) for step_ns in STEP_NS])
        for name, rows in errors.items():
            medians = [statistics.median(values) for values in zip(*rows, strict=True)]
            print(f"| {name} | {others} | {' | '.join(f'{value:+.1%}' for value in medians)} |")


if __name__ == "__main__":
    main()
