"""From the machine to watts by load."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.meters import coefficients
from carbon_sdk.meters.curve import PowerCurve
from carbon_sdk.meters.estimate import BIG, SMALL, estimate, find_socket, most_alike
from carbon_sdk.meters.hardware import CPU, Hardware


def machine(name: str | None, *, threads: int = 4, sockets: int | None = 1, virtual: bool = False) -> Hardware:
    """A machine with a CPU of this name."""
    return Hardware(cpu=CPU(model_name=name, threads=threads, sockets=sockets, virtual=virtual))


def test_a_part_that_was_measured_draws_what_was_measured() -> None:
    """c5.metal, 2 x 48 threads at full load: 617 W of package, in both places."""
    found = estimate(machine("Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz", threads=96, sockets=2), cpus=96)

    assert found.package.watts[-1] == pytest.approx(617.36)
    assert found.package.watts[0] == pytest.approx((59.46 + 57.93) / 2)
    assert "measured on this part (Teads turbostress reports 2021)" in found.basis


def test_a_virtual_machine_draws_its_share_of_the_socket() -> None:
    """Two of the 96 threads: a 48th of the machine, idle watts included, not the whole socket's."""
    whole = estimate(machine("Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz", threads=96, sockets=2), cpus=96)
    share = estimate(machine("Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz", threads=2, virtual=True), cpus=2)

    assert share.package.watts == pytest.approx([watts / 48 for watts in whole.package.watts])


def test_a_part_with_a_tdp_draws_shares_of_it() -> None:
    """Two sockets of 225 W; the basis names the TDP and its source."""
    found = estimate(machine("AMD EPYC 7742 64-Core Processor", threads=256, sockets=2), cpus=256)

    assert found.package.watts[0] == pytest.approx(450 * BIG.idle)
    assert found.package.watts[-1] == pytest.approx(450 * BIG.full)
    assert found.tdp_watts == 225
    assert found.basis.startswith("AMD EPYC 7742, TDP 225 W (AMD product tables")


def test_a_small_part_stays_under_its_tdp() -> None:
    """A laptop's 15 W."""
    found = estimate(machine("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", threads=8), cpus=8)

    assert found.package.watts[-1] == pytest.approx(15 * SMALL.full)


def test_a_part_without_a_tdp_is_like_its_nearest_kin() -> None:
    """8252C, 12 cores at 3.8 GHz: nearest is the 6256 with 205 W."""
    found = find_socket(machine("Intel(R) Xeon(R) Platinum 8252C CPU @ 3.80GHz", threads=24), measured=False)

    assert found.tdp_watts == 205
    assert "like Intel Xeon Gold 6256" in found.basis


def test_an_instance_type_tells_what_a_hidden_cpu_does_not() -> None:
    """The CPU's own name stands above it."""
    hidden = estimate(machine(None, threads=2, virtual=True), cpus=2, instance_type="c5.large")
    named = estimate(machine("AMD EPYC 7742", threads=2, virtual=True), cpus=2, instance_type="c5.large")

    assert hidden.basis.startswith("Intel Xeon Platinum 8124M by instance type c5.large")
    assert named.basis.startswith("AMD EPYC 7742, TDP 225 W")


@pytest.mark.parametrize(
    ("cpu", "words"),
    [
        (
            CPU(vendor_id="GenuineIntel", family=6, model=79, model_name="Intel(R) Xeon(R) CPU @ 2.20GHz"),
            "Broadwell, like",
        ),
        (CPU(vendor_id="0x41", model=0xD0C), "Neoverse N1, watts of servers of its kind"),
        (CPU(), "unknown CPU, watts of servers of any kind"),
    ],
)
def test_the_less_is_known_the_wider_the_band(cpu: CPU, words: str) -> None:
    """By kind, by wall watts of its kind, by any: the bounds are wider than those of a part with a TDP."""
    known = estimate(machine("AMD EPYC 7742", virtual=True), cpus=4).package.at(0.5)
    found = estimate(Hardware(cpu=cpu), cpus=4)
    band = found.package.at(0.5)

    assert words in found.basis
    assert band.high / band.low > known.high / known.low
    assert 0 < found.package.watts[0] < found.package.watts[-1] < 60


def test_memory_draws_watts_by_the_gigabyte() -> None:
    """64 GB: 12.8 W idle; without a size there is no figure."""
    found = estimate(machine(None), cpus=4, memory_bytes=64e9)

    assert found.dram is not None
    assert found.dram.at(0).watts == pytest.approx(12.8)
    assert estimate(machine(None), cpus=4).dram is None


def test_the_fit_alone_is_near_what_was_measured() -> None:
    """Over the measured machines, without their own measurements; benchmarks/model.py leaves the fit out too."""
    errors: dict[str, list[float]] = {}
    for row in coefficients.measurements():
        seen = machine(row.cpu_model, threads=row.threads, sockets=row.sockets)
        watts = find_socket(seen, measured=False).curve.at(row.load).watts * row.sockets
        errors.setdefault(row.machine, []).append(abs(watts - row.package_watts) / row.package_watts)
    means = [statistics.fmean(values) for values in errors.values()]

    assert statistics.fmean(means) < 0.20
    assert max(means) < 0.45


def test_nothing_is_alike_where_the_kind_is_unknown() -> None:
    """Then the next rule serves."""
    assert most_alike(coefficients.cpu_parts("Neoverse V9"), cores=8, ghz=None) is None
    assert most_alike((), cores=None, ghz=2.0) is None


@given(load=st.floats(-1, 2), tdp=st.floats(5, 500))
def test_a_curve_rises_and_lies_within_its_band(load: float, tdp: float) -> None:
    """Whatever the load, even beyond what can be."""
    for shares in (BIG, SMALL):
        curve = shares.curve(tdp, coefficients_shape())
        band = curve.at(load)

        assert 0 < band.low <= band.watts <= band.high
        assert list(curve.watts) == sorted(curve.watts)


def coefficients_shape() -> tuple[float, ...]:
    """A straight way from idle to full load."""
    return tuple(step / 10 for step in range(11))


@given(idle=st.floats(0, 500))
def test_a_known_idle_power_is_kept_and_never_exceeds_the_rest(idle: float) -> None:
    """The rest of the curve is squeezed to it."""
    curve = PowerCurve(watts=(10.0,) * 5 + (50.0,) * 6, low=(8.0,) * 11, high=(60.0,) * 11).with_idle(idle)

    assert curve.at(0).watts == idle
    assert all(low <= watts <= high for low, watts, high in zip(curve.low, curve.watts, curve.high, strict=True))
    assert min(curve.watts) == idle
