"""The bundled tables: what CPUs, instance types and memory are known to draw. Every row carries its source and year.

A table is read when something is looked up in it, and not kept: that happens once in a process's life.
"""

import csv
import re
from collections.abc import Iterator
from pkgutil import get_data
from typing import NamedTuple, cast

from carbon_sdk.meters.hardware import CPU

_FIRST_WORDS = re.compile(r"[A-Za-z]{3,}(?:[ -]?[A-Za-z0-9]+)*(?![A-Za-z0-9?*+{])")
_GROUP = re.compile(r"\([^()]*\)")
_NOISE = re.compile(
    r"\((?:r|tm)\)|@.*|\bwith (?:radeon|ibpb).*|\b\d+-core\b|\bcpu\b|\bprocessor\b|\b\d+(?:st|nd|rd|th) gen\b",
)


class CPUPart(NamedTuple):
    """One CPU as sold.

    Args:
        model: Its name.
        cores: Cores of one socket; None when unknown.
        threads: Hardware threads of one socket; None when unknown.
        tdp_watts: Thermal design power of one socket, W; None where none is published.
        base_ghz: Base clock; None when unknown.
        microarchitecture: Its microarchitecture; None when unknown.
        source: Where the figures come from, with year.
    """

    model: str
    cores: int | None
    threads: int | None
    tdp_watts: float | None
    base_ghz: float | None
    microarchitecture: str | None
    source: str


class Architecture(NamedTuple):
    """A microarchitecture, as recognised.

    Args:
        name: `Cascade Lake`.
        threads_per_core: Hardware threads of a core.
    """

    name: str
    threads_per_core: int


class ServerPower(NamedTuple):
    """What whole servers of one microarchitecture draw at the wall, medians of SPECpower_ssj2008.

    Args:
        name: The microarchitecture.
        idle_watts_per_thread: W a thread at idle; None when unknown.
        full_watts_per_thread: W a thread at full load; None when unknown.
        shape: The share of the way from idle to full watts at 0, 10, ... 100 % load.
        source: Where the figures come from, with year.
    """

    name: str
    idle_watts_per_thread: float | None
    full_watts_per_thread: float | None
    shape: tuple[float, ...]
    source: str


class Instance(NamedTuple):
    """A cloud's kind of machine.

    Args:
        provider: `aws`, `gcp`, `azure`.
        instance_type: The cloud's name of it.
        vcpus: Logical CPUs that it has.
        memory_gb: Memory, GB; None when unknown.
        cpu_model: The CPU that it stands on; None when unknown.
        server_vcpus: Logical CPUs of the server that it is cut from; None when unknown.
        embodied_kg_server: Embodied carbon of that server, kg CO2e; None when unknown.
        source: Where the figures come from, with year.
    """

    provider: str
    instance_type: str
    vcpus: float
    memory_gb: float | None
    cpu_model: str | None
    server_vcpus: float | None
    embodied_kg_server: float | None
    source: str


class Measurement(NamedTuple):
    """Watts of one machine at one load.

    Args:
        machine: Which machine and run.
        cpu_model: Its CPU, as /proc/cpuinfo prints it.
        sockets: CPU packages.
        threads: Logical CPUs.
        memory_gb: Memory, GB; None when unknown.
        load: 0 to 1.
        package_watts: All packages together, W.
        dram_watts: Their memory, W; None where not measured.
        source: Where the figures come from, with year.
    """

    machine: str
    cpu_model: str
    sockets: int
    threads: int
    memory_gb: float | None
    load: float
    package_watts: float
    dram_watts: float | None
    source: str


def plain_name(model_name: str) -> str:
    """A CPU's name without what differs between a price list and /proc/cpuinfo."""
    return " ".join(_NOISE.sub(" ", model_name.casefold()).split())


def cpu_parts(microarchitecture: str) -> Iterator[CPUPart]:
    """Every CPU of one microarchitecture in the table."""
    rows = _rows("cpus", holding=microarchitecture)
    return (_part(row) for row in rows if row["microarchitecture"] == microarchitecture)


def find_cpu(model_name: str) -> CPUPart | None:
    """The CPU of this name; None where the table has none."""
    wanted = plain_name(model_name)
    if not any(map(str.isdigit, wanted)):  # a family's name, as clouds print it: no part is called by it alone
        return None
    telling = wanted.rpartition(" ")[2]
    return next((_part(row) for row in _rows("cpus", holding=telling) if plain_name(row["cpu_model"]) == wanted), None)


def find_architecture(cpu: CPU) -> Architecture | None:
    """The microarchitecture of a CPU, by its name, else by its family, model and stepping; None when unknown.

    A name that clouds print for many CPUs matches no pattern, so that the numbers decide.
    """
    name = re.sub(r"\((R|TM)\)", "", cpu.model_name or "", flags=re.IGNORECASE)
    numbers = f"{cpu.vendor_id}/{cpu.family}/{cpu.model}"
    part = f"{cpu.vendor_id}/{cpu.model:#x}" if cpu.model is not None else ""
    for row in _rows("microarchitectures"):
        kind, pattern = row["match_kind"], row["pattern"]
        if (
            (kind == "name" and may_match(pattern, name) and re.search(pattern, name, re.IGNORECASE))
            or (kind == "cpuid" and _numbers_match(pattern, numbers, cpu.model, cpu.stepping))
            or (kind == "arm" and pattern == part)
        ):
            return Architecture(name=row["microarchitecture"], threads_per_core=int(row["threads_per_core"] or 1))
    return None


def may_match(pattern: str, name: str) -> bool:
    """Whether a name holds the words that the pattern begins with; without them, building it is not worth its time."""
    words = [_FIRST_WORDS.match(way) for way in _GROUP.sub(".", pattern).split("|")]
    return name != "" and (not all(words) or any(word[0].casefold() in name.casefold() for word in words if word))


def _numbers_match(pattern: str, numbers: str, model: int | None, stepping: int | None) -> bool:
    """Whether `GenuineIntel/6/85/5-7` names these numbers; the last part, where there is one, is a range of steppings.

    For AMD it is `AuthenticAMD/25/17-17`: a range of models.
    """
    vendor, family, *rest = pattern.split("/")
    if not numbers.startswith(f"{vendor}/{family}/") or model is None:
        return False
    if not _in_range(rest[0], model):
        return False
    return len(rest) == 1 or (stepping is not None and _in_range(rest[1], stepping))


def _in_range(text: str, value: int) -> bool:
    first, _, last = text.partition("-")
    return int(first) <= value <= int(last or first)


def server_power(architecture: str | None) -> ServerPower:
    """The servers of one microarchitecture; those of any where it is unknown or has none, of any Zen for AMD's Zen."""
    found = {row["microarchitecture"]: row for row in _rows("specpower")}
    shapes = [architecture or "", "(any Zen)" if "Zen" in (architecture or "") else "", "(any)"]
    own = found.get(architecture or "", found["(any)"])
    shaped = next(found[name] for name in shapes if name in found and found[name]["share_50"])
    return ServerPower(
        name=own["microarchitecture"],
        idle_watts_per_thread=_number(own["idle_watts_per_thread"]),
        full_watts_per_thread=_number(own["full_watts_per_thread"]),
        shape=(0.0, *(float(shaped[f"share_{step}0"]) for step in range(1, 10)), 1.0),
        source=f"{own['source']} {own['year']}",
    )


def find_instance(instance_type: str) -> Instance | None:
    """The instance type of this name, in any cloud; None where the table has none."""
    wanted = instance_type.casefold()
    for row in _rows("instances", holding=wanted):
        if row["instance_type"].casefold() == wanted:
            return Instance(
                provider=row["provider"],
                instance_type=row["instance_type"],
                vcpus=float(row["vcpus"]),
                memory_gb=_number(row["memory_gb"]),
                cpu_model=row["cpu_model"] or None,
                server_vcpus=_number(row["server_vcpus"]),
                embodied_kg_server=_number(row["embodied_kg_server"]),
                source=f"{row['source']} {row['year']}",
            )
    return None


def measurements() -> Iterator[Measurement]:
    """Every measured row."""
    for row in _rows("measured_watts"):
        yield Measurement(
            machine=row["machine"],
            cpu_model=row["cpu_model"],
            sockets=int(row["sockets"]),
            threads=int(row["threads"]),
            memory_gb=_number(row["memory_gb"]),
            load=float(row["load"]) / 100,
            package_watts=float(row["package_watts"]),
            dram_watts=_number(row["dram_watts"]),
            source=f"{row['source']} {row['year']}",
        )


def _part(row: dict[str, str]) -> CPUPart:
    return CPUPart(
        model=row["cpu_model"],
        cores=_whole(row["cores"]),
        threads=_whole(row["threads"]),
        tdp_watts=_number(row["tdp_watts"]),
        base_ghz=_number(row["base_ghz"]),
        microarchitecture=row["microarchitecture"] or None,
        source=f"{row['source']} {row['year']}",
    )


def _rows(table: str, *, holding: str = "") -> Iterator[dict[str, str]]:
    """The rows whose line holds a text, in any case: taking a table of thousands apart takes ten times as long.

    A row is a line: no cell has a line break in it.
    """
    head, *lines = cast(bytes, get_data("carbon_sdk.meters", f"data/{table}.csv")).decode().splitlines()
    sought = holding.casefold()
    header = next(csv.reader([head]))
    for row in csv.reader(line for line in lines if sought in line.casefold()):
        yield dict(zip(header, row, strict=True))  # csv.DictReader takes twice the time


def _number(text: str) -> float | None:
    return float(text) if text else None


def _whole(text: str) -> int | None:
    return int(text) if text else None
