"""What CodeCarbon's columns say of machine and place."""

import csv
import functools
import os
import platform
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from carbon_sdk.errors import SettingsError, nearest
from carbon_sdk.intensity.intensity import Place
from carbon_sdk.intensity.location import locate
from carbon_sdk.meters import hardware
from carbon_sdk.meters.scope import MachineScope

BYTES_PER_GIB = 2**30  # CodeCarbon's GB


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The machine, and what runs on it.

    Args:
        os: The operating system, in one string.
        python_version: Of this interpreter.
        cpu_count: Logical CPUs.
        cpu_physical_count: Cores; None when unknown.
        cpu_model: As /proc/cpuinfo names it; None when it does not.
        ram_total_size: GiB; None when unknown.
        gpu_count: NVIDIA devices that the driver lists.
        gpu_model: Which, with their number; None without one.
    """

    os: str
    python_version: str
    cpu_count: int
    cpu_physical_count: int | None
    cpu_model: str | None
    ram_total_size: float | None
    gpu_count: int
    gpu_model: str | None


@functools.cache
def facts(procfs_root: Path, sysfs_root: Path) -> Facts:
    """The facts of this machine.

    Args:
        procfs_root: Where /proc is.
        sysfs_root: Where /sys is.
    """
    machine = hardware.look(procfs_root, sysfs_root)
    models = _gpu_models(procfs_root)
    return Facts(
        os=platform.platform(),
        python_version=platform.python_version(),
        cpu_count=os.cpu_count() or 1,
        cpu_physical_count=_cores(procfs_root),
        cpu_model=machine.cpu.model_name,
        ram_total_size=None if machine.memory_bytes is None else machine.memory_bytes / BYTES_PER_GIB,
        gpu_count=len(models),
        gpu_model=", ".join(f"{count} x {model}" for model, count in Counter(models).items()) or None,
    )


def _cores(procfs_root: Path) -> int | None:
    """Distinct pairs of socket and core in /proc/cpuinfo; None where it has none."""
    try:
        text = (procfs_root / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    sockets = re.findall(r"^physical id\s*: (\d+)$", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*: (\d+)$", text, re.MULTILINE)
    return len(set(zip(sockets, cores, strict=False))) or None


def _gpu_models(procfs_root: Path) -> list[str]:
    """The NVIDIA devices that the driver lists; empty without one."""
    found = []
    for file in sorted((procfs_root / "driver/nvidia/gpus").glob("*/information")):
        with suppress(OSError, UnicodeError):
            match = re.search(r"^Model:\s*(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            found.append(match[1].strip() if match else "NVIDIA GPU")
    return found


class Load:
    """How busy the machine is from here on.

    Args:
        procfs_root: Where /proc is.
    """

    def __init__(self, procfs_root: Path) -> None:
        self._procfs_root = procfs_root
        self._scope = MachineScope(procfs_root)
        self._before = self._scope.busy_cpu_seconds()

    def cpu_percent(self, seconds: float) -> float | None:
        """Mean share of all CPUs that were busy, percent; None when unknown."""
        now = self._scope.busy_cpu_seconds()
        if now is None or self._before is None or seconds <= 0.0:
            return None
        return min(max(now - self._before, 0.0) / (self._scope.cpus * seconds), 1.0) * 100.0

    def memory(self) -> tuple[float | None, float | None]:
        """Memory in use now: percent of all, and GiB; None when unknown. What could be given up does not count."""
        try:
            text = (self._procfs_root / "meminfo").read_text(encoding="ascii")
        except (OSError, UnicodeError):
            return None, None
        kib = {name: int(amount) for name, amount in re.findall(r"^(MemTotal|MemAvailable):\s*(\d+) kB", text, re.M)}
        if not kib.get("MemTotal") or "MemAvailable" not in kib:
            return None, None
        used = kib["MemTotal"] - kib["MemAvailable"]
        return used / kib["MemTotal"] * 100.0, used * 1024 / BYTES_PER_GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A place as CodeCarbon's columns tell it; None is unknown."""

    country_name: str | None
    country_iso_code: str | None
    region: str | None
    cloud_provider: str = ""
    cloud_region: str = ""
    longitude: float | None = None
    latitude: float | None = None

    @property
    def on_cloud(self) -> str:
        """Y or N."""
        return "Y" if self.cloud_provider else "N"


def where(place: Place, region: str | None) -> Where:
    """A place for the columns.

    Args:
        place: Where the energy is used.
        region: What the tracker was told of it beyond the country.
    """
    country = (place.zone or "").partition("-")[0]
    iso3 = next((code for code, (known, _) in _countries().items() if known == country), None)
    return Where(
        country_name=None if iso3 is None else _countries()[iso3][1],
        country_iso_code=iso3,
        region=region,
        cloud_provider=place.cloud_provider or "",
        cloud_region=place.cloud_region or "",
        longitude=place.longitude,
        latitude=place.latitude,
    )


def place_of(country_iso_code: str | None, cloud_provider: str | None, cloud_region: str | None) -> Place | None:
    """Where an offline tracker says that it is; None where it does not say.

    Args:
        country_iso_code: Three letters, ISO 3166 alpha-3; two are taken too.
        cloud_provider: `aws`, `gcp`, `azure`.
        cloud_region: The cloud's own name.

    Raises:
        SettingsError: There is no such country or region.
    """
    if cloud_provider and cloud_region:
        return locate(cloud_provider=cloud_provider, cloud_region=cloud_region)
    if not country_iso_code:
        return None
    code = country_iso_code.strip().upper()
    if len(code) == 2:
        return locate(country=code)
    known = _countries().get(code)
    if known is None:
        near = nearest(code, _countries(), alike=0.5)
        raise SettingsError(
            "country_iso_code",
            f"there is no country {country_iso_code[:20]!r}",
            f"Did you mean {', '.join(near)}?" if near else "Give three letters of ISO 3166, such as DEU",
        )
    return locate(country=known[0])


@functools.cache
def _countries() -> Mapping[str, tuple[str, str]]:
    """ISO 3166 alpha-2 and name by alpha-3, of the countries that have a yearly average (Our World in Data, 2024)."""
    text = files("carbon_sdk.intensity").joinpath("data", "countries.csv").read_text(encoding="utf-8")
    return {row["iso3"]: (row["country"], row["name"]) for row in csv.DictReader(text.splitlines())}
