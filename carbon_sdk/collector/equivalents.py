"""What some grams or joules are like, in things that people know, each with its source and boundary.

Grams are likened only to what was counted within the same boundary: lifecycle to lifecycle, direct to tailpipe;
marginal grams to nothing. What runs on electricity is likened by energy, so no grid comes into it.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

JOULES_PER_WATT_HOUR = 3600.0  # exact
OF_GRAMS: Mapping[str, str] = {"average/lifecycle": "car_petrol_km", "average/direct": "car_us_km"}
"""Which row grams of a signal and scope are likened to."""
OF_ENERGY = ("lamp_65w_hour", "fridge_day")
"""Which rows joules are likened to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table.

    Args:
        key: Its name.
        what: The thing.
        unit: Of what.
        grams: CO2e of one unit; None for what is counted in electricity.
        watt_hours: Electricity of one unit; None for what is counted in grams.
        boundary: What was counted.
        source: Who says so.
        source_url: Where; empty for physics.
        year: When; empty for physics.
        licence: Of the figure.
    """

    key: str
    what: str
    unit: str
    grams: float | None
    watt_hours: float | None
    boundary: str
    source: str
    source_url: str
    year: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """So much of a thing."""

    amount: float
    row: Row


@cache
def rows() -> Mapping[str, Row]:
    """The table by key."""
    text = files("carbon_sdk.collector").joinpath("data/equivalents.csv").read_text(encoding="utf-8")
    return {
        row["key"]: Row(
            key=row["key"],
            what=row["what"],
            unit=row["unit"],
            grams=float(row["g_co2e_per_unit"]) if row["g_co2e_per_unit"] else None,
            watt_hours=float(row["watt_hours_per_unit"]) if row["watt_hours_per_unit"] else None,
            boundary=row["boundary"],
            source=row["source"],
            source_url=row["source_url"],
            year=row["year"],
            licence=row["licence"],
        )
        for row in csv.DictReader(text.splitlines())
    }


def equivalents(emissions: Mapping[str, float], energy_joules: float | None) -> Sequence[Equivalent]:
    """What a figure is like.

    Args:
        emissions: Grams by `signal/scope`.
        energy_joules: Joules; None where they are unknown.
    """
    found = []
    for kind, grams in emissions.items():
        row = rows().get(OF_GRAMS.get(kind, ""))
        if row is not None and row.grams and grams > 0.0:
            found.append(Equivalent(amount=grams / row.grams, row=row))
    for key in OF_ENERGY:
        row = rows()[key]
        if row.watt_hours and energy_joules:
            found.append(Equivalent(amount=energy_joules / JOULES_PER_WATT_HOUR / row.watt_hours, row=row))
    return found
