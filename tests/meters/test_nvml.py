"""The GPU meter, through the real binding and a stand-in for the driver's library."""

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.meter import Reading
from carbon_sdk.meters.nvml import NVMLMeter
from tests.meters.conftest import Cards, Clock, ProcfsTree


@pytest.fixture
def container(procfs: ProcfsTree) -> ProcfsTree:
    """A /proc in a namespace of its own."""
    (procfs.root / "self/ns").mkdir()
    (procfs.root / "self/ns/pid").symlink_to("pid:[4026532512]")
    (procfs.root / "self/fd").mkdir()
    return procfs


@pytest.fixture
def meter_of(clock: Clock, host: ProcfsTree) -> Iterator[Callable[..., NVMLMeter]]:
    """Builds meters whose clock is the test's, and closes them."""
    meters: list[NVMLMeter] = []

    def build(**options: Any) -> NVMLMeter:
        meters.append(NVMLMeter(**{"procfs": host.root, "monotonic_ns": clock, **options}))
        return meters[-1]

    yield build
    for meter in meters:
        meter.close()


Build = Callable[..., NVMLMeter]


def test_counters_of_all_cards_are_added(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """Two cards at 100 and 250 W for ten seconds."""
    cards.add()
    cards.add(name="Tesla-V100")
    meter = meter_of()
    (first,) = meter.read()
    clock.sleep(10)
    cards.use(0, 1000)
    cards.use(1, 2500)

    (reading,) = meter.read()

    assert first == Reading(domain="gpu", energy_joules=None, method="counter")
    assert (reading.energy_joules, reading.method, reading.partial, reading.gap) == (3500.0, "counter", False, None)
    assert meter.basis == "Tesla-T4 (energy counter), Tesla-V100 (energy counter)"
    assert meter.maximum_interval_seconds == 60


def test_without_a_counter_power_is_integrated(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """A steady 150 W for 10 s are 1500 J, and the record says that they were integrated."""
    cards.add(energy=-1, power=150_000)
    meter = meter_of()
    meter.read()
    total = 0.0
    for _ in range(10):
        clock.sleep(1)
        (reading,) = meter.read()
        total += reading.energy_joules or 0.0
        assert reading.method == "power_integral"

    assert total == pytest.approx(1500, rel=0.02)
    assert meter.maximum_interval_seconds == 10


def test_power_that_changes_is_integrated_between_its_readings(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """From 100 to 200 W in two seconds: 300 J."""
    cards.add(energy=-1, power=100_000)
    meter = meter_of()
    meter.read()
    clock.sleep(2)
    cards.set(0, power=200_000)

    assert meter.read()[0].energy_joules == pytest.approx(300)


def test_a_card_that_tells_neither_makes_the_rest_a_part(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """It is listed, and never counted as 0 J in silence."""
    cards.add()
    cards.add(energy=-1, power=-1, name="GRID")
    meter = meter_of()
    meter.read()
    clock.sleep(1)
    cards.use(0, 70)

    (reading,) = meter.read()

    assert (reading.energy_joules, reading.partial) == (70.0, True)
    assert meter.basis == "Tesla-T4 (energy counter), GRID (not readable)"


def test_no_card_that_tells_anything_is_no_meter(cards: Cards, meter_of: Build) -> None:
    """Virtual cards as a rule: absent, not 0 J."""
    cards.add(energy=-1, power=-1, name="GRID")

    with pytest.raises(MeterAbsentError, match="no GPU tells its energy or power: GPU-0 GRID"):
        meter_of()
    assert cards.references == 0


@pytest.mark.parametrize(
    ("code", "words", "remedy"),
    [
        (9, "its kernel module is not", None),
        (12, "no NVIDIA driver", None),
        (18, "different versions", "Reboot"),
        (4, "may not be opened", "/dev/nvidia"),
        (999, "unknown error", "restart it"),
        (13, "NVML cannot be used", None),
    ],
)
def test_a_library_that_does_not_start_says_why(
    cards: Cards, meter_of: Build, code: int, words: str, remedy: str | None
) -> None:
    """With the remedy where there is one."""
    cards.add()
    cards.say(init=code)

    with pytest.raises(MeterAbsentError) as caught:
        meter_of()

    assert words in caught.value.reason
    assert (remedy or "") in (caught.value.remedy or "")
    assert (caught.value.remedy is None) == (remedy is None)


def test_a_driver_without_cards_is_no_meter(cards: Cards, meter_of: Build) -> None:
    """Quietly."""
    with pytest.raises(MeterAbsentError, match="no NVIDIA GPU"):
        meter_of()


def test_a_lost_card_is_touched_no_more_and_the_rest_goes_on(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """It fell off the bus: even when its counter comes back, the handle is dead."""
    cards.add()
    cards.add()
    meter = meter_of()
    meter.read()
    seen = []
    for code in (0, 15, 0):
        clock.sleep(1)
        cards.set(1, fail=code)
        cards.use(0, 100)
        cards.use(1, 50)
        (reading,) = meter.read()
        seen.append((reading.energy_joules, reading.partial))

    assert seen == [(150.0, False), (100.0, True), (100.0, True)]


def test_all_cards_failing_is_a_gap(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """And the stretch after it too, which has no start."""
    cards.add()
    meter = meter_of()
    meter.read()
    seen = []
    for code in (10, 0, 0):
        clock.sleep(1)
        cards.set(0, fail=code)
        cards.use(0, 100)
        (reading,) = meter.read()
        seen.append((reading.energy_joules, reading.gap is None))

    assert seen == [(None, False), (None, False), (100.0, True)]


def test_one_card_that_cannot_be_had_does_not_cost_the_others(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """Handles are taken one by one."""
    cards.add(handle=15)
    cards.add()
    meter = meter_of()
    meter.read()
    clock.sleep(1)
    cards.use(1, 60)

    (reading,) = meter.read()

    assert (reading.energy_joules, reading.partial) == (60.0, True)
    assert "device 0" in meter.basis


def test_a_card_that_is_listed_twice_counts_once(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """By its UUID."""
    cards.add(uuid="GPU-x")
    cards.add(uuid="GPU-x")
    meter = meter_of()
    meter.read()
    clock.sleep(1)
    cards.use(0, 60)

    assert meter.read()[0].energy_joules == 60.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"energy": 1}, "the counter went back"),
        ({"energy": 5_000_000 + 700_000}, "700 J in 1 s is more than 600 W"),
        ({"energy": -1}, "Not Supported"),
    ],
)
def test_nonsense_is_a_gap(cards: Cards, clock: Clock, meter_of: Build, change: dict[str, object], words: str) -> None:
    """A driver reload, a broken library, a call that is suddenly refused."""
    cards.add()
    meter = meter_of()
    meter.read()
    clock.sleep(1)
    cards.set(0, **change)

    (reading,) = meter.read()

    assert reading.energy_joules is None
    assert words in (reading.gap or "")


def test_absurd_power_is_a_gap(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """A mismatched library answers success with 3,700 W."""
    cards.add(energy=-1, power=100_000)
    meter = meter_of()
    meter.read()
    gaps = []
    for power in (3_700_000, 100_000, 100_000):
        clock.sleep(1)
        cards.set(0, power=power)
        gaps.append(meter.read()[0].energy_joules)

    assert gaps == [None, None, pytest.approx(100)]


def test_a_grace_hopper_is_read_without_its_cpu(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """Its counter holds the whole module, so the power of the GPU's own scope is integrated."""
    cards.add(name="GH200", power=600_000, scope_gpu=200_000)
    meter = meter_of()
    meter.read()
    clock.sleep(1)

    (reading,) = meter.read()

    assert reading.energy_joules == pytest.approx(200)
    assert reading.method == "power_integral"


def test_idle_is_the_lowest_power_seen(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """30 W for a second, then 200 W for two: 60 J of the 400 are idle."""
    cards.add()
    meter = meter_of()
    meter.read()
    idle = []
    for seconds, watts in ((1, 30), (2, 200)):
        clock.sleep(seconds)
        cards.use(0, watts * seconds)
        idle.append(meter.read()[0].idle_joules)

    assert idle == [pytest.approx(30), pytest.approx(60)]


def used_by(meter: NVMLMeter, cards: Cards, clock: Clock, **changes: object) -> float | None:
    """The share in a second at 200 W, after one at 50 W that shows what idle is."""
    meter.read()
    clock.sleep(1)
    for number in range(len(cards.gpus)):
        cards.use(number, 50)
    meter.read()
    clock.sleep(1)
    for number in range(len(cards.gpus)):
        cards.set(number, **changes)
        cards.use(number, 200)
    return meter.read()[0].process_share


@pytest.mark.parametrize(
    ("users", "share"),
    [
        ("{me}:80:9", 1.0),
        ("{me}:100:9,77:100:9", 0.5),  # time with a kernel resident: two may have all of it
        ("{me}:30:9,77:60:9", pytest.approx(1 / 3)),
        ("77:60:9", 0.0),
        ("", 0.0),  # not found: nobody used it
        ("{me}:30:9,77:4000000:9", 1.0),  # a zombie's garbage
    ],
)
def test_a_processs_share_is_its_part_of_the_utilisation(
    cards: Cards, clock: Clock, meter_of: Build, users: str, share: float
) -> None:
    """Normalised by the sum."""
    cards.add()

    assert used_by(meter_of(), cards, clock, users=users.format(me=os.getpid())) == share


@pytest.mark.parametrize(
    ("tree", "share"), [({77, 78}, pytest.approx(0.75)), ({9}, pytest.approx(0.25)), ({5}, 0.0), (set(), 0.0)]
)
def test_the_part_of_a_whole_process_tree_is_the_sum_of_its_processes(
    cards: Cards, clock: Clock, meter_of: Build, tree: set[int], share: float
) -> None:
    """A program that is measured from outside has processes of its own, and this one none of them."""
    cards.add()

    assert used_by(meter_of(pids=lambda: tree), cards, clock, users="77:30:9,78:45:9,9:25:9") == share


def test_samples_of_the_last_window_are_not_counted_again(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """A process that went idle keeps its old entry in the answer."""
    cards.add(users=f"77:90:5,{os.getpid()}:10:4")

    assert used_by(meter_of(), cards, clock, users=f"77:90:5,{os.getpid()}:10:8") == 1.0


@pytest.mark.parametrize(
    ("holders", "share"),
    [("{me}", 1.0), ("{me},77", None), ("77", 0.0), ("", 0.0)],
    ids=["sole", "two", "other", "none"],
)
def test_without_utilisation_the_holders_of_contexts_tell(
    cards: Cards, clock: Clock, meter_of: Build, holders: str, share: float | None
) -> None:
    """The sole compute process has all of it; of several nobody knows."""
    cards.add(users=None, holders=holders.format(me=os.getpid()))

    assert used_by(meter_of(), cards, clock) == share


@pytest.mark.parametrize(("holders", "cuda", "share"), [("9", True, 1.0), ("9", False, None), ("9,10", True, None)])
def test_in_a_container_only_a_sole_context_can_be_ones_own(
    cards: Cards, clock: Clock, container: ProcfsTree, holders: str, cuda: bool, share: float | None
) -> None:
    """Process ids are the host's; but who has CUDA open and sees a single context sees its own."""
    cards.add(users=f"{os.getpid()}:100:9", holders=holders)
    if cuda:
        (container.root / "self/fd/17").symlink_to("/dev/nvidia-uvm")
    meter = NVMLMeter(procfs=container.root, monotonic_ns=clock)

    assert used_by(meter, cards, clock) == share
    meter.close()


def test_a_mig_slice_never_claims_the_cards_joules(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """The card's joules are known, this process's part of them is not."""
    cards.add(mig=1, users=f"{os.getpid()}:100:9")
    meter = meter_of()

    assert used_by(meter, cards, clock) is None
    assert meter.basis == "Tesla-T4 (energy counter, in MIG slices)"


@pytest.mark.parametrize(
    ("visible", "share"),
    [
        (None, 0.5),
        ("0", 0.25),
        ("GPU-1", 0.25),
        ("GPU-1,0", 0.5),
        ("1,9,0", 0.25),  # the list ends at the first entry that names no device
        ("-1", 0.0),
        ("", 0.0),
        ("MIG-abc", 0.5),
    ],
)
def test_a_card_that_cuda_hides_from_this_process_is_not_its_own(
    cards: Cards, clock: Clock, meter_of: Build, visible: str | None, share: float
) -> None:
    """By index and by UUID, while all cards' joules are read: half of each card that is visible."""
    for _ in range(2):
        cards.add(users=None)
    users = f"{os.getpid()}:50:9,77:50:9"

    assert used_by(meter_of(visible=visible), cards, clock, users=users) == pytest.approx(share)


def test_an_index_may_mean_any_card_where_they_differ(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """CUDA sorts by speed, NVML by slot, unless CUDA is told otherwise."""
    cards.add(name="A100")
    cards.add(name="T4")
    users = f"{os.getpid()}:50:9,77:50:9"

    assert used_by(meter_of(visible="0"), cards, clock, users=users) == pytest.approx(0.5)
    assert used_by(
        meter_of(visible="0", pci_order=True), cards, clock, users=users.replace(":9", ":19")
    ) == pytest.approx(0.25)


def test_a_call_that_hangs_is_a_gap_and_never_joined_by_a_second(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """One thread waits; when the driver is back, counting begins anew."""
    cards.add()
    threads = set(threading.enumerate())
    meter = meter_of(read_seconds=0.05)
    meter.read()
    cards.say(hang=1)
    clock.sleep(1)
    gaps = [meter.read()[0].gap for _ in range(3)]
    waiting = len(set(threading.enumerate()) - threads)
    cards.say(hang=0)
    reading = meter.read()[0]
    while "not answered" in (reading.gap or ""):
        reading = meter.read()[0]
    clock.sleep(1)
    cards.use(0, 80)

    assert gaps[0] == "nvml did not answer within 0.05 s"
    assert waiting == 1
    assert reading.energy_joules is None
    assert meter.read()[0].energy_joules == 80.0


def test_a_driver_that_hangs_at_the_start_is_no_meter(cards: Cards, meter_of: Build) -> None:
    """Said after the limit, with a hint."""
    cards.add()
    cards.say(hang=1)

    with pytest.raises(MeterAbsentError, match=r"did not answer within 0\.05 s"):
        meter_of(init_seconds=0.05)


def test_a_forked_child_initialises_nvml_anew(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """The parent's state does not carry over; the child's first stretch is a gap, its second is whole."""
    cards.add()
    meter = meter_of()
    meter.read()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            joules = []
            for _ in range(2):
                clock.sleep(1)
                cards.use(0, 40)
                joules.append(meter.read()[0].energy_joules)
            os.write(writer, repr(joules).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reader, 100) == b"[None, 40.0]"
    os.close(reader)
    os.close(writer)


def test_nvml_that_was_shut_down_by_others_is_taken_anew(cards: Cards, clock: Clock, meter_of: Build) -> None:
    """A host application that shuts down once too often takes the library away from everyone."""
    cards.add()
    meter = meter_of()
    meter.read()
    while cards.references:
        cards.library.nvmlShutdown()
    seen = []
    for _ in range(3):
        clock.sleep(1)
        cards.use(0, 40)
        seen.append(meter.read()[0].energy_joules)

    assert seen == [None, None, 40.0]


def test_it_is_shut_down_as_often_as_it_was_opened(cards: Cards, meter_of: Build) -> None:
    """A host application may hold a count of its own."""
    cards.add()
    before = cards.references
    meter = meter_of()
    opened = cards.references
    meter.close()
    meter.close()

    assert (opened, cards.references) == (before + 1, before)


@given(
    steps=st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 400)), min_size=1, max_size=6),
    start=st.integers(0, 2**52),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cutting_a_stretch_changes_no_total(
    cards: Cards, meter_of: Build, clock: Clock, steps: list[tuple[float, float]], start: int
) -> None:
    """Many short stretches hold what one long one does, to the counter's millijoule."""
    cards.gpus.clear()
    cards.add(energy=start)
    often, once = meter_of(), meter_of()
    often.read()
    once.read()
    total = 0.0
    for seconds, watts in steps:
        clock.sleep(seconds)
        cards.use(0, watts * seconds)
        total += often.read()[0].energy_joules or 0.0

    assert once.read()[0].energy_joules == pytest.approx(total, rel=1e-9, abs=1e-9)
    often.close()
    once.close()
