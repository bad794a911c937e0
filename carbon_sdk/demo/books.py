"""Adds the records of one process up to the table of the demo: a line for each endpoint, and the rest of the books."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from carbon_sdk.emission import MACHINE_KINDS, Emission

DOMAINS = ("package", "dram", "psys", "gpu")


@dataclass(slots=True, kw_only=True)
class Row:
    """One line of the table; None is unknown.

    Args:
        name: The endpoint, or the part of the books.
        requests: Requests that ended.
        cpu_seconds: CPU seconds used.
        energy_joules: By domain.
        emissions_g: Grams CO2e.
        sci_g: Grams of what has an SCI: energy, reserved idle and making.
        sci_part: Some of the row's energy has none.
        units: Functional units that were counted, by name.
    """

    name: str
    requests: int = 0
    cpu_seconds: float | None = None
    energy_joules: dict[str, float] = field(default_factory=dict)
    emissions_g: float | None = None
    sci_g: float = 0.0
    sci_part: bool = False
    units: dict[str, float] = field(default_factory=dict)

    @property
    def total_joules(self) -> float | None:
        """Over all domains; None where nothing was read."""
        return sum(self.energy_joules.values()) if self.energy_joules else None

    @property
    def g_per_request(self) -> float | None:
        """Grams of one request."""
        return self.emissions_g / self.requests if self.requests and self.emissions_g is not None else None

    @property
    def sci_g_per_request(self) -> float | None:
        """Software carbon intensity, ISO/IEC 21031, of one request; None where not all of it is known."""
        return self.sci_g / self.requests if self.requests and self.sci_g and not self.sci_part else None

    @property
    def g_per_unit(self) -> dict[str, float]:
        """Grams of one of each functional unit."""
        grams = self.emissions_g
        return {} if grams is None else {unit: grams / amount for unit, amount in self.units.items() if amount > 0.0}

    def add(self, emission: Emission) -> None:
        """Add one record."""
        for unit, amount in emission.units.items():
            self.units[unit] = self.units.get(unit, 0.0) + amount
        self.requests += emission.requests
        if emission.sci_g is not None:
            self.sci_g += emission.sci_g
        elif emission.energy_joules or emission.requests:
            self.sci_part = True
        if emission.cpu_seconds is not None:
            self.cpu_seconds = (self.cpu_seconds or 0.0) + emission.cpu_seconds
        for domain in DOMAINS:
            joules = getattr(emission, f"energy_{domain}_joules")
            if joules is not None:
                self.energy_joules[domain] = self.energy_joules.get(domain, 0.0) + joules
        if emission.emissions_g is not None:
            self.emissions_g = (self.emissions_g or 0.0) + emission.emissions_g


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the records of one process say.

    Args:
        endpoints: A row for each endpoint, the largest first.
        process: Rows of this process outside endpoints: background, carbon_sdk itself.
        machine: Rows of the machine: its rest, idle, unattributed.
        measured: The row that all others add up to.
        sample: A record to tell meter and intensity from; None without records.
    """

    endpoints: Sequence[Row]
    process: Sequence[Row]
    machine: Sequence[Row]
    measured: Row
    sample: Emission | None

    @property
    def booked_joules(self) -> float:
        """The sum of all rows but the measured one."""
        return sum(row.total_joules or 0.0 for row in (*self.endpoints, *self.process, *self.machine))


def add_up(emissions: Iterable[Emission]) -> Books:
    """The books of one process from its records."""
    endpoints: dict[str, Row] = {}
    others: dict[str, Row] = {}
    sample = None
    for emission in emissions:
        served = emission.kind in ("request", "worker", "span")
        rows, name = (endpoints, emission.root) if served else (others, emission.name)
        rows.setdefault(name, Row(name=name)).add(emission)
        sample = emission if emission.kind == "measured" else sample or emission
    measured = others.pop("measured", Row(name="measured"))
    machine = [others.pop(kind) for kind in MACHINE_KINDS if kind in others]
    rest = Row(name="rest of the machine", energy_joules=dict(measured.energy_joules), emissions_g=measured.emissions_g)
    for row in (*endpoints.values(), *others.values(), *machine):
        for domain, joules in row.energy_joules.items():
            rest.energy_joules[domain] = rest.energy_joules.get(domain, 0.0) - joules
        if rest.emissions_g is not None and row.emissions_g is not None:
            rest.emissions_g -= row.emissions_g
    ranked = sorted(endpoints.values(), key=lambda row: row.total_joules or row.cpu_seconds or 0.0, reverse=True)
    return Books(
        endpoints=ranked,
        process=[others[name] for name in sorted(others)],
        machine=[rest, *(row for row in machine if row.name == "idle" or (row.total_joules or 0.0) > 0.0)],
        measured=measured,
        sample=sample,
    )
