"""The bundled tables: what is found in them, and that every row says where it comes from."""

import csv
import re
from pathlib import Path

import pytest

from carbon_sdk.meters import coefficients
from carbon_sdk.meters.hardware import CPU, read_cpuinfo

DATA = Path(coefficients.__file__).with_name("data")


@pytest.mark.parametrize("table", sorted(DATA.glob("*.csv")), ids=lambda path: path.stem)
def test_every_row_has_its_source_year_and_licence(table: Path) -> None:
    """Facts carry over with where they come from."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert rows
    assert all(row["source"] and 2000 < int(row["year"]) < 2100 and row["licence"] for row in rows)


@pytest.mark.parametrize(
    ("printed", "model", "tdp_watts"),
    [
        ("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", "Intel Xeon Platinum 8259CL", 210),
        ("Intel(R) Xeon(R) CPU E3-1240 V2 @ 3.40GHz", "Intel Xeon E3-1240 v2", 69),
        ("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "Intel Core i7-8550U", 15),
        ("11th Gen Intel(R) Core(TM) i5-11400F @ 2.60GHz", "Intel Core i5-11400F", 65),
        ("AMD EPYC 7742 64-Core Processor", "AMD EPYC 7742", 225),
        ("AMD EPYC 8024P 8-Core Processor", "AMD EPYC 8024P", 90),
        ("AMD Ryzen 7 5800X 8-Core Processor", "AMD Ryzen 7 5800X", 105),
    ],
)
def test_a_cpu_is_found_by_the_name_that_it_prints(printed: str, model: str, tdp_watts: float) -> None:
    """What /proc/cpuinfo adds to a price list's name is taken off."""
    part = coefficients.find_cpu(printed)

    assert part is not None
    assert (part.model, part.tdp_watts) == (model, tdp_watts)
    assert part.source.endswith("2025")


@pytest.mark.parametrize("name", ["Intel(R) Xeon(R) CPU @ 2.20GHz", "AMD EPYC", "QEMU Virtual CPU version 2.5+", ""])
def test_a_masked_name_is_no_part(name: str) -> None:
    """Clouds print names that say no SKU."""
    assert coefficients.find_cpu(name) is None


@pytest.mark.parametrize(
    ("cpu", "name", "threads_per_core"),
    [
        (CPU(vendor_id="GenuineIntel", family=6, model=85, stepping=4), "Skylake-SP", 2),
        (CPU(vendor_id="GenuineIntel", family=6, model=85, stepping=7), "Cascade Lake", 2),
        (CPU(vendor_id="GenuineIntel", family=6, model=85, stepping=11), "Cooper Lake", 2),
        (CPU(vendor_id="AuthenticAMD", family=25, model=1, stepping=1, model_name="AMD EPYC"), "Milan (Zen 3)", 2),
        (CPU(vendor_id="AuthenticAMD", family=25, model=17, stepping=1), "Genoa (Zen 4)", 2),
        (CPU(vendor_id="0x41", model=0xD0C), "Neoverse N1", 1),
        (CPU(model_name="Intel Xeon Processor (Icelake)"), "Ice Lake", 2),
        (CPU(model_name="AMD EPYC 7B13"), "Milan (Zen 3)", 2),
    ],
)
def test_a_microarchitecture_is_found_by_name_or_numbers(cpu: CPU, name: str, threads_per_core: int) -> None:
    """The name first; where a cloud hides it, family, model and stepping."""
    assert coefficients.find_architecture(cpu) == coefficients.Architecture(
        name=name, threads_per_core=threads_per_core
    )


def test_a_cpu_that_nobody_knows_has_no_microarchitecture() -> None:
    """Nothing is guessed."""
    assert coefficients.find_architecture(read_cpuinfo("")) is None
    assert coefficients.find_architecture(CPU(vendor_id="GenuineIntel", family=6, model=85)) is None


@pytest.mark.parametrize(
    ("architecture", "middle"), [("Rome (Zen 2)", 0.598), ("Siena (Zen 4c)", 0.55), ("Gracemont", 0.418), (None, 0.418)]
)
def test_the_shape_of_a_kind_without_its_own_is_the_nearest_ones(architecture: str | None, middle: float) -> None:
    """Of any Zen for AMD's, else of any server."""
    assert coefficients.server_power(architecture).shape[5] == middle


def test_an_instance_type_is_found_in_any_cloud() -> None:
    """With the server that it is cut from."""
    instance = coefficients.find_instance("M5.large")

    assert instance is not None
    assert (instance.provider, instance.vcpus, instance.server_vcpus) == ("aws", 2, 96)
    assert instance.cpu_model == "Intel Xeon Platinum 8175M"
    assert coefficients.find_instance("m99.tiny") is None


def test_no_pattern_that_matches_is_left_out_for_its_first_word() -> None:
    """Over all CPUs of the table; and most patterns are left out."""
    with (DATA / "microarchitectures.csv").open(encoding="utf-8", newline="") as file:
        patterns = [row["pattern"] for row in csv.DictReader(file) if row["match_kind"] == "name"]
    with (DATA / "cpus.csv").open(encoding="utf-8", newline="") as file:
        names = [row["cpu_model"] for row in csv.DictReader(file)][::5]
    matching = [(pattern, name) for pattern in patterns for name in names if re.search(pattern, name, re.IGNORECASE)]

    assert len(matching) > 500
    assert all(coefficients.may_match(pattern, name) for pattern, name in matching)
    assert sum(coefficients.may_match(pattern, "AMD EPYC 9R14") for pattern in patterns) < len(patterns) / 2
