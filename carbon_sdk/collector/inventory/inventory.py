"""The values of the report. Every number is rounded to seven digits once, here, and all sums are made of those.

So the same records give the same bytes, whatever the order in which an engine added them up, and what is shown adds up
to what is shown.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import msgspec

from carbon_sdk.emission import JOULES_PER_KWH

DIGITS = 7
STEADY_DIGITS = 12
Operator = Literal["own", "cloud"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One service, one month, one kind of grams. None is unknown, never zero.

    Args:
        service: Who.
        month: `2026-03`, of the report's time zone; a month at either end may be cut short by the period.
        kind: Signal and emission scope of the grams: `average/lifecycle`.
        requests: Responses and jobs that ended.
        energy_kwh: Active energy.
        idle_energy_kwh: Idle energy that the service's idle policy makes it carry.
        emissions_g: Grams of the active energy.
        emissions_low_g: Their lower bound, where energy was modelled; else the same.
        emissions_high_g: Their upper bound.
        idle_emissions_g: Grams of the idle energy carried.
        embodied_g: Share of the making of the machines.
        repriced_g: Grams of the active energy by newer intensities; None where nothing was priced again.
    """

    service: str
    month: str
    kind: str
    requests: int | None
    energy_kwh: float | None
    idle_energy_kwh: float | None
    emissions_g: float | None
    emissions_low_g: float | None
    emissions_high_g: float | None
    idle_emissions_g: float | None
    embodied_g: float | None
    repriced_g: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SCI:
    """Software carbon intensity of a service (ISO/IEC 21031): ((E x I) + M) per R, with reserved idle.

    Args:
        service: Whose.
        unit: R: `request`, or what the service counts.
        amount: How many of them.
        g_per_unit: Grams of one; None where it is not known.
        reason: Why it is not known; empty where it is.
    """

    service: str
    unit: str
    amount: float | None
    g_per_unit: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A factor that was used: whose, where, how good, how heavy on average, and under which licence."""

    source: str
    zone: str
    quality: str
    kind: str
    energy_kwh: float | None
    emissions_g: float | None
    g_per_kwh: float | None
    licence: str
    credit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way in which energy was measured and divided, and its share of the joules."""

    meter: str
    energy_method: str
    idle_rule: str
    idle_policy: str
    share_rule: str
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What is not known of a service.

    Args:
        service: Whose.
        records: How many records it sent.
        without_energy: How many of them have no joules.
        without_emissions: How many have no grams.
        gap_seconds: Seconds without a reading, added over its processes.
        gap_cpu_seconds: CPU seconds that fell into those.
        days: Days of the period.
        silent_days: Days of the period without any record.
    """

    service: str
    records: int
    without_energy: int
    without_emissions: int
    gap_seconds: float | None
    gap_cpu_seconds: float | None
    days: int
    silent_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """What the energy is that of.

    Args:
        domains_kwh: Active energy by domain.
        measured_kwh: All that the meters of the machines read, idle included.
        idle_kwh: Of it, idle.
        unattributed_kwh: Of it, what is nobody's.
        machines: How many machines.
        factor: From a kWh of those domains to what was priced: PUE times wall factor, on average.
    """

    domains_kwh: Mapping[str, float]
    measured_kwh: float | None
    idle_kwh: float | None
    unattributed_kwh: float | None
    machines: int
    factor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """A stretch that was priced again."""

    made_at: str
    source: str
    start: str
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplier:
    """The factor of a supplier, for the market-based figure."""

    g_per_kwh: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The whole report.

    Args:
        project: Whose records.
        first_day: The first day, of the time zone.
        last_day: The last day, which belongs to it.
        zone: The time zone.
        version: Of carbon_sdk.
        operator: Who runs the machines; None where nobody said.
        supplier: For the market-based figure; None where none was given.
        lines: The figures.
        quality: Share of the joules by quality of the intensity.
        methods: How energy was measured and divided.
        factors: The factors used.
        sci: Software carbon intensity.
        boundary: What was counted.
        gaps: What is not known.
        repriced: What was priced again.
    """

    project: str
    first_day: str
    last_day: str
    zone: str
    version: str
    operator: Operator | None
    supplier: Supplier | None
    lines: tuple[Line, ...]
    quality: Mapping[str, float]
    methods: tuple[Method, ...]
    factors: tuple[Factor, ...]
    sci: tuple[SCI, ...]
    boundary: Boundary
    gaps: tuple[Gap, ...]
    repriced: tuple[Repriced, ...]

    @property
    def sha256(self) -> str:
        """Hash of everything that the report is made of, in one canonical form."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of grams, those with most first."""
        return tuple(sorted({line.kind for line in self.lines}, key=lambda kind: (-self._weight(kind), kind)))

    def _weight(self, kind: str) -> float:
        return total(line.emissions_g for line in self.lines if line.kind == kind) or 0.0

    def to_object(self) -> dict[str, object]:
        """JSON-ready, with its hash."""
        return {**asdict(self), "sha256": self.sha256}


def from_object(value: object) -> Inventory:
    """What `to_object` wrote."""
    return msgspec.convert(value, Inventory)


def rounded(value: float | None) -> float | None:
    """A value to seven digits."""
    if value is None:
        return None
    steady = float(f"{value:.{STEADY_DIGITS}g}")  # or a sum that ends in a half goes up or down by its order
    return float(f"{steady:.{DIGITS}g}")


def kwh(joules: float | None) -> float | None:
    """Joules as kWh, rounded."""
    return None if joules is None else rounded(joules / JOULES_PER_KWH)


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what is known, the same in every order; None where nothing is."""
    known = [value for value in values if value is not None]
    return rounded(math.fsum(known)) if known else None


def counted(values: Iterable[int | None]) -> int | None:
    """The sum of counts, exact; None where nothing is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def months(lines: Sequence[Line]) -> tuple[str, ...]:
    """The months, the oldest first."""
    return tuple(sorted({line.month for line in lines}))
