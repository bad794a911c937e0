"""Limits by control group, in both versions of the interface and every place where they hide."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from carbon_sdk.meters import cgroup
from tests.meters.conftest import ProcfsTree


class Groups:
    """Control groups below a mount point of the test's own."""

    def __init__(self, procfs: ProcfsTree, mount: Path) -> None:
        self.procfs = procfs
        self.mount = mount

    def v2(self, path: str, files: Mapping[str, str], *, root: str = "/") -> None:
        """The unified hierarchy, with us in `path`."""
        self.procfs.write("self/cgroup", f"0::{path}\n")
        self.procfs.write("self/mountinfo", f"30 25 0:26 {root} {self.mount} rw,nosuid - cgroup2 cgroup rw\n")
        self.files(files)

    def v1(self, path: str, files: Mapping[str, str], *, root: str = "/") -> None:
        """Hierarchies of version 1 for cpu and cpuacct (together), cpuset and memory, with us in `path` of each."""
        names = ("cpu,cpuacct", "cpuset", "memory")
        self.procfs.write("self/cgroup", "".join(f"{n}:{name}:{path}\n" for n, name in enumerate(names, 2)))
        self.procfs.write(
            "self/mountinfo",
            "".join(
                f"3{n} 25 0:2{n} {root} {self.mount}/{name} rw - cgroup cgroup rw,{name}\n"
                for n, name in enumerate(names)
            ),
        )
        self.files(files)

    def files(self, files: Mapping[str, str]) -> None:
        """Write files by their path below the mount point."""
        for name, text in files.items():
            (self.mount / name).parent.mkdir(parents=True, exist_ok=True)
            (self.mount / name).write_text(text + "\n")

    @property
    def limit(self) -> cgroup.CPULimit | None:
        """What is found."""
        return cgroup.cpu_limit(cgroup.hierarchies(self.procfs.root))

    @property
    def memory(self) -> int | None:
        """The memory limit that is found."""
        return cgroup.memory_limit_bytes(cgroup.hierarchies(self.procfs.root))


@pytest.fixture
def groups(procfs: ProcfsTree, tmp_path: Path) -> Groups:
    """No groups yet."""
    return Groups(procfs, tmp_path / "cgroup")


STAT = "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000", None),
        ("200000 100000", 2.0),
        ("50000 100000", 0.5),
        ("15000 10000", 1.5),
        ("max", None),
        ("", None),
    ],
)
def test_a_quota_of_version_2(groups: Groups, text: str, cpus: float | None) -> None:
    """`quota period`, or `max`."""
    groups.v2("/", {"cpu.max": text, "cpu.stat": STAT})

    assert (groups.limit.cpus if groups.limit else None) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", None), ("150000", 1.5)])
def test_a_quota_of_version_1(groups: Groups, quota: str, cpus: float | None) -> None:
    """-1 is no limit; the usage is counted in nanoseconds."""
    groups.v1(
        "/docker/abc",
        {
            "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": quota,
            "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/docker/abc/cpuacct.usage": "2500000000",
        },
    )

    assert (groups.limit.cpus if groups.limit else None) == cpus
    if groups.limit and groups.limit.usage:
        assert cgroup.usage_seconds(groups.limit.usage.read_text()) == 2.5


def test_the_least_limit_of_all_visible_ancestors_counts(groups: Groups) -> None:
    """A leaf says `max` while its parent holds two CPUs; the usage is the parent's, which bears the limit."""
    groups.v2(
        "/pod/init",
        {
            "pod/init/cpu.max": "max 100000",
            "pod/init/cpu.stat": "usage_usec 1",
            "pod/cpu.max": "200000 100000",
            "pod/cpu.stat": STAT,
            "cpu.stat": "usage_usec 9",
        },
    )

    assert groups.limit == cgroup.CPULimit(
        cpus=2.0, source=groups.mount / "pod/cpu.max", usage=groups.mount / "pod/cpu.stat"
    )


def test_a_container_that_sees_its_group_as_the_root(groups: Groups) -> None:
    """In a cgroup namespace our path is `/`."""
    groups.v2("/", {"cpu.max": "100000 100000", "cpu.stat": STAT})

    assert groups.limit is not None
    assert groups.limit.usage == groups.mount / "cpu.stat"


def test_a_path_of_the_host_that_the_container_does_not_show(groups: Groups) -> None:
    """/proc/self/cgroup names the host's path, the mount shows our group alone."""
    groups.v1("/docker/abc", {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"})

    assert groups.limit is not None
    assert groups.limit.cpus == 0.5
    assert groups.limit.usage is None


def test_a_mount_whose_root_is_our_group(groups: Groups) -> None:
    """The mount's root is cut off our path."""
    groups.v2("/docker/abc/child", {"child/cpu.max": "300000 100000", "child/cpu.stat": STAT}, root="/docker/abc")

    assert groups.limit is not None
    assert groups.limit.cpus == 3.0


@pytest.mark.parametrize("first", ["own", "host"])
def test_a_mount_of_the_hosts_tree_does_not_stand_before_our_own(groups: Groups, first: str) -> None:
    """As the remedy for a hidden RAPL tree asks: the host's /sys, groups and all, stands at /host/sys beside ours."""
    mounts = {
        "own": f"30 25 0:26 / {groups.mount} rw - cgroup2 cgroup rw\n",
        "host": f"40 25 0:26 /../../.. {groups.mount.parent}/host ro - cgroup2 cgroup rw\n",
    }
    groups.v2("/", {"cpu.max": "200000 100000", "cpu.stat": STAT, "../host/cpu.stat": STAT})
    groups.procfs.write("self/mountinfo", mounts.pop(first) + "".join(mounts.values()))

    assert groups.limit is not None
    assert groups.limit.source == groups.mount / "cpu.max"


def test_a_mount_point_of_any_bytes_hides_no_limit(groups: Groups) -> None:
    """The kernel prints names as they are: a stick that was mounted under a Latin-1 name is no UTF-8."""
    groups.v2("/", {"cpu.max": "200000 100000", "cpu.stat": STAT})
    mountinfo = groups.procfs.root / "self/mountinfo"
    mountinfo.write_bytes(b"40 30 8:1 / /media/caf\xe9 rw - ext4 /dev/sda rw\n" + mountinfo.read_bytes())

    assert groups.limit is not None


def test_a_cpu_set_is_a_limit_too(groups: Groups) -> None:
    """The lesser of quota and CPU set."""
    groups.v2("/a", {"a/cpu.max": "800000 100000", "a/cpuset.cpus.effective": "0-3,8-9", "a/cpu.stat": STAT})

    assert groups.limit is not None
    assert groups.limit.cpus == 6.0
    assert groups.limit.usage == groups.mount / "a/cpu.stat"


def test_controllers_of_version_1_mounted_apart(groups: Groups) -> None:
    """cpu and cpuacct may be two mounts: the usage is looked for under the other one."""
    groups.procfs.write("self/cgroup", "2:cpuacct:/x\n1:cpu:/x\n0::/\n")
    groups.procfs.write(
        "self/mountinfo",
        f"31 25 0:1 / {groups.mount}/cpu rw - cgroup cgroup rw,cpu\n"
        f"32 25 0:2 / {groups.mount}/cpuacct rw - cgroup cgroup rw,cpuacct\n"
        f"33 25 0:3 / {groups.mount}/unified rw - cgroup2 cgroup2 rw\n",
    )
    groups.files({"cpu/x/cpu.cfs_quota_us": "100000", "cpuacct/x/cpuacct.usage": "7000000000", "unified/x": ""})

    assert groups.limit is not None
    assert groups.limit.usage == groups.mount / "cpuacct/x/cpuacct.usage"


def test_the_least_memory_limit_counts(groups: Groups) -> None:
    """`max` and version 1's huge number are none."""
    groups.v2("/a", {"a/memory.max": "max", "memory.max": "1073741824"})
    assert groups.memory == 2**30

    groups.v1("/", {"memory/memory.limit_in_bytes": "9223372036854771712"})
    assert groups.memory is None


@pytest.mark.parametrize("text", ["", "garbage", "0::", "5:cpu:/../..\n"])
def test_groups_that_cannot_be_understood_are_no_limit(procfs: ProcfsTree, text: str) -> None:
    """Never an exception."""
    procfs.write("self/cgroup", text)
    procfs.write("self/mountinfo", "31 25 0:1 / /nowhere rw - cgroup cgroup rw,cpu\nshort line\n")

    assert cgroup.cpu_limit(cgroup.hierarchies(procfs.root)) is None


def test_no_proc_is_no_limit(tmp_path: Path) -> None:
    """Nothing can be seen, so nothing is claimed."""
    assert cgroup.hierarchies(tmp_path / "none") == {}


@pytest.mark.parametrize(("text", "count"), [("0-3,8-11", 8), ("5", 1), ("", 0), ("a-b", 0), ("0-", 0)])
def test_a_list_of_cpus_is_counted(text: str, count: int) -> None:
    """As the kernel prints it."""
    assert cgroup.count_cpus(text) == count


def test_a_set_of_all_cpus_is_no_limit(groups: Groups) -> None:
    """Every group has a set; a pod without a limit would else reserve its whole node."""
    groups.v2("/pod", {"pod/cpuset.cpus.effective": "0-3", "pod/cpu.stat": STAT})
    found = cgroup.hierarchies(groups.procfs.root)

    assert cgroup.cpu_limit(found, of_cpus=4.0) is None
    assert (cgroup.cpu_limit(found, of_cpus=8.0) or pytest.fail("no limit")).cpus == 4.0
    assert cgroup.own_usage(found) == groups.mount / "pod/cpu.stat"


def test_the_cpu_time_of_our_own_group_is_found_in_both_versions(groups: Groups) -> None:
    """And is None where nothing accounts for it."""
    groups.v1("/a", {"cpu,cpuacct/a/cpuacct.usage": "2500000000"})
    assert cgroup.own_usage(cgroup.hierarchies(groups.procfs.root)) == groups.mount / "cpu,cpuacct/a/cpuacct.usage"
    assert cgroup.own_usage({}) is None
