"""From what is known of the machine to watts by load: the rules of the model, best first.

1. Watts measured on the same CPU part, published.
2. The part's TDP, times shares fitted to published package watts.
3. The microarchitecture: the median TDP a thread of its parts, times the same shares.
4. Nothing known: the median over all server parts, with a wide band.

A virtual machine or a container gets the share of a socket that its CPUs are, idle watts included. The fit and its
error on machines that it has not seen: benchmarks/model.py.
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carbon_sdk.meters import coefficients
from carbon_sdk.meters.coefficients import CPUPart, Instance, Measurement
from carbon_sdk.meters.curve import STEPS, PowerCurve
from carbon_sdk.meters.hardware import Hardware

SMALL_TDP_WATTS = 100.0
"""Parts below stay well under their TDP, bigger ones run at it or above: package watts of seven machines, see below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Package watts as shares of the TDP: `idle + (full - idle) x (1 - e^(-bend x load)) / (1 - e^-bend)`.

    Args:
        idle: Share at no load.
        full: Share at full load.
        bend: How concave the way between them is.
        low: Lower bound, as a factor.
        high: Upper bound, as a factor.
    """

    idle: float
    full: float
    bend: float
    low: float
    high: float

    def at(self, load: float) -> float:
        """The share of the TDP at a load of 0 to 1."""
        return self.idle + (self.full - self.idle) * math.expm1(-self.bend * load) / math.expm1(-self.bend)

    def curve(self, tdp_watts: float, *, widen: float = 1.0) -> PowerCurve:
        """The watts of a socket with this TDP; `widen` is a factor on both sides of the band."""
        watts = tuple(tdp_watts * self.at(step / STEPS) for step in range(STEPS + 1))
        return PowerCurve(
            watts=watts,
            low=tuple(one * self.low / widen for one in watts),
            high=tuple(one * self.high * widen for one in watts),
        )


# Fitted to the package watts in data/measured_watts.csv (Teads 2021, CodeCarbon 2025) by benchmarks/model.py.
BIG = Shares(idle=0.12, full=1.06, bend=1.25, low=0.75, high=1.25)
SMALL = Shares(idle=0.12, full=0.64, bend=1.25, low=0.6, high=1.5)

MEASURED_BAND = 0.1  # the same part in two places differs by up to 3 %, other work at full load by up to 20 %
ARCHITECTURE_WIDEN = 1.3
GENERIC_WIDEN = 2.0
GENERIC_TDP_PER_THREAD = 4.0  # W; median of the server parts in data/cpus.csv
# W/GB of DDR4 at 0, 10, ... 100 % load: mean of c5, m5, m5zn and r5.metal, RAPL's DRAM domain (Teads, 2021).
# Under memory stress the same modules took up to 1.1 W/GB, which no load of the CPU shows.
DRAM_WATTS_PER_GB = PowerCurve(
    watts=(0.20, 0.32, 0.34, 0.35, 0.36, 0.37, 0.39, 0.40, 0.41, 0.42, 0.43),
    low=(0.12, 0.19, 0.20, 0.21, 0.22, 0.22, 0.23, 0.24, 0.25, 0.25, 0.26),
    high=(0.30, 0.45, 0.5, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 1.1),
)
DRAM_SOURCE = "Teads turbostress reports 2021"
BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the model rests on.

    Args:
        package: Watts of the scope's share of the packages.
        dram: Watts of its memory; None where its size is unknown.
        basis: In words, with the sources.
        tdp_watts: TDP of a whole socket; None when unknown.
    """

    package: PowerCurve
    dram: PowerCurve | None
    basis: str
    tdp_watts: float | None


def estimate(
    hardware: Hardware, *, cpus: float, memory_bytes: float | None = None, instance_type: str | None = None
) -> Estimate:
    """Watts by load of so many CPUs of this machine.

    Args:
        hardware: The machine.
        cpus: Logical CPUs at the scope.
        memory_bytes: Memory at the scope; None when unknown.
        instance_type: The cloud's name of the machine, where it is known from elsewhere.
    """
    instance = coefficients.find_instance(instance_type) if instance_type else None
    part, named_by = _part(hardware, instance)
    architecture = coefficients.find_architecture(hardware.cpu)
    name = (part.microarchitecture if part else None) or (architecture.name if architecture else None)
    threads_per_core = architecture.threads_per_core if architecture else 2
    socket, basis = _socket(part, named_by, name, threads_per_core, hardware)
    threads = _threads_per_socket(hardware, part, threads_per_core)
    dram = None if memory_bytes is None else DRAM_WATTS_PER_GB.scaled(memory_bytes / BYTES_PER_GB)
    if dram is not None and memory_bytes is not None:
        basis += f"; memory {memory_bytes / BYTES_PER_GB:.3g} GB ({DRAM_SOURCE})"
    return Estimate(
        package=socket.scaled(cpus / threads),
        dram=dram,
        basis=f"{basis}, {cpus:g} of {threads:g} threads a socket" if threads != cpus else basis,
        tdp_watts=part.tdp_watts if part else None,
    )


def _part(hardware: Hardware, instance: Instance | None) -> tuple[CPUPart | None, str]:
    """The CPU part, and how it is known: by its own name before the instance type, which may run on several."""
    name = hardware.cpu.model_name
    part = coefficients.find_cpu(name) if name else None
    if part is not None:
        return part, part.model
    if instance is not None and instance.cpu_model is not None:
        part = coefficients.find_cpu(instance.cpu_model)
        return part, f"{instance.cpu_model} by instance type {instance.instance_type}"
    return None, ""


def _socket(
    part: CPUPart | None, named_by: str, architecture: str | None, threads_per_core: int, hardware: Hardware
) -> tuple[PowerCurve, str]:
    """The watts of a whole socket, and what they rest on."""
    if part is not None:
        rows = [
            row
            for row in coefficients.measurements()
            if coefficients.plain_name(row.cpu_model) == coefficients.plain_name(part.model)
        ]
        if rows:
            return measured_curve(rows), f"{named_by}, package watts measured on this part ({rows[0].source})"
        if part.tdp_watts is not None:
            return shares_for(part.tdp_watts).curve(part.tdp_watts), (
                f"{named_by}, TDP {part.tdp_watts:g} W ({part.source})"
            )
    threads = (part.threads if part else None) or _threads_per_socket(hardware, part, threads_per_core)
    if architecture is not None:
        per_thread = tdp_per_thread(coefficients.cpu_parts(), architecture, threads_per_core)
        if per_thread is not None:
            tdp = per_thread * threads
            return shares_for(tdp).curve(tdp, widen=ARCHITECTURE_WIDEN), (
                f"{architecture}, about {per_thread:.1f} W of TDP a thread (median of its parts in data/cpus.csv)"
            )
    tdp = GENERIC_TDP_PER_THREAD * threads
    return shares_for(tdp).curve(tdp, widen=GENERIC_WIDEN), (
        f"unknown CPU, {GENERIC_TDP_PER_THREAD:g} W of TDP a thread (median of the parts in data/cpus.csv)"
    )


def shares_for(tdp_watts: float) -> Shares:
    """The fitted shares for a socket of this TDP."""
    return SMALL if tdp_watts < SMALL_TDP_WATTS else BIG


def measured_curve(rows: Sequence[Measurement]) -> PowerCurve:
    """The watts of one socket, as measured on one part: the mean over its machines."""
    machines = sorted({row.machine for row in rows})
    curves = []
    for machine in machines:
        points = sorted((row.load, row.package_watts / row.sockets) for row in rows if row.machine == machine)
        curves.append([_interpolate(points, step / STEPS) for step in range(STEPS + 1)])
    watts = tuple(statistics.fmean(column) for column in zip(*curves, strict=True))
    low = tuple(min(column) * (1 - MEASURED_BAND) for column in zip(*curves, strict=True))
    high = tuple(max(column) * (1 + MEASURED_BAND) for column in zip(*curves, strict=True))
    return PowerCurve(watts=watts, low=low, high=high)


def tdp_per_thread(parts: Iterable[CPUPart], architecture: str, threads_per_core: int) -> float | None:
    """The median TDP a thread of the parts of one microarchitecture; None where the table has none."""
    known = []
    for part in parts:
        threads = part.threads or (part.cores or 0) * threads_per_core
        if part.microarchitecture == architecture and part.tdp_watts and threads:
            known.append(part.tdp_watts / threads)
    return statistics.median(known) if known else None


def _threads_per_socket(hardware: Hardware, part: CPUPart | None, threads_per_core: int) -> float:
    """Hardware threads of one socket: on bare metal what is seen, in a VM what the part is sold with."""
    if not hardware.virtual and hardware.cpu.sockets:
        return hardware.cpu.threads / hardware.cpu.sockets
    if part is not None and (part.threads or part.cores):
        return float(part.threads or (part.cores or 0) * threads_per_core)
    return float(hardware.cpu.threads)


def _interpolate(points: Sequence[tuple[float, float]], load: float) -> float:
    for (left, low), (right, high) in itertools.pairwise(points):
        if left <= load <= right:
            return low + (high - low) * (load - left) / (right - left) if right > left else low
    return points[-1][1]
