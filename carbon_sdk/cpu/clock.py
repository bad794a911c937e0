"""The door of the CPU account: who used the CPU of this process, window by window."""

import asyncio
import operator
import threading
import time
from collections.abc import Callable

from carbon_sdk.cpu import handover, watch
from carbon_sdk.cpu.accounts import OTHER, SDK, Account, AccountKind, Cut, Origin, Outcome, SpanUse, Use
from carbon_sdk.cpu.children import Children
from carbon_sdk.cpu.driver import (
    LOCK,
    LONG_NS,
    LOOSE,
    SLOTS,
    SLOTS_LOCK,
    STALE_NS,
    THREAD,
    Slot,
    current,
    drive,
    nobody,
    read_by,
    undriven,
)
from carbon_sdk.cpu.faults import OnError, Touched
from carbon_sdk.cpu.hooks import bound, follow_callbacks, follow_children, follow_tasks, follow_threads
from carbon_sdk.cpu.owner import Owner, Tally
from carbon_sdk.cpu.tasks import TaskFactory, followed
from carbon_sdk.cpu.watch import Watch, follow, in_loop

__all__ = [
    "LOCK",
    "LONG_NS",
    "LOOSE",
    "OTHER",
    "SDK",
    "STALE_NS",
    "THREAD",
    "Account",
    "AccountKind",
    "Clock",
    "Cut",
    "Origin",
    "Outcome",
    "Owner",
    "Slot",
    "SpanUse",
    "Tally",
    "Touched",
    "Use",
    "Watch",
    "bound",
    "current",
    "drive",
    "follow",
    "followed",
    "in_loop",
    "nobody",
    "undriven",
]


MAXIMUM_UNITS = 31
"""Names of functional units in one process; later ones are `other`. A collector takes 32 in one record."""


class Clock:
    """Knows what each account of this process has used.

    Args:
        maximum_accounts: Accounts of names that the app did not fix beforehand; what comes later is `other`.
        on_error: Told of an error of ours: where, and what.
        monotonic_ns: Monotonic nanoseconds: what steps are clocked by.
        thread_time_ns: CPU nanoseconds of the calling thread.
    """

    def __init__(
        self,
        *,
        maximum_accounts: int = 1000,
        on_error: OnError,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        thread_time_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self.monotonic_ns = monotonic_ns
        self.thread_time_ns = thread_time_ns
        self._maximum_accounts = maximum_accounts
        self.on_error = on_error
        self._lock = threading.Lock()
        self._factories: list[TaskFactory] = []
        self._reset()

    def _reset(self) -> None:
        self.touched = Touched(self.on_error)
        self._children = Children(self.touched)
        self._accounts: dict[Account, Account] = {}
        self._units: set[str] = set()
        self._gpu_open: dict[Tally, None] = {}
        self._gpu_ns: dict[Tally, float] = {}
        self._gpu_moment_ns = time.monotonic_ns()
        self._process_ns = time.process_time_ns()
        self.started_ns = time.monotonic_ns()
        """When this account began, on the monotonic clock."""
        self._own_ns: int | None = None
        self._own_thread: int | None = None
        self.running = False

    def start(self) -> None:
        """Follow threads, and the tasks of the running loop; a second call does nothing more."""
        with self._lock:
            self._put(follow_threads)
            self._put(follow_children)
            if not self.running:
                self._process_ns = time.process_time_ns()
                self._children.start()
                self.started_ns = time.monotonic_ns()
                read_by(self.monotonic_ns, self.thread_time_ns)
                self.running = True

    def stop(self) -> None:
        """Follow nobody from now on."""
        with self._lock:
            self.running = False
            read_by(time.monotonic_ns, time.thread_time_ns)
            self._children.stop()
            for factory in self._factories:
                factory.active = False
            self._factories.clear()
            watch.stop()
            for slot in _slots():
                slot.follow(None, None)

    def after_fork(self, *, on_error: OnError) -> None:
        """In a child: forget everything of the parent."""
        self.on_error = on_error
        self._lock = threading.Lock()
        self._factories = []
        watch.stop()
        self._children.stop()
        self._reset()

    def own_thread(self) -> None:
        """The calling thread is carbon_sdk's own: its CPU is the account `sdk`."""
        self._own_thread = threading.get_ident()
        self._own_ns = 0
        try:
            handover.tell(self._process_ns)
        except OSError as exc:  # no sockets here: a parent that is measured too books this process once more
            self.on_error("cpu.handover", exc)

    def follow_loop(self, *, every_task: bool = False) -> None:
        """Follow the tasks that are made in the running loop from now on; cheap where they are followed already.

        Args:
            every_task: Also those that are made outside spans, so that a span which opens in one is exact.
        """
        loop = asyncio.get_running_loop()
        slot = THREAD.slot
        if slot.loop is loop and slot.clock is self and not every_task:
            return
        with self._lock:
            factory = follow_tasks(loop)
            if every_task and factory.otherwise is None:
                factory.otherwise = nobody(self.on_error)
            if factory not in self._factories:
                self._factories.append(factory)
        self._put(follow_threads)
        self._put(follow_callbacks)
        self._put(follow_children)
        slot.follow(loop, self)

    def _put(self, hook: Callable[[], None]) -> None:
        """Wrap some foreign names; those of a version that has other ones are not followed, and that is told."""
        try:
            hook()
        except Exception as exc:
            if not self.touched.fault("cpu.hooks", exc):
                raise

    def account(self, account: Account, *, known: bool = False) -> Account:
        """The account itself; when there are too many, that without its origin, or `other`.

        Args:
            account: What is wanted.
            known: Its name comes from the app's own routes, so it keeps its place, but not every origin beside it.
        """
        if (known and account.origin is None) or account in self._accounts:
            return account
        if len(self._accounts) >= self._maximum_accounts:
            return OTHER if account.origin is None else self.account(account._replace(origin=None), known=known)
        return self._accounts.setdefault(account, account)

    def unit(self, name: str) -> str:
        """The name of a functional unit itself, or `other` when there are too many, as of accounts."""
        if name in self._units:
            return name
        if len(self._units) >= MAXIMUM_UNITS:
            return "other"
        self._units.add(name)
        return name

    def move_gpu(self, tally: Tally | None, *, opened: bool = False) -> None:
        """Divide the time since the last move evenly among the spans that use a GPU, then let one open or end."""
        now_ns = self.monotonic_ns()
        with self._lock:
            part = (now_ns - self._gpu_moment_ns) / max(len(self._gpu_open), 1)
            for each in self._gpu_open:
                self._gpu_ns[each] = self._gpu_ns.get(each, 0.0) + part
            self._gpu_moment_ns = now_ns
            if tally is None:
                return
            if opened:
                self._gpu_open[tally] = None
            else:
                self._gpu_open.pop(tally, None)
            tally.touch()

    def used_ns(self, owner: Owner) -> int:
        """CPU nanoseconds of an owner so far, with those of its children that no cut has booked yet."""
        return owner.total_ns + self._children.waiting_ns(owner)

    def cut(self) -> Cut:
        """CPU by account since the last cut; steps that run now are cut. Called by carbon_sdk's own thread."""
        slots = _slots()
        for slot in slots:
            slot.looked = True
        try:
            return self._cut(slots)
        finally:
            for slot in slots:
                slot.looked = False

    def _cut(self, slots: list[Slot]) -> Cut:
        self.move_gpu(None)
        children_ns, inexact = self._children.take()
        for parent in inexact:
            if isinstance(parent, Tally):
                parent.approximate = True
        gpu, self._gpu_ns = self._gpu_ns, {}
        open_ns: dict[Owner, int] = {}
        for slot in slots:
            owner = slot.owner
            if owner is not None and owner.touched is self.touched:
                open_ns[owner] = open_ns.get(owner, 0) + self._open_ns(slot)
        accounts: dict[Account, Use] = {}
        spans: list[SpanUse] = []
        waiting: list[Owner] = []
        seen: set[int] = set()
        for owner in [*self._drained(), *open_ns, *gpu]:
            if id(owner) in seen:
                continue
            seen.add(id(owner))
            gpu_seconds = gpu.get(owner, 0.0) / 1e9 if isinstance(owner, Tally) else 0.0
            try:
                account = owner.resolve()
                if account is not None:
                    owner.dirty = False
                    self._take(owner, account, open_ns.get(owner, 0), gpu_seconds, accounts, spans)
                    accounts[account].approximate |= owner in inexact
            except Exception as exc:  # the others' books close all the same
                owner.spoil("cpu.cut", exc)
                account = None
            if account is None and not owner.ended:
                waiting.append(owner)
        self.touched.extend(waiting)
        now_ns = time.process_time_ns()
        process_ns, self._process_ns = now_ns - self._process_ns, now_ns
        self._take_own(accounts)
        used = (process_ns + children_ns) / 1e9
        return Cut(accounts=accounts, spans=spans, process_cpu_seconds=used, late_cpu_seconds=0.0)

    def _open_ns(self, slot: Slot) -> int:
        try:
            return slot.open_ns()
        except Exception as exc:  # it is booked when the stretch ends
            self.touched.fault("cpu.cut", exc)
            return 0

    def _drained(self) -> list[Owner]:
        drained = []
        while self.touched:
            drained.append(self.touched.popleft())
        return drained

    def _take(
        self,
        owner: Owner,
        account: Account,
        open_ns: int,
        gpu_seconds: float,
        accounts: dict[Account, Use],
        spans: list[SpanUse],
    ) -> None:
        use = accounts.setdefault(account, Use())
        with LOCK:
            given_ns = max(owner.total_ns + (0 if owner.ended else open_ns) - owner.taken_ns, 0)
            owner.taken_ns += given_ns
        if isinstance(owner, Tally):
            _take_counts(owner, use)
        use.approximate |= owner.approximate
        if owner.shown is None:  # an endpoint's tally goes on: what has spoilt one window does not spoil the next
            owner.approximate = False
        use.cpu_seconds += given_ns / 1e9
        use.gpu_seconds += gpu_seconds
        if owner.shown is not None:
            spans.append(SpanUse(owner.shown, given_ns / 1e9, gpu_seconds, owner.ended))

    def _take_own(self, accounts: dict[Account, Use]) -> None:
        if self._own_ns is None or threading.get_ident() != self._own_thread:
            return
        now_ns = self.thread_time_ns()
        accounts[SDK] = Use(cpu_seconds=(now_ns - self._own_ns) / 1e9)
        self._own_ns = now_ns


def _slots() -> list[Slot]:
    with SLOTS_LOCK:
        return list(SLOTS)


def _take_counts(tally: Tally, use: Use) -> None:
    """Give what a tally has counted since the last cut to a window's use."""
    counted = tally.requests, tally.errors, tally.timeouts, tally.cancelled, tally.retries, tally.duration_ns
    requests, errors, timeouts, cancelled, retries, duration_ns = map(operator.sub, counted, tally.taken)
    use.requests += requests
    use.errors += errors
    use.timeouts += timeouts
    use.cancelled += cancelled
    use.retries += retries
    use.duration_seconds += duration_ns / 1e9
    tally.taken = counted
    for unit, amount in list(tally.units.items()):
        use.units[unit] = use.units.get(unit, 0.0) + amount - tally.taken_units.get(unit, 0.0)
        tally.taken_units[unit] = amount
