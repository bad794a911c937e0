"""Control groups: the limits that this process runs under, and the CPU time of the group that bears them.

A limit on any visible ancestor holds too, so the least one counts. Ancestors above the root of a cgroup namespace
cannot be seen: what is found here is "at most".

Rules from the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/: `cpu.max` is "quota period" or "max
period" in microseconds; `cpu.cfs_quota_us` is -1 without a limit; the root group has none of these files.

`carbon-sdk run` loads this before its program starts, so the values are named tuples: dataclasses load `inspect`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

MICROSECONDS = 1e6
_ESCAPED = re.compile(r"\\([0-7]{3})")
_NO_LIMIT_BYTES = 2**60
"""cgroup v1 writes a number near 2^63 where memory has no limit; no machine has an exbibyte."""


class Hierarchy(NamedTuple):
    """Where one controller's groups are mounted, and which of them is ours.

    Args:
        mount: The mount point.
        own: Our group's folder, at or below the mount point.
        version: Of the cgroup interface.
    """

    mount: Path
    own: Path
    version: Literal[1, 2]

    def levels(self) -> Iterator[Path]:
        """Our group's folder, then each ancestor's up to the mount point."""
        folder = self.own
        yield folder
        while folder != self.mount:
            folder = folder.parent
            yield folder


class CPULimit(NamedTuple):
    """How many CPUs a group may use.

    Args:
        cpus: Logical CPUs; 1.5 where the quota is one and a half periods.
        source: The file that says so.
        usage: The file with the CPU time of the group that bears this limit; None where it cannot be read.
    """

    cpus: float
    source: Path
    usage: Path | None


def hierarchies(procfs_root: Path = Path("/proc")) -> dict[str, Hierarchy]:
    """Our groups by controller (`cpu`, `cpuacct`, `cpuset`, `memory`); empty where they cannot be seen.

    Of several mounts the first that shows our group counts; where none does, the root of the first stands for it.
    """
    try:
        groups = lines(procfs_root / "self/cgroup")
        mounts = lines(procfs_root / "self/mountinfo")
    except OSError:
        return {}
    found: dict[str, Hierarchy] = {}
    paths: dict[str, str] = {}
    for line in groups:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths.update(dict.fromkeys(controllers.split(","), path))
    mounted = list(filter(None, map(_mounted, mounts)))
    for shown in (True, False):  # a mount of the host's tree, /host/sys, may show all groups but ours
        for root, mount, kind, options in mounted:
            for controller, path in _paths(kind, options, paths):
                own = _own(root, mount, path)
                if (own is not None) is shown:
                    version: Literal[1, 2] = 1 if kind == "cgroup" else 2
                    found.setdefault(controller, Hierarchy(mount=mount, own=own or mount, version=version))
    return found


def lines(file: Path) -> list[str]:
    """The lines of a file of the kernel's; a path in it may hold any byte.

    Raises:
        OSError: It cannot be read.
    """
    return file.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n").split("\n")


def _paths(kind: str, options: str, paths: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The controllers that a mount of this kind shows, each with the path of our group."""
    if kind == "cgroup":
        yield from ((one, paths[one]) for one in options.split(",") if one in paths)
    elif kind == "cgroup2" and "" in paths:
        yield from ((one, paths[""]) for one in ("cpu", "cpuset", "memory") if one not in paths)


def _mounted(line: str) -> tuple[str, Path, str, str] | None:
    """Root, mount point, type and options of one line of mountinfo, see proc(5)."""
    before, _, after = line.partition(" - ")
    fields, kind = before.split(" "), after.split(" ")
    if len(fields) < 5 or len(kind) < 3:
        return None
    root, mount = (_ESCAPED.sub(lambda match: chr(int(match[1], 8)), text) for text in fields[3:5])
    return root, Path(mount), kind[0], kind[2]


def _own(root: str, mount: Path, path: str) -> Path | None:
    """Our group's folder under a mount that shows the tree from `root` down; None where ours is hidden."""
    try:
        relative = PurePosixPath(path).relative_to(root)
    except ValueError:
        return None
    folder = mount / relative
    return folder if ".." not in relative.parts and folder.is_dir() else None


def cpu_limit(groups: dict[str, Hierarchy], *, of_cpus: float = math.inf) -> CPULimit | None:
    """The least limit by quota or CPU set on our group and its visible ancestors; None where there is none.

    Args:
        groups: From `hierarchies`.
        of_cpus: Logical CPUs of the machine: a set that holds them all is no limit.
    """
    limits: list[CPULimit] = []
    cpu = groups.get("cpu")
    if cpu is not None:
        for folder in cpu.levels():
            quota = _quota(folder, cpu.version)
            if quota is not None:
                limits.append(CPULimit(cpus=quota[0], source=quota[1], usage=_usage(groups, cpu, folder)))
    cpuset = groups.get("cpuset")
    if cpuset is not None:
        name = "cpuset.cpus.effective" if cpuset.version == 2 else "cpuset.effective_cpus"
        file = cpuset.own / name
        count = count_cpus(_read(file) or "")
        if 0 < count < of_cpus:
            limits.append(CPULimit(cpus=float(count), source=file, usage=_usage(groups, cpuset, cpuset.own)))
    return min(limits, key=lambda limit: limit.cpus, default=None)


def own_usage(groups: dict[str, Hierarchy]) -> Path | None:
    """The file with the CPU time of our own group, whatever its limits; None where it cannot be read.

    Args:
        groups: From `hierarchies`.
    """
    own = groups.get("cpuacct") or groups.get("cpu")
    return None if own is None else _usage(groups, own, own.own)


def memory_limit_bytes(groups: dict[str, Hierarchy]) -> int | None:
    """The least memory limit on our group and its visible ancestors, bytes; None where there is none."""
    memory = groups.get("memory")
    if memory is None:
        return None
    name = "memory.max" if memory.version == 2 else "memory.limit_in_bytes"
    texts = (_read(folder / name) for folder in memory.levels())
    limits = [int(text) for text in texts if text is not None and text.isdecimal() and int(text) < _NO_LIMIT_BYTES]
    return min(limits, default=None)


def count_cpus(text: str) -> int:
    """How many CPUs a list such as `0-3,8-11` names; 0 for an empty or broken one."""
    count = 0
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not first.isdecimal() or not last.isdecimal():
            return 0
        count += int(last) - int(first) + 1
    return count


def _quota(folder: Path, version: int) -> tuple[float, Path] | None:
    if version == 2:
        file = folder / "cpu.max"
        fields = (_read(file) or "").split()
        quota, period = fields[0] if fields else "max", fields[1] if len(fields) > 1 else "100000"
    else:
        file = folder / "cpu.cfs_quota_us"
        quota = _read(file) or "-1"
        period = _read(folder / "cpu.cfs_period_us") or "100000"
    if not quota.isdecimal() or not period.isdecimal() or not int(quota) or not int(period):
        return None
    return int(quota) / int(period), file


def _usage(groups: dict[str, Hierarchy], limited: Hierarchy, folder: Path) -> Path | None:
    """The usage file of the group that `folder` is in another controller's hierarchy, or as near as can be seen."""
    accounts = groups.get("cpu") if limited.version == 2 else groups.get("cpuacct")
    if accounts is None:
        return None
    same = accounts.mount / folder.relative_to(limited.mount)
    name = "cpu.stat" if accounts.version == 2 else "cpuacct.usage"
    for candidate in (same / name, accounts.own / name):
        if usage_seconds(_read(candidate) or "") is not None:
            return candidate
    return None


def usage_seconds(text: str) -> float | None:
    """CPU seconds in the text of `cpu.stat` (microseconds) or `cpuacct.usage` (nanoseconds); None if in neither."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "usage_usec" and value.isdecimal():
            return int(value) / MICROSECONDS
        if key.isdecimal() and not value:
            return int(key) / 1e9
    return None


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
