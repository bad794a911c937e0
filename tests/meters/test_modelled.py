"""The model as a meter: watts at the load that was seen, times time."""

from pathlib import Path

import pytest

from carbon_sdk.meters.cgroup import CPULimit
from carbon_sdk.meters.curve import PowerCurve
from carbon_sdk.meters.meter import Reading
from carbon_sdk.meters.modelled import ModelledMeter
from carbon_sdk.meters.scope import ContainerScope, MachineScope
from tests.meters.conftest import Clock, ProcfsTree

RISING = PowerCurve(
    watts=tuple(10.0 + step for step in range(11)),
    low=tuple(5.0 + step for step in range(11)),
    high=tuple(30.0 + step for step in range(11)),
)


def test_joules_are_watts_at_the_load_times_time(procfs: ProcfsTree, clock: Clock) -> None:
    """Two of four CPUs busy for two seconds: half load, with its bounds and its idle part."""
    meter = ModelledMeter(MachineScope(procfs.root), package=RISING, dram=RISING, basis="test", monotonic_ns=clock)
    first = meter.read()
    clock.sleep(2)
    procfs.busy(104)

    package, dram = meter.read()

    assert [one.energy_joules for one in first] == [None, None]
    assert [one.gap for one in first] == [None, None]
    assert package == Reading(
        domain="package", energy_joules=30.0, method="model", low_joules=20.0, high_joules=70.0, idle_joules=20.0
    )
    assert dram.domain == "dram"
    assert dram.energy_joules == 30.0


def test_a_container_is_modelled_by_its_own_limit_and_use(procfs: ProcfsTree, clock: Clock, tmp_path: Path) -> None:
    """2 CPUs of a node of 64 that is busy with 32 s/s: all of the 10 W are of the container's own second."""
    usage = tmp_path / "cpu.stat"
    usage.write_text("usage_usec 5000000")
    procfs.busy(1000, cpus=64)
    scope = ContainerScope(CPULimit(cpus=2.0, source=tmp_path / "cpu.max", usage=usage), procfs_root=procfs.root)
    flat = PowerCurve(watts=(10.0,) * 11, low=(10.0,) * 11, high=(10.0,) * 11)
    meter = ModelledMeter(scope, package=flat, basis="test", monotonic_ns=clock)
    meter.read()
    busy_before = scope.busy_cpu_seconds() or 0.0
    clock.sleep(1)
    procfs.busy(1032, cpus=64)
    usage.write_text("usage_usec 6000000")

    (reading,) = meter.read()
    process_cpu_seconds, busy = 1.0, (scope.busy_cpu_seconds() or 0.0) - busy_before

    assert (reading.energy_joules or 0.0) * process_cpu_seconds / busy == pytest.approx(10.0)


def test_more_cpus_later_draw_more(procfs: ProcfsTree, clock: Clock) -> None:
    """A machine that grows from 4 to 8 CPUs has twice the socket; its memory stays."""
    meter = ModelledMeter(MachineScope(procfs.root), package=RISING, dram=RISING, basis="test", monotonic_ns=clock)
    meter.read()
    clock.sleep(1)
    procfs.busy(100, cpus=8)

    assert [one.energy_joules for one in meter.read()] == [20.0, 10.0]


def test_a_load_beyond_all_cpus_is_full_load(procfs: ProcfsTree, clock: Clock) -> None:
    """Ticks are coarse, and quotas let a container borrow."""
    meter = ModelledMeter(MachineScope(procfs.root), package=RISING, basis="test", monotonic_ns=clock)
    meter.read()
    clock.sleep(1)
    procfs.busy(109)

    assert meter.read()[0].energy_joules == 20.0


@pytest.mark.parametrize(
    ("seconds", "stat", "gap"),
    [
        (1.0, "garbage", "the busy time of the machine cannot be read"),
        (1.0, "cpu  5 0 0 1\n", "the busy time of the machine went back"),
        (11.0, "cpu  10100 0 0 1\n", "11 s without a reading: nobody knows what ran"),
    ],
)
def test_what_is_not_known_is_a_gap(procfs: ProcfsTree, clock: Clock, seconds: float, stat: str, gap: str) -> None:
    """An unreadable load, one that went back, a frozen process."""
    meter = ModelledMeter(MachineScope(procfs.root), package=RISING, basis="test", monotonic_ns=clock)
    meter.read()
    clock.sleep(seconds)
    procfs.write("stat", stat)

    (reading,) = meter.read()

    assert (reading.energy_joules, reading.gap) == (None, gap)


def test_after_a_gap_it_goes_on(procfs: ProcfsTree, clock: Clock) -> None:
    """The stretch after an unreadable one is a gap too, and the next is whole."""
    meter = ModelledMeter(MachineScope(procfs.root), package=RISING, basis="test", monotonic_ns=clock)
    joules = []
    for text in (None, "garbage", None, None):
        clock.sleep(1)
        procfs.busy(100)
        if text is not None:
            procfs.write("stat", text)
        joules.append(meter.read()[0].energy_joules)
    meter.close()

    assert joules == [None, None, None, 10.0]
