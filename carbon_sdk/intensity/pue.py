"""Power usage effectiveness: what a data centre draws for each joule that its computers draw.

Table, beside this file: `data/pue.csv`, what providers themselves state, the newest year of each region, and of all
their sites together (no region) where a region has no figure. Each row has its year, source and licence.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Effectiveness:
    """A data centre's PUE.

    Args:
        factor: Energy of the whole data centre over that of its computers, 1 or more.
        basis: Whose figure it is, of which year, for people.
    """

    factor: float
    basis: str


def stated(cloud_provider: str | None, cloud_region: str | None) -> Effectiveness | None:
    """What a cloud states of its region, else of all its sites; None where it states nothing, and in no cloud."""
    table = _table()
    return table.get((cloud_provider or "", cloud_region or "")) or table.get((cloud_provider or "", ""))


@cache
def _table() -> dict[tuple[str, str], Effectiveness]:
    text = files("carbon_sdk.intensity").joinpath("data", "pue.csv").read_text(encoding="utf-8")
    return {
        (row["provider"], row["region"]): Effectiveness(
            float(row["pue"]), f"PUE {float(row['pue']):g}, {row['source']}, {row['year']}"
        )
        for row in csv.DictReader(text.splitlines())
    }
