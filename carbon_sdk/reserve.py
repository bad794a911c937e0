"""What this process's container reserves of the machine: its share, whose CPU time divides it, and of the making.

A share is set, as one of the machine or in CPUs, or it is the container's CPU limit. A container without a limit
reserves nothing that is known.
"""

from carbon_sdk import embodied
from carbon_sdk.embodied import Embodied
from carbon_sdk.meters.cgroup import CPULimit
from carbon_sdk.meters.coefficients import find_instance
from carbon_sdk.meters.detect import Detected
from carbon_sdk.meters.meter import Scope
from carbon_sdk.meters.scope import ContainerScope
from carbon_sdk.settings import Settings

BYTES_PER_GIB = 2**30  # memory is sold in these and called GB
MILLICPUS = 1000.0


def container(settings: Settings, found: Detected) -> Scope | None:
    """Whose CPU time is divided among the processes that share the reserve; None where nothing is reserved.

    Args:
        settings: A share that is set counts without a limit too: our own group's CPU time divides it then.
        found: The machine.
    """
    limit = found.limit
    if limit is None and _of_machine(settings, found.cpus) is not None and found.usage is not None:
        limit = CPULimit(cpus=found.cpus, source=found.usage, usage=found.usage)
    if limit is None or limit.usage is None:
        return None
    return ContainerScope(limit, procfs_root=settings.procfs_root)


def share(settings: Settings, scope: Scope | None, container: Scope | None) -> float | None:
    """Share r of what the meter reads: all of what is the container's alone; None where it is not known.

    Args:
        settings: What is set.
        scope: Whose joules the meter reads.
        container: From `container`.
    """
    if scope is not None and scope.kind == "container":
        return 1.0
    set_share = _of_machine(settings, scope.cpus if scope is not None else 0.0)
    if set_share is not None:
        return set_share
    if container is None or scope is None or scope.cpus <= 0.0:
        return None
    return min(container.cpus / scope.cpus, 1.0)


def making(settings: Settings, found: Detected | None) -> Embodied | None:
    """The making of what the meter reads: the machine's, or what the container reserves of it; None where unknown.

    Args:
        settings: What is set.
        found: The machine; None where meters were handed in.
    """
    whole = _making(settings, found)
    if whole is None or found is None or found.cpu is None or found.cpu.scope.kind == "machine":
        return whole
    set_share = _of_machine(settings, found.cpus)
    return whole.reserved(min(found.cpu.scope.cpus / found.cpus, 1.0) if set_share is None else set_share)


def _of_machine(settings: Settings, cpus: float) -> float | None:
    """The share of the machine that is set; None where none is."""
    if settings.reserved_share is not None:
        return settings.reserved_share
    if settings.reserved_millicpus is None or cpus <= 0.0:
        return None
    return min(settings.reserved_millicpus / MILLICPUS / cpus, 1.0)


def _making(settings: Settings, found: Detected | None) -> Embodied | None:
    """The making of the machine: as set, by its cloud type, by its parts; None where nothing tells."""
    years = settings.lifetime_years
    if settings.embodied_g is not None:
        return embodied.of_setting(settings.embodied_g, lifetime_years=years)
    if found is None:
        return None
    instance = find_instance(found.instance_type) if found.instance_type else None
    if instance is not None and instance.embodied_kg_server is not None and instance.server_vcpus is not None:
        return embodied.of_instance(
            instance.embodied_kg_server,
            vcpus=instance.vcpus,
            server_vcpus=instance.server_vcpus,
            source=instance.source,
            lifetime_years=years,
        )
    machine = found.hardware
    if machine.virtual or machine.cpu.sockets is None or machine.memory_bytes is None:
        return None
    return embodied.of_server(
        sockets=machine.cpu.sockets, memory_gb=machine.memory_bytes / BYTES_PER_GIB, lifetime_years=years
    )
