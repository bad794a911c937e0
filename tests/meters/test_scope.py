"""How busy the machine or the container was."""

from pathlib import Path

import pytest

from carbon_sdk.meters.cgroup import CPULimit
from carbon_sdk.meters.scope import ContainerScope, MachineScope, busy_ticks
from tests.meters.conftest import Clock, ProcfsTree


@pytest.mark.parametrize(
    ("line", "ticks"),
    [
        ("cpu  10 20 30 4000 50 6 7 800 9 9", 73),  # no idle, iowait, steal; guest is inside user already
        ("cpu 1 2 3 4", 6),
        ("cpu0 1 2 3 4", None),
        ("cpu  1 x 3 4", None),
        ("", None),
    ],
)
def test_busy_time_is_what_ran(line: str, ticks: int | None) -> None:
    """User, nice, system, irq and softirq."""
    assert busy_ticks(line.encode()) == ticks


def test_the_machine_is_read_anew_each_time(procfs: ProcfsTree) -> None:
    """From a descriptor that is kept; CPUs that come online are seen."""
    scope = MachineScope(procfs.root)
    before = scope.busy_cpu_seconds(), scope.cpus
    procfs.busy(250.5, cpus=6)

    assert before == (100.0, 4.0)
    assert (scope.busy_cpu_seconds(), scope.cpus) == (250.5, 6.0)
    assert scope.kind == "machine"


def test_a_machine_that_cannot_be_seen_is_unknown(tmp_path: Path) -> None:
    """Never an exception, and never 0."""
    scope = MachineScope(tmp_path)

    assert scope.busy_cpu_seconds() is None
    assert scope.cpus >= 1


@pytest.mark.parametrize(("verify", "busy"), [(True, None), (False, 100.0)])
def test_a_sandboxs_stat_is_not_the_kernels(procfs: ProcfsTree, verify: bool, busy: float | None) -> None:
    """gVisor makes up a machine of its own: a model may use it, the host's meter may not."""
    procfs.write("version", "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n")

    assert MachineScope(procfs.root, verify=verify).busy_cpu_seconds() == busy


def test_a_stat_that_is_mounted_over_is_not_the_kernels(procfs: ProcfsTree) -> None:
    """LXCFS lays a file of its own over it, whatever bytes the other mounts are called by."""
    mounts = b"40 30 8:1 / /media/caf\xe9 rw - ext4 /dev/sda rw\n"
    mounts += b"41 30 0:50 /proc/stat %s/stat rw - fuse.lxcfs lxcfs rw\n"
    (procfs.root / "self").mkdir(exist_ok=True)
    (procfs.root / "self/mountinfo").write_bytes(mounts % bytes(procfs.root))

    assert MachineScope(procfs.root, verify=True).busy_cpu_seconds() is None


@pytest.mark.parametrize(
    ("text", "busy"), [("usage_usec 1500000\nuser_usec 1", 1.5), ("2500000000\n", 2.5), ("nothing", None)]
)
def test_a_container_is_as_busy_as_its_group(tmp_path: Path, text: str, busy: float | None) -> None:
    """Both versions' files."""
    (tmp_path / "usage").write_text(text)
    scope = ContainerScope(CPULimit(cpus=1.5, source=tmp_path / "cpu.max", usage=tmp_path / "usage"))

    assert (scope.kind, scope.cpus, scope.busy_cpu_seconds()) == ("container", 1.5, busy)


def test_a_container_whose_usage_is_hidden_is_unknown(tmp_path: Path) -> None:
    """No file, and a file that is gone."""
    for usage in (None, tmp_path / "gone"):
        assert ContainerScope(CPULimit(cpus=1, source=tmp_path, usage=usage)).busy_cpu_seconds() is None


def test_a_quota_that_changes_is_seen_within_a_minute(procfs: ProcfsTree, tmp_path: Path, clock: Clock) -> None:
    """Orchestrators resize containers in place."""
    mount = tmp_path / "cgroup"
    mount.mkdir()
    (mount / "cpu.max").write_text("200000 100000")
    (mount / "cpu.stat").write_text("usage_usec 5")
    procfs.write("self/cgroup", "0::/\n")
    procfs.write("self/mountinfo", f"30 25 0:26 / {mount} rw - cgroup2 cgroup rw\n")
    scope = ContainerScope(
        CPULimit(cpus=2.0, source=mount / "cpu.max", usage=mount / "cpu.stat"),
        procfs_root=procfs.root,
        monotonic=lambda: clock() / 1e9,
    )
    (mount / "cpu.max").write_text("400000 100000")
    scope.busy_cpu_seconds()
    before = scope.cpus
    clock.sleep(61)
    scope.busy_cpu_seconds()

    assert (before, scope.cpus) == (2.0, 4.0)
