"""Last year's average of every country, bundled: the answer when nobody else has one.

Each row of `data/yearly_averages.csv` carries its year, source and licence. All rows are lifecycle averages: direct
values of states and provinces exist, but the two must not meet in one sum, so those zones answer with their country.
A row of 0 g/kWh in the source (Central African Republic) was left out: over a life cycle nothing weighs nothing.
"""

import csv
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pkgutil import get_data
from typing import cast

from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Signal

WORLD = "WORLD"


def ancestry(zone: str | None) -> tuple[str, ...]:
    """A zone, its parents, the world: `DK-DK1`, `DK`, `WORLD`."""
    parts = (zone or WORLD).split("-")
    line = ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return tuple(line) if line[-1] == WORLD else (*line, WORLD)


class YearlyAverages:
    """The bundled table. It knows every place, at worst as part of the world, and says which zone answered."""

    name = "yearly_averages"

    def __init__(self) -> None:
        self._table = _read_table()

    @property
    def signal(self) -> Signal:
        """Average."""
        return "average"

    @property
    def emission_scope(self) -> EmissionScope:
        """Lifecycle."""
        return "lifecycle"

    @property
    def zones(self) -> frozenset[str]:
        """The zones that have a row."""
        return frozenset(self._table)

    def known(self, place: Place) -> Intensity:
        """The average of the place's zone, else of its nearest parent, else of the world, without waiting."""
        for zone in ancestry(place.zone):
            row = self._table.get(zone)
            if row is not None:
                break
        else:
            raise AssertionError("the table has a row for the world")
        if place.zone in (None, row.zone):
            return row
        return replace(row, method=f"{row.method}; {place.zone} has no row of its own")

    async def intensity(self, place: Place) -> Intensity:
        """The average of the place's zone, else of its nearest parent, else of the world."""
        return self.known(place)

    async def aclose(self) -> None:
        """Nothing is held."""


def _read_table() -> Mapping[str, Intensity]:
    text = cast(bytes, get_data("carbon_sdk.intensity", "data/yearly_averages.csv")).decode()
    return {row["zone"]: _row(row) for row in csv.DictReader(text.splitlines())}


def _row(row: Mapping[str, str]) -> Intensity:
    return Intensity(
        g_per_kwh=float(row["g_per_kwh"]),
        source=YearlyAverages.name,
        signal="average",
        emission_scope="lifecycle",
        zone=row["zone"],
        quality="static",
        observed_at=datetime(int(row["year"]), 1, 1, tzinfo=UTC),
        valid_until=datetime(int(row["year"]) + 1, 1, 1, tzinfo=UTC),
        method=f"average of {row['year']}, {row['name']}",
        licence=row["licence"],
        attribution=f"{row['source']}, {row['source_url']}",
    )
