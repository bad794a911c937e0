"""A series of intensities: which of them holds now, which overlap a span, which are still to come."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import Intensity

ASK_AGAIN = timedelta(minutes=15)
"""A source whose newest interval is over is asked again after its own step, or after this, whichever is shorter."""


def in_order(values: Iterable[Intensity]) -> list[Intensity]:
    """Oldest first; of two for one start the first given stays."""
    first: dict[datetime, Intensity] = {}
    for value in values:
        first.setdefault(value.observed_at, value)
    return [first[start] for start in sorted(first)]


def overlapping(values: Iterable[Intensity], start: datetime, end: datetime) -> list[Intensity]:
    """Those whose interval overlaps [start, end), oldest first."""
    return in_order(value for value in values if value.valid_until > start and value.observed_at < end)


def coming(values: Iterable[Intensity], now: datetime) -> list[Intensity]:
    """Those that are not over, oldest first."""
    return in_order(value for value in values if value.valid_until > now)


def present(source: str, values: Iterable[Intensity], now: datetime, *, lag: timedelta) -> Intensity:
    """The value of the interval that holds now, else the newest one, carried forward and marked so.

    Sources publish minutes to hours late, so their newest interval is usually over. It then stands for the present as
    an estimate, whose method names the interval that it is of.

    Args:
        source: The provider's name.
        values: What it published.
        now: The present, UTC.
        lag: How long after its end an interval may still stand for the present.

    Raises:
        IntensityError: There is no interval that has begun, or the newest ended longer ago than that.
    """
    begun = [value for value in in_order(values) if value.observed_at <= now]
    if not begun:
        raise IntensityError(source, "published no interval that has begun")
    newest = begun[-1]
    if now < newest.valid_until:
        return newest
    late = now - newest.valid_until
    if late > lag:
        minutes = late.total_seconds() / 60
        raise IntensityError(
            source, f"its newest interval ended {minutes:.0f} min ago, at {_clock(newest.valid_until)}"
        )
    method = f"newest published interval, {_clock(newest.observed_at)} to {_clock(newest.valid_until)}"
    return replace(
        newest,
        quality="estimated" if newest.quality == "measured" else newest.quality,
        valid_until=now + min(newest.valid_until - newest.observed_at, ASK_AGAIN),
        method=f"{newest.method}; {method}" if newest.method else method,
    )


def pages(start: datetime, end: datetime, longest: timedelta) -> Sequence[tuple[datetime, datetime]]:
    """[start, end) cut into spans that a source answers at once."""
    cut = []
    while start < end:
        until = min(start + longest, end)
        cut.append((start, until))
        start = until
    return cut


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ")
