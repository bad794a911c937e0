"""Reads everything at each boundary and yields windows.

A window is the time between two readings of everything. Boundaries lie at multiples of the sample interval on the
monotonic clock, which all processes of a kernel share, so that all of them cut at the same moments.

A reading between boundaries (a tracked block asks for its joules) adds to the open window and cuts no account.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from carbon_sdk.cpu.accounts import Cut
from carbon_sdk.meters.meter import CPU_DOMAINS, Domain, Meter, Method, Reading, Scope

NANOSECONDS = 1_000_000_000
UNREAD = "the meters had not been read yet"


class CPUBook(Protocol):
    """Knows what each account of this process has used."""

    def cut(self) -> Cut:
        """CPU by account since the last cut."""


class Energy(NamedTuple):
    """The joules of one domain over one window; None is a gap, and says why."""

    domain: Domain
    joules: float | None
    method: Method
    low_joules: float | None = None
    high_joules: float | None = None
    partial: bool = False
    gap: str | None = None
    idle_joules: float | None = None
    process_share: float | None = None

    @property
    def of_cpu(self) -> bool:
        """Divided by CPU time: package, dram, psys."""
        return self.domain in CPU_DOMAINS


class Window(NamedTuple):
    """What was read between two boundaries.

    Args:
        started_at: UTC, a label only.
        ended_at: UTC, a label only.
        seconds: Length on the monotonic clock.
        energies: One for each domain.
        busy_cpu_seconds: CPU that everything at the meter's scope used (B); None when it cannot be known.
        cpus: Logical CPUs at the meter's scope (N).
        container_cpu_seconds: CPU that this process's container used; None when it cannot be known.
        cut: CPU by account, and of the process (P).
    """

    started_at: datetime
    ended_at: datetime
    seconds: float
    energies: tuple[Energy, ...]
    busy_cpu_seconds: float | None
    cpus: float
    container_cpu_seconds: float | None
    cut: Cut


@dataclass(slots=True)
class _Tally:
    """The readings of one domain since the last boundary, added up."""

    joules: float = 0.0
    low: float = 0.0
    high: float = 0.0
    idle: float | None = 0.0
    process: float | None = 0.0
    method: Method = "counter"
    bounded: bool = False
    partial: bool = False
    gap: str | None = None
    waiting: bool = False

    def add(self, reading: Reading) -> None:
        self.method = reading.method
        self.partial |= reading.partial
        self.waiting = reading.waiting
        if reading.waiting:
            return
        joules = _amount(reading.energy_joules)
        if joules is None:
            told = "no reading before this window" if reading.energy_joules is None else "a reading that cannot be"
            self.gap = reading.gap or self.gap or told
            return
        low, high = _amount(reading.low_joules), _amount(reading.high_joules)
        self.joules += joules
        self.low += joules if low is None else low
        self.high += joules if high is None else high
        self.bounded |= low is not None
        idle = _amount(reading.idle_joules)
        self.idle = None if self.idle is None or idle is None else self.idle + min(idle, joules)
        share = _amount(reading.process_share)
        if self.process is not None:
            self.process = None if share is None else self.process + share * max(joules - (idle or 0.0), 0.0)

    def energy(self, domain: Domain) -> Energy:
        gap = "the counter had not moved by the end of the window" if self.waiting else self.gap
        if gap is not None:
            return Energy(domain=domain, joules=None, method=self.method, partial=self.partial, gap=gap)
        active = self.joules - (self.idle or 0.0)
        share = None if self.process is None else min(self.process / active, 1.0) if active > 0 else 0.0
        return Energy(
            domain=domain,
            joules=self.joules,
            method=self.method,
            low_joules=self.low if self.bounded else None,
            high_joules=self.high if self.bounded else None,
            partial=self.partial,
            idle_joules=self.idle,
            process_share=share,
        )


class Sampler:
    """Yields the windows of one process.

    Args:
        meters: The CPU meter first, then others; empty where nothing can be measured.
        clock: The CPU account.
        container: This process's container, where it has limits of its own; None otherwise.
        interval_seconds: Length of a window; made longer, in whole multiples, where a meter needs more.
        since_ns: When the CPU account began, on the monotonic clock; now when None.
        busy_before: Busy CPU seconds at the meters' scope at that moment; as they are now when None.
        monotonic_ns: Monotonic nanoseconds.
        utcnow: UTC, for labels.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        clock: CPUBook,
        *,
        container: Scope | None = None,
        interval_seconds: float = 1.0,
        since_ns: int | None = None,
        busy_before: float | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._meters = tuple(meters)
        self._clock = clock
        self._container = container
        self._monotonic_ns = monotonic_ns
        self._utcnow = utcnow
        longest = max((meter.minimum_interval_seconds for meter in meters), default=0.0)
        self._step_ns = round(interval_seconds * NANOSECONDS) * max(1, -int(-longest // interval_seconds))
        self._lock = threading.Lock()
        self._tallies: dict[Domain, _Tally] = {}
        now_ns = monotonic_ns()
        self._read_ns = self._started_ns = now_ns if since_ns is None else since_ns
        self._started_at = utcnow() - timedelta(seconds=(now_ns - self._started_ns) / NANOSECONDS)
        self._scope = self._meters[0].scope if self._meters else None
        self._busy = self._busy_now() if busy_before is None else busy_before
        self._contained = self._contained_now()

    def begin(self) -> Window:
        """Take the meters' first reading: the first window begins here.

        Returns:
            What came before it: CPU was counted already and joules were not, so it is a gap.
        """
        with self._lock:
            self._read()
            for tally in self._tallies.values():
                tally.gap, tally.waiting = UNREAD, False
            return self._cut()

    def seconds_to_boundary(self) -> float:
        """How long until the next boundary; never less than a tenth of a window, so that no window is a sliver."""
        now = self._monotonic_ns()
        wait = self._step_ns - now % self._step_ns
        if wait < self._step_ns // 10:
            wait += self._step_ns
        return wait / NANOSECONDS

    def close(self) -> Window:
        """Read everything, close the open window and begin the next."""
        with self._lock:
            self._read()
            return self._cut()

    def close_if_moved(self) -> Window | None:
        """`close`; None while the counters of a meter have not moved: the window goes on until they do."""
        with self._lock:
            self._read()
            if any(tally.waiting for tally in self._tallies.values()):
                return None
            return self._cut()

    def peek(self, process_cpu_seconds: float) -> Window | None:
        """The open window so far, without accounts, for a provisional answer; None when it is too short to say
        anything.

        Args:
            process_cpu_seconds: CPU of this process since the last boundary.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            shortest = max((meter.minimum_interval_seconds for meter in self._meters), default=0.0)
            if not self._meters or self._monotonic_ns() - self._read_ns < max(shortest, 0.1) * NANOSECONDS:
                return None
            self._read()
            now = self._utcnow()
            return Window(
                started_at=self._started_at,
                ended_at=max(now, self._started_at),
                seconds=(self._read_ns - self._started_ns) / NANOSECONDS,
                energies=tuple(tally.energy(domain) for domain, tally in self._tallies.items()),
                busy_cpu_seconds=_difference(self._busy_now(), self._busy),
                cpus=self._scope.cpus if self._scope else 0.0,
                container_cpu_seconds=None,
                cut=Cut(accounts={}, spans=(), process_cpu_seconds=process_cpu_seconds, late_cpu_seconds=0.0),
            )
        finally:
            self._lock.release()

    def _cut(self) -> Window:
        busy, contained = self._busy_now(), self._contained_now()
        cut = self._clock.cut()
        now, now_utc = self._read_ns, self._utcnow()
        window = Window(
            started_at=self._started_at,
            ended_at=max(now_utc, self._started_at),
            seconds=(now - self._started_ns) / NANOSECONDS,
            energies=tuple(tally.energy(domain) for domain, tally in self._tallies.items()),
            busy_cpu_seconds=_difference(busy, self._busy),
            cpus=self._scope.cpus if self._scope else 0.0,
            container_cpu_seconds=_difference(contained, self._contained),
            cut=cut,
        )
        self._busy, self._contained = busy, contained
        self._tallies = {}
        self._started_ns, self._started_at = now, now_utc
        return window

    def _read(self) -> None:
        now = self._monotonic_ns()
        stretch = (now - self._read_ns) / NANOSECONDS
        self._read_ns = now
        for meter in self._meters:
            too_long = stretch > meter.maximum_interval_seconds
            for reading in meter.read():
                tally = self._tallies.setdefault(reading.domain, _Tally())
                tally.add(reading)
                if too_long:
                    tally.gap = f"{stretch:.0f} s between two readings is more than {meter.name} can bridge"

    def _busy_now(self) -> float | None:
        return self._scope.busy_cpu_seconds() if self._scope else None

    def _contained_now(self) -> float | None:
        return self._container.busy_cpu_seconds() if self._container else None


def _amount(value: float | None) -> float | None:
    """What a meter said, which may be anybody's; None too where nothing can have it: NaN, infinite, below zero."""
    return value if value is not None and 0.0 <= value < math.inf else None


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else max(now - before, 0.0)
