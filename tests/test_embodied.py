"""The making of the machine, spread over its life and over those who reserve it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk import Carbon, embodied, track
from carbon_sdk.emission import PROCESS_KINDS, Emission
from carbon_sdk.testing import FixedIntensity, RecordingSink
from tests.meters.conftest import ProcfsTree

YEAR_SECONDS = 31_536_000.0
grams = st.floats(1.0, 1e8)
years = st.floats(0.5, 20.0)


def test_a_server_of_two_sockets_and_64_gb_is_1167_kilograms() -> None:
    """1,000 kg, 100 kg for the second socket, 48 GB more at 1.388 kg."""
    server = embodied.of_server(sockets=2, memory_gb=64.0)

    assert server.emissions_g == pytest.approx(1_166_624.0)
    assert server.g_per_second == pytest.approx(1_166_624.0 / (4 * YEAR_SECONDS))
    assert "default" in server.basis
    assert "Cloud Carbon Footprint" in server.basis


def test_a_small_machine_is_never_below_the_formulas_base() -> None:
    """Less memory than the base has takes nothing away."""
    assert embodied.of_server(sockets=1, memory_gb=2.0).emissions_g == 1_000_000.0


def test_what_the_user_sets_is_not_marked_default() -> None:
    """A record tells a figure that the user knows from one that was published for another machine."""
    known = embodied.of_setting(5e5, lifetime_years=5.0)

    assert known.g_per_second == pytest.approx(5e5 / (5 * YEAR_SECONDS))
    assert "set" in known.basis
    assert "default" not in known.basis


@given(kilograms=st.floats(1.0, 1e4), sizes=st.lists(st.integers(1, 64), min_size=1, max_size=8), life=years)
def test_the_machines_of_one_server_add_up_to_it(kilograms: float, sizes: list[int], life: float) -> None:
    """Each carries its part of the logical CPUs."""
    parts = [
        embodied.of_instance(kilograms, vcpus=size, server_vcpus=sum(sizes), source="x", lifetime_years=life)
        for size in sizes
    ]

    assert sum(part.emissions_g for part in parts) == pytest.approx(kilograms * 1000.0)


@given(emissions_g=grams, life=years)
def test_a_whole_life_emits_what_the_making_did(emissions_g: float, life: float) -> None:
    """Nothing is made or lost by spreading it."""
    spread = embodied.of_setting(emissions_g, lifetime_years=life)

    assert spread.g_per_second * life * YEAR_SECONDS == pytest.approx(emissions_g)


@given(emissions_g=grams, life=years, shares=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5))
def test_containers_reserve_parts_of_the_machine(emissions_g: float, life: float, shares: list[float]) -> None:
    """Parts of it add up, and a reader still finds the machine's own figure."""
    machine = embodied.of_setting(emissions_g, lifetime_years=life)
    whole = sum(shares)
    parts = [machine.reserved(share / whole) for share in shares]
    told = embodied.from_basis(parts[0].basis)

    assert sum(part.g_per_second for part in parts) == pytest.approx(machine.g_per_second)
    assert told is not None
    assert told.emissions_g == pytest.approx(emissions_g, rel=1e-3)


def job_record(**settings: object) -> Emission:
    """The record of one tracked job, on this machine as it is."""
    sink = RecordingSink()
    carbon = Carbon(
        meter="model",
        provider=FixedIntensity(100.0),
        sinks={"record": sink},
        emit_interval_seconds=3600,
        first_record_seconds=3600,
        **settings,  # type: ignore[arg-type]
    )

    async def main() -> None:
        async with carbon:
            with track("job"):
                sum(range(200_000))
            await asyncio.sleep(0.05)

    asyncio.run(main())
    return next(record for record in sink.emissions if record.name == "job")


def test_a_record_carries_its_share_of_the_making_and_sci(tmp_path: Path) -> None:
    """With the machine's grams and the share reserved set, both are there."""
    record = job_record(embodied_g=3e6, lifetime_years=1.0, reserved_share=0.5, state_dir=tmp_path)
    seconds = (record.window_end - record.window_start).total_seconds()

    if record.emissions_embodied_g is None:
        pytest.skip("no control group counts the CPU of this container")
    assert 0.0 < record.emissions_embodied_g <= 3e6 / YEAR_SECONDS * 0.5 * seconds * 1.01
    assert record.sci_g_per_request is not None
    assert record.emissions_g is not None
    assert record.sci_g_per_request >= record.emissions_g + record.emissions_embodied_g


def test_a_record_says_how_the_making_is_known() -> None:
    """Also where the share reserved is not, so that a reader sees which figure would be used."""
    assert "embodied 3000 kg over 4 years (set)" in job_record(embodied_g=3e6).basis


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Emission]]:
    """Builds what a job in a pod on a node of four CPUs leaves, its records by name."""

    def records_of(*, quota: str = "max 100000", **more: object) -> dict[str, Emission]:
        procfs = ProcfsTree(tmp_path / "proc")
        mount = tmp_path / "cgroup"
        mount.mkdir()
        for name, text in {
            "cpu.max": quota,
            "cpu.stat": "usage_usec 1000000",
            "cpuset.cpus.effective": "0-3",
            "memory.max": "max",
        }.items():
            (mount / name).write_text(text)
        procfs.write("self/cgroup", "0::/\n")
        procfs.write("self/mountinfo", f"30 25 0:26 / {mount} rw - cgroup2 cgroup rw\n")
        monkeypatch.setenv("CARBON_SDK_PROCFS_ROOT", str(procfs.root))
        monkeypatch.setenv("CARBON_SDK_SYSFS_ROOT", str(tmp_path))
        sink = RecordingSink()
        carbon = Carbon(
            provider=FixedIntensity(100.0),
            sinks={"record": sink},
            embodied_g=4e6,
            lifetime_years=1.0,
            emit_interval_seconds=3600,
            first_record_seconds=3600,
            gpu="off",
            **more,  # type: ignore[arg-type]
        )
        with carbon:
            carbon.wait_ready()
            with track("job"):
                sum(range(300_000))
        return {record.name: record for record in sink.emissions}

    return records_of


def made(records: dict[str, Emission]) -> float:
    """Grams of making over all accounts of the process, as a share of the machine's in the same time."""
    parts = [record.emissions_embodied_g for record in records.values() if record.kind in PROCESS_KINDS]
    assert None not in parts
    record = records["measured"]
    seconds = (record.window_end - record.window_start).total_seconds()
    return sum(part or 0.0 for part in parts) / (4e6 / YEAR_SECONDS * seconds)


def test_a_pod_without_a_limit_reserves_nothing_that_is_known(pod: Callable[..., dict[str, Emission]]) -> None:
    """Its set of CPUs is the whole node's, which is no reservation: null, not the node."""
    job = pod()["job"]

    assert job.meter_scope == "machine"
    assert (job.emissions_embodied_g, job.sci_g_per_request) == (None, None)
    assert job.energy_joules is not None


def test_a_share_that_is_set_is_known_without_a_limit(pod: Callable[..., dict[str, Emission]]) -> None:
    """Divided by the CPU time of our own group, whose only process this is."""
    records = pod(reserved_share=0.5)

    assert made(records) == pytest.approx(0.5, rel=0.05)
    assert records["job"].sci_g_per_request is not None


def test_a_pods_request_is_known_by_the_downward_api(
    pod: Callable[..., dict[str, Emission]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """500m of a node of four CPUs; a share that is set stands above it."""
    monkeypatch.setenv("CARBON_SDK_RESERVED_MILLICPUS", "500")
    assert made(pod()) == pytest.approx(0.125, rel=0.05)


@pytest.mark.parametrize(("share", "expected"), [(None, 0.25), (0.1, 0.1)])
def test_a_container_that_is_modelled_carries_its_part_of_the_machines_making(
    pod: Callable[..., dict[str, Emission]], share: float | None, expected: float
) -> None:
    """One CPU of four; a share that is set is one of the machine's making, and its joules are its own all the same."""
    records = pod(quota="100000 100000", idle_policy="reserved", reserved_share=share)
    job, idle = records["job"], records["idle"]
    carried = sum(record.idle_energy_joules or 0.0 for record in records.values() if record.kind in PROCESS_KINDS)

    assert job.meter_scope == "container"
    assert made(records) == pytest.approx(expected, rel=0.05)
    assert carried == pytest.approx(idle.energy_joules, rel=0.05)
    assert f"{expected:.3g} of it reserved by this container" in job.basis
