"""A process and what descends from it, read from /proc. Linux only.

A process is read before its children: one that ends between the two readings is then in neither, and in its parent's
next one, so that nothing is counted twice.
"""

import os
import time
from collections.abc import Iterator

NANOSECONDS = 1_000_000_000
PROC = "/proc"


def used_ns(pid: int) -> tuple[int, int]:
    """When a process started, and CPU nanoseconds of it, of its descendants that live and of those waited for.

    Args:
        pid: Its number.

    Returns:
        The start in clock ticks since boot, which tells two processes of one number apart; and nanoseconds.

    Raises:
        OSError: It is gone.
    """
    # the number of another process's clock, as clock_getcpuclockid(3) makes it (2: CPUCLOCK_SCHED, posix-timers.h)
    own_ns = time.clock_gettime_ns((~pid << 3) | 2)
    fields = _read(f"{PROC}/{pid}/stat").rpartition(b")")[2].split()
    waited_ns = (int(fields[13]) + int(fields[14])) * NANOSECONDS // os.sysconf("SC_CLK_TCK")  # cutime, cstime
    living_ns = 0
    for child in children(pid):
        try:
            living_ns += used_ns(child)[1]
        except OSError:  # it has just ended: its parent's next look holds it
            continue
    return int(fields[19]), own_ns + waited_ns + living_ns


def children(pid: int) -> Iterator[int]:
    """The living children of a process, and those that nobody has waited for; none where the kernel does not tell."""
    try:
        threads = os.listdir(f"{PROC}/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            found = _read(f"{PROC}/{pid}/task/{thread}/children").split()
        except OSError:  # the thread has ended, or the kernel has no such file (CONFIG_PROC_CHILDREN)
            continue
        yield from map(int, found)


def descendants(pid: int) -> Iterator[int]:
    """All that descends from a process, each before its own children."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def name(pid: int) -> str | None:
    """What the kernel calls a process; None where it is gone, or a zombie."""
    try:
        head, _, tail = _read(f"{PROC}/{pid}/stat").rpartition(b")")
    except OSError:
        return None
    return None if tail.split()[:1] == [b"Z"] else head.partition(b"(")[2].decode("utf-8", "replace")


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 65536)
    finally:
        os.close(file)
