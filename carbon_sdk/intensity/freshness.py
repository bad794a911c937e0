"""How long a value lives, and when to ask again: pure rules over times.

```
observed_at ........ valid_until .... refresh_from .... fresh_until .............. usable_until
              fresh               |   fresh, asked ahead   |      stale, marked         |  gone
```
A source may publish its next value once the last one's interval is over, so asking before `valid_until` brings nothing.
Up to 60 s at random follow, that many machines do not ask in the same second.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from carbon_sdk.intensity.plausible import OLDEST

SPREAD = timedelta(seconds=60)
"""Longest random time that a value lives past its validity."""
LONGEST_FRESH = timedelta(hours=24)
"""A value is asked for once a day at least, however long it says that it holds."""
FIRST_REST_SECONDS = 60.0
LONGEST_REST_SECONDS = 900.0
"""Between two questions when the source keeps answering with an interval that is over."""
FIRST_BACKOFF_SECONDS = 30.0
LONGEST_BACKOFF_SECONDS = 1800.0
FIRST_CREDENTIALS_BACKOFF_SECONDS = 600.0
"""A refused key is repaired by a person: a few calls in the first hour are enough to see it."""
LONGEST_CREDENTIALS_BACKOFF_SECONDS = 3600.0
UNKNOWN_ZONE_SECONDS = 6 * 3600.0
"""How long it is remembered that a source does not serve a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The stages of one fetched value, UTC."""

    refresh_from: datetime
    fresh_until: datetime
    usable_until: datetime


def life_of(valid_until: datetime, fetched_at: datetime, chance: float) -> Life:
    """The stages of a value.

    Args:
        valid_until: End of its interval.
        fetched_at: When it came.
        chance: 0 to 1, decides where in the spread this machine asks.
    """
    end = min(valid_until, fetched_at + LONGEST_FRESH)
    return Life(
        refresh_from=end + SPREAD * chance / 2,
        fresh_until=end + SPREAD * chance,
        usable_until=valid_until + OLDEST,
    )


def rest_seconds(repeats: int) -> float:
    """Seconds until the next question when a source has given the same, finished interval so many times before."""
    return min(FIRST_REST_SECONDS * 2.0 ** min(repeats, 10), LONGEST_REST_SECONDS)


def backoff_seconds(failures: int, chance: float, *, credentials: bool, asked_for: float | None) -> float:
    """Seconds until the next question after failures.

    Args:
        failures: Failures in a row, 1 or more.
        chance: 0 to 1, adds up to a quarter.
        credentials: The source refused the key.
        asked_for: What the source itself asked for, seconds.
    """
    first = FIRST_CREDENTIALS_BACKOFF_SECONDS if credentials else FIRST_BACKOFF_SECONDS
    longest = LONGEST_CREDENTIALS_BACKOFF_SECONDS if credentials else LONGEST_BACKOFF_SECONDS
    own = min(first * 2.0 ** min(failures - 1, 10), longest)
    return max(own, asked_for or 0.0) * (1 + chance / 4)
