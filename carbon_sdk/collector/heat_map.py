"""Hours by weekday and hour of the day, a map for each signal and scope where grams are asked for."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from carbon_sdk.collector.figure import Figure, pricing
from carbon_sdk.collector.report import PRICED, Dimension

Cells = list[list[list[float]]]
"""Seven rows of 24, Monday first: what each such hour of the period was, as far as it is known."""
WHOLE = "all"
"""Name of the one map of a measure without a price."""


def dimensions(measure: str) -> tuple[Dimension, ...]:
    """What the figures of a measure must be grouped by, so that no cell adds what may not be added."""
    return ("intensity_signal", "intensity_scope") if measure in PRICED else ()


def heat_maps(figures: Iterable[Figure], zone: ZoneInfo, measure: str) -> dict[str, Cells]:
    """Maps in a time zone, by `signal/scope`, or one named `all`.

    Args:
        figures: Of one hour each, grouped by `dimensions(measure)`.
        zone: The time zone.
        measure: What is asked for.
    """
    maps: dict[str, Cells] = {}
    for figure in figures:
        value = figure.sums.get(measure)
        if value is None:
            continue
        name = WHOLE
        if measure in PRICED:
            name = pricing(figure.key["intensity_signal"], figure.key["intensity_scope"])
        cells = maps.setdefault(name, [[[] for _ in range(24)] for _ in range(7)])
        local = figure.start.astimezone(zone)
        cells[local.weekday()][local.hour].append(value)
    return maps
