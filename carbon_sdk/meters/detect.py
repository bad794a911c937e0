"""Which meters serve on this machine, and why the others do not: counters before models, the first that serves."""

import ctypes
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from carbon_sdk.errors import MeterError
from carbon_sdk.meters import cgroup, hardware
from carbon_sdk.meters.absent import EXPORTER_SETTING, MeterAbsentError
from carbon_sdk.meters.baseline import Baseline
from carbon_sdk.meters.estimate import Estimate, estimate
from carbon_sdk.meters.hardware import Hardware
from carbon_sdk.meters.meter import Meter, Scope
from carbon_sdk.meters.modelled import ModelledMeter
from carbon_sdk.meters.powercap import MAXIMUM_WATTS, PowercapMeter
from carbon_sdk.meters.scope import ContainerScope, MachineScope, busy_seconds

NVML_LIBRARY = "libnvidia-ml.so.1"
"""It comes with NVIDIA's driver, into a container by its toolkit, and into WSL: the linker's own search finds it."""
TDP_FACTOR = 10.0
"""No package takes ten times its TDP: a counter that says so is broken."""


class MeterReport(NamedTuple):
    """Whether one meter serves.

    Args:
        meter: Its name.
        serves: Whether it does.
        reason: What it reads, or why it does not serve, in one line.
        remedy: What somebody could do about it, or about what of it cannot be read; None where nothing helps.
    """

    meter: str
    serves: bool
    reason: str
    remedy: str | None = None


class Detected(NamedTuple):
    """The meters of this machine.

    Args:
        cpu: The meter of package and DRAM; None only where a chosen one does not serve.
        gpu: The meter of the GPUs; None where there is none.
        reports: What is to be said of each meter.
        hardware: The machine.
        cpus: Logical CPUs of the machine.
        limit: The CPU limit that this process runs under; None where there is none.
        usage: The file with the CPU time of the group that bears the limit, without one of our own group; None where
            it cannot be read.
        instance_type: The cloud's name of the machine; None when unknown.
        memory_bytes: Memory of what the model models, the machine or the container; None when unknown.
    """

    cpu: Meter | None
    gpu: Meter | None
    reports: tuple[MeterReport, ...]
    hardware: Hardware
    cpus: float
    limit: cgroup.CPULimit | None
    usage: Path | None
    instance_type: str | None
    memory_bytes: float | None

    @property
    def meters(self) -> tuple[Meter, ...]:
        """Those that serve, the CPU's first."""
        return tuple(meter for meter in (self.cpu, self.gpu) if meter is not None)


def detect(
    *,
    sysfs_root: str | Path = "/sys",
    procfs_root: str | Path = "/proc",
    choice: str = "auto",
    psys: bool = False,
    gpu: bool | None = None,
    instance_type: str | None = None,
    idle_watts: float | None = None,
    interval_seconds: float = 1.0,
    exporter_url: str | None = None,
    visible_devices: str | None = None,
    pci_order: bool = False,
    pids: Callable[[], Collection[int]] | None = None,
    own: Callable[[], Meter] | None = None,
    baseline: Baseline | None = None,
) -> Detected:
    """Look at the machine and open what serves. It never raises: a chosen meter that does not serve is reported.

    Args:
        sysfs_root: Where /sys is.
        procfs_root: Where /proc is.
        choice: `auto`, `powercap`, `exporter`, `model`, or the name of a meter of somebody's own.
        psys: Read the platform domain instead of package and DRAM.
        gpu: True or False whether to look for GPUs; None looks, quietly.
        instance_type: The cloud's name of the machine, if set or asked for.
        idle_watts: Watts of the idle scope, if set: the model starts from there.
        interval_seconds: How often the meters will be read.
        exporter_url: Where an exporter on this machine serves joules; None asks none.
        visible_devices: CUDA_VISIBLE_DEVICES as this process has it; None where it is not set.
        pci_order: CUDA_DEVICE_ORDER is PCI_BUS_ID.
        pids: The processes whose part of the GPUs is wanted; this one alone when None.
        own: Builds the chosen meter where it is somebody's own.
        baseline: What the machine's counters said when the first stretch began; None where that begins at the first
            reading.
    """
    machine = hardware.look(Path(procfs_root), Path(sysfs_root))
    groups = cgroup.hierarchies(Path(procfs_root))
    whole = MachineScope(procfs_root)
    limit = cgroup.cpu_limit(groups, of_cpus=whole.cpus)
    instance_type = instance_type or machine.instance_type
    scope, memory_bytes = _modelled(machine, whole, groups, limit, Path(procfs_root))
    rests_on = _estimate(machine, scope, memory_bytes, instance_type, idle_watts)
    builders: dict[str, Callable[[], Meter]] = {
        "powercap": lambda: PowercapMeter(
            sysfs_root,
            procfs=procfs_root,
            psys=psys,
            vendor=machine.cpu.vendor,
            maximum_watts=max(MAXIMUM_WATTS, TDP_FACTOR * (rests_on.tdp_watts or 0.0)),
            baseline=baseline,
        ),
        "exporter": lambda: _exporter(exporter_url, asked_for=choice == "exporter", procfs=procfs_root, psys=psys),
        "model": lambda: ModelledMeter(
            scope,
            package=rests_on.package,
            dram=rests_on.dram,
            basis=rests_on.basis,
            interval_seconds=interval_seconds,
            before=None if scope is not whole else _began(baseline),
        ),
    }
    cpu, reports = _first(builders if own is None else {choice: own, **builders}, choice)
    gpus, report = _gpus(
        gpu, lambda: _nvml(procfs=procfs_root, visible=visible_devices, pci_order=pci_order, pids=pids)
    )
    return Detected(
        cpu=cpu,
        gpu=gpus,
        reports=(*reports, report),
        hardware=machine,
        cpus=whole.cpus,
        limit=limit,
        usage=cgroup.own_usage(groups) if limit is None else limit.usage,
        instance_type=instance_type,
        memory_bytes=memory_bytes,
    )


def with_instance_type(found: Detected, instance_type: str, *, idle_watts: float | None = None) -> Detected:
    """The same machine, now that its cloud has told what it calls it: a model that serves rests on that from now on.

    Args:
        found: As it was detected.
        instance_type: The cloud's name of the machine.
        idle_watts: As for `detect`.
    """
    reports = found.reports
    if isinstance(found.cpu, ModelledMeter):
        rests_on = _estimate(found.hardware, found.cpu.scope, found.memory_bytes, instance_type, idle_watts)
        found.cpu.rest_on(rests_on.package, rests_on.dram, rests_on.basis)
        model = MeterReport(meter=found.cpu.name, serves=True, reason=rests_on.basis)
        reports = tuple(model if report.meter == model.meter else report for report in reports)
    return found._replace(instance_type=instance_type, reports=reports)


def _began(baseline: Baseline | None) -> tuple[int, float | None] | None:
    if baseline is None:
        return None
    return baseline.monotonic_ns, busy_seconds(baseline.get(baseline.stat))


def _exporter(url: str | None, *, asked_for: bool, procfs: str | Path, psys: bool) -> Meter:
    if url is None:
        remedy = f"Set {EXPORTER_SETTING} to that of node_exporter, Kepler or Scaphandre on this machine"
        raise MeterAbsentError("no address of an exporter is set", remedy if asked_for else None)
    from carbon_sdk.meters.exporter import ExporterMeter  # noqa: PLC0415  # HTTP and TLS, which no other meter needs

    return ExporterMeter(url, procfs=procfs, psys=psys)


def _nvml(**options: Any) -> Meter:
    try:
        ctypes.CDLL(NVML_LIBRARY)
    except OSError as exc:
        raise MeterAbsentError("no NVIDIA driver") from exc
    from carbon_sdk.meters.nvml import NVMLMeter  # noqa: PLC0415  # its binding is worth loading to a driver alone

    return NVMLMeter(**options)


def _gpus(wanted: bool | None, build: Callable[[], Meter]) -> tuple[Meter | None, MeterReport]:
    """The meter of the GPUs; whoever asked for it is told what to do where there is none."""
    if wanted is False:
        return None, MeterReport(meter="nvml", serves=False, reason="turned off")
    meter, report = _built("nvml", build)
    if wanted and meter is None and report.remedy is None:
        report = report._replace(remedy="GPUs were asked for: install NVIDIA's driver, or turn them off")
    return meter, report


def _first(meters: dict[str, Callable[[], Meter]], choice: str) -> tuple[Meter | None, list[MeterReport]]:
    """The first meter that serves, or the chosen one, and what is to be said of each."""
    serving: Meter | None = None
    reports = []
    for name, build in meters.items():
        if choice not in ("auto", name):
            reports.append(MeterReport(meter=name, serves=False, reason=f"not asked for: the meter is set to {choice}"))
        elif serving is not None:
            reports.append(MeterReport(meter=name, serves=False, reason=f"not needed: {serving.name} serves"))
        else:
            serving, report = _built(name, build)
            reports.append(report)
    return serving, reports


def _built(name: str, build: Callable[[], Meter]) -> tuple[Meter | None, MeterReport]:
    """The meter, or why it does not serve."""
    try:
        meter = build()
    except MeterAbsentError as exc:
        return None, MeterReport(meter=name, serves=False, reason=exc.reason, remedy=exc.remedy)
    except MeterError as exc:  # a driver that hangs; on 3.12, an interpreter that ends and starts no thread
        return None, MeterReport(meter=name, serves=False, reason=str(exc))
    except Exception as exc:  # a meter of somebody's own may raise anything
        reason = f"{type(exc).__name__}: {exc}"
        return None, MeterReport(meter=name, serves=False, reason=reason, remedy="Ask whoever wrote this meter")
    missing = next(iter(meter.unreadable), None) if isinstance(meter, PowercapMeter) else None
    if missing is None:
        return meter, MeterReport(meter=name, serves=True, reason=meter.basis)
    return meter, MeterReport(
        meter=name, serves=True, reason=f"{meter.basis} ({missing.reason})", remedy=missing.remedy
    )


def _modelled(
    machine: Hardware,
    scope: Scope,
    groups: dict[str, cgroup.Hierarchy],
    limit: cgroup.CPULimit | None,
    procfs_root: Path,
) -> tuple[Scope, float | None]:
    """Whose joules the model is to say, the container's where it has a limit of its own, and its memory in bytes."""
    whole = None if machine.memory_bytes is None else float(machine.memory_bytes)
    if limit is None or limit.usage is None or limit.cpus >= scope.cpus:
        return scope, whole
    limited = cgroup.memory_limit_bytes(groups)
    memory_bytes = None if whole is None else whole * limit.cpus / scope.cpus
    if limited is not None and (whole is None or limited < whole):
        memory_bytes = float(limited)
    return ContainerScope(limit, procfs_root=procfs_root), memory_bytes


def _estimate(
    machine: Hardware,
    scope: Scope,
    memory_bytes: float | None,
    instance_type: str | None,
    idle_watts: float | None,
) -> Estimate:
    found = estimate(machine, cpus=scope.cpus, memory_bytes=memory_bytes, instance_type=instance_type)
    return found if idle_watts is None else _with_idle(found, idle_watts)


def _with_idle(found: Estimate, idle_watts: float) -> Estimate:
    """The estimate, knowing the idle watts of the whole scope: each domain keeps its part of them."""
    idle = found.package.watts[0] + (found.dram.watts[0] if found.dram else 0.0)
    factor = idle_watts / idle if idle > 0 else 0.0
    return Estimate(
        package=found.package.with_idle(found.package.watts[0] * factor),
        dram=found.dram.with_idle(found.dram.watts[0] * factor) if found.dram else None,
        basis=f"{found.basis}; idle set to {idle_watts:g} W",
        tdp_watts=found.tdp_watts,
    )
