"""A control group for the command, where this user may make one: its own account of CPU time misses nobody.

The command is born in it: we enter it, start the command, and leave. Limits and weights stay those of the group around
it; none is set here.

In version 1 the thread that starts the command enters alone, which takes microseconds. In version 2 the whole process
must, and the kernel first waits until no process is just being forked or ended: milliseconds
(`cgroup_procs_write_start` in kernel/cgroup/cgroup.c).
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from carbon_sdk.meters import cgroup

PREFIX = "carbon_sdk-"
_USAGE = {1: "cpuacct.usage", 2: "cpu.stat"}
_MEMBERS = {1: "tasks", 2: "cgroup.procs"}
_SELF = "0"  # who writes it: the thread, or its process


class Group:
    """A group of our own below the one in which this process runs.

    Args:
        folder: Where it is, already made.
        around: The group in which this process runs.
        version: Of the interface of control groups.
    """

    def __init__(self, folder: Path, around: Path, version: Literal[1, 2]) -> None:
        self._folder = folder
        self._around = around
        self._members = _MEMBERS[version]
        self._usage = folder / _USAGE[version]
        self._before_ns = 0

    @classmethod
    def make(cls, procfs_root: Path = Path("/proc")) -> "Group | None":
        """A new group; None where this user may not make one, or it would keep no account."""
        groups = cgroup.hierarchies(procfs_root)
        around = groups.get("cpuacct") or groups.get("cpu")
        if around is None:
            return None
        _remove_left(around.own)
        group = cls(around.own / f"{PREFIX}{os.getpid()}", around.own, around.version)
        try:
            group._folder.mkdir()
            group._before_ns = group.cpu_ns()
        except (OSError, ValueError):
            group.close()
            return None
        return group

    def enter(self) -> bool:
        """Enter it, with all that this thread starts from now on; False where the kernel does not let us."""
        try:
            (self._folder / self._members).write_text(_SELF, encoding="ascii")
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Go back to the group around it; what was started meanwhile stays."""
        with suppress(OSError):
            (self._around / self._members).write_text(_SELF, encoding="ascii")

    def cpu_ns(self) -> int:
        """CPU nanoseconds of all that was ever in it.

        Raises:
            OSError: It cannot be read.
            ValueError: It keeps no account.
        """
        seconds = cgroup.usage_seconds(self._usage.read_text(encoding="ascii").strip())
        if seconds is None:
            raise ValueError(f"{self._usage} says nothing of CPU time")
        return round(seconds * 1e9) - self._before_ns

    def close(self) -> None:
        """Move who still runs to the group around it, and remove it; a second call does nothing."""
        with suppress(OSError):
            for pid in (self._folder / "cgroup.procs").read_text(encoding="ascii").split():
                with suppress(OSError):  # it has just ended
                    (self._around / "cgroup.procs").write_text(pid, encoding="ascii")
        with suppress(OSError):
            self._folder.rmdir()


def _remove_left(around: Path) -> None:
    """Remove empty groups of those of us that were killed."""
    with suppress(OSError):
        for left in around.glob(f"{PREFIX}*"):
            if not Path(f"/proc/{left.name.removeprefix(PREFIX)}").exists():
                with suppress(OSError):
                    left.rmdir()
