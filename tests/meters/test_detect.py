"""Which meters serve, and what is said of those that do not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from carbon_sdk.meters.detect import Detected, detect, with_instance_type
from carbon_sdk.meters.modelled import ModelledMeter
from tests.meters.conftest import ProcfsTree, SysfsTree


def seen(procfs: ProcfsTree, sysfs: Path, choice: str = "auto", **options: float) -> Detected:
    """What is detected on these trees, GPUs aside."""
    return detect(sysfs_root=sysfs, procfs_root=procfs.root, choice=choice, gpu=False, **options)  # type: ignore[arg-type]


def said(detected: Detected) -> dict[str, tuple[bool, str]]:
    """The reports by meter."""
    return {report.meter: (report.serves, report.reason) for report in detected.reports}


def test_a_counter_comes_before_the_model(procfs: ProcfsTree, sysfs: Callable[[str], SysfsTree]) -> None:
    """RAPL serves, and the model is not needed."""
    found = seen(procfs, sysfs("intel-rapl:0 package-0").root)

    assert found.cpu is not None
    assert found.cpu.name == "powercap"
    assert said(found)["powercap"] == (True, "package-0 by intel-rapl")
    assert said(found)["model"] == (False, "not needed: powercap serves")


def test_without_a_counter_the_model_serves_and_the_reason_is_one_line(procfs: ProcfsTree, tmp_path: Path) -> None:
    """The file, the reason and the remedy."""
    tree = SysfsTree(tmp_path / "sys", "intel-rapl:0 package-0")
    (tree.folder("intel-rapl:0") / "energy_uj").unlink()

    found = seen(procfs, tree.root)
    powercap, _, model, *_ = found.reports

    assert found.cpu is not None
    assert found.cpu.name == "model"
    assert powercap.reason == f"{tree.flat}/intel-rapl:0/energy_uj is not there (any more)"
    assert "\n" not in powercap.reason
    assert model.serves
    assert "8259CL" in model.reason


def test_a_chosen_meter_that_does_not_serve_leaves_none(procfs: ProcfsTree, tmp_path: Path) -> None:
    """Who set it is told; nothing else takes its place."""
    found = seen(procfs, tmp_path, choice="powercap")

    assert found.cpu is None
    assert said(found)["model"] == (False, "not asked for: the meter is set to powercap")


def test_a_chosen_model_leaves_the_counter_alone(procfs: ProcfsTree, sysfs: Callable[[str], SysfsTree]) -> None:
    """For comparison, or where RAPL is known to lie."""
    found = seen(procfs, sysfs("intel-rapl:0 package-0").root, choice="model")

    assert found.cpu is not None
    assert found.cpu.name == "model"


def test_a_container_with_a_limit_is_modelled_by_it(procfs: ProcfsTree, tmp_path: Path) -> None:
    """Its CPUs, and its bytes: here the memory limit of 1 GiB instead of a share of the machine's."""
    mount = tmp_path / "cgroup"
    mount.mkdir()
    for name, text in {"cpu.max": "100000 100000", "cpu.stat": "usage_usec 1", "memory.max": str(2**30)}.items():
        (mount / name).write_text(text)
    procfs.write("self/cgroup", "0::/\n")
    procfs.write("self/mountinfo", f"30 25 0:26 / {mount} rw - cgroup2 cgroup rw\n")

    found = seen(procfs, tmp_path)

    assert found.cpu is not None
    assert (found.cpu.scope.kind, found.cpu.scope.cpus) == ("container", 1.0)
    assert "1 of 4 threads a socket; 1.07 GB of memory" in found.cpu.basis

    (mount / "memory.max").write_text("max")
    assert "16.8 GB of memory" in said(seen(procfs, tmp_path))["model"][1]


def test_a_limit_of_all_cpus_is_no_container(procfs: ProcfsTree, tmp_path: Path) -> None:
    """Then the machine is modelled, with the machine's load."""
    mount = tmp_path / "cgroup"
    mount.mkdir()
    (mount / "cpuset.cpus.effective").write_text("0-3")
    (mount / "cpu.stat").write_text("usage_usec 1")
    procfs.write("self/cgroup", "0::/\n")
    procfs.write("self/mountinfo", f"30 25 0:26 / {mount} rw - cgroup2 cgroup rw\n")

    found = seen(procfs, tmp_path)

    assert found.cpu is not None
    assert found.cpu.scope.kind == "machine"


def test_idle_watts_that_are_set_are_the_models_too(procfs: ProcfsTree, tmp_path: Path) -> None:
    """Package and DRAM keep their parts of them."""
    found = seen(procfs, tmp_path, idle_watts=40.0)
    assert found.cpu is not None
    found.cpu.read()

    assert found.cpu.basis.endswith("idle set to 40 W")


def test_a_model_rests_on_the_instance_type_once_that_is_told(procfs: ProcfsTree, tmp_path: Path) -> None:
    """A cloud that hides the CPU's name: the same meter goes on, by the part of its instance type."""
    procfs.cpuinfo("Intel(R) Xeon(R) CPU @ 2.70GHz", numbers=(6, 143, 8), flags="fpu hypervisor")
    found = seen(procfs, tmp_path)
    assert isinstance(found.cpu, ModelledMeter)
    masked = found.cpu.basis
    found.cpu.read()
    better = with_instance_type(found, "c3-standard-4")
    again = with_instance_type(found, "c3-standard-4", idle_watts=7.0)

    assert better.cpu is found.cpu
    assert better.instance_type == "c3-standard-4"
    assert "by instance type c3-standard-4" in said(better)["model"][1]
    assert "by instance type" not in masked
    assert found.cpu.basis.endswith("idle set to 7 W")
    assert again.reports != better.reports
    assert all(reading.energy_joules is not None for reading in found.cpu.read())


def test_a_counter_does_not_care_for_the_instance_type(procfs: ProcfsTree, sysfs: Callable[[str], SysfsTree]) -> None:
    """It is remembered, for the making of the machine."""
    found = with_instance_type(seen(procfs, sysfs("intel-rapl:0 package-0").root), "m5.metal")

    assert found.instance_type == "m5.metal"
    assert said(found)["powercap"] == (True, "package-0 by intel-rapl")


def test_on_this_machine_something_serves() -> None:
    """Whatever it is."""
    found = detect(gpu=False)

    assert found.cpu is not None
    assert any(report.serves for report in found.reports)
    found.cpu.close()


def test_gpus_that_are_turned_off_are_not_looked_for(procfs: ProcfsTree, tmp_path: Path) -> None:
    """And it is said."""
    found = seen(procfs, tmp_path)

    assert found.gpu is None
    assert said(found)["nvml"] == (False, "turned off")


def test_a_machine_without_nvidia_says_so_quietly(procfs: ProcfsTree, tmp_path: Path) -> None:
    """No remedy, so no warning; a driver is reported whatever the machine of the tests has."""
    found = detect(sysfs_root=tmp_path, procfs_root=procfs.root)
    *_, report = found.reports
    if found.gpu is not None:
        found.gpu.close()

    assert report.meter == "nvml"
    assert report.serves is (found.gpu is not None)


@pytest.mark.parametrize("choice", ["auto", "model"])
def test_the_reports_name_every_meter(procfs: ProcfsTree, tmp_path: Path, choice: str) -> None:
    """In the order in which they are asked."""
    assert [report.meter for report in seen(procfs, tmp_path, choice=choice).reports] == [
        "powercap",
        "exporter",
        "model",
        "nvml",
    ]
