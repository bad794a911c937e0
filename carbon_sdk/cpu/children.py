"""Child processes: what one used is booked to the span that started it, whoever waits for it.

A child is read by pid at each cut, with the descendants that it has at that moment, and once more when it has ended and
before it is reaped: that reading is exact, holds all descendants that were waited for, and leaves the child as it was
for whoever reaps it. Linux only. Nothing is added up over all children (`RUSAGE_CHILDREN`): those would be everybody's.
"""

import functools
import os
import sys
from collections import deque
from collections.abc import Callable

from carbon_sdk.cpu import tree
from carbon_sdk.cpu.driver import LOCK
from carbon_sdk.cpu.faults import Touched
from carbon_sdk.cpu.handover import Listener
from carbon_sdk.cpu.owner import Owner

SUPPORTED = sys.platform == "linux"
WAITID = {"x86_64": 247, "aarch64": 95, "riscv64": 95}
"""Numbers of the system call: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h (Linux 6.1)."""
SIGINFO_BYTES = 128  # SI_MAX_SIZE, include/uapi/asm-generic/siginfo.h
RUSAGE_LONGS = 18  # two timevals and 14 longs, include/uapi/linux/resource.h


class Child:
    """One child process.

    Args:
        pid: Its number.
        owner: Who started it.
    """

    __slots__ = ("booked_ns", "exact", "final_ns", "live_ns", "owner", "pid", "started")

    def __init__(self, pid: int, owner: Owner) -> None:
        self.pid = pid
        self.owner = owner
        self.started: int | None = None  # in ticks since boot, known after the first look: a pid may come again
        self.live_ns = 0  # written by the thread that cuts, no other
        self.final_ns: int | None = None
        self.booked_ns = 0
        self.exact = True

    @property
    def waiting_ns(self) -> int:
        """CPU nanoseconds seen that are not booked yet."""
        return max((self.live_ns if self.final_ns is None else self.final_ns) - self.booked_ns, 0)


class Children:
    """The children that the spans of one clock have started.

    Args:
        touched: The clock's; an owner with another is nobody of ours.
    """

    def __init__(self, touched: Touched) -> None:
        self.touched = touched
        self._living: dict[int, Child] = {}
        self._ended: deque[Child] = deque()
        self._listener: Listener | None = None

    def start(self) -> None:
        """Follow the children that are started from now on."""
        if self not in RUNNING:
            self._living.clear()
            self._ended.clear()
            RUNNING.append(self)

    def stop(self) -> None:
        """Follow no more of them."""
        if self in RUNNING:
            RUNNING.remove(self)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def add(self, pid: int, owner: Owner, *, seen_to_end: bool = True) -> None:
        """A span has started this child.

        Args:
            pid: Its number.
            owner: Whose it is.
            seen_to_end: `settle` is called before it is reaped. If not, it is read at each cut alone.
        """
        if self._listener is None:
            self._listener = Listener()
        before = self._living.pop(pid, None)
        if before is not None:  # somebody else has reaped it
            before.exact = False
            self._ended.append(before)
        child = self._living[pid] = Child(pid, owner)
        if not seen_to_end:
            self._look(child)  # its number may be another's by the next cut
            if not child.exact:
                self._ended.append(child)

    def settle(self, pid: int, *, wait: bool) -> None:
        """Take the last reading of a child that is about to be reaped.

        Args:
            pid: Its number.
            wait: Wait for its end; else nothing is done if it still runs.
        """
        child = self._living.get(pid)
        if child is None:
            return
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG))
            used_ns = 0 if ended is None else _ended_ns(pid)
        except OSError:  # reaped elsewhere: the next cut finds it gone
            return
        if ended is None:
            return
        self._hear()
        if self._living.pop(pid, None) is child:  # of several threads that wait for it, one books it
            if child.final_ns is None:
                child.final_ns = used_ns
            self._ended.append(child)

    def waiting_ns(self, owner: Owner) -> int:
        """CPU nanoseconds of an owner's children that no cut has booked yet."""
        children = [*self._living.values(), *self._ended]
        return sum(child.waiting_ns for child in children if child.owner is owner)

    def take(self) -> tuple[int, set[Owner]]:
        """Book what the children have used since the last cut.

        Returns:
            Their CPU nanoseconds, and the owners whose figure is not exact.
        """
        self._hear()
        ended = [self._ended.popleft() for _ in range(len(self._ended))]
        living = list(self._living.values())
        for child in living:
            self._look(child)
        taken_ns, inexact = 0, set()
        for child in (*ended, *living):
            given_ns = child.waiting_ns
            if not child.exact:
                inexact.add(child.owner)
            if given_ns == 0 and child.exact:
                continue
            child.booked_ns += given_ns
            taken_ns += given_ns
            owner = child.owner
            with LOCK:
                owner.other_ns += given_ns
            if not owner.dirty:
                owner.touch()
        return taken_ns, inexact

    def _look(self, child: Child) -> None:
        """Read a living child; one that is gone was reaped where we could not see it."""
        try:
            started, used_ns = tree.used_ns(child.pid)
        except OSError:
            started, used_ns = -1, 0
        if child.started is None and started >= 0:
            child.started = started
        if started >= 0 and started == child.started:
            child.live_ns = max(child.live_ns, used_ns)
        elif self._living.get(child.pid) is child:
            del self._living[child.pid]
            child.exact = False

    def _hear(self) -> None:
        """Leave the children that measure themselves to themselves, from where their own account begins."""
        if self._listener is None:
            return
        for used_ns, pids in self._listener.heard():
            for pid in pids:
                child = self._living.get(pid)
                if child is not None and child.final_ns is None:
                    child.final_ns = max(used_ns, child.live_ns)


RUNNING: list[Children] = []
"""Those of the clocks that run: one, as a rule."""


def started(pid: int, owner: Owner, *, seen_to_end: bool = True) -> None:
    """A child was started in a span; `seen_to_end` where `ending` is told before it is reaped."""
    for children in RUNNING:
        if children.touched is owner.touched:
            try:
                children.add(pid, owner, seen_to_end=seen_to_end)
            except Exception as exc:
                if not owner.spoil("cpu.children", exc):
                    raise


def ending(pid: int, *, wait: bool) -> None:
    """A child is about to be reaped; `wait` where whoever reaps it waits for its end."""
    for children in RUNNING:
        try:
            children.settle(pid, wait=wait)
        except Exception as exc:
            if not children.touched.fault("cpu.children", exc):
                raise


@functools.cache
def _waitid() -> Callable[[int], int | None] | None:
    """The system call, which gives the usage too, of a child that stays as it is; the C library's drops it."""
    number = WAITID.get(os.uname().machine)
    if number is None or sys.maxsize < 2**32:
        return None
    try:
        import ctypes  # noqa: PLC0415  # 3 ms, and some builds have none
    except ImportError:
        return None
    call = ctypes.CDLL(None, use_errno=True).syscall

    def read(pid: int) -> int | None:
        info, usage = (ctypes.c_char * SIGINFO_BYTES)(), (ctypes.c_long * RUSAGE_LONGS)()
        how = os.WEXITED | os.WNOWAIT | os.WNOHANG
        arguments = ctypes.c_long(number), ctypes.c_int(os.P_PID), ctypes.c_int(pid), info, ctypes.c_int(how), usage
        if call(*arguments) != 0:
            return None
        return ((usage[0] + usage[2]) * 1_000_000 + usage[1] + usage[3]) * 1000

    return read


def _ended_ns(pid: int) -> int:
    """CPU nanoseconds of a child that has ended and is not reaped, and of its descendants that were waited for."""
    read = _waitid()
    used_ns = read(pid) if read is not None else None
    return tree.used_ns(pid)[1] if used_ns is None else used_ns
