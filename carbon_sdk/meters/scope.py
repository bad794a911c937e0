"""Whose joules a meter reads, and how busy that was: the machine by /proc/stat, a container by its control group."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from carbon_sdk.meters import cgroup

_CPU_LINE = re.compile(rb"^cpu +(.*)$", re.MULTILINE)
_GVISOR = (
    "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"  # gVisor's fixed answer, pkg/sentry/kernel/version.go
)
_ENOUGH_BYTES = 128 * 1024  # the lines of 1,000 CPUs, which come first
LIMIT_AGE_SECONDS = 60.0
"""A quota can be changed while the container runs: look again this often."""


class _KeptFile:
    """One small file of /proc or /sys, kept open: the kernel makes it anew at each read from offset 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def read(self) -> bytes | None:
        """Its bytes; None where it cannot be read now."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._descriptor, _ENOUGH_BYTES, 0)
        except OSError:
            self.close()
            return None

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


def busy_ticks(stat: bytes) -> int | None:
    """Busy clock ticks in the text of /proc/stat: user, nice, system, irq and softirq; None if it has no such line.

    Guest time is inside user time already, steal is time that this machine did not run, and iowait is idle: proc(5).
    """
    line = _CPU_LINE.search(stat)
    fields = line[1].split() if line else []
    if len(fields) < 4 or not all(field.isdigit() for field in fields):
        return None
    user, nice, system, _idle, _iowait, irq, softirq, *_ = [*map(int, fields), 0, 0, 0]
    return user + nice + system + irq + softirq


def busy_seconds(stat: bytes | None) -> float | None:
    """Busy CPU seconds in the text of /proc/stat; None where it does not tell."""
    ticks = None if stat is None else busy_ticks(stat)
    return None if ticks is None else ticks / os.sysconf("SC_CLK_TCK")


def stat_is_the_kernels(procfs_root: Path) -> bool:
    """Whether /proc/stat speaks for the kernel's machine: False under LXCFS (a mount on it) and gVisor."""
    try:
        mounts = cgroup.lines(procfs_root / "self/mountinfo")
        version = (procfs_root / "version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    covered = str(procfs_root / "stat")
    return _GVISOR not in version and not any(line.split(" ")[4:5] == [covered] for line in mounts)


class MachineScope:
    """The whole machine; inside a VM, the VM.

    Args:
        procfs_root: Where /proc is.
        verify: Check that /proc/stat speaks for the kernel's machine, and leave busy time unknown if it does not. A
            meter of the host's joules needs that; a model of what /proc/stat shows does not.
    """

    kind: Literal["machine"] = "machine"

    def __init__(self, procfs_root: str | Path = "/proc", *, verify: bool = False) -> None:
        self._stat = _KeptFile(Path(procfs_root) / "stat")
        self._usable = not verify or stat_is_the_kernels(Path(procfs_root))
        self._cpus = float(os.cpu_count() or 1)
        self.busy_cpu_seconds()

    @property
    def cpus(self) -> float:
        """Logical CPUs online at the last reading."""
        return self._cpus

    def busy_cpu_seconds(self) -> float | None:
        """Busy CPU seconds since boot, in steps of a clock tick (10 ms); None when unknown."""
        stat = self._stat.read() if self._usable else None
        busy = busy_seconds(stat)
        if stat is not None and busy is not None:
            self._cpus = float(stat.count(b"\ncpu") or self._cpus)
        return busy


class ContainerScope:
    """The control group that bears the CPU limit which this process runs under.

    Args:
        limit: The limit, from `cgroup.cpu_limit`.
        procfs_root: Where /proc is, to look for a changed limit.
        monotonic: The clock that says when to look.
    """

    kind: Literal["container"] = "container"

    def __init__(
        self,
        limit: cgroup.CPULimit,
        *,
        procfs_root: str | Path = "/proc",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._procfs_root = Path(procfs_root)
        self._usage = None if limit.usage is None else _KeptFile(limit.usage)
        self._monotonic = monotonic
        self._looked = monotonic()

    @property
    def cpus(self) -> float:
        """Logical CPUs that the limit allows."""
        return self._limit.cpus

    def busy_cpu_seconds(self) -> float | None:
        """CPU seconds that the group has used since it was made; None when unknown."""
        if self._monotonic() - self._looked >= LIMIT_AGE_SECONDS:
            self._looked = self._monotonic()
            limit = cgroup.cpu_limit(cgroup.hierarchies(self._procfs_root))
            if limit is not None and limit.usage == self._limit.usage:
                self._limit = limit
        text = None if self._usage is None else self._usage.read()
        return None if text is None else cgroup.usage_seconds(text.decode("ascii", "replace"))
