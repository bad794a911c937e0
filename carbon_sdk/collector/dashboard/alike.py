"""Equivalents as tiles: so many kilometres, hours, days, each with its boundary and source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carbon_sdk.collector.dashboard.quantity import Ladder, Quantity, quantity
from carbon_sdk.collector.equivalents import Equivalent, equivalents
from carbon_sdk.collector.figure import Figure

LADDERS: Mapping[str, Ladder] = {
    "km": (("mm", 1e-6), ("m", 1e-3), ("km", 1.0)),
    "h": (("ms", 1 / 3.6e6), ("s", 1 / 3600.0), ("min", 1 / 60.0), ("h", 1.0)),
    "day": (("s", 1 / 86_400.0), ("min", 1 / 1440.0), ("h", 1 / 24.0), ("days", 1.0), ("years", 365.25)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One equivalent.

    Args:
        quantity: How much.
        what: Of what.
        basis: What one unit is, and what was counted.
        source: Who says so, and when.
        href: Where; empty for what needs no source.
    """

    quantity: Quantity
    what: str
    basis: str
    source: str
    href: str


def tiles_of(figure: Figure) -> Sequence[Tile]:
    """What a figure is like."""
    return [_tile(one) for one in equivalents(figure.emissions, figure.sums.get("energy_joules"))]


def _tile(one: Equivalent) -> Tile:
    row = one.row
    basis = (
        f"{row.grams:g} g/{row.unit}, {row.boundary}"
        if row.grams
        else f"{row.watt_hours:g} Wh a {row.unit}, electricity"
    )
    return Tile(
        quantity=quantity(one.amount, LADDERS[row.unit]),
        what=row.what,
        basis=basis,
        source=f"{row.source}, {row.year}" if row.year else row.source,
        href=row.source_url,
    )
