"""A test of the whole way on this machine: CPU is burned in two overlapping spans, and the books are added up.

What a span burned is read from the thread's own CPU clock, beside the account that it checks. The rest of the machine
is what the ledger booked to it, not what is left over: a sum that is equal says something.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import cast

from carbon_sdk.cpu.clock import Account, Clock, drive, nobody
from carbon_sdk.meters.meter import CPU_DOMAINS, Domain, IdleRule, Meter, Method
from carbon_sdk.sampler import Sampler, Window
from carbon_sdk.spans.ledger import BACKGROUND, IdlePower, Ledger, Page
from carbon_sdk.spans.span import SpanShare
from carbon_sdk.spans.track import Track

BURN_SECONDS = 2.0
WINDOW_SECONDS = 0.5
"""Several windows, so that running spans are cut."""
TURN_SECONDS = {"long": 0.02, "short": 0.01}
"""CPU seconds of one turn of each span: the one gets twice the other's."""
MOVING_SECONDS = 10.0
"""How long to wait for counters that move every few seconds."""
BALANCE = 1e-9
"""Relative difference of sums in floating point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanResult:
    """What one span burned and what it was booked.

    Args:
        name: Its name.
        burned_cpu_seconds: CPU seconds that its work used, by the thread's CPU clock.
        booked_cpu_seconds: CPU seconds in its account.
    """

    name: str
    burned_cpu_seconds: float
    booked_cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The joules of one domain over the test.

    Args:
        domain: Which.
        method: How they were known.
        measured_joules: What the meter said; None where a window was a gap.
        gap: Why there are none; None where there are some.
        spans: Joules of each span, by its name.
        background_joules: Of this process outside the spans.
        rest_joules: Of others at the meter's scope.
        idle_joules: What would have been used anyway.
        unattributed_joules: Of nobody in particular.
    """

    domain: Domain
    method: Method
    measured_joules: float | None
    gap: str | None = None
    spans: Mapping[str, float] = field(default_factory=dict)
    background_joules: float = 0.0
    rest_joules: float = 0.0
    idle_joules: float = 0.0
    unattributed_joules: float = 0.0

    @property
    def booked_joules(self) -> float:
        """The sum of all that was booked."""
        booked = (*self.spans.values(), self.background_joules, self.rest_joules, self.idle_joules)
        return fsum((*booked, self.unattributed_joules))

    @property
    def balances(self) -> bool:
        """What was booked is what was measured; a gap has nothing to book."""
        if self.measured_joules is None:
            return True
        return abs(self.booked_joules - self.measured_joules) <= BALANCE * max(self.measured_joules, 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """What came out.

    Args:
        seconds: How long was measured.
        spans: The spans.
        background_cpu_seconds: CPU seconds of this process outside them.
        books: One for each domain.
        idle_rule: How idle was told from active.
        partial: A socket, device or domain is missing from the joules.
        faults: What went wrong on the way.
    """

    seconds: float
    spans: tuple[SpanResult, ...]
    background_cpu_seconds: float
    books: tuple[Book, ...]
    idle_rule: IdleRule
    partial: bool = False
    faults: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Some domain of the CPU has joules; a counter that stood still while the CPU was busy has none."""
        return any(book.measured_joules for book in self.books if book.domain in CPU_DOMAINS)

    @property
    def balances(self) -> bool:
        """The books of all domains balance."""
        return all(book.balances for book in self.books)


@dataclass(frozen=True, slots=True)
class _Burned:
    """What the work of one span used, by the thread's own CPU clock."""

    account: Account
    cpu_seconds: float


class _NoEstimate:
    """Nobody asks these spans before their windows have closed."""

    def estimate(self, cpu_seconds: float, *, in_request: bool) -> SpanShare | None:
        """Nothing is known before."""


async def _already() -> None:
    """The meters have been read before the first span opens."""


async def self_test(
    meters: Sequence[Meter], *, idle_power: IdlePower | None = None, seconds: float = BURN_SECONDS
) -> SelfTest:
    """Burn CPU in two overlapping spans and divide what the meters say.

    Args:
        meters: The CPU meter first; they are not closed.
        idle_power: Idle power as it is known.
        seconds: How long to burn.
    """
    faults: list[str] = []
    clock = Clock(on_error=lambda where, error: faults.append(f"{where}: {error}"))
    clock.start()
    clock.follow_loop()
    try:
        sampler = Sampler(meters, clock, interval_seconds=WINDOW_SECONDS)
        ledger = Ledger(idle_power=idle_power)
        await asyncio.to_thread(sampler.begin)
        burning = asyncio.create_task(_both(clock, seconds))
        pages = [ledger.book(window) async for window in _windows(sampler, burning)]
        return _result(pages, burning.result(), faults)
    finally:
        clock.stop()


async def _windows(sampler: Sampler, burning: "asyncio.Task[Sequence[_Burned]]") -> AsyncIterator[Window]:
    """The windows until the burning is done, and the one in which it ended, however long its counters take to move."""
    while not burning.done():
        await asyncio.wait([burning], timeout=sampler.seconds_to_boundary())
        window = await asyncio.to_thread(sampler.close_if_moved)
        if window is not None:
            yield window
    waiting_until = time.monotonic() + MOVING_SECONDS
    while window is None and time.monotonic() < waiting_until:
        await asyncio.sleep(sampler.seconds_to_boundary())
        window = await asyncio.to_thread(sampler.close_if_moved)
        if window is not None:
            yield window
    if window is None:
        yield await asyncio.to_thread(sampler.close)


async def _both(clock: Clock, seconds: float) -> Sequence[_Burned]:
    """Burn in both spans at once, their turns one after the other."""

    until = time.monotonic() + seconds

    async def burn(name: str, turn_seconds: float) -> _Burned:
        cpu_seconds = 0.0
        async with Track(name, source=lambda: (clock, _NoEstimate()), begun=_already) as span:
            while time.monotonic() < until:
                cpu_seconds += _turn(turn_seconds)
                await asyncio.sleep(0)
        assert span.account is not None, "the clock runs, so the span has an account"
        return _Burned(span.account, cpu_seconds)

    async def together() -> Sequence[_Burned]:
        return await asyncio.gather(*(burn(name, turn) for name, turn in TURN_SECONDS.items()))

    return cast(Sequence[_Burned], await drive(together(), nobody(clock.on_error)))


def _turn(seconds: float) -> float:
    """Use the CPU for so long; how long it was."""
    begun = time.thread_time()
    while (used := time.thread_time() - begun) < seconds:
        sum(range(1000))
    return used


def _result(pages: Sequence[Page], burned: Sequence[_Burned], faults: Sequence[str]) -> SelfTest:
    def cpu_seconds(account: Account) -> float:
        return fsum(page.entries[account].use.cpu_seconds for page in pages if account in page.entries)

    domains = dict.fromkeys(domain for page in pages for domain in page.measured)
    return SelfTest(
        seconds=fsum(page.seconds for page in pages),
        spans=tuple(
            SpanResult(
                name=one.account.name,
                burned_cpu_seconds=one.cpu_seconds,
                booked_cpu_seconds=cpu_seconds(one.account),
            )
            for one in burned
        ),
        background_cpu_seconds=cpu_seconds(BACKGROUND),
        books=tuple(_book(domain, pages, [one.account for one in burned]) for domain in domains),
        idle_rule=pages[-1].idle_rule,
        partial=any(page.partial for page in pages),
        faults=tuple(faults),
    )


def _book(domain: Domain, pages: Sequence[Page], accounts: Sequence[Account]) -> Book:
    """One domain over all windows; one window without joules leaves none."""
    gap = next((page.gaps[domain] for page in pages if domain in page.gaps), None)
    method = next(page.methods[domain] for page in reversed(pages) if domain in page.methods)
    if gap is not None:
        return Book(domain=domain, method=method, measured_joules=None, gap=gap)

    def of(account: Account) -> float:
        return fsum(page.entries[account].joules.get(domain, 0.0) for page in pages if account in page.entries)

    return Book(
        domain=domain,
        method=method,
        measured_joules=fsum(page.measured.get(domain) or 0.0 for page in pages),
        spans={account.name: of(account) for account in accounts},
        background_joules=of(BACKGROUND),
        rest_joules=fsum(page.rest.get(domain, 0.0) for page in pages),
        idle_joules=fsum(page.idle.get(domain, 0.0) for page in pages),
        unattributed_joules=fsum(page.unattributed.get(domain, 0.0) for page in pages),
    )
