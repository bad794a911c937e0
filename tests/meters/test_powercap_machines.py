"""RAPL trees as real machines show them: each joule is counted once, and what is missing is said.

The listings are the shapes of published reports (kernel issue trackers and the trackers of comparable tools).
"""

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.hardware import Vendor
from carbon_sdk.meters.powercap import PowercapMeter
from tests.meters.conftest import Clock, SysfsTree


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine's tree, what each zone uses in one second, and what the meter must make of it."""

    listing: str
    uses: Mapping[str, float]
    joules: Mapping[str, float]
    vendor: Vendor = "intel"
    psys: bool = False
    closed: tuple[str, ...] = field(default_factory=tuple)
    partial: bool = False
    basis: str = ""


LAPTOP = """
    intel-rapl:0 package-0
    intel-rapl:0:0 core enabled=0
    intel-rapl:0:1 uncore enabled=0
    intel-rapl:0:2 dram
    intel-rapl:1 psys
    intel-rapl-mmio:0 package-0
"""
LAPTOP_USES = {
    "intel-rapl:0": 3.78,
    "intel-rapl:0:0": 0.84,
    "intel-rapl:0:1": 0.21,
    "intel-rapl:0:2": 0.5,
    "intel-rapl:1": 9.61,
    "intel-rapl-mmio:0": 3.78,
}

MACHINES = {
    "laptop: one package over two interfaces counts once": Machine(
        listing=LAPTOP,
        uses=LAPTOP_USES,
        joules={"package": 3.78, "dram": 0.5},
        basis="package-0, package-0 dram by intel-rapl",
    ),
    "laptop: psys, where chosen, stands for all": Machine(
        listing=LAPTOP, uses=LAPTOP_USES, joules={"psys": 9.61}, psys=True
    ),
    "laptop: psys registered before the package": Machine(
        listing="intel-rapl:0 psys\nintel-rapl:1 package-0\nintel-rapl:1:0 core",
        uses={"intel-rapl:0": 9, "intel-rapl:1": 4, "intel-rapl:1:0": 2},
        joules={"package": 4},
    ),
    "laptop: limits differ over MSR and MMIO, the joules do not": Machine(
        listing="intel-rapl:0 package-0\nintel-rapl:0:0 core enabled=0\nintel-rapl-mmio:0 package-0",
        uses={"intel-rapl:0": 15, "intel-rapl:0:0": 7, "intel-rapl-mmio:0": 15},
        joules={"package": 15},
    ),
    "laptop: the package is closed over MSR and open over MMIO": Machine(
        listing="intel-rapl:0 package-0\nintel-rapl-mmio:0 package-0",
        uses={"intel-rapl:0": 15, "intel-rapl-mmio:0": 15},
        joules={"package": 15},
        closed=("intel-rapl:0",),
        basis="package-0 by intel-rapl-mmio",
    ),
    "desktop: the rounding of old kernels": Machine(
        listing="intel-rapl:0 package-0 OLD energy=262143000000\nintel-rapl:0:0 core OLD\nintel-rapl:0:2 dram OLD",
        uses={"intel-rapl:0": 60, "intel-rapl:0:0": 40, "intel-rapl:0:2": 3},
        joules={"package": 60, "dram": 3},
    ),
    "workstation: a bare package beside another control type": Machine(
        listing="dtpm:0 soc\nintel-rapl:0 package-0 energy=174924188972",
        uses={"dtpm:0": 99, "intel-rapl:0": 20},
        joules={"package": 20},
    ),
    "desktop in a container: DRAM is closed, so the figure is a part": Machine(
        listing="intel-rapl:0 package-0\nintel-rapl:0:2 dram",
        uses={"intel-rapl:0": 20, "intel-rapl:0:2": 3},
        joules={"package": 20},
        closed=("intel-rapl:0:2",),
        partial=True,
        basis="package-0 by intel-rapl; not readable: package-0 dram",
    ),
    "two sockets: one is closed, so the figure is a part": Machine(
        listing="intel-rapl:0 package-0\nintel-rapl:1 package-1",
        uses={"intel-rapl:0": 50, "intel-rapl:1": 60},
        joules={"package": 50},
        closed=("intel-rapl:1",),
        partial=True,
        basis="package-0 by intel-rapl; not readable: package-1",
    ),
    "two sockets: DRAM is the first subzone, and its limit is off": Machine(
        listing="""
            intel-rapl:0 package-0
            intel-rapl:0:0 dram D15 enabled=0
            intel-rapl:1 package-1
            intel-rapl:1:0 dram D15 enabled=0 energy=65712000000
        """,
        uses={"intel-rapl:0": 90, "intel-rapl:0:0": 12, "intel-rapl:1": 80, "intel-rapl:1:0": 11},
        joules={"package": 170, "dram": 23},
    ),
    "four sockets": Machine(
        listing="\n".join(f"intel-rapl:{n} package-{n}\nintel-rapl:{n}:0 dram D15" for n in range(4)),
        uses={f"intel-rapl:{n}": 100 for n in range(4)} | {f"intel-rapl:{n}:0": 10 for n in range(4)},
        joules={"package": 400, "dram": 40},
    ),
    "twelve sockets: ids are hexadecimal": Machine(
        listing="\n".join(f"intel-rapl:{n:x} package-{n}" for n in range(12)),
        uses={f"intel-rapl:{n:x}": 10 for n in range(12)},
        joules={"package": 120},
    ),
    "two sockets whose names do not follow the ids": Machine(
        listing="intel-rapl:0 package-1\nintel-rapl:1 package-0\nintel-rapl:0:0 dram\nintel-rapl:1:0 dram",
        uses={"intel-rapl:0": 10, "intel-rapl:1": 20, "intel-rapl:0:0": 1, "intel-rapl:1:0": 2},
        joules={"package": 30, "dram": 3},
    ),
    "Sapphire Rapids: psys in steps of a joule between the sockets": Machine(
        listing="""
            intel-rapl:0 package-0
            intel-rapl:0:0 dram
            intel-rapl:1 psys J1 enabled=0 energy=60293987000000
            intel-rapl:2 package-1
            intel-rapl:2:0 dram
        """,
        uses={
            "intel-rapl:0": 150,
            "intel-rapl:0:0": 20,
            "intel-rapl:1": 470,
            "intel-rapl:2": 160,
            "intel-rapl:2:0": 21,
        },
        joules={"psys": 470},
        psys=True,
    ),
    "Granite Rapids: over TPMI the ids follow no order": Machine(
        listing="""
            intel-rapl:0 package-1
            intel-rapl:0:0 dram
            intel-rapl:1 package-0
            intel-rapl:1:0 dram
            intel-rapl:2 psys
        """,
        uses={
            "intel-rapl:0": 210,
            "intel-rapl:0:0": 31,
            "intel-rapl:1": 190,
            "intel-rapl:1:0": 29,
            "intel-rapl:2": 600,
        },
        joules={"package": 400, "dram": 60},
        basis="package-0, package-0 dram, package-1, package-1 dram by intel-rapl",
    ),
    "Cascade Lake-AP: each die has a counter of its own": Machine(
        listing="""
            intel-rapl:0 package-0-die-0 energy=5000000
            intel-rapl:1 package-0-die-1 energy=5000001
            intel-rapl:0:0 dram D15
            intel-rapl:1:0 dram D15
        """,
        uses={"intel-rapl:0": 100, "intel-rapl:1": 110, "intel-rapl:0:0": 10, "intel-rapl:1:0": 11},
        joules={"package": 210, "dram": 21},
    ),
    "Threadripper of the first generation: both dies show the socket's counter": Machine(
        listing="intel-rapl:0 package-0-die-0 E15\nintel-rapl:0:0 core E15\nintel-rapl:1 package-0-die-1 E15",
        uses={"intel-rapl:0": 120, "intel-rapl:0:0": 4, "intel-rapl:1": 120},
        joules={"package": 120},
        vendor="amd",
        basis="package-0 by intel-rapl",
    ),
    "dies that read alike, and nobody knows the maker": Machine(
        listing="intel-rapl:0 package-0-die-0 energy=77000000\nintel-rapl:1 package-0-die-1 energy=77000400",
        uses={"intel-rapl:0": 120, "intel-rapl:1": 120},
        joules={"package": 120},
        vendor="unknown",
    ),
    "dies that read differently, and nobody knows the maker": Machine(
        listing="intel-rapl:0 package-0-die-0 energy=77000000\nintel-rapl:1 package-0-die-1 energy=99000000",
        uses={"intel-rapl:0": 100, "intel-rapl:1": 110},
        joules={"package": 210},
        vendor="unknown",
    ),
    "Ryzen: core is one core's register, and nothing has limits": Machine(
        listing="intel-rapl:0 package-0 E15 enabled=0\nintel-rapl:0:0 core E15 enabled=0",
        uses={"intel-rapl:0": 65, "intel-rapl:0:0": 3},
        joules={"package": 65},
        vendor="amd",
    ),
    "two EPYC: no DRAM on any AMD": Machine(
        listing="\n".join(f"intel-rapl:{n} package-{n} E15\nintel-rapl:{n}:0 core E15" for n in range(2)),
        uses={"intel-rapl:0": 200, "intel-rapl:1": 210, "intel-rapl:0:0": 3, "intel-rapl:1:0": 3},
        joules={"package": 410},
        vendor="amd",
    ),
    "a zone of a name that nobody knows is left out, and named": Machine(
        listing="intel-rapl:0 package-0\nintel-rapl:1 accelerator",
        uses={"intel-rapl:0": 30, "intel-rapl:1": 7},
        joules={"package": 30},
        basis="package-0 by intel-rapl; unknown and left out: intel-rapl:1 (accelerator)",
    ),
}


def metered(machine: Machine, tree: SysfsTree, clock: Clock) -> PowercapMeter:
    """The meter of one machine, with some files closed to it: root reads all, so a folder stands in their place."""
    for zone in machine.closed:
        file = tree.folder(zone) / "energy_uj"
        file.unlink()
        file.mkdir()
    return PowercapMeter(
        tree.root,
        procfs=tree.root,
        psys=machine.psys,
        vendor=machine.vendor,
        monotonic_ns=clock,
        boottime_ns=clock.boottime_ns,
    )


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_each_joule_counts_once(machine: Machine, sysfs: Callable[[str], SysfsTree], clock: Clock) -> None:
    """Over two stretches of a second the domains hold what the machine used, and nothing twice."""
    tree = sysfs(machine.listing)
    meter = metered(machine, tree, clock)
    meter.read()
    for _ in range(2):
        clock.sleep(1)
        for zone, joules in machine.uses.items():
            if zone not in machine.closed:
                tree.use(zone, joules)
        readings = meter.read()

        assert {one.domain: one.energy_joules for one in readings} == pytest.approx(machine.joules, abs=1e-4)
        assert {one.partial for one in readings} == {machine.partial}
        assert {one.method for one in readings} == {"counter"}
    if machine.basis:
        assert meter.basis == machine.basis
    meter.close()


def test_only_the_devices_mounted(sysfs: Callable[[str], SysfsTree], clock: Clock) -> None:
    """A pod that mounts /sys/devices/virtual/powercap alone reads the nested tree."""
    tree = sysfs("intel-rapl:0 package-0\nintel-rapl:0:0 dram\nintel-rapl-mmio:0 package-0")
    for link in tree.flat.iterdir():
        link.unlink()
    tree.flat.rmdir()

    assert PowercapMeter(tree.root, procfs=tree.root).basis == "package-0, package-0 dram by intel-rapl"


@pytest.mark.parametrize(
    ("listing", "break_it", "words"),
    [
        pytest.param(None, None, "does not exist: the kernel has no powercap", id="no class (WSL2, Talos)"),
        pytest.param("", None, "holds no RAPL zone: a virtual machine", id="an empty class (EC2, KVM)"),
        pytest.param("dtpm:0 soc", None, "holds no RAPL zone", id="another control type alone"),
        pytest.param("intel-rapl:0 package-0", "mask", "leads nowhere: the container's runtime hides it", id="masked"),
        pytest.param("intel-rapl:0 package-0 noname", None, "no readable name", id="no name"),
        pytest.param("intel-rapl:0 gadget", None, "no zone that is known: intel-rapl:0 (gadget)", id="unknown zone"),
        pytest.param("intel-rapl:0 psys", None, "no zone of a CPU package", id="psys without a package"),
    ],
)
def test_where_there_is_no_meter_it_says_why(
    listing: str | None, break_it: str | None, words: str, tmp_path: Path
) -> None:
    """Every way to have no RAPL has its own reason."""
    if listing is not None:
        tree = SysfsTree(tmp_path, listing)
        if break_it == "mask":
            for folder, folders, files in os.walk(tree.root / "devices", topdown=False):
                for file in files:
                    (Path(folder) / file).unlink()
                for one in folders:
                    (Path(folder) / one).rmdir()

    with pytest.raises(MeterAbsentError) as caught:
        PowercapMeter(tmp_path, procfs=tmp_path)

    assert words in caught.value.reason


@pytest.mark.parametrize(
    ("number", "words", "remedy"),
    [
        ("EACCES", "is readable by root only", "CVE-2020-8694"),
        ("EINVAL", "answers EINVAL: the register behind it cannot be read", None),
        ("EIO", "answers EIO: the register behind it cannot be read", None),
        ("ENODEV", "is not there", None),
        ("ENODATA", "cannot be read: no data", None),
    ],
)
def test_an_energy_file_that_cannot_be_read_is_named(
    number: str, words: str, remedy: str | None, tmp_path: Path
) -> None:
    """The reason names the file; the remedy never says to run as root."""
    tree = SysfsTree(tmp_path, "intel-rapl:0 package-0")

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        raise OSError(getattr(errno, number), "no data")

    with pytest.raises(MeterAbsentError) as caught:
        PowercapMeter(tree.root, procfs=tree.root, pread=pread)

    assert words in caught.value.reason
    assert str(tree.flat / "intel-rapl:0" / "energy_uj") in caught.value.reason
    assert (caught.value.remedy is None) == (remedy is None)
    assert remedy is None or remedy in str(caught.value.remedy)
    assert "as root" not in str(caught.value)
