"""Numbers as people read them: three significant digits, a unit that suits the size, one unit for a whole column."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carbon_sdk.emission import JOULES_PER_KWH

Ladder = Sequence[tuple[str, float]]
"""Units, the least first, each with what one of it is in the base unit."""

GRAMS: Ladder = (("µg", 1e-6), ("mg", 1e-3), ("g", 1.0), ("kg", 1e3), ("t", 1e6))
JOULES: Ladder = (
    ("µJ", 1e-6),
    ("mJ", 1e-3),
    ("J", 1.0),
    ("Wh", JOULES_PER_KWH / 1e3),
    ("kWh", JOULES_PER_KWH),
    ("MWh", JOULES_PER_KWH * 1e3),
    ("GWh", JOULES_PER_KWH * 1e6),
)
SECONDS: Ladder = (("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0))
WATTS: Ladder = (("mW", 1e-3), ("W", 1.0), ("kW", 1e3))
G_PER_KWH: Ladder = (("g/kWh", 1.0),)
COUNT: Ladder = (("", 1.0),)
PERCENT: Ladder = (("%", 1.0),)
UNKNOWN = "–"
"""Stands where a figure is unknown; never a zero."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit, ready to be shown; an unknown one has no unit."""

    number: str
    unit: str

    def __str__(self) -> str:
        return f"{self.number} {self.unit}".strip()


def quantity(value: float | None, ladder: Ladder) -> Quantity:
    """A value in the unit that suits it."""
    if value is None:
        return Quantity(UNKNOWN, "")
    unit, size = _rung(abs(value), ladder)
    return Quantity(number(value / size, _decimals(abs(value) / size)), unit)


def count(value: float | None) -> str:
    """A whole number with its thousands apart."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """A share as a percentage; what is little but not nothing says so."""
    if share is None:
        return UNKNOWN
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{share * 100:.0f} %" if share >= 0.0995 or share == 0 else f"{share * 100:.1f} %"


def times(ratio: float) -> str:
    """How many times as much."""
    return number(ratio, _decimals(ratio))


def change(old: float, new: float) -> str:
    """How much more or less the new value is, in per cent; `as before` below half a per cent."""
    if not old:
        return "as before" if not new else "new"
    part = new / old - 1.0
    if abs(part) < 0.005:
        return "as before"
    return ("+" if part > 0 else "") + number(100.0 * part, 0 if abs(part) >= 0.0995 else 1) + " %"


def column(values: Iterable[float | None], ladder: Ladder) -> tuple[str, list[str]]:
    """A column in one unit, that of its greatest value, with one number of decimals, so that its digits stand in line.

    Returns:
        The unit, and a text for each value; `< 0.1` where a value would be rounded to nothing.
    """
    given = list(values)
    greatest = max((abs(value) for value in given if value is not None), default=0.0)
    unit, size = _rung(greatest, ladder)
    decimals = _decimals(greatest / size)
    least = 10.0**-decimals
    shown = []
    for value in given:
        if value is None:
            shown.append(UNKNOWN)
        elif value and abs(value) / size < least / 2:
            shown.append(f"< {number(least, decimals)}")
        else:
            shown.append(number(value / size, decimals))
    return unit, shown


def number(value: float, decimals: int) -> str:
    """A number with its thousands apart and a true minus."""
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _rung(greatness: float, ladder: Ladder) -> tuple[str, float]:
    """The greatest unit of which there is at least one, once rounded to three digits; 0 has the base unit."""
    if greatness == 0:
        return next(rung for rung in ladder if rung[1] == 1.0)
    fitting = [rung for rung in ladder if greatness / rung[1] >= 0.9995]
    return fitting[-1] if fitting else ladder[0]


def _decimals(greatness: float) -> int:
    """How many decimals give three significant digits, at least none and at most six."""
    if greatness == 0:
        return 0
    return min(max(2 - math.floor(math.log10(greatness * 1.0005)), 0), 6)
