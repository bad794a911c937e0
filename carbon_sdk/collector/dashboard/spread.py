"""How much the intervals of an endpoint differ: a histogram of its energy a request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from carbon_sdk.collector.dashboard.quantity import JOULES, quantity
from carbon_sdk.collector.dashboard.sheet import per_request
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.report import Bucket

BARS = 24
LEAST_INTERVALS = 4
"""Fewer show no shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: where it stands and how high it is, in per cent, and what it says."""

    start: float
    height: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The histogram.

    Args:
        bars: From the least to the greatest energy a request.
        width: Of a bar, in per cent.
        least: The lower end of the axis.
        greatest: Its upper end.
        marks: Name and value of what is worth knowing: lowest, median, highest.
        median: Where the median stands, in per cent.
        intervals: How many intervals.
        bucket: What an interval is.
    """

    bars: tuple[Bar, ...]
    width: float
    least: str
    greatest: str
    marks: tuple[tuple[str, str], ...]
    median: float
    intervals: int
    bucket: Bucket


def spread_of(figures: Sequence[Figure], bucket: Bucket) -> Spread | None:
    """The histogram of the intervals in which a request ended; None where there are too few."""
    each = per_request("energy_joules")
    values = sorted(value for value in map(each, figures) if value is not None)
    if len(values) < LEAST_INTERVALS or not values[-1]:
        return None
    low, high = values[0], values[-1]
    if high - low < 0.02 * high:  # all alike: one bar in the middle
        low, high = 0.9 * low, 1.1 * high
    counts = [0] * BARS
    for value in values:
        counts[min(int((value - low) / (high - low) * BARS), BARS - 1)] += 1
    width = 100.0 / BARS
    step = (high - low) / BARS
    bars = tuple(
        Bar(
            start=place * width,
            height=100.0 * number / max(counts),
            text=f"{number} intervals from {quantity(low + place * step, JOULES)} to "
            f"{quantity(low + (place + 1) * step, JOULES)}",
        )
        for place, number in enumerate(counts)
        if number
    )
    median = _quantile(values, 0.5)
    marks = (("Lowest", 0.0), ("Median", 0.5), ("95 of 100 below", 0.95), ("Highest", 1.0))
    return Spread(
        bars=bars,
        width=width,
        least=str(quantity(low, JOULES)),
        greatest=str(quantity(high, JOULES)),
        marks=tuple((name, str(quantity(_quantile(values, part), JOULES))) for name, part in marks),
        median=100.0 * (median - low) / (high - low),
        intervals=len(values),
        bucket=bucket,
    )


def _quantile(ordered: Sequence[float], part: float) -> float:
    """The nearest rank: a value that occurred."""
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)]
