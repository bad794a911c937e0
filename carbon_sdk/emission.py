"""Joules times grams per kilowatt-hour: the emission record, with its provenance.

Two books are kept. The **process book** (request, worker, span, background, sdk, other) adds up over processes. The
**machine book** (measured, idle, unattributed) is reported by every process of a machine alike, so readers keep one
copy per machine, interval and domain, and never add them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from carbon_sdk.intensity.intensity import EmissionScope, Quality, Signal
from carbon_sdk.meters.meter import IdlePolicy, IdleRule, Method, ScopeKind

SCHEMA = 1
"""The record's schema. New optional fields do not raise it."""

JOULES_PER_KWH = 3.6e6  # exact: 1,000 W x 3,600 s

Kind = Literal["request", "worker", "span", "background", "sdk", "other", "measured", "idle", "unattributed"]
PROCESS_KINDS: tuple[Kind, ...] = ("request", "worker", "span", "background", "sdk", "other")
MACHINE_KINDS: tuple[Kind, ...] = ("measured", "idle", "unattributed")


def grams(energy_joules: float, intensity_g_per_kwh: float, pue: float = 1.0) -> float:
    """Grams CO2e of joules: `energy_joules / 3.6e6 x intensity_g_per_kwh x pue`."""
    return energy_joules / JOULES_PER_KWH * intensity_g_per_kwh * pue


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """What one account used in one emit interval, and what that weighs.

    None means unknown, never zero. Times are UTC. Joules are those of the domains named, not of the wall socket.

    Args:
        instance: Random identity of the process's life: new at each start and after a fork.
        sequence: Counts this instance's records from 0, without holes. (instance, sequence) is the record's key.
        service: Who reports.
        machine: Hash of the kernel's boot id: equal for all processes and containers of one kernel.
        kind: Which kind of account.
        root: The endpoint (`GET /items/{id}`) or job in which it ran; its own name if outermost.
        name: The account itself; equal to root for an endpoint's own part. Values are exclusive of nested spans.
        window_start: Start of the first window in this record.
        window_end: End of the last window in this record.
        meter: Names of the meters read, joined by `+`: `powercap`, `model+nvml`.
        meter_scope: Whose joules the CPU meter reads.
        basis: What the joules rest on, in words.
        idle_rule: How idle was told from active.
        requests: Responses that ended (last body byte), or jobs that ended, in this interval.
        errors: Of those, the ones with status 500 or above, or that raised.
        timeouts: Of the errors, the jobs that ran out of time.
        cancelled: Of the errors, the jobs that were cancelled.
        retries: Of the jobs that ended, the runs that repeated an earlier one.
        duration_seconds: Sum of their durations, seconds.
        cpu_seconds: CPU seconds used.
        energy_joules: Active energy over all domains; None if every window was a gap.
        energy_package_joules: Of it, the CPU packages. Likewise dram, psys, gpu.
        energy_package_method: How the package's joules were known. Likewise dram, psys, gpu.
        energy_method: The weakest of the methods.
        energy_low_joules: Lower bound where modelled.
        energy_high_joules: Upper bound where modelled.
        idle_energy_joules: Idle energy that the idle policy makes this account carry.
        emissions_g: Grams CO2e of `energy_joules`.
        idle_emissions_g: Grams CO2e of `idle_energy_joules`.
        emissions_embodied_g: Share of the machine's making; None when the share reserved is unknown.
        sci_g: (E x I) + M with reserved idle, grams, ISO/IEC 21031; None where a part is unknown. An endpoint's is the
            sum over its root.
        sci_g_per_request: ((E x I) + M) / R of this account alone, without nested spans.
        intensity_g_per_kwh: Emissions over energy: what a kWh weighed on average, without PUE.
        intensity_source: Who said so.
        intensity_quality: The quality with most joules.
        intensity_signal: average or marginal.
        intensity_scope: lifecycle or direct.
        intensity_observed_at: Start of the validity of the last value used.
        intensity_valid_until: End of that validity.
        zone: The zone that answered.
        place: The place that was asked for.
        mixed: More than one source, quality, zone, signal or scope went into it.
        pue: Power usage effectiveness applied to the grams.
        wall_factor: Factor from the domains to the wall applied to the grams; None when none was.
        partial: A socket or device could not be read.
        approximate: CPU time of this account is not exact; the docs say when.
        gap_seconds: Seconds of this interval without a reading of joules.
        gap_cpu_seconds: CPU seconds of this account that fell into those.
        late_cpu_seconds: CPU that arrived later than it was used and got no joules.
        cpu_overcount_seconds: CPU booked beyond what the process used (clock noise), scaled away.
        units: Functional units counted by `span.count`, by name.
        share_rule: How joules were divided among accounts.
        idle_policy: Who carries idle energy.
        release: Version of the service.
        origin_service: The service where the chain of calls began that this account served; None where it began here.
        origin_endpoint: The endpoint or job there. A sum goes by this service's own endpoints or by origin, never both.
        schema: The record's schema.
    """

    instance: str
    sequence: int
    service: str
    machine: str
    kind: Kind
    root: str
    name: str
    window_start: datetime
    window_end: datetime
    meter: str
    meter_scope: ScopeKind
    basis: str
    idle_rule: IdleRule
    requests: int = 0
    errors: int = 0
    timeouts: int = 0
    cancelled: int = 0
    retries: int = 0
    duration_seconds: float = 0.0
    cpu_seconds: float | None = None
    energy_joules: float | None = None
    energy_package_joules: float | None = None
    energy_dram_joules: float | None = None
    energy_psys_joules: float | None = None
    energy_gpu_joules: float | None = None
    energy_package_method: Method | None = None
    energy_dram_method: Method | None = None
    energy_psys_method: Method | None = None
    energy_gpu_method: Method | None = None
    energy_method: Method | None = None
    energy_low_joules: float | None = None
    energy_high_joules: float | None = None
    idle_energy_joules: float | None = None
    emissions_g: float | None = None
    idle_emissions_g: float | None = None
    emissions_embodied_g: float | None = None
    sci_g: float | None = None
    sci_g_per_request: float | None = None
    intensity_g_per_kwh: float | None = None
    intensity_source: str | None = None
    intensity_quality: Quality | None = None
    intensity_signal: Signal | None = None
    intensity_scope: EmissionScope | None = None
    intensity_observed_at: datetime | None = None
    intensity_valid_until: datetime | None = None
    zone: str | None = None
    place: str | None = None
    mixed: bool = False
    pue: float = 1.0
    wall_factor: float | None = None
    partial: bool = False
    approximate: bool = False
    gap_seconds: float = 0.0
    gap_cpu_seconds: float = 0.0
    late_cpu_seconds: float = 0.0
    cpu_overcount_seconds: float = 0.0
    units: Mapping[str, float] = field(default_factory=dict)
    share_rule: str = "cpu_time"
    idle_policy: IdlePolicy = "none"
    release: str | None = None
    origin_service: str | None = None
    origin_endpoint: str | None = None
    schema: int = SCHEMA

    @property
    def endpoint(self) -> str:
        """The root: `GET /items/{id}`, or the job's name."""
        return self.root

    @property
    def method(self) -> str | None:
        """The HTTP method of a request's endpoint; None for anything else."""
        method, space, _ = self.root.partition(" ")
        return method if self.kind in ("request", "span") and space and method.isupper() else None

    @property
    def emissions_g_per_request(self) -> float | None:
        """Grams per request; None where no request ended or the grams are unknown."""
        return self.emissions_g / self.requests if self.requests and self.emissions_g is not None else None

    @property
    def emissions_g_per_unit(self) -> dict[str, float]:
        """Grams per functional unit that this account counted, by its name; empty where the grams are unknown."""
        grams_of_all = self.emissions_g
        if grams_of_all is None:
            return {}
        return {unit: grams_of_all / amount for unit, amount in self.units.items() if amount > 0.0}

    @property
    def key(self) -> tuple[str, int]:
        """What makes this record one of its kind: (instance, sequence)."""
        return self.instance, self.sequence
