"""What the counters said before any meter was loaded: meters go on from there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from carbon_sdk.meters.baseline import Baseline
from carbon_sdk.meters.detect import detect
from carbon_sdk.meters.powercap import PowercapMeter
from tests.meters.conftest import ProcfsTree, SysfsTree

Build = Callable[[str], SysfsTree]
TWO_SOCKETS = """
intel-rapl:0 package-0
intel-rapl:0:0 dram D15
intel-rapl:1 package-1
"""


@pytest.fixture
def machine(sysfs: Build, procfs: ProcfsTree) -> tuple[SysfsTree, ProcfsTree]:
    """Two sockets, one with DRAM."""
    return sysfs(TWO_SOCKETS), procfs


def test_counters_go_on_from_what_stood_before_the_meter_was_loaded(machine: tuple[SysfsTree, ProcfsTree]) -> None:
    """The first reading has the joules since then; the next has its own alone."""
    tree, procfs = machine
    baseline = Baseline(str(tree.root), str(procfs.root))
    for zone, joules in {"0": 2.0, "0:0": 0.5, "1": 3.0}.items():
        tree.use(f"intel-rapl:{zone}", joules)
    meter = PowercapMeter(tree.root, procfs=procfs.root, baseline=baseline, maximum_watts=1e5)
    first = {one.domain: one.energy_joules for one in meter.read()}
    tree.use("intel-rapl:1", 1.0)
    second = {one.domain: one.energy_joules for one in meter.read()}
    meter.close()

    assert first == {"package": pytest.approx(5.0), "dram": pytest.approx(0.5)}
    assert second == {"package": pytest.approx(1.0), "dram": 0.0}


def test_a_counter_that_was_not_read_before_makes_its_domain_a_part(machine: tuple[SysfsTree, ProcfsTree]) -> None:
    """Nothing is made up for the socket that appeared since."""
    tree, procfs = machine
    tree.remove("intel-rapl:1")
    baseline = Baseline(str(tree.root), str(procfs.root))
    tree.add("intel-rapl:1 package-1")
    tree.use("intel-rapl:0", 2.0)
    meter = PowercapMeter(tree.root, procfs=procfs.root, baseline=baseline, maximum_watts=1e5)
    first = {one.domain: one for one in meter.read()}
    meter.close()

    assert first["package"].energy_joules == pytest.approx(2.0)
    assert first["package"].partial
    assert not first["dram"].partial


def test_without_a_counter_before_the_first_reading_has_no_joules(machine: tuple[SysfsTree, ProcfsTree]) -> None:
    """As ever."""
    tree, procfs = machine
    meter = PowercapMeter(tree.root, procfs=procfs.root, baseline=Baseline("/nowhere", str(procfs.root)))
    joules = [one.energy_joules for one in meter.read()]
    meter.close()

    assert joules == [None, None]


def test_a_model_goes_on_from_the_load_before_it_was_loaded(procfs: ProcfsTree, tmp_path: Path) -> None:
    """Watts at the load since then, times the time since then; without a busy time before, a gap."""
    procfs.busy(100)
    baseline = Baseline(str(tmp_path), str(procfs.root))
    procfs.busy(100.5)
    found = detect(sysfs_root=tmp_path, procfs_root=procfs.root, choice="model", gpu=False, baseline=baseline)
    lost = detect(sysfs_root=tmp_path, procfs_root=procfs.root, choice="model", gpu=False, baseline=Baseline("/", "/"))
    assert found.cpu is not None
    assert lost.cpu is not None

    assert all((one.energy_joules or 0.0) > 0.0 and one.gap is None for one in found.cpu.read())
    assert all(one.energy_joules is None and one.gap is not None for one in lost.cpu.read())
