"""Whose step runs on this thread now, and how long it has used the CPU.

A **step** of a coroutine is synchronous: from the moment it is resumed to the moment it suspends, its thread runs
nothing else. So one **slot** per thread says whose step runs, and since when. Whoever begins a step closes the stretch
that ran until then, and whoever ends one gives the slot back; a stretch is booked to one **tally**.

The clock is the monotonic one, which costs a tenth of the thread's CPU clock. It also counts time in which the thread
was not running, so a stretch of `LONG_NS` or more reads the thread's CPU clock too and is clamped to what the thread
can have used since the last such reading, less what was booked since; and a step whose last such reading is older than
`STALE_NS` takes one when it begins, or CPU used outside spans would loosen the clamp.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from types import coroutine
from typing import Any

from carbon_sdk.cpu.faults import OnError, Touched
from carbon_sdk.cpu.owner import Owner, outlasting

LONG_NS = 100_000  # shorter stretches are booked by the wall clock: a scheduler's slice is 3 ms and more
STALE_NS = 100_000  # a reading is 0.6 us, so 0.6 % of the CPU at most; CPU used outside spans loosens the clamp

monotonic_ns: Callable[[], int] = time.monotonic_ns
thread_time_ns: Callable[[], int] = time.thread_time_ns


def read_by(monotonic: Callable[[], int], thread_time: Callable[[], int]) -> None:
    """Read these clocks from now on: they are the process's, as its threads are, whoever measures."""
    global monotonic_ns, thread_time_ns  # looked up as globals, at the price of a constant
    monotonic_ns, thread_time_ns = monotonic, thread_time


def _no_loop() -> bool:
    return False


class Slot:
    """Who is running on one thread, and the last reading of its clocks."""

    __slots__ = (
        "__weakref__",
        "booked_ns",
        "cells",
        "clock",
        "clock_id",
        "cpu_ns",
        "driven",
        "looked",
        "loop",
        "loop_runs",
        "owner",
        "read_ns",
        "start_ns",
        "total_ns",
    )

    def __init__(self) -> None:
        self.owner: Owner | None = None
        self.driven: object = False  # true, or who does it: when the running step suspends, its owner goes with it
        self.loop: object = None  # whose tasks are followed on this thread, by `clock`
        self.loop_runs: Callable[[], bool] = _no_loop  # 3.11 asks the system which loop runs: 200 ns
        self.clock: Any = None
        self.cells: dict[Any, Any] = {}  # of the middleware: an endpoint's tally on this thread, by its route
        self.looked = False  # a cut looks at what runs on any thread: who ends meanwhile takes the lock
        self.start_ns = 0
        self.total_ns = 0
        self.begin_thread()

    def begin_thread(self) -> None:
        """Take the first reading of the calling thread: a new one, or the one that goes on in a forked child."""
        self.clock_id: int | None = None
        try:
            self.reread(monotonic_ns())
            read = getattr(time, "pthread_getcpuclockid", None)
            self.clock_id = int(read(threading.get_ident())) if read is not None else None
        except Exception:  # read anew when a stretch begins, which tells if that fails too
            self.cpu_ns = self.read_ns = self.booked_ns = 0
        with SLOTS_LOCK:
            SLOTS.add(self)

    def follow(self, loop: Any, clock: Any) -> None:
        """Its tasks are followed from now on; no loop, no clock: nobody's are."""
        self.loop, self.clock, self.cells = loop, clock, {}
        self.loop_runs = _no_loop if loop is None else loop.is_running

    def begin(self, owner: Owner | None, now_ns: int) -> None:
        """Begin a stretch; the one before must be closed."""
        if now_ns - self.read_ns > STALE_NS:
            self.reread(now_ns)
        self.owner = owner
        self.start_ns = now_ns

    def reread(self, now_ns: int) -> None:
        """Take a new reading of the thread's CPU clock before a step, the last one being stale."""
        self.cpu_ns = thread_time_ns()
        self.read_ns = now_ns
        self.booked_ns = 0

    def close(self, now_ns: int) -> None:
        """Book the stretch that ran until now to the running owner."""
        owner = self.owner
        if owner is None:
            return
        stretch_ns = now_ns - self.start_ns
        if stretch_ns >= LONG_NS:
            stretch_ns = self._exact(stretch_ns, now_ns)
        else:
            self.booked_ns += stretch_ns
        self.total_ns += stretch_ns
        if owner.slot is self:
            owner.ns += stretch_ns
        else:
            with LOCK:
                owner.other_ns += stretch_ns
        self.start_ns = now_ns
        if not owner.dirty:
            owner.touch()

    def switch(self, owner: Owner | None) -> Owner | None:
        """Close the running stretch and begin one of another owner; answers who ran until now."""
        before = self.owner
        try:
            now_ns = monotonic_ns()
            self.close(now_ns)
            self.begin(owner, now_ns)
        except Exception as exc:
            if not self.lose(exc, before, owner):
                raise
        return before

    def lose(self, exc: Exception, *owners: Owner | None) -> bool:
        """A clock could not be read: what runs is nobody's until the next stretch begins.

        Args:
            exc: What came of it.
            owners: Of the stretch that should have ended, and of the one that should have begun.

        Returns:
            False where the exception is the app's, and has to be raised again.
        """
        self.owner = None
        known = [owner for owner in owners if owner is not None]
        for owner in known:
            owner.approximate = True
        return not known or known[0].touched.fault("cpu.clock", exc)

    def open_ns(self) -> int:
        """CPU nanoseconds of the running stretch so far, read from any thread."""
        if self.owner is None:
            return 0
        stretch_ns = monotonic_ns() - self.start_ns
        if stretch_ns < LONG_NS:
            return 0
        if self.clock_id is None:
            return stretch_ns
        try:
            used_ns = time.clock_gettime_ns(self.clock_id) - self.cpu_ns - self.booked_ns
        except OSError:  # the thread has ended
            return 0
        return max(0, min(stretch_ns, used_ns))

    def _exact(self, stretch_ns: int, now_ns: int) -> int:
        """Clamp a long stretch to what the thread can have used, by a reading of its CPU clock."""
        cpu_ns = thread_time_ns()
        bound_ns = cpu_ns - self.cpu_ns - self.booked_ns
        self.cpu_ns = cpu_ns
        self.read_ns = now_ns
        self.booked_ns = 0
        return max(0, min(stretch_ns, bound_ns))


SLOTS: "weakref.WeakSet[Slot]" = weakref.WeakSet()
"""The slot of every living thread that has run a step: a thread is the process's, whoever measures it."""
SLOTS_LOCK = threading.RLock()
LOCK = threading.Lock()
"""Guards what owners are given from threads that are not their own. Nothing that the garbage collector tracks is made
while it is held: a generator that the collector closes books too, and would wait for ever."""


class _Thread(threading.local):
    """The calling thread's slot, made when first asked for."""

    def __init__(self) -> None:
        self.slot = Slot()


THREAD = _Thread()
LOOSE: ContextVar[Owner | None] = ContextVar("carbon_sdk_loose", default=None)
"""The open span of a task that nobody can drive or watch; whoever inherits it after its end is not charged to it."""


def current() -> Owner | None:
    """Whose what the calling code makes is: tasks, threads, children."""
    owner = THREAD.slot.owner
    if owner is None:
        owner = LOOSE.get()
        if owner is not None and owner.ended:
            return None
    return owner


def _in_child() -> None:
    """In a forked child one thread goes on, with a CPU clock of its own that begins at zero; it owns nothing yet."""
    LOCK._at_fork_reinit()  # type: ignore[attr-defined]  # a thread that the child does not have may have held it
    slot = THREAD.slot
    slot.owner = None
    slot.follow(None, None)
    SLOTS.clear()
    slot.begin_thread()
    SLOTS_LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=SLOTS_LOCK.acquire, after_in_parent=SLOTS_LOCK.release, after_in_child=_in_child)


def nobody(on_error: OnError) -> Owner:
    """Owns the steps of a task on this thread while no span is open in it: nobody asks what it was given."""
    return Owner(None, Touched(on_error, maximum=1), THREAD.slot)


NOT_STARTED = object()
LOST = Owner.__new__(Owner)
"""Stands where a step's end could not be read: the coroutine goes on, and nobody clocks it any more."""
LOST.ended = True


@coroutine
def drive(  # noqa: PLR0912, PLR0915  # as the last sentence below says
    inner: Coroutine[Any, Any, Any], owner: Owner, waiting_for: Any = NOT_STARTED
) -> Generator[Any, Any, Any]:
    """Run a coroutine, each of its steps booked to its owner.

    A span that a step leaves open owns the steps after it. Exceptions, cancellation and closing pass through. Where a
    clock cannot be read, the coroutine goes on without us. The dozen lines that begin and end a step stand here and not
    in functions: two calls would cost a step a third of its price.

    Args:
        inner: The coroutine.
        owner: Who owns its first step.
        waiting_for: What it suspended on, where its first step was taken elsewhere.

    Returns:
        What the coroutine returns.
    """
    thrown: BaseException | None = None
    value: Any = None
    send = inner.send
    whose = owner
    while True:
        if waiting_for is not NOT_STARTED:
            value = None
            try:
                value = yield waiting_for
            except BaseException as exc:  # cancellation, `throw`, `close`: all of it is the inner one's to see
                thrown = exc
        if owner is not whose and owner.ended:
            if owner is LOST:
                break
            owner = outlasting(owner, whose)
        slot = THREAD.slot
        outer = slot.owner
        driven = slot.driven
        try:
            now_ns = monotonic_ns()
            if outer is not None:
                slot.close(now_ns)
            if now_ns - slot.read_ns > STALE_NS:
                slot.reread(now_ns)
        except Exception as exc:
            if not slot.lose(exc, owner, outer):
                thrown = exc
            break
        slot.owner = owner
        slot.driven = True
        slot.start_ns = now_ns
        try:
            waiting_for = send(value) if thrown is None else inner.throw(thrown)
        except StopIteration as stop:
            return stop.value
        finally:
            thrown = None
            slot.driven = driven
            running = slot.owner
            try:
                now_ns = monotonic_ns()
                stretch_ns = now_ns - slot.start_ns
                if running is not None and running.slot is slot and stretch_ns < LONG_NS:  # as `slot.close` does
                    slot.booked_ns += stretch_ns
                    slot.total_ns += stretch_ns
                    running.ns += stretch_ns
                    if not running.dirty:
                        running.touch()
                else:
                    slot.close(now_ns)
                owner = running or owner
                slot.owner = outer
                slot.start_ns = now_ns
            except Exception as exc:
                ours, owner = slot.lose(exc, running or owner, outer), LOST
                if not ours:
                    raise
    return (yield from undriven(inner, value=value, thrown=thrown))


@coroutine
def undriven(
    inner: Coroutine[Any, Any, Any],
    waiting_for: Any = NOT_STARTED,
    *,
    value: Any = None,
    thrown: BaseException | None = None,
) -> Generator[Any, Any, Any]:
    """Run what is left of a coroutine as its loop would without us.

    Args:
        inner: The coroutine.
        waiting_for: What it suspended on; its next step is taken at once where it did not.
        value: What that step is sent.
        thrown: What is thrown in instead.

    Returns:
        What the coroutine returns.
    """
    while True:
        if waiting_for is not NOT_STARTED:
            value = thrown = None
            try:
                value = yield waiting_for
            except BaseException as exc:
                thrown = exc
        try:
            waiting_for = inner.send(value) if thrown is None else inner.throw(thrown)
        except StopIteration as stop:
            return stop.value
