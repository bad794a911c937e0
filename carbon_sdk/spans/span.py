"""The door of the spans: a tracked block, what it used, and what that weighed."""

import asyncio
import threading
import time
from dataclasses import dataclass
from numbers import Real
from typing import Protocol

from carbon_sdk.cpu.clock import LOCK, THREAD, Account, Clock, Outcome, Tally
from carbon_sdk.meters.meter import METHODS, Method

MAXIMUM_UNIT_TEXT = 100
_WAITING = threading.Lock()
MAXIMUM_AMOUNT = 1e12
"""Of a unit in one call: a record of many calls stays within what a collector takes, 1e15."""


class GridIntensity(Protocol):
    """What a span shows of the grid intensity that priced it."""

    @property
    def g_per_kwh(self) -> float:
        """Grams CO2e per kWh."""

    @property
    def source(self) -> str:
        """Who said so."""

    @property
    def zone(self) -> str:
        """The zone that answered."""

    @property
    def quality(self) -> str:
        """How good the value is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanShare:
    """What some CPU seconds of a span weighed.

    Args:
        cpu_seconds: The CPU seconds that this share stands for.
        energy_joules: Active joules of them; None where there was no reading.
        low_joules: Lower bound, where modelled.
        high_joules: Upper bound, where modelled.
        method: How the joules were known.
        emissions_g: Grams CO2e of them; None where unknown.
        intensity: The grid intensity that priced them.
        gap_cpu_seconds: Of the CPU seconds, those without a reading of joules.
    """

    cpu_seconds: float
    energy_joules: float | None
    low_joules: float | None = None
    high_joules: float | None = None
    method: Method | None = None
    emissions_g: float | None = None
    intensity: GridIntensity | None = None
    gap_cpu_seconds: float = 0.0


class Estimator(Protocol):
    """Somebody who can say at once what CPU seconds probably weighed."""

    def estimate(self, cpu_seconds: float, *, in_request: bool) -> SpanShare | None:
        """A provisional answer: the last closed window's joules per CPU second, or a reading on demand.

        Args:
            cpu_seconds: How many.
            in_request: A request is waiting, so no reading may be taken for it.

        Returns:
            The provisional share; None before there was any window.
        """


class Span:
    """A tracked block: what it used, and what that weighed.

    CPU seconds and joules are exclusive: a span nested in this one takes its own out of it. Joules are final when the
    window of the span's last CPU has closed; before that they are estimates and `provisional` is true.

    Args:
        account: Where it counts; None where nothing is measured.
        clock: The CPU account.
        estimator: Answers before the window has closed.
        parent: The span around it.
    """

    def __init__(
        self,
        account: Account | None,
        *,
        clock: Clock | None = None,
        estimator: Estimator | None = None,
        parent: "Span | None" = None,
    ) -> None:
        self.account = account
        self.parent = parent
        self.duration_seconds: float | None = None
        self._children: set[Span] = set()  # those that are not settled: of the others, what they used is enough
        self._settled_ns = 0
        self._clock = clock
        self._monotonic_ns = time.monotonic_ns if clock is None else clock.monotonic_ns
        self._estimator = estimator
        self._final = False
        self._waited_for: threading.Event | None = None  # made for whoever waits: most spans are never waited for
        self._share: SpanShare | None = None
        self._begun_ns = self._monotonic_ns()
        self.tally: Tally | None = None
        if account is not None and clock is not None:
            self.tally = Tally(account, clock.touched, THREAD.slot)
            self.tally.span = self
        if parent is not None:
            parent._children.add(self)

    @property
    def name(self) -> str | None:
        """Its name; None where nothing is measured."""
        return self.account.name if self.account else None

    @property
    def root(self) -> str | None:
        """The endpoint or job in which it runs."""
        return self.account.root if self.account else None

    @property
    def cpu_seconds(self) -> float | None:
        """CPU seconds so far, without those of nested spans; None where nothing is measured."""
        if self.tally is None or self._clock is None:
            return None
        return self._clock.used_ns(self.tally) / 1e9

    @property
    def inclusive_cpu_seconds(self) -> float | None:
        """CPU seconds so far, with those of nested spans."""
        if self.tally is None:
            return None
        whole_ns, spans = 0, [self]
        with LOCK:
            while spans:
                span = spans.pop()
                whole_ns += span._used_ns()
                spans += span._children
        return whole_ns / 1e9

    def _used_ns(self) -> int:
        """CPU nanoseconds of it and of what was nested in it and is settled."""
        own_ns = 0 if self.tally is None or self._clock is None else self._clock.used_ns(self.tally)
        return own_ns + self._settled_ns

    @property
    def approximate(self) -> bool:
        """The CPU seconds are not exact: the task was made before it could be followed."""
        return self.tally is not None and self.tally.approximate

    @property
    def provisional(self) -> bool:
        """Its joules are estimates: the window of its last CPU has not closed."""
        return not self._final

    @property
    def energy_joules(self) -> float | None:
        """Active joules; None where they are unknown, and before there was any window."""
        share = self._known()
        return None if share is None else share.energy_joules

    @property
    def energy_low_joules(self) -> float | None:
        """Lower bound, where modelled."""
        share = self._known()
        return None if share is None else share.low_joules

    @property
    def energy_high_joules(self) -> float | None:
        """Upper bound, where modelled."""
        share = self._known()
        return None if share is None else share.high_joules

    @property
    def energy_method(self) -> Method | None:
        """How the joules were known."""
        share = self._known()
        return None if share is None else share.method

    @property
    def emissions_g(self) -> float | None:
        """Grams CO2e; None where unknown."""
        share = self._known()
        return None if share is None else share.emissions_g

    @property
    def intensity(self) -> GridIntensity | None:
        """The grid intensity that priced it."""
        share = self._known()
        return None if share is None else share.intensity

    def count(self, unit: str, amount: float = 1.0) -> None:
        """Count functional units (tokens, images, rows), so that records show grams per unit.

        What cannot be counted is told once as a fault and counted there; it never raises.

        Args:
            unit: Name of the unit, 1 to 100 printable characters; from the 32nd name of a process on it is `other`.
            amount: How many, finite and at least 0.
        """
        if self.tally is None or self._clock is None:
            return
        if not isinstance(unit, str) or not 0 < len(unit) <= MAXIMUM_UNIT_TEXT or not unit.isprintable():
            self._clock.on_error("count", ValueError(f"{str(unit)[:60]!r} is no name of a unit"))
        elif not isinstance(amount, Real) or not 0 <= amount <= MAXIMUM_AMOUNT:
            self._clock.on_error("count", ValueError(f"{str(amount)[:60]} is no number of {unit[:60]}"))
        else:
            self.tally.count(self._clock.unit(unit), float(amount))

    def end(self, outcome: Outcome, *, repeated: bool = False) -> None:
        """The block has ended, which may have been a repetition."""
        duration_ns = self._monotonic_ns() - self._begun_ns
        self.duration_seconds = duration_ns / 1e9
        tally = self.tally
        if tally is None:
            self._settle_finally()
            return
        if self.parent is None and tally.account is not None and tally.account.kind == "worker":
            tally.finish(duration_ns, outcome, repeated=repeated)
        tally.ended = True
        tally.touch()

    def settle(self, share: SpanShare, *, final: bool) -> None:
        """Take what a closed window says of it; called by carbon_sdk's own thread."""
        self._share = share if self._share is None else _added(self._share, share)
        if final:
            self._settle_finally()

    def wait_settled(self, seconds: float = 2.0) -> bool:
        """Wait until the joules are final, at most so long; answers whether they are."""
        with _WAITING:
            waited_for = self._waited_for = self._waited_for or threading.Event()
        return self._final or waited_for.wait(seconds)  # set after `_final`, and looked for after it was made

    def _settle_finally(self) -> None:
        self._final = True
        with LOCK:
            around = self.parent
            while around is not None and around._final:  # its own children were taken over when it was settled
                around = around.parent
            if around is not None:
                around._settled_ns += self._used_ns()
                around._children.discard(self)
                around._children |= self._children
        if self._waited_for is not None:
            self._waited_for.set()

    async def settled(self, seconds: float = 5.0) -> bool:
        """`wait_settled`, without blocking the loop."""
        return await asyncio.get_running_loop().run_in_executor(None, self.wait_settled, seconds)

    def _known(self) -> SpanShare | None:
        """What is known now: settled shares, and an estimate of the CPU seconds that are not."""
        if self._final or self._estimator is None:
            return self._share
        booked = 0.0 if self._share is None else self._share.cpu_seconds
        open_seconds = max((self.cpu_seconds or 0.0) - booked, 0.0)
        in_request = self.root is not None and self.account is not None and self.root != self.name
        share = self._estimator.estimate(open_seconds, in_request=in_request)
        if share is None or self._share is None:
            return share
        return _added(self._share, share)


def _added(one: SpanShare, other: SpanShare) -> SpanShare:
    """Two shares of one span; a gap in one leaves the joules of the other, and says how much CPU it holds."""
    methods = {one.method, other.method} - {None}
    return SpanShare(
        cpu_seconds=one.cpu_seconds + other.cpu_seconds,
        energy_joules=_sum(one.energy_joules, other.energy_joules),
        low_joules=_sum(one.low_joules, other.low_joules),
        high_joules=_sum(one.high_joules, other.high_joules),
        method=next((method for method in reversed(METHODS) if method in methods), None),
        emissions_g=_sum(one.emissions_g, other.emissions_g),
        intensity=other.intensity or one.intensity,
        gap_cpu_seconds=one.gap_cpu_seconds + other.gap_cpu_seconds,
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other
