"""A source that a test scripts, and the clocks it runs by."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from carbon_sdk.intensity.cached import Cached
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Quality, Signal
from carbon_sdk.intensity.remedy import Fault, to_logger
from carbon_sdk.testing import ManualClock

DE = Place(zone="DE")
HOUR = timedelta(hours=1)


def value(
    g_per_kwh: float = 100.0,
    *,
    start: datetime,
    step: timedelta = HOUR,
    zone: str = "DE",
    source: str = "live",
    quality: Quality = "measured",
    signal: Signal = "average",
    emission_scope: EmissionScope = "lifecycle",
) -> Intensity:
    """One value of an interval that begins at `start`."""
    return Intensity(
        g_per_kwh=g_per_kwh,
        source=source,
        signal=signal,
        emission_scope=emission_scope,
        zone=zone,
        quality=quality,
        observed_at=start,
        valid_until=start + step,
    )


def latest(now: datetime, **changes: Any) -> dict[str, Any]:
    """What Electricity Maps answers truthfully for the running hour in Germany, with some fields changed."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    return {
        "zone": "DE",
        "carbonIntensity": 302,
        "datetime": hour.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "updatedAt": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "createdAt": hour.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "emissionFactorType": "lifecycle",
        "isEstimated": False,
        "estimationMethod": None,
        "temporalGranularity": "hourly",
        **changes,
    }


class Source:
    """Answers what its script says: a value, an error, or what a function of the place returns.

    Args:
        clock: Tells the time.
        name: Its name.
        emission_scope: What it says that it gives.
        signal: Likewise.
    """

    def __init__(
        self,
        clock: ManualClock,
        *,
        name: str = "live",
        emission_scope: EmissionScope = "lifecycle",
        signal: Signal = "average",
    ) -> None:
        self.clock = clock
        self.name = name
        self.emission_scope: EmissionScope = emission_scope
        self.signal: Signal = signal
        self.asked: list[Place] = []
        self.answer: Callable[[Place], Any] = self.hourly
        self.gate: asyncio.Event | None = None
        self.closed = 0
        self.series: Sequence[Intensity] | Exception = ()
        self.series_asked = 0

    def hourly(self, place: Place) -> Intensity:
        """100 g/kWh for the running hour."""
        start = self.clock.utcnow().replace(minute=0, second=0, microsecond=0)
        return value(
            start=start,
            zone=place.zone or "DE",
            source=self.name,
            signal=self.signal,
            emission_scope=self.emission_scope,
        )

    def fails(self, error: BaseException) -> None:
        """From now on this is raised."""

        def answer(_place: Place) -> Intensity:
            raise error

        self.answer = answer

    def says(self, one: Any) -> None:
        """From now on this is the answer."""
        self.answer = lambda _place: one

    async def intensity(self, place: Place) -> Intensity:
        """As scripted."""
        self.asked.append(place)
        if self.gate is not None:
            await self.gate.wait()
        answer: Intensity = self.answer(place)
        return answer

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """As scripted."""
        del place
        self.series_asked += 1
        if isinstance(self.series, Exception):
            raise self.series
        return self.series

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """As scripted."""
        del place, start, end
        return await self.forecast(DE)

    async def aclose(self) -> None:
        """Counts."""
        self.closed += 1


def seconds(clock: ManualClock) -> Callable[[], float]:
    """The clock's monotonic seconds."""
    return lambda: clock.monotonic_ns() / 1e9


def cached(source: Source, *, chance: float = 0.5, patience_seconds: float = 5.0, fault: Fault = to_logger) -> Cached:
    """A cache by the source's clock."""
    return Cached(
        source,
        utcnow=source.clock.utcnow,
        monotonic=seconds(source.clock),
        chance=lambda: chance,
        patience_seconds=patience_seconds,
        fault=fault,
    )
