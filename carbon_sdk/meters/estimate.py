"""From what is known of the machine to watts by load: the rules of the model, best first.

1. Watts measured on the same CPU part, published.
2. The part's TDP, times shares fitted to published package watts.
3. The TDP of the most alike part of the same microarchitecture, times the same shares.
4. What whole servers of the microarchitecture, or of any, draw at the wall.

A virtual machine or a container gets the share of a socket that its CPUs are, idle watts included. What is measured are
package watts (RAPL); the model says nothing of power supply, fans and disks. The fit of the shares, and its error on
machines that it has not seen, is benchmarks/model.py.
"""

import functools
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from carbon_sdk.meters import coefficients
from carbon_sdk.meters.coefficients import CPUPart, Instance, Measurement
from carbon_sdk.meters.curve import STEPS, PowerCurve, between
from carbon_sdk.meters.hardware import Hardware

BYTES_PER_GB = 1e9
_CLOCK = re.compile(r"@\s*([\d.]+)\s*GHz", re.IGNORECASE)
_CLOUD_CORES = 16
"""A cloud that hides the CPU's name runs big parts."""


class Shares(NamedTuple):
    """Package watts as shares of the TDP.

    The way from idle to full load is a mix of two: the microarchitecture's by SPECpower, on machines tuned to save
    power, and a concave one, on machines kept at full clock: `(1 - e^(-bend x load)) / (1 - e^-bend)`.

    Args:
        idle: Share at no load.
        full: Share at full load.
        bend: How concave the concave way is.
        saving: Weight of SPECpower's way, 0 to 1.
        low: Lower bounds at 0, 10, ... 100 % load, as factors.
        high: Upper bounds, likewise.
    """

    idle: float
    full: float
    bend: float
    saving: float
    low: tuple[float, ...] = (1.0,) * (STEPS + 1)
    high: tuple[float, ...] = (1.0,) * (STEPS + 1)

    def at(self, load: float, shape: Sequence[float]) -> float:
        """The share of the TDP at a load of 0 to 1, where SPECpower's way is `shape`."""
        concave = math.expm1(-self.bend * load) / math.expm1(-self.bend)
        return self.idle + (self.full - self.idle) * (self.saving * between(shape, load) + (1 - self.saving) * concave)

    def curve(self, tdp_watts: float, shape: Sequence[float], *, widen: float = 1.0) -> PowerCurve:
        """The watts of a socket with this TDP; `widen` is a factor on both sides of the band."""
        watts = tuple(tdp_watts * self.at(step / STEPS, shape) for step in range(STEPS + 1))
        return PowerCurve(
            watts=watts,
            low=tuple(one * factor / widen for one, factor in zip(watts, self.low, strict=True)),
            high=tuple(one * factor * widen for one, factor in zip(watts, self.high, strict=True)),
        )


SMALL_TDP_WATTS = 100.0
"""Parts below stay well under their TDP, bigger ones run at it or above."""
# Fitted by benchmarks/model.py to the package watts in data/measured_watts.csv of the machines whose TDP is published
# (Teads turbostress 2021; CodeCarbon 2025). The bounds held nine of ten rows of machines that the fit had not seen.
BIG = Shares(idle=0.12, full=1.06, bend=2.0, saving=0.25, low=(0.82,) * 11, high=(1.3,) * 11)
SMALL = Shares(
    idle=0.08,
    full=0.76,
    bend=2.0,
    saving=1.0,
    low=(0.6, 0.6, 0.6, 0.6, 0.6, 0.65, 0.7, 0.7, 0.7, 0.7, 0.7),
    high=(1.7, 1.7, 1.7, 1.7, 1.7, 1.7, 1.5, 1.35, 1.25, 1.2, 1.2),
)

MEASURED_BAND = 0.1  # the same part in two places differs by up to 3 %, other work at full load by up to 20 %
ALIKE_WIDEN = 1.15
MASKED_WIDEN = 1.3  # not even the cores are known: parts of one microarchitecture differ so in watts a thread
WALL_LOW, WALL_HIGH = 0.4, 2.0  # a part's package at full load took 0.8 to 1.7 of its kind's wall watts a thread

# W/GB of DDR4 at 0, 10, ... 100 % load: mean of c5, m5, m5zn and r5.metal, RAPL's DRAM domain (Teads, 2021);
# the bounds are a tenth below the least of them, and on the way to the 1.1 W/GB that they took under memory stress.
DRAM_WATTS_PER_GB = PowerCurve(
    watts=(0.20, 0.32, 0.34, 0.34, 0.36, 0.37, 0.39, 0.40, 0.41, 0.42, 0.43),
    low=(0.14, 0.22, 0.22, 0.23, 0.24, 0.26, 0.27, 0.28, 0.29, 0.30, 0.31),
    high=(0.25, 0.45, 0.52, 0.60, 0.67, 0.74, 0.82, 0.89, 0.97, 1.04, 1.10),
)
DRAM_SOURCE = "0.2 to 0.42 W/GB, Teads turbostress reports 2021"


class Estimate(NamedTuple):
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


class Socket(NamedTuple):
    """One whole socket.

    Args:
        curve: Its watts by load.
        threads: Its hardware threads.
        basis: What that rests on.
        tdp_watts: Its TDP; None when unknown.
    """

    curve: PowerCurve
    threads: float
    basis: str
    tdp_watts: float | None = None


def estimate(
    hardware: Hardware, *, cpus: float, memory_bytes: float | None = None, instance_type: str | None = None
) -> Estimate:
    """Watts by load of so many CPUs of this machine.

    Args:
        hardware: The machine.
        cpus: Logical CPUs at the scope.
        memory_bytes: Memory at the scope; None when unknown.
        instance_type: The cloud's name of the machine, where it is known.
    """
    socket = find_socket(hardware, instance_type)
    basis = f"{socket.basis}; {cpus:g} of {socket.threads:g} threads a socket"
    dram = None
    if memory_bytes is not None:
        dram = DRAM_WATTS_PER_GB.scaled(memory_bytes / BYTES_PER_GB)
        basis += f"; {memory_bytes / BYTES_PER_GB:.3g} GB of memory at {DRAM_SOURCE}"
    return Estimate(
        package=socket.curve.scaled(cpus / socket.threads), dram=dram, basis=basis, tdp_watts=socket.tdp_watts
    )


@functools.lru_cache(maxsize=16)  # large tables: a machine's meters ask more than once, a test client at each life
def find_socket(hardware: Hardware, instance_type: str | None = None, *, measured: bool = True) -> Socket:
    """The watts of one socket of this machine, by the best rule that applies.

    Args:
        hardware: The machine.
        instance_type: The cloud's name of the machine, where it is known.
        measured: Whether watts measured on the same part may serve: False to see what the fit alone says.
    """
    part, named_by = _part(hardware, coefficients.find_instance(instance_type) if instance_type else None)
    architecture = coefficients.find_architecture(hardware.cpu)
    name = (part.microarchitecture if part else None) or (architecture.name if architecture else None)
    threads_per_core = architecture.threads_per_core if architecture else 2
    seen = _threads_per_socket(hardware, part, threads_per_core)
    if part is not None and measured:
        rows = [row for row in coefficients.measurements() if _same(row.cpu_model, part.model)]
        if rows:
            basis = f"{named_by}, package watts measured on this part ({rows[0].source})"
            return Socket(curve=measured_curve(rows), threads=seen, basis=basis, tdp_watts=part.tdp_watts)
    power = coefficients.server_power(name)
    if part is not None and part.tdp_watts:
        curve = shares_for(part.tdp_watts).curve(part.tdp_watts, power.shape)
        basis = f"{named_by}, TDP {part.tdp_watts:g} W ({part.source})"
        return Socket(curve=curve, threads=seen, basis=basis, tdp_watts=part.tdp_watts)
    clock = _CLOCK.search(hardware.cpu.model_name or "")
    cores = part.cores if part else None if hardware.virtual else seen / threads_per_core
    alike = most_alike(
        coefficients.cpu_parts(name) if name is not None else (),
        cores=cores,
        ghz=part.base_ghz if part and part.base_ghz else float(clock[1]) if clock else None,
    )
    if alike is not None and alike.tdp_watts and alike.cores:
        threads = float(alike.threads or alike.cores * threads_per_core)
        curve = shares_for(alike.tdp_watts).curve(
            alike.tdp_watts, power.shape, widen=ALIKE_WIDEN if cores else MASKED_WIDEN
        )
        basis = f"{named_by or name}, like {alike.model} with its TDP of {alike.tdp_watts:g} W ({alike.source})"
        return Socket(curve=curve, threads=threads, basis=basis, tdp_watts=alike.tdp_watts)
    return _by_wall_watts(power, threads=seen, known=named_by or name)


def _by_wall_watts(power: coefficients.ServerPower, *, threads: float, known: str | None) -> Socket:
    """A socket of which nothing but the microarchitecture is known, or not even that."""
    idle, full = (power.idle_watts_per_thread or 0.0) * threads, (power.full_watts_per_thread or 0.0) * threads
    watts = tuple(idle + (full - idle) * share for share in power.shape)
    curve = PowerCurve(
        watts=watts, low=tuple(one * WALL_LOW for one in watts), high=tuple(one * WALL_HIGH for one in watts)
    )
    like = "servers of any kind" if power.name == "(any)" else f"servers of its kind ({power.name})"
    return Socket(curve=curve, threads=threads, basis=f"{known or 'unknown CPU'}, watts of {like} ({power.source})")


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


def _same(one: str, other: str) -> bool:
    return coefficients.plain_name(one) == coefficients.plain_name(other)


def shares_for(tdp_watts: float) -> Shares:
    """The fitted shares for a socket of this TDP."""
    return SMALL if tdp_watts < SMALL_TDP_WATTS else BIG


def measured_curve(rows: Sequence[Measurement]) -> PowerCurve:
    """The watts of one socket, as measured on one part: the mean over its machines, and what they span."""
    curves = []
    for machine in sorted({row.machine for row in rows}):
        points = sorted((row.load, row.package_watts / row.sockets) for row in rows if row.machine == machine)
        curves.append([_interpolate(points, step / STEPS) for step in range(STEPS + 1)])
    columns = list(zip(*curves, strict=True))
    return PowerCurve(
        watts=tuple(math.fsum(column) / len(column) for column in columns),
        low=tuple(min(column) * (1 - MEASURED_BAND) for column in columns),
        high=tuple(max(column) * (1 + MEASURED_BAND) for column in columns),
    )


def most_alike(parts: Iterable[CPUPart], *, cores: float | None, ghz: float | None) -> CPUPart | None:
    """The part with a known TDP that is nearest in cores and base clock; None without one.

    Args:
        parts: All of one microarchitecture.
        cores: Cores of a socket; None when unknown: then only big parts are looked at, as clouds have them, and of
            equally near ones the middle one by watts a core serves.
        ghz: Base clock; None when unknown.
    """
    known = [part for part in parts if part.tdp_watts and part.cores]
    if cores is None:
        known = [part for part in known if (part.cores or 0) >= _CLOUD_CORES] or known

    def distance(part: CPUPart) -> float:
        apart = abs(math.log((part.cores or 1) / cores)) if cores else 0.0
        return apart + (abs(math.log(part.base_ghz / ghz)) if ghz and part.base_ghz else 1.0 if ghz else 0.0)

    if not known:
        return None
    least = min(map(distance, known))
    nearest = sorted(
        (part for part in known if distance(part) == least),
        key=lambda part: (part.tdp_watts or 0.0) / (part.cores or 1),
    )
    return nearest[len(nearest) // 2]


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
