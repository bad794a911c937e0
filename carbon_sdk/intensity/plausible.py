"""Which answers of a source are believed: finite, within bounds, of the place asked for, of a time that can be.

Pure rules, so that they are tested without a socket. What they refuse is counted and the next source is asked.
"""

import math
from datetime import datetime, timedelta
from typing import Literal

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Signal

When = Literal["now", "past", "coming"]
"""Which time a question was about."""

HIGHEST_G_PER_KWH = 2000.0
"""No whole grid is dirtier: coal is 820 g/kWh lifecycle at the median (IPCC AR5 WG3 Annex III), the worst plants stay
within about twice that."""
BY_A_TABLE = frozenset({"cloud_region", "metadata"})
"""Ways to know a place that leave its zone to our table of the clouds' regions."""
LONGEST_STEP = timedelta(days=366)
"""A value may describe a year, as a company's own table does, but not more."""
OLDEST = timedelta(hours=3)
"""How long past its validity a value may still serve: METHOD's limit for stale values."""
CLOCK_SKEW = timedelta(minutes=5)
"""How far our clock and a source's may differ before it is worth saying; NTP keeps them within a second."""


def is_plausible_g_per_kwh(value: object) -> bool:
    """Whether a value is a number from 0 to 2,000; True and False are none."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 <= value <= HIGHEST_G_PER_KWH
    )


def zone_answers(asked: str, answered: str) -> bool:
    """Whether a zone is the one asked for, one of its parts, or its parent: `DK` for `DK-DK1`, not `DE`."""
    return answered == asked or answered.startswith(f"{asked}-") or asked.startswith(f"{answered}-")


def checked(
    value: Intensity,
    *,
    source: str,
    signal: Signal,
    emission_scope: EmissionScope,
    place: Place,
    now: datetime,
    when: When,
) -> Intensity:
    """The value, if it can be believed.

    Args:
        value: What a source answered.
        source: Its name, for the message.
        signal: The signal that the source says it gives.
        emission_scope: The scope that it says it gives.
        place: What was asked.
        now: Our clock, UTC.
        when: Whether the present was asked for, the past, or what is coming.

    Raises:
        IntensityError: It cannot; the message says which of its parts and by how much.
    """
    problem = (
        _wrong_shape(value)
        or _wrong_number(value)
        or _wrong_kind(value, signal, emission_scope)
        or _wrong_place(value, place)
        or _wrong_time(value, now, when)
    )
    if problem:
        raise IntensityError(source, f"refused: {problem}")
    if when != "coming" and value.observed_at > now + CLOCK_SKEW:
        raise IntensityError(
            source,
            f"refused: observed_at {value.observed_at.isoformat()} lies "
            f"{(value.observed_at - now).total_seconds():.0f} s in the future; "
            f"this machine's clock says {now.isoformat()}",
            remedy="Set this machine's clock (NTP); if it is right, the source's is wrong",
        )
    return value


def _wrong_shape(value: object) -> str | None:
    """A provider is foreign code: what it hands over may be anything."""
    if not isinstance(value, Intensity):
        return f"a {type(value).__name__}, not an Intensity"
    for name, kind in (("observed_at", datetime), ("valid_until", datetime), ("zone", str)):
        if not isinstance(getattr(value, name), kind):
            return f"{name} is a {type(getattr(value, name)).__name__}"
    return None


def _wrong_number(value: Intensity) -> str | None:
    if is_plausible_g_per_kwh(value.g_per_kwh):
        return None
    return f"g_per_kwh is {value.g_per_kwh!r}, not a number from 0 to {HIGHEST_G_PER_KWH:g}"


def _wrong_kind(value: Intensity, signal: Signal, emission_scope: EmissionScope) -> str | None:
    if (value.signal, value.emission_scope) == (signal, emission_scope):
        return None
    return f"{value.signal}/{value.emission_scope} where {signal}/{emission_scope} was promised"


def _wrong_place(value: Intensity, place: Place) -> str | None:
    """A cloud's region may lie in another zone than our table says, as its source knows better, but not elsewhere."""
    if place.zone is None or zone_answers(place.zone, value.zone):
        return None
    if place.known_by in BY_A_TABLE and place.zone.split("-")[0] == value.zone.split("-")[0]:
        return None
    return f"zone {value.zone[:40]!r} answered for {place.zone!r}"


def _wrong_time(value: Intensity, now: datetime, when: When) -> str | None:
    start, end = value.observed_at, value.valid_until
    if start.utcoffset() is None or end.utcoffset() is None:
        return "a time without its offset"
    if not timedelta(0) < end - start <= LONGEST_STEP:
        return f"an interval from {start.isoformat()} to {end.isoformat()}"
    if when == "now" and end < now - OLDEST:
        return f"valid until {end.isoformat()}, more than {OLDEST} before {now.isoformat()}"
    return None
