"""Stretches of time, with what they cost: the machine's joules, or this process's.

A stretch begins and ends whenever somebody says so, in the middle of a window as a rule, and cuts none: of the window
in which it begins or ends it takes the part that lies in it. Two **modes**:

* `machine`: all joules of the machine, by the time that the stretch covers. Two at once both show the machine.
* `process`: joules of this process. They are divided among the stretches that are open, so that none is counted twice.
  Each takes what its own span used: its thread, the tasks, threads and child processes that were started in it. What
  the process used outside them (threads of native libraries, threads from before) goes to the innermost open stretches,
  evenly where several are open side by side.

A stretch that ends in the middle of a window takes a reading outside the grid, or, where the last one is too fresh to
say anything, the power of the window before.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol

from carbon_sdk.cost import Cost, factors_of, of_machine, pool_of, rates_of
from carbon_sdk.cpu.clock import THREAD, Account
from carbon_sdk.emission import grams
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.spans.ledger import Page
from carbon_sdk.spans.span import Span

Mode = Literal["machine", "process"]
NANOSECONDS = 1_000_000_000


class Peek(Protocol):
    """Reads the open window so far, without cutting it."""

    def __call__(self) -> Page | None:
        """The page of the open window; None where the last reading is too fresh to say more."""


OpenSpan = Callable[[str], tuple[Span, Callable[[], None]]]
"""Opens a span of this name on the calling thread; answers it, and how to end it."""


class Stretch:
    """A stretch that is open, or has ended.

    Args:
        mode: Whose joules.
        price: What a kWh weighs now; None while that is not known.
        outer: The stretch in which it was begun.
    """

    def __init__(self, mode: Mode, price: Callable[[], Intensity | None], outer: "Stretch | None") -> None:
        self.mode = mode
        self.outer = outer
        self.cost = Cost()
        self.process = os.getpid()
        self.account: Account | None = None
        self.span: Span | None = None
        self.end_span: Callable[[], None] = _nothing
        self.inner = 0  # open stretches that were begun in it
        self.seen_ns = 0  # of its span's CPU, at the last mark
        self.closed_seconds = 0.0  # of its span's CPU, what lies in windows that are closed
        self.open_seconds = 0.0  # of the open window: how much of it lies in this stretch
        self.pool_ns = 0.0  # of the open window: CPU that no span used
        self._price = price
        self._unpriced_joules = 0.0

    def used_ns(self) -> int:
        """CPU nanoseconds of its span, a step that still runs included."""
        tally = None if self.span is None else self.span.tally
        if tally is None:
            return 0
        slot = tally.slot
        running = slot is not THREAD.slot and slot.owner is tally
        return tally.total_ns + (slot.open_ns() if running else 0)

    def add(self, part: Cost) -> None:
        """Add what a window cost, at the price of now; what has no price yet gets the next one."""
        price = self._price()
        self._unpriced_joules += part.energy_joules or 0.0
        if price is not None:
            part.grams = grams(self._unpriced_joules, price.g_per_kwh)
            part.intensity = price
            self._unpriced_joules = 0.0
        self.cost.add(part)


class Stretches:
    """The stretches of one process.

    Args:
        open_span: Opens the span of one that is to be the process's.
        process_cpu_ns: CPU nanoseconds of this process.
        monotonic_ns: Monotonic nanoseconds.
    """

    def __init__(
        self,
        open_span: OpenSpan,
        *,
        process_cpu_ns: Callable[[], int] = time.process_time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._open_span = open_span
        self._process_cpu_ns = process_cpu_ns
        self._monotonic_ns = monotonic_ns
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._open: list[Stretch] = []
        self._ended_seconds: dict[Account, float] = {}
        self._cpu_ns, self._now_ns = self._process_cpu_ns(), self._monotonic_ns()
        self._pool_ns = 0.0
        self._last: Page | None = None

    def begin(
        self, name: str, mode: Mode, *, price: Callable[[], Intensity | None], outer: Stretch | None = None
    ) -> Stretch:
        """A stretch begins here.

        Args:
            name: Of its account, where it is the process's.
            mode: Whose joules.
            price: What a kWh weighs now; None while that is not known.
            outer: The stretch in which it is begun, if any.
        """
        if self._process != os.getpid():
            self._begin_anew()
        stretch = Stretch(mode, price, outer)
        with self._lock:
            self._mark()
            taken = {one.account.name for one in self._open if one.account is not None}
            if mode == "process":
                name = next(one for one in _names(name) if one not in taken)
                stretch.span, stretch.end_span = self._open_span(name)
                stretch.account = stretch.span.account
            if outer is not None:
                outer.inner += 1
            self._open.append(stretch)
        return stretch

    def end(self, stretch: Stretch, peek: Peek) -> Cost:
        """It ends here; a second call answers the same."""
        if stretch.process != os.getpid():  # of the process that this one was forked from
            return stretch.cost
        page = peek()
        with self._lock:
            if stretch in self._open:
                self._mark()
                used = stretch.used_ns() / NANOSECONDS
                stretch.add(self._open_part(stretch, page, used))
                if stretch.account is not None:
                    own = used - stretch.closed_seconds
                    self._ended_seconds[stretch.account] = self._ended_seconds.get(stretch.account, 0.0) + own
                self._open.remove(stretch)
                if stretch.outer is not None:
                    stretch.outer.inner -= 1
                stretch.end_span()
                _leave(stretch)
        return stretch.cost

    def so_far(self, stretch: Stretch, peek: Peek) -> Cost:
        """What it has cost by now; it goes on."""
        page = peek()
        total = Cost()
        with self._lock:
            total.add(stretch.cost)
            if stretch in self._open:
                self._mark()
                part = self._open_part(stretch, page, stretch.used_ns() / NANOSECONDS)
                shown = Stretch(stretch.mode, stretch._price, None)
                shown._unpriced_joules = stretch._unpriced_joules
                shown.add(part)
                total.add(shown.cost)
        return total

    def window_closed(self, page: Page) -> None:
        """A window has just closed; called by carbon_sdk's own thread."""
        if self._process != os.getpid():
            return
        with self._lock:
            self._mark()
            own = {stretch.account: stretch for stretch in self._open if stretch.account is not None}
            pool = pool_of(page, {*own, *self._ended_seconds})
            for stretch in self._open:
                if stretch.mode == "machine":
                    part = of_machine(page, stretch.open_seconds)
                else:
                    part = self._of_process(stretch, page, pool)
                stretch.add(part)
                stretch.open_seconds = stretch.pool_ns = 0.0
            self._ended_seconds.clear()
            self._pool_ns = 0.0
            if any(joules is not None for joules in page.measured.values()):
                self._last = page

    def _mark(self) -> None:
        """Give what passed since the last mark to the stretches that are open."""
        slot = THREAD.slot
        slot.switch(slot.owner)  # what this thread used up to here is booked
        now_ns, cpu_ns = self._monotonic_ns(), self._process_cpu_ns()
        seconds = (now_ns - self._now_ns) / NANOSECONDS
        pool_ns = float(cpu_ns - self._cpu_ns)
        self._now_ns, self._cpu_ns = now_ns, cpu_ns
        innermost = [one for one in self._open if one.mode == "process" and not one.inner]
        for stretch in self._open:
            stretch.open_seconds += seconds
            if stretch.mode == "process":
                used_ns = stretch.used_ns()
                pool_ns -= used_ns - stretch.seen_ns
                stretch.seen_ns = used_ns
        pool_ns = max(pool_ns, 0.0)
        self._pool_ns += pool_ns
        for stretch in innermost:
            stretch.pool_ns += pool_ns / len(innermost)

    def _of_process(self, stretch: Stretch, page: Page, pool: Mapping[str, float]) -> Cost:
        """Its part of a closed window: its own account, and its part of what no account has."""
        part = Cost(seconds=stretch.open_seconds)
        if page.gap_seconds:
            part.gap_seconds = stretch.open_seconds
        entry = None if stretch.account is None else page.entries.get(stretch.account)
        if entry is not None and stretch.account is not None:
            used = entry.use.cpu_seconds
            ended = self._ended_seconds.get(stretch.account, 0.0)
            share = max(1.0 - ended / used, 0.0) if used > 0.0 else 1.0
            part.cpu_seconds += used * share
            stretch.closed_seconds += used * share
            part.low_joules, part.high_joules = entry.low_joules * share, entry.high_joules * share
            for domain, joules in entry.joules.items():
                part.joules[domain] = joules * share
        weight = stretch.pool_ns / self._pool_ns if self._pool_ns else 0.0
        part.cpu_seconds += pool["cpu"] * weight
        part.low_joules += pool["low"] * weight
        part.high_joules += pool["high"] * weight
        for domain, known in page.measured.items():
            if known is not None:
                part.joules[domain] = part.joules.get(domain, 0.0) + pool.get(domain, 0.0) * weight
                part.methods[domain] = page.methods[domain]
        return part

    def _open_part(self, stretch: Stretch, page: Page | None, used: float) -> Cost:
        """Its part of the window that is still open: by a reading of now, else at the power of the window before."""
        known = page or self._last
        if known is None or all(joules is None for joules in known.measured.values()):
            return Cost(seconds=stretch.open_seconds, gap_seconds=stretch.open_seconds)
        if stretch.mode == "machine":
            if page is not None:
                return of_machine(page, min(stretch.open_seconds, page.seconds))
            part = of_machine(known, known.seconds)
            factor = stretch.open_seconds / known.seconds if known.seconds else 0.0
            part.joules = {domain: joules * factor for domain, joules in part.joules.items()}
            part.low_joules, part.high_joules = part.low_joules * factor, part.high_joules * factor
            part.seconds = stretch.open_seconds
            return part
        cpu = max(used - stretch.closed_seconds, 0.0) + stretch.pool_ns / NANOSECONDS
        part = Cost(seconds=stretch.open_seconds, cpu_seconds=cpu)
        rates = dict(rates_of(known))
        if not rates:
            part.gap_seconds = stretch.open_seconds
        low, high = factors_of(known)
        for domain, rate in rates.items():
            part.joules[domain] = rate * cpu
            part.methods[domain] = known.methods[domain]
            part.low_joules += rate * cpu * low
            part.high_joules += rate * cpu * high
        return part


def _leave(stretch: Stretch) -> None:
    """No thread goes on in a span that has ended, though it was ended out of order, or by another thread."""
    tally = None if stretch.span is None else stretch.span.tally
    for slot in {THREAD.slot, *(() if tally is None else (tally.slot,))}:
        if slot.owner is not None and slot.owner.ended:
            slot.owner = None


def _names(name: str) -> Iterator[str]:
    """The name, then the name with a number: two stretches that are open at once have two accounts."""
    yield name
    number = 2
    while True:
        yield f"{name} {number}"
        number += 1


def _nothing() -> None:
    """There is no span to end."""
