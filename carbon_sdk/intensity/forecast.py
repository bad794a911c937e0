"""When and where is it greenest: rules over forecasts, and two questions asked with them.

A forecast is a series of intervals, each with one value. The mean over a window of fixed length is smallest where the
window begins or ends at the edge of an interval, or at the ends of the time allowed; so only those are compared.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import ForecastProvider, Intensity, Place

LOOK_SOON = timedelta(minutes=1)
"""Once the forecast says green and the value does not: the next value is due, and a cache asks up to a minute late."""
LOOK_AGAIN = timedelta(minutes=15)
"""A forecast is read anew at least so often while waiting: sources replace theirs every 5 to 60 minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of time in one zone.

    Args:
        start: UTC.
        end: UTC.
        zone: The zone whose forecast this is.
        g_per_kwh: Mean over the window.
    """

    start: datetime
    end: datetime
    zone: str
    g_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Greenest:
    """The greenest window, and what it saves.

    Args:
        window: When and where.
        now_g_per_kwh: What starting at once in the first place would weigh; None where that is not known.
        source: Whose forecast it is.
    """

    window: Window
    now_g_per_kwh: float | None
    source: str

    @property
    def saving_g_per_kwh(self) -> float | None:
        """Grams saved on each kWh against starting at once; None where that is not known."""
        return None if self.now_g_per_kwh is None else self.now_g_per_kwh - self.window.g_per_kwh


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """How waiting ended.

    Args:
        green: The limit was met; else the time was up.
        intensity: The value at the end.
        seconds: How long it took.
    """

    green: bool
    intensity: Intensity
    seconds: float


def mean_g_per_kwh(values: Sequence[Intensity], start: datetime, end: datetime) -> float | None:
    """Mean over [start, end) weighted by time; None where the values do not cover all of it.

    Args:
        values: Intervals in order, without overlaps.
        start: Begin.
        end: End, after the begin.
    """
    covered = weighted = 0.0
    for value in values:
        shared = (min(value.valid_until, end) - max(value.observed_at, start)).total_seconds()
        if shared > 0:
            covered += shared
            weighted += shared * value.g_per_kwh
    span = (end - start).total_seconds()
    return weighted / span if covered >= span - 1e-6 else None


def greenest(values: Sequence[Intensity], *, duration: timedelta, after: datetime, before: datetime) -> Window | None:
    """The window of that length with the smallest mean; of equal ones the earliest. None where none fits.

    Args:
        values: A forecast, in order, without overlaps.
        duration: How long the work takes, more than 0.
        after: Earliest start.
        before: Latest end.
    """
    best: Window | None = None
    for start in sorted(set(_starts(values, duration, after, before))):
        mean = mean_g_per_kwh(values, start, start + duration)
        if mean is not None and (best is None or mean < best.g_per_kwh):
            best = Window(start=start, end=start + duration, zone=values[0].zone, g_per_kwh=mean)
    return best


def first_at_most(values: Sequence[Intensity], max_g_per_kwh: float, now: datetime) -> datetime | None:
    """When the forecast first falls to the limit; None where it never does."""
    for value in values:
        if value.g_per_kwh <= max_g_per_kwh and value.valid_until > now:
            return max(value.observed_at, now)
    return None


async def greenest_window(
    provider: ForecastProvider,
    places: Sequence[Place],
    *,
    duration: timedelta,
    before: datetime,
    utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Greenest:
    """The greenest window before a deadline, over one or more places.

    Args:
        provider: Whom to ask.
        places: The first is where the work would run at once.
        duration: How long the work takes.
        before: When it must be done, with a time zone.
        utcnow: Clock.

    Raises:
        IntensityError: There is no forecast, none is long enough, or the places' forecasts cannot be compared.
        ValueError: The duration is not positive, the deadline has no time zone, or it comes before the work can end.
    """
    now = utcnow()
    if duration <= timedelta(0):
        raise ValueError(f"duration must be positive, not {duration}")
    if before.utcoffset() is None:
        raise ValueError("before needs a time zone: datetime.now(UTC) + timedelta(hours=8)")
    if now + duration > before:
        raise ValueError(f"{duration} do not fit before {before.isoformat()}")
    forecasts, problems = await _forecasts(provider, places)
    found = [
        (window, values)
        for values in forecasts.values()
        if (window := greenest(values, duration=duration, after=now, before=before)) is not None
    ]
    if not found:
        problems.append(f"no forecast covers {duration} before {before.astimezone(UTC).isoformat()}")
        raise IntensityError(provider.name, "; ".join(problems))
    window, values = min(found, key=lambda one: (one[0].g_per_kwh, one[0].start))
    home = forecasts.get(places[0])
    at_once = None if home is None else mean_g_per_kwh(home, now, now + duration)
    return Greenest(window=window, now_g_per_kwh=at_once, source=values[0].source)


async def wait_until_green(
    provider: ForecastProvider,
    place: Place,
    *,
    max_g_per_kwh: float,
    at_most: timedelta,
    utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Waited:
    """Wait until the grid is as clean as wanted, or the time is up.

    Args:
        provider: Whom to ask.
        place: Where the work would run.
        max_g_per_kwh: The limit.
        at_most: The longest wait.
        utcnow: Clock.
        sleep: How to wait.

    Raises:
        IntensityError: It is not green now, and there is no forecast by which to wait: said at once.
    """
    began = utcnow()
    deadline = began + at_most
    value = await provider.intensity(place)
    coming: Sequence[Intensity] = () if value.g_per_kwh <= max_g_per_kwh else await provider.forecast(place)
    while True:
        now = utcnow()
        if value.g_per_kwh <= max_g_per_kwh or now >= deadline:
            green = value.g_per_kwh <= max_g_per_kwh
            return Waited(green=green, intensity=value, seconds=(now - began).total_seconds())
        green_from = first_at_most(coming, max_g_per_kwh, now)
        if green_from is not None and green_from <= now:
            green_from = now + LOOK_SOON
        until = min(deadline, now + LOOK_AGAIN, green_from or deadline)
        await sleep(max((until - now).total_seconds(), 1.0))
        value = await provider.intensity(place)
        try:
            coming = await provider.forecast(place)
        except IntensityError:
            coming = [one for one in coming if one.valid_until > utcnow()]


def _starts(values: Sequence[Intensity], duration: timedelta, after: datetime, before: datetime) -> Iterator[datetime]:
    latest = before - duration
    for edge in (after, latest, *(value.observed_at for value in values), *(value.valid_until for value in values)):
        for start in (edge, edge - duration):
            if after <= start <= latest:
                yield start


async def _forecasts(
    provider: ForecastProvider, places: Sequence[Place]
) -> tuple[dict[Place, Sequence[Intensity]], list[str]]:
    """Each place's forecast, and why some have none. What is compared must be of one kind."""
    answers = await asyncio.gather(*(provider.forecast(place) for place in places), return_exceptions=True)
    forecasts: dict[Place, Sequence[Intensity]] = {}
    problems: list[str] = []
    for place, answer in zip(places, answers, strict=True):
        if isinstance(answer, IntensityError):
            problems.append(f"{place}: {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        elif answer:
            forecasts[place] = answer
    kinds = {(value.signal, value.emission_scope) for values in forecasts.values() for value in values}
    if len(kinds) > 1:
        shown = " and ".join(sorted("/".join(kind) for kind in kinds))
        raise IntensityError(provider.name, f"the places' forecasts are of different kinds, {shown}: not compared")
    return forecasts, problems
