"""Which part of a GPU's joules a process used: pure rules over what NVML tells of processes.

SM utilisation is the time in which a kernel of the process was resident, not a share of the multiprocessors, so two
processes may both have 100 %: it is divided by the sum. Process ids are the host's. In a container they mean nothing,
and nobody there can know its own.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

HIGHEST_PERCENT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """How long one process kept the multiprocessors busy.

    Args:
        pid: The host's process id.
        timestamp_us: When that was sampled; processes of one answer may be seconds apart.
        percent: Of the time since the sample before.
    """

    pid: int
    timestamp_us: int
    percent: int


def share_by_utilisation(samples: Sequence[Utilisation], *, own_pids: Collection[int], since_us: int) -> float:
    """Our processes' part of the utilisation of all, 0 to 1; 0 where nobody used the device.

    Args:
        samples: What NVML told. Old ones belong to processes that went idle, percents beyond 100 to zombies.
        own_pids: Our process ids on the host.
        since_us: The newest timestamp of the answer before.
    """
    usable = [one for one in samples if one.timestamp_us > since_us and 0 <= one.percent <= HIGHEST_PERCENT]
    total = sum(one.percent for one in usable)
    return sum(one.percent for one in usable if one.pid in own_pids) / total if total else 0.0


def share_by_processes(pids: Collection[int], *, own_pids: Collection[int] | None, cuda_is_open: bool) -> float | None:
    """Our processes' part, from who holds a compute context on the device; None where that cannot tell.

    Args:
        pids: The host's process ids with a context.
        own_pids: Ours on the host; None in a container.
        cuda_is_open: One of ours has opened CUDA. The only context on a device of ours is then our own.
    """
    if not pids:
        return 0.0
    if own_pids is not None:
        ours = sum(pid in own_pids for pid in pids)
        return 0.0 if not ours else 1.0 if ours == len(pids) else None
    return 1.0 if cuda_is_open and len(pids) == 1 else None


def visible_devices(setting: str | None, uuids: Sequence[str], *, indices_known: bool) -> list[bool]:
    """Which devices CUDA_VISIBLE_DEVICES leaves to this process.

    The list ends at its first entry that names no device, as CUDA reads it. A MIG slice may lie on any device.

    Args:
        setting: The variable's value; None where it is not set: all.
        uuids: The devices' UUIDs in NVML's order.
        indices_known: CUDA's indices are NVML's: all devices are alike, or CUDA_DEVICE_ORDER is PCI_BUS_ID. Where they
            are not, an index may mean any device.
    """
    if setting is None:
        return [True] * len(uuids)
    visible = [False] * len(uuids)
    for entry in (part.strip() for part in setting.split(",")):
        if entry.startswith("MIG-"):
            return [True] * len(uuids)
        if entry.isdecimal() and int(entry) < len(uuids):
            if not indices_known:
                return [True] * len(uuids)
            visible[int(entry)] = True
            continue
        matching = [place for place, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
        if len(matching) != 1:
            break
        visible[matching[0]] = True
    return visible
