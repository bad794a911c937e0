"""The CPU time of everything that descends from this process, without root.

This process becomes the **subreaper** of its descendants (prctl(2)): whoever loses its parent becomes a child of ours,
a daemon that forked twice too, and leaves us its usage when it ends. What has ended is counted by the kernel's own
account (`wait4`), to the microsecond; what lives is read from /proc.

Not seen: a descendant whose parent ignores SIGCHLD leaves nobody its usage, and what a service outside does on behalf
of the command (a container engine, a compile server that ran before) descends from somebody else. A control group sees
the former; where this user may make one, it is asked instead (`group.py`).
"""

import ctypes
import os
import signal
from collections.abc import Collection, Iterator
from typing import NamedTuple

from carbon_sdk.cpu import tree

PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
MICROSECONDS = 1_000_000


class Ended(NamedTuple):
    """A child that was reaped.

    Args:
        pid: Its number.
        exit_code: As it ended; None where a signal ended it.
        signal_number: The signal that ended it; None where it ended by itself.
    """

    pid: int
    exit_code: int | None
    signal_number: int | None


class Family:
    """All that descends from this process.

    Args:
        apart: Children that are none of the command's.
    """

    def __init__(self, *, apart: Collection[int] = ()) -> None:
        self._apart = frozenset(apart)
        self._reaped_ns = 0
        self._seen: set[int] = set()
        self._ended: set[int] = set()
        self.complete = _become_subreaper()
        """Whoever loses its parent comes to us; else it goes to somebody else, with what it used."""

    def reap(self) -> Iterator[Ended]:
        """Those of our children that have ended, adopted ones included."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._apart:
                continue
            self._reaped_ns += round((usage.ru_utime + usage.ru_stime) * MICROSECONDS) * 1000
            self._ended.add(pid)
            code = os.waitstatus_to_exitcode(status)
            yield Ended(pid, code if code >= 0 else None, -code if code < 0 else None)

    def cpu_ns(self) -> int:
        """CPU nanoseconds that all of them have used, those that have ended included."""
        living_ns = 0
        for pid in self._children():
            try:
                living_ns += tree.used_ns(pid)[1]
            except OSError:  # it has been reaped since
                continue
        return self._reaped_ns + living_ns

    def pids(self) -> set[int]:
        """Numbers of those that live, and of those that lived at the last question."""
        living = {pid for child in self._children() for pid in (child, *tree.descendants(child))}
        pids, self._seen = living | self._seen | self._ended, living
        self._ended = set()
        return pids

    def living(self) -> dict[int, str]:
        """Names of those that still run, by number."""
        found = {}
        for child in self._children():
            for pid in (child, *tree.descendants(child)):
                name = tree.name(pid)
                if name is not None:
                    found[pid] = name
        return found

    def _children(self) -> Iterator[int]:
        return (pid for pid in tree.children(os.getpid()) if pid not in self._apart)

    def signal(self, pid: int, number: int) -> None:
        """Send one of them a signal, if it still runs."""
        try:
            os.kill(pid, signal.Signals(number))
        except ProcessLookupError:
            return


def _become_subreaper() -> bool:
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
