"""What can be known of the machine."""

from pathlib import Path

import pytest

from carbon_sdk.meters.hardware import CPU, Hardware, look, read_cpuinfo
from tests.meters.conftest import ProcfsTree


def test_a_two_socket_xeon(procfs: ProcfsTree) -> None:
    """Threads are counted, sockets told by their physical ids, runs of spaces collapsed."""
    procfs.cpuinfo("Intel(R) Xeon(R) CPU           E5620  @ 2.40GHz", numbers=(6, 44, 2), threads=16, sockets=2)

    cpu = look(procfs.root).cpu

    assert cpu == CPU(
        model_name="Intel(R) Xeon(R) CPU E5620 @ 2.40GHz",
        vendor_id="GenuineIntel",
        family=6,
        model=44,
        stepping=2,
        threads=16,
        sockets=2,
    )
    assert cpu.vendor == "intel"


def test_an_arm_has_no_model_name() -> None:
    """Its core is known by implementer and part alone."""
    cpu = read_cpuinfo(
        "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\n"
        "CPU part\t: 0xd0c\nCPU revision\t: 1\n\nprocessor\t: 1\n"
    )

    assert cpu == CPU(vendor_id="0x41", model=0xD0C, stepping=1, threads=2)
    assert cpu.vendor == "unknown"


@pytest.mark.parametrize("text", ["", "model name\t: unknown\n", "cpu\t: POWER9\nrevision: 2.2\n", "garbage"])
def test_a_format_that_is_not_known_is_an_unknown_cpu(text: str) -> None:
    """Sandboxes print `unknown`; other architectures print other files."""
    assert read_cpuinfo(text) == CPU()


def strings(root: Path, **values: str) -> Path:
    """A DMI folder."""
    folder = root / "class/dmi/id"
    folder.mkdir(parents=True)
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")
    return root


@pytest.mark.parametrize(
    ("values", "instance_type", "virtual"),
    [
        ({"sys_vendor": "Amazon EC2", "product_name": "m5.large"}, "m5.large", True),
        ({"sys_vendor": "Amazon EC2", "product_name": "c5.metal"}, "c5.metal", False),
        ({"sys_vendor": "Xen", "product_name": "HVM domU"}, None, True),
        ({"sys_vendor": "Google", "product_name": "Google Compute Engine"}, None, True),
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"}, None, True),
        ({"sys_vendor": "Dell Inc.", "product_name": "PowerEdge R740"}, None, False),
        ({"sys_vendor": "Default string", "product_name": "To Be Filled By O.E.M."}, None, False),
        ({}, None, False),
    ],
)
def test_dmi_names_the_machine(
    tmp_path: Path, values: dict[str, str], instance_type: str | None, virtual: bool
) -> None:
    """On EC2 the product is the instance type; on ARM these strings alone tell a virtual machine."""
    machine = look(tmp_path / "proc", strings(tmp_path / "sys", **values))

    assert (machine.instance_type, machine.virtual) == (instance_type, virtual)


def test_the_hypervisor_flag_tells_a_virtual_machine() -> None:
    """On x86, whatever DMI says."""
    assert Hardware(cpu=read_cpuinfo("processor: 0\nflags: fpu hypervisor lm\n")).virtual


def test_memory_is_what_the_kernel_has(procfs: ProcfsTree) -> None:
    """MemTotal is in KiB."""
    assert look(procfs.root).memory_bytes == 65536000 * 1024
    procfs.write("meminfo", "nothing\n")
    assert look(procfs.root).memory_bytes is None
