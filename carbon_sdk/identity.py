"""Who reports: service, instance, machine."""

import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple


class Identity(NamedTuple):
    """The names that stand in every record of one process's life.

    Args:
        service: Name of the service.
        release: Its version; None when not told.
        instance: 16 random hexadecimal digits, new at each start and after a fork.
        machine: Hash of the kernel's boot id: equal for all processes and containers of one kernel, new at each boot;
            the container's mark is hashed in at container scope.
    """

    service: str
    release: str | None
    instance: str
    machine: str


def program_name(arguments: list[str] | None = None) -> str:
    """What to call a service that has no name: its program, or the module it was started with.

    Args:
        arguments: Of the program; this process's own when None.
    """
    arguments = sys.argv if arguments is None else arguments
    name = Path(arguments[0]).stem if arguments and arguments[0] else ""
    if name == "__main__":
        name = Path(arguments[0]).parent.name
    return name if name and not name.startswith("-") else "python"


def identify(
    *, service: str | None, release: str | None, procfs_root: Path = Path("/proc"), container: bool = False
) -> Identity:
    """The identity of this process from now on.

    Args:
        service: The name set; the program's name when None.
        release: The version set.
        procfs_root: Where /proc is.
        container: The meter's scope is a container: its cgroup is hashed in, so that each container has its own book.
    """
    return Identity(
        service=service or program_name(),
        release=release,
        instance=os.urandom(8).hex(),
        machine=machine_mark(procfs_root, container=container),
    )


def machine_mark(procfs_root: Path, *, container: bool, host: str | None = None) -> str:
    """16 hexadecimal digits for this kernel's life, and this container if asked.

    Where the kernel does not tell, the host's name stands for it: one word for all such machines would make them one.

    Args:
        procfs_root: Where /proc is.
        container: Whether each container is to have a mark of its own.
        host: The host's name, if not the one that this process sees.
    """
    own = procfs_root / "self"
    try:
        mark = (procfs_root / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        if container:
            mark += (own / "cgroup").read_text(encoding="utf-8", errors="surrogateescape")
            mark += str((own / "ns/cgroup").readlink()) + str((own / "ns/mnt").readlink())
    except (OSError, ValueError):
        mark = f"host {host or os.uname().nodename}"
    return hashlib.sha256(mark.encode(errors="surrogateescape")).hexdigest()[:16]
