"""Hour by weekday: when it is used. An hour is shown as it is on average, for a period may hold a weekday once more."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from carbon_sdk.collector.dashboard.quantity import GRAMS, quantity
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.heat_map import Cells, dimensions, heat_maps

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LEVELS = 7
MEASURE = "emissions_g"
BY = dimensions(MEASURE)
"""What the figures of the map are grouped by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """One hour of one weekday: its level, 0 for unknown and 1 to `LEVELS`, and its mean grams in words."""

    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """Seven rows of 24, and the greatest of them in words; of one signal and scope, which `kind` names."""

    kind: str
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]
    greatest: str


def heats_of(figures: Sequence[Figure], zone: ZoneInfo) -> list[Heat]:
    """A map for each signal and scope, from figures of one hour each that are grouped by `BY`."""
    maps = heat_maps(figures, zone, MEASURE)
    return [heat for kind, cells in maps.items() if (heat := _heat(kind.replace("/", ", "), cells)) is not None]


def _heat(kind: str, cells: Cells) -> Heat | None:
    greatest = max(statistics.fmean(hours) for row in cells for hours in row if hours)
    if not greatest:
        return None
    rows = tuple(
        (day, tuple(_cell(hours, greatest) for hours in row)) for day, row in zip(WEEKDAYS, cells, strict=True)
    )
    return Heat(kind=kind, rows=rows, greatest=str(quantity(greatest, GRAMS)))


def _cell(hours: Sequence[float], greatest: float) -> HeatCell:
    if not hours:
        return HeatCell(level=0, text=str(quantity(None, GRAMS)))
    mean = statistics.fmean(hours)
    text = str(quantity(mean, GRAMS))
    if len(hours) > 1:
        text = f"{text}, mean of {len(hours)} hours"
    return HeatCell(level=1 + min(int(mean / greatest * LEVELS), LEVELS - 1), text=text)
