"""What an unprivileged process can know of the machine under it: CPU, memory, vendor's strings, instance type.

Formats: proc(5) for cpuinfo, stat and meminfo; DMI's world-readable strings under /sys/class/dmi/id. A cloud often
hides the CPU's name, and a container sees the host's files.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

BYTES_PER_KIB = 1024

Vendor = Literal["intel", "amd", "unknown"]
"""Who made a CPU: `amd` includes Hygon, whose registers are the same."""

Cloud = Literal["aws", "gcp", "azure"]
"""The clouds that DMI's strings name."""

_VENDORS: Mapping[str, Vendor] = {"GenuineIntel": "intel", "AuthenticAMD": "amd", "HygonGenuine": "amd"}
_AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"  # Azure's own, others' Hyper-V has another: cloud-init, DataSourceAzure
_AMAZON_TYPE = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")
_VIRTUAL_PRODUCTS = (
    "Google Compute Engine",
    "Virtual Machine",
    "KVM",
    "VirtualBox",
    "VMware",
    "OpenStack",
    "Standard PC",
)
_VIRTUAL_VENDORS = ("QEMU", "Xen", "DigitalOcean", "Hetzner", "Scaleway", "Vultr", "Akamai", "Linode")


class CPU(NamedTuple):
    """The processor as /proc/cpuinfo shows it.

    Args:
        model_name: As printed; None where there is none (arm64) or it says nothing.
        vendor_id: `GenuineIntel`, or the implementer on ARM (`0x41`).
        family: CPU family, decimal; None on ARM.
        model: Model within the family, or the part's number on ARM.
        stepping: Revision.
        threads: Logical CPUs listed.
        sockets: Distinct physical ids; None where the file does not tell.
        virtual: The hypervisor flag is set.
    """

    model_name: str | None = None
    vendor_id: str | None = None
    family: int | None = None
    model: int | None = None
    stepping: int | None = None
    threads: int = 1
    sockets: int | None = None
    virtual: bool = False

    @property
    def vendor(self) -> Vendor:
        """Who made it."""
        return _VENDORS.get(self.vendor_id or "", "unknown")


class Hardware(NamedTuple):
    """The machine: a VM's machine is the VM.

    Args:
        cpu: Its processor.
        memory_bytes: Memory that the kernel has; None when unknown.
        system_vendor: DMI's sys_vendor; None when unknown or unset.
        product_name: DMI's product_name.
        chassis_asset_tag: DMI's chassis_asset_tag, which names Azure.
        bios_version: DMI's bios_version, which names Amazon on Xen.
    """

    cpu: CPU
    memory_bytes: int | None = None
    system_vendor: str | None = None
    product_name: str | None = None
    chassis_asset_tag: str | None = None
    bios_version: str | None = None

    @property
    def cloud(self) -> Cloud | None:
        """Whose machine it is, by DMI; None where that names none of them."""
        if self.system_vendor == "Amazon EC2" or "amazon" in (self.bios_version or "").lower():
            return "aws"
        if self.system_vendor == "Google" or self.product_name == "Google Compute Engine":
            return "gcp"
        return "azure" if self.chassis_asset_tag == _AZURE_TAG else None

    @property
    def instance_type(self) -> str | None:
        """The cloud's name of this kind of machine, where DMI holds it: on EC2's Nitro machines."""
        if self.system_vendor == "Amazon EC2" and _AMAZON_TYPE.fullmatch(self.product_name or ""):
            return self.product_name
        return None

    @property
    def virtual(self) -> bool:
        """Whether this is a virtual machine: the hypervisor flag, and on ARM, which has none, DMI's strings."""
        product, vendor = self.product_name or "", self.system_vendor or ""
        if vendor == "Amazon EC2" and self.cpu.vendor == "unknown":
            return "metal" not in product
        return self.cpu.virtual or product.startswith(_VIRTUAL_PRODUCTS) or vendor.startswith(_VIRTUAL_VENDORS)


def look(procfs_root: Path = Path("/proc"), sysfs_root: Path = Path("/sys")) -> Hardware:
    """What can be known now; it never raises, what cannot be read is None."""
    dmi = sysfs_root / "class/dmi/id"
    return Hardware(
        cpu=read_cpuinfo(_text(procfs_root / "cpuinfo") or ""),
        memory_bytes=memory_bytes(_text(procfs_root / "meminfo") or ""),
        system_vendor=_set_string(dmi / "sys_vendor"),
        product_name=_set_string(dmi / "product_name"),
        chassis_asset_tag=_set_string(dmi / "chassis_asset_tag"),
        bios_version=_set_string(dmi / "bios_version"),
    )


def read_cpuinfo(text: str) -> CPU:
    """The CPU in the text of /proc/cpuinfo."""
    first: dict[str, str] = {}
    threads = 0
    sockets = set()
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon:
            continue
        first.setdefault(key, value)
        threads += key == "processor"
        if key == "physical id":
            sockets.add(value)
    name = first.get("model name", "")
    return CPU(
        model_name=" ".join(name.split()) if name not in ("", "unknown") else None,
        vendor_id=first.get("vendor_id") or first.get("CPU implementer"),
        family=_whole(first.get("cpu family")),
        model=_whole(first.get("model") or first.get("CPU part")),
        stepping=_whole(first.get("stepping") or first.get("CPU revision")),
        threads=max(1, threads),
        sockets=len(sockets) or None,
        virtual="hypervisor" in first.get("flags", "").split(),
    )


def memory_bytes(meminfo: str) -> int | None:
    """MemTotal in the text of /proc/meminfo, bytes."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(match[1]) * BYTES_PER_KIB if match else None


def _whole(text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _set_string(file: Path) -> str | None:
    """A DMI string; None where the maker left the default in."""
    text = (_text(file) or "").strip()
    return text if text and text not in ("To Be Filled By O.E.M.", "System Product Name", "Default string") else None
