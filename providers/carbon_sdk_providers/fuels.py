"""From a generation mix to g/kWh, by the sourced factors in `data/fuel_factors.csv`.

`sum(factor x max(MW, 0)) / sum(max(MW, 0))` over production. Storage is left out of both sums, because what it gives
back was generated, and counted, before. Lifecycle and direct factors never meet in one sum. An instant at which a kind
that the zone usually reports is missing has no value: a mix without its nuclear series is a wrong number, not a rough
one.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Literal

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import EmissionScope

Scheme = Literal["entsoe_psr", "eia_fueltype"]
"""The column of the table that holds a source's own codes."""

STORAGE: Mapping[Scheme, frozenset[str]] = {
    "entsoe_psr": frozenset({"B10", "B25"}),
    "eia_fueltype": frozenset({"BAT", "PS", "OES", "UES"}),
}
UNKNOWN: Mapping[Scheme, frozenset[str]] = {
    "entsoe_psr": frozenset({"B20"}),
    "eia_fueltype": frozenset({"OTH", "UNK"}),
}
ATTRIBUTION = "factors: IPCC AR5 WG3 Annex III medians (oil: UK POST, RTE; unknown: Ember, Electricity Maps)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What a generation mix weighs.

    Args:
        g_per_kwh: Grams per kWh produced.
        unknown_share: Share of the production whose fuel the source does not know, 0 to 1.
    """

    g_per_kwh: float
    unknown_share: float

    @property
    def method(self) -> str:
        """How the number was made, for the record."""
        return f"production mix x fuel factors, {self.unknown_share:.0%} of unknown fuel"


def weigh(source: str, scheme: Scheme, scope: EmissionScope, megawatts: Mapping[str, float]) -> Mix:
    """The intensity of a mix.

    Args:
        source: The provider's name.
        scheme: Whose codes they are.
        scope: Which factors.
        megawatts: Production by code; negative is a plant's own use and counts as 0.

    Raises:
        IntensityError: A code has no factor, or nothing was produced.
    """
    factors = _factors(scheme, scope)
    grams = total = unknown = 0.0
    for code, power in megawatts.items():
        if code in STORAGE[scheme] or power <= 0:
            continue
        if code not in factors:
            raise IntensityError(source, f"there is no {scope} factor for fuel {code[:20]!r}")
        grams += factors[code] * power
        total += power
        unknown += power if code in UNKNOWN[scheme] else 0.0
    if total == 0:
        raise IntensityError(source, "the mix holds no production")
    return Mix(g_per_kwh=grams / total, unknown_share=unknown / total)


def complete(scheme: Scheme, mixes: Mapping[datetime, Mapping[str, float]]) -> Mapping[datetime, Mapping[str, float]]:
    """The instants that report as many kinds as the fullest one, storage aside."""
    kinds = {start: frozenset(mix) - STORAGE[scheme] for start, mix in mixes.items()}
    fullest = max((len(kind) for kind in kinds.values()), default=0)
    return {start: mix for start, mix in mixes.items() if len(kinds[start]) == fullest}


@cache
def _factors(scheme: Scheme, scope: EmissionScope) -> Mapping[str, float]:
    text = files("carbon_sdk_providers").joinpath("data", "fuel_factors.csv").read_text(encoding="utf-8")
    column = f"{scope}_g_per_kwh"
    return {
        code: float(row[column])
        for row in csv.DictReader(text.splitlines())
        if row[column]
        for code in row[scheme].split()
    }
