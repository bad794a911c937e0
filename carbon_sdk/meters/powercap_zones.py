"""RAPL zones as the kernel's powercap tree shows them: which there are, and which of them hold the same joules.

A **control type** (`intel-rapl`, on AMD too; `intel-rapl-mmio`, the same registers over another bus) holds a zone per
CPU package, and a package holds subzones: `core` and `uncore` (inside the package's joules), `dram` (beside them).
`psys` is the platform: it contains the packages and usually more. Only the file `name` says what a zone is: ids are
given in order of registration and in hexadecimal. `enabled` tells of the power limit, never of the meter.

Read from the kernel's drivers/powercap/powercap_sys.c and intel_rapl_common.c. Not measured by any zone: power supply,
fans, disks, network, and on AMD the DRAM.
"""

import errno
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.hardware import Vendor
from carbon_sdk.meters.meter import Domain

_ZONE = re.compile(r"(intel-rapl(?:-mmio)?):([0-9a-f]+)(?::([0-9a-f]+))?")
_PACKAGE = re.compile(r"(package-\d+)(-die-\d+)?")
_INSIDE = ("core", "uncore")
"""Already inside the package's joules. On AMD `core` is one core's register, not all (intel_rapl_msr.c)."""

READ_REMEDY = (
    "Let one group read it: put the line 'z /sys/class/powercap/intel-rapl*/energy_uj 0440 root power - -' into "
    "/etc/tmpfiles.d/carbon-sdk.conf, run 'systemd-tmpfiles --create', and run the service in group 'power'. "
    "Keep it closed to all others: the counter leaks secrets (CVE-2020-8694)"
)
MOUNT_REMEDY = (
    "Mount the host's /sys read-only into the container, for instance at /host/sys, and set CARBON_SDK_SYSFS_ROOT to it"
)


class Zone(NamedTuple):
    """One zone that may be read.

    Args:
        key: Which joules these are, whatever the zone's id: `package-0`, `package-0 dram`, `psys`. Zones of one key
            hold the same joules.
        domain: The domain they belong to.
        folder: The zone's folder.
        interface: The control type.
    """

    key: str
    domain: Domain
    folder: Path
    interface: str


class Survey(NamedTuple):
    """What a look at the tree found.

    Args:
        zones: The zones that hold joules worth counting, best first within a key.
        skipped: Zones of a name that nobody knows.
    """

    zones: tuple[Zone, ...]
    skipped: tuple[str, ...]


def survey(sysfs_root: Path, vendor: Vendor) -> Survey:
    """Look for RAPL zones: in the flat class, else in the nested device tree, never in both.

    Raises:
        MeterAbsentError: There is none; the message says what stands in its place.
    """
    flat = sysfs_root / "class/powercap"
    entries = _listed(flat)
    folders = [flat / name for name in entries if _ZONE.fullmatch(name)]
    dangling = tuple(folder.name for folder in folders if not folder.exists())
    if len(dangling) == len(folders):
        folders = list(_nested(sysfs_root / "devices/virtual/powercap")) or folders
    zones, skipped = _known(folders, vendor)
    if not zones:
        raise _absence(flat, entries, dangling, skipped)
    return Survey(zones=zones, skipped=skipped)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _nested(devices: Path) -> Iterable[Path]:
    for control in ("intel-rapl", "intel-rapl-mmio"):
        for package in _listed(devices / control):
            if _ZONE.fullmatch(package):
                yield devices / control / package
                for zone in _listed(devices / control / package):
                    if _ZONE.fullmatch(zone):
                        yield devices / control / package / zone


def _known(folders: Sequence[Path], vendor: Vendor) -> tuple[tuple[Zone, ...], tuple[str, ...]]:
    names = {folder.name: name for folder in folders if (name := _name(folder)) is not None}
    zones: list[Zone] = []
    skipped: list[str] = []
    for folder in folders:
        match, name = _ZONE.fullmatch(folder.name), names.get(folder.name)
        if match is None or name is None or name in _INSIDE:
            continue
        interface, top, sub = match.groups()
        package = _PACKAGE.fullmatch(name)
        if package is not None and sub is None:
            mirrored = (
                vendor == "amd"
            )  # all dies of an AMD socket show the socket's one counter (rapl_msrs_are_pkg_scope)
            zones.append(
                Zone(key=package[1] if mirrored else name, domain="package", folder=folder, interface=interface)
            )
        elif name == "psys":
            zones.append(Zone(key="psys", domain="psys", folder=folder, interface=interface))
        elif name == "dram":
            parent = names.get(f"{interface}:{top}", folder.name) if sub is not None else folder.name
            zones.append(Zone(key=f"{parent} dram", domain="dram", folder=folder, interface=interface))
        else:
            skipped.append(f"{folder.name} ({name})")
    zones.sort(key=lambda zone: (zone.interface != "intel-rapl", zone.folder.name))
    return tuple(zones), tuple(skipped)


def _name(folder: Path) -> str | None:
    try:
        return (folder / "name").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _absence(flat: Path, entries: Sequence[str], dangling: Sequence[str], skipped: Sequence[str]) -> MeterAbsentError:
    if dangling:
        return MeterAbsentError(f"{flat / dangling[0]} leads nowhere: the container's runtime hides it", MOUNT_REMEDY)
    if skipped:
        return MeterAbsentError(f"{flat} holds no zone that is known: {', '.join(skipped)}")
    if any(_ZONE.fullmatch(name) for name in entries):
        return MeterAbsentError(f"the zones in {flat} have no readable name", MOUNT_REMEDY)
    if flat.is_dir():
        return MeterAbsentError(
            f"{flat} holds no RAPL zone: a virtual machine, or a CPU that this kernel does not know"
        )
    return MeterAbsentError(f"{flat} does not exist: the kernel has no powercap, or /sys is not mounted there")


def read_problem(file: Path, error: OSError) -> MeterAbsentError:
    """Why an energy file cannot be read, and the remedy."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return MeterAbsentError(f"{file} is readable by root only", READ_REMEDY)
    if error.errno in (errno.EINVAL, errno.EIO):
        name = errno.errorcode[error.errno]
        return MeterAbsentError(f"{file} answers {name}: the register behind it cannot be read, as in virtual machines")
    if error.errno in (errno.ENOENT, errno.ENODEV):
        return MeterAbsentError(f"{file} is not there (any more)")
    return MeterAbsentError(f"{file} cannot be read: {error.strerror or error}")
