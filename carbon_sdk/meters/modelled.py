"""The meter of machines that have none: watts of a model of the hardware, at the load that was seen, times time."""

import time
from collections.abc import Callable, Sequence

from carbon_sdk.meters.curve import PowerCurve
from carbon_sdk.meters.meter import Domain, Reading, Scope

FROZEN_INTERVALS = 10
"""A stretch of more intervals than this is a gap: the process was frozen, the lid was closed."""


class ModelledMeter:
    """Joules by a model, at the scope's own load.

    Args:
        scope: The machine, or the container that is modelled by its own limits.
        package: Watts of the scope's share of the CPU packages, for the CPUs that it has now; with more CPUs they grow.
        dram: Watts of its memory; None where its size is unknown.
        basis: What the curves rest on.
        interval_seconds: How often it is read.
        monotonic_ns: The clock.
        before: When the first stretch began, by that clock, and the scope's busy CPU seconds then; None where that is
            the first reading.
    """

    name = "model"
    minimum_interval_seconds = 0.1

    def __init__(
        self,
        scope: Scope,
        *,
        package: PowerCurve,
        dram: PowerCurve | None = None,
        basis: str,
        interval_seconds: float = 1.0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        before: tuple[int, float | None] | None = None,
    ) -> None:
        self.scope = scope
        self.maximum_interval_seconds = FROZEN_INTERVALS * interval_seconds
        self.rest_on(package, dram, basis)
        self._monotonic_ns = monotonic_ns
        self._before = before

    @property
    def idle_watts(self) -> float:
        """Watts at no load, of all domains together."""
        return sum(curve.watts[0] for curve in self._curves.values())

    def rest_on(self, package: PowerCurve, dram: PowerCurve | None, basis: str) -> None:
        """Other curves from now on: more has become known of the machine."""
        self.basis = basis
        self._curves: dict[Domain, PowerCurve] = {"package": package}
        if dram is not None:
            self._curves["dram"] = dram
        self._cpus = self.scope.cpus

    def read(self) -> Sequence[Reading]:
        """The joules of each domain since the previous call; a gap where the load is not known."""
        now, busy = self._monotonic_ns(), self.scope.busy_cpu_seconds()
        before, self._before = self._before, (now, busy)
        if before is None:
            return [Reading(domain=domain, energy_joules=None, method="model") for domain in self._curves]
        seconds = (now - before[0]) / 1e9
        problem = self._problem(seconds, before[1], busy)
        if problem is not None or busy is None or before[1] is None:
            return [Reading(domain=domain, energy_joules=None, method="model", gap=problem) for domain in self._curves]
        cpus = self.scope.cpus
        load = (busy - before[1]) / (cpus * seconds) if seconds > 0 else 0.0
        return [
            _reading(domain, curve, load, seconds * (cpus / self._cpus if domain == "package" else 1.0))
            for domain, curve in self._curves.items()
        ]

    def close(self) -> None:
        """Nothing is kept open."""

    def _problem(self, seconds: float, before: float | None, busy: float | None) -> str | None:
        if before is None or busy is None:
            return f"the busy time of the {self.scope.kind} cannot be read"
        if busy < before:
            return f"the busy time of the {self.scope.kind} went back"
        if seconds > self.maximum_interval_seconds:
            return f"{seconds:.0f} s without a reading: nobody knows what ran"
        return None


def _reading(domain: Domain, curve: PowerCurve, load: float, seconds: float) -> Reading:
    band = curve.at(load)
    return Reading(
        domain=domain,
        energy_joules=band.watts * seconds,
        method="model",
        low_joules=band.low * seconds,
        high_joules=band.high * seconds,
        idle_joules=curve.watts[0] * seconds,
    )
