"""Doubles for tests of services that use carbon_sdk, and of carbon_sdk itself.

```python
async with Carbon(meters=[FakeMeter(watts=20.0)], provider=FixedIntensity(100.0), sinks={"record": sink}):
    ...
assert sink.emissions[0].energy_joules > 0
```
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from carbon_sdk.emission import Emission
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Quality, Signal
from carbon_sdk.meters.meter import Domain, Method, Reading, ScopeKind
from carbon_sdk.timing import Timing

NANOSECONDS = 1_000_000_000


class ManualClock:
    """Time that stands still until it is told to go on.

    Args:
        start: The UTC moment that it shows first.
    """

    def __init__(self, start: datetime = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._ns = 0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._ns += round(seconds * NANOSECONDS)

    def monotonic_ns(self) -> int:
        """Nanoseconds since the start."""
        return self._ns

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._ns / NANOSECONDS

    def utcnow(self) -> datetime:
        """The moment that it is."""
        return self._start + timedelta(microseconds=self._ns / 1000)

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and others run for a moment."""
        self.advance(seconds)
        await asyncio.sleep(0)

    @property
    def timing(self) -> Timing:
        """This clock for `Carbon(timing=...)`, with a chance that is always one half."""
        return Timing(utcnow=self.utcnow, monotonic=self.monotonic, sleep=self.sleep, chance=lambda: 0.5)


class FakeScope:
    """A scope whose busy CPU seconds a test sets.

    Args:
        cpus: Logical CPUs.
        kind: `machine` or `container`.
    """

    def __init__(self, *, cpus: float = 4.0, kind: ScopeKind = "machine") -> None:
        self._cpus = cpus
        self._kind = kind
        self.busy: float | None = 0.0

    @property
    def kind(self) -> ScopeKind:
        """As given."""
        return self._kind

    @property
    def cpus(self) -> float:
        """As given."""
        return self._cpus

    def busy_cpu_seconds(self) -> float | None:
        """What the test has set."""
        return self.busy


class FakeMeter:
    """A meter that draws the watts that a test says.

    Args:
        watts: Watts by domain, or of `package` alone; change `watts` to change the draw from now on.
        scope: Whose joules these are; its busy CPU follows the process where None.
        monotonic_ns: The clock that joules are counted by.
        method: How the joules are said to be known.
        low: Factor of the lower bound; None for no bounds.
        high: Factor of the upper bound.
    """

    name = "fake"
    basis = "a test's own watts"
    minimum_interval_seconds = 0.0
    maximum_interval_seconds = 60.0

    def __init__(
        self,
        watts: float | dict[Domain, float] = 10.0,
        *,
        scope: FakeScope | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        method: Method = "counter",
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        self.watts: dict[Domain, float] = dict(watts) if isinstance(watts, dict) else {"package": watts}
        self.failing: str | None = None
        """Why the next readings fail; None to succeed."""
        self.closed = False
        self._scope = scope or _ProcessScope()
        self._monotonic_ns = monotonic_ns
        self._method: Method = method
        self._low = low
        self._high = high
        self._last_ns: int | None = None

    @property
    def scope(self) -> FakeScope:
        """As given."""
        return self._scope

    def read(self) -> Sequence[Reading]:
        """Watts times the time since the last call; the first says nothing."""
        now, last = self._monotonic_ns(), self._last_ns
        self._last_ns = now
        readings = []
        for domain, watts in self.watts.items():
            joules = None if last is None or self.failing else watts * (now - last) / NANOSECONDS
            readings.append(
                Reading(
                    domain=domain,
                    energy_joules=joules,
                    method=self._method,
                    low_joules=None if joules is None or self._low is None else joules * self._low,
                    high_joules=None if joules is None or self._high is None else joules * self._high,
                    gap=self.failing,
                )
            )
        return readings

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class _ProcessScope(FakeScope):
    """A machine on which nothing but this process runs."""

    def busy_cpu_seconds(self) -> float:
        """CPU seconds of this process."""
        return time.process_time()


class FixedIntensity:
    """A provider that always answers the same, for every place and for the year that it is.

    Args:
        g_per_kwh: Grams CO2e per kWh.
        zone: The zone that answers; the one asked for unless given.
        quality: As it shall stand in records.
        utcnow: The clock; `ManualClock().utcnow` where a test passes time.
    """

    name = "fixed"
    signal: Signal = "average"
    emission_scope: EmissionScope = "lifecycle"

    def __init__(
        self,
        g_per_kwh: float = 400.0,
        *,
        zone: str | None = None,
        quality: Quality = "measured",
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._g_per_kwh = g_per_kwh
        self._zone = zone
        self._quality: Quality = quality
        self._utcnow = utcnow

    @property
    def answer(self) -> Intensity:
        """What it answers for Germany: for a test that needs an intensity and no provider."""
        return self.known(Place(zone="DE"))

    def known(self, place: Place) -> Intensity:
        """The answer, without waiting."""
        year = self._utcnow().year
        return Intensity(
            g_per_kwh=self._g_per_kwh,
            source=self.name,
            signal=self.signal,
            emission_scope=self.emission_scope,
            zone=self._zone or place.zone or str(place),
            quality=self._quality,
            observed_at=datetime(year, 1, 1, tzinfo=UTC),
            valid_until=datetime(year + 1, 1, 1, tzinfo=UTC),
        )

    async def intensity(self, place: Place) -> Intensity:
        """The answer."""
        return self.known(place)

    async def aclose(self) -> None:
        """Nothing is held."""


class RecordingSink:
    """Keeps every record that it is given."""

    def __init__(self) -> None:
        self.emissions: list[Emission] = []
        self.closed = False

    async def write(self, emissions: Sequence[Emission], /) -> None:
        """Keep a batch."""
        self.emissions.extend(emissions)

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True
