"""Hour by weekday: when it is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from carbon_sdk.collector.dashboard.quantity import GRAMS, quantity
from carbon_sdk.collector.report import Figure, heat_map

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LEVELS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """One hour of one weekday: its level, 0 for unknown and 1 to `LEVELS`, and its grams in words."""

    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """Seven rows of 24, and the greatest of them in words."""

    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]
    greatest: str


def heat_of(figures: Sequence[Figure], zone: ZoneInfo) -> Heat | None:
    """The map of figures of one hour each; None where no gram is known."""
    cells = heat_map(figures, zone)
    greatest = max((value for row in cells for value in row if value is not None), default=0.0)
    if not greatest:
        return None
    rows = tuple(
        (day, tuple(HeatCell(level=_level(value, greatest), text=str(quantity(value, GRAMS))) for value in row))
        for day, row in zip(WEEKDAYS, cells, strict=True)
    )
    return Heat(rows=rows, greatest=str(quantity(greatest, GRAMS)))


def _level(value: float | None, greatest: float) -> int:
    return 0 if value is None else 1 + min(int(value / greatest * LEVELS), LEVELS - 1)
