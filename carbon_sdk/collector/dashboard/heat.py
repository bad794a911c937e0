"""Hour by weekday: when it is used."""

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
    """One hour of one weekday: its level, 0 for unknown and 1 to `LEVELS`, and its grams in words."""

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
    greatest = max((value for row in cells for value in row if value is not None), default=0.0)
    if not greatest:
        return None
    rows = tuple(
        (day, tuple(HeatCell(level=_level(value, greatest), text=str(quantity(value, GRAMS))) for value in row))
        for day, row in zip(WEEKDAYS, cells, strict=True)
    )
    return Heat(kind=kind, rows=rows, greatest=str(quantity(greatest, GRAMS)))


def _level(value: float | None, greatest: float) -> int:
    return 0 if value is None else 1 + min(int(value / greatest * LEVELS), LEVELS - 1)
