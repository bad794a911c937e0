"""The RAPL meter: what it reads, adds up, and refuses to make up."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.hardware import Vendor
from carbon_sdk.meters.meter import Reading
from carbon_sdk.meters.powercap import PowercapMeter
from carbon_sdk.meters.powercap_counter import Pread
from tests.meters.conftest import RANGES, Clock, ProcfsTree, SysfsTree

Build = Callable[[str], SysfsTree]


def meter_of(
    tree: SysfsTree,
    clock: Clock,
    *,
    psys: bool = False,
    vendor: Vendor = "intel",
    pread: Pread = os.pread,
    read_seconds: float = 5.0,
) -> PowercapMeter:
    """A meter on a tree, whose clock is the test's."""
    return PowercapMeter(
        tree.root,
        procfs=tree.root,
        psys=psys,
        vendor=vendor,
        pread=pread,
        monotonic_ns=clock,
        boottime_ns=clock.boottime_ns,
        read_seconds=read_seconds,
    )


def by_domain(meter: PowercapMeter) -> dict[str, Reading]:
    """One reading of the meter."""
    return {reading.domain: reading for reading in meter.read()}


def test_the_first_reading_has_no_joules_and_is_no_gap(sysfs: Build, clock: Clock) -> None:
    """Before the first reading nothing is known, and nothing is wrong."""
    meter = meter_of(sysfs("intel-rapl:0 package-0"), clock)

    (reading,) = meter.read()

    assert reading == Reading(domain="package", energy_joules=None, method="counter")


def test_packages_and_their_dram_are_added_and_their_insides_are_not(sysfs: Build, clock: Clock) -> None:
    """Two sockets with DRAM: both domains are the sums, and core and uncore are inside the package."""
    tree = sysfs(
        """
        intel-rapl:0 package-0
        intel-rapl:0:0 core
        intel-rapl:0:1 uncore
        intel-rapl:0:2 dram D15
        intel-rapl:1 package-1
        intel-rapl:1:0 dram D15
        """
    )
    meter = meter_of(tree, clock)
    meter.read()
    clock.sleep(1)
    for zone, joules in {"0": 30, "0:0": 20, "0:1": 5, "0:2": 4, "1": 40, "1:0": 6}.items():
        tree.use(f"intel-rapl:{zone}", joules)

    read = by_domain(meter)

    assert {domain: reading.energy_joules for domain, reading in read.items()} == pytest.approx(
        {"package": 70, "dram": 10}
    )
    assert not any(reading.partial or reading.gap for reading in read.values())
    assert meter.basis == "package-0, package-0 dram, package-1, package-1 dram by intel-rapl"


def test_a_counter_that_wraps_goes_on(sysfs: Build, clock: Clock) -> None:
    """261,439.421273 J, then 708.461094 J, on a range of 262,143.328850 J: 1,412.37 J in 15 s."""
    tree = sysfs("intel-rapl:0 package-0 energy=261439421273")
    meter = meter_of(tree, clock)
    meter.read()
    clock.sleep(15)
    tree.set("intel-rapl:0", 708461094)

    (reading,) = meter.read()

    assert reading.energy_joules == pytest.approx(1412.368671, rel=1e-6)


def test_three_hours_at_100_watts_wrap_four_times_and_lose_nothing(sysfs: Build, clock: Clock) -> None:
    """Windows of half a minute on the smallest range hold 1,080,000 J however often the counter starts again."""
    tree = sysfs("intel-rapl:0 package-0 E61\nintel-rapl:0:0 dram D15")
    meter = meter_of(tree, clock)
    meter.read()
    totals = {"package": 0.0, "dram": 0.0}
    for _ in range(360):
        clock.sleep(30)
        tree.use("intel-rapl:0", 3000)
        tree.use("intel-rapl:0:0", 600)
        for reading in meter.read():
            totals[reading.domain] += reading.energy_joules or 0.0

    assert totals == pytest.approx({"package": 1_080_000, "dram": 216_000}, rel=1e-8)


def test_a_stretch_in_which_a_counter_may_have_wrapped_twice_is_a_gap(sysfs: Build, clock: Clock) -> None:
    """The limit is half the time in which the smallest counter wraps at a kilowatt, and the next stretch is fine."""
    tree = sysfs("intel-rapl:0 package-0 E61\nintel-rapl:0:0 dram D15")
    meter = meter_of(tree, clock)
    assert meter.maximum_interval_seconds == pytest.approx(32.86, abs=0.01)
    meter.read()
    clock.sleep(40)
    tree.use("intel-rapl:0", 4000)
    lost = by_domain(meter)
    clock.sleep(1)
    tree.use("intel-rapl:0", 100)

    assert lost["package"].energy_joules is None
    assert lost["package"].gap == "40 s without a reading: a counter may have wrapped twice"
    assert by_domain(meter)["package"].energy_joules == pytest.approx(100)


def test_a_suspend_is_a_gap(sysfs: Build, clock: Clock) -> None:
    """The counter may have been reset meanwhile, and the monotonic clock stood still."""
    tree = sysfs("intel-rapl:0 package-0")
    meter = meter_of(tree, clock)
    meter.read()
    clock.sleep(1)
    clock.asleep_ns += 3600 * 10**9
    tree.set("intel-rapl:0", 5_000_000)

    (reading,) = meter.read()

    assert reading.energy_joules is None
    assert reading.gap == "the machine was suspended for 3600.0 s"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (5_000_000_000, 1_000_000_000, "went back"),  # a driver reload: unwrapped it would be 258 kW
        (1_000_000, 4_001_000_000, "more than 1000 W"),  # Atom Airmont: 4 kW on a 4 W part
        (1_000_000, "", "not a number"),
        (1_000_000, "ten", "not a number"),
        (1_000_000, "-5", "not a number"),
    ],
)
def test_nonsense_is_a_gap(sysfs: Build, clock: Clock, before: int, after: int | str, words: str) -> None:
    """What no CPU can have used is unknown, not a number."""
    tree = sysfs(f"intel-rapl:0 package-0 energy={before}")
    meter = meter_of(tree, clock)
    meter.read()
    clock.sleep(1)
    tree.set("intel-rapl:0", after)

    (reading,) = meter.read()

    assert reading.energy_joules is None
    assert words in (reading.gap or "")


def test_a_step_back_without_a_known_range_is_a_gap(sysfs: Build, clock: Clock) -> None:
    """The range may be missing, unreadable or 0: then nobody can unwrap."""
    tree = sysfs("intel-rapl:0 package-0 norange energy=9000000")
    meter = meter_of(tree, clock)
    meter.read()
    clock.sleep(1)
    tree.set("intel-rapl:0", 1_000_000)

    (reading,) = meter.read()

    assert reading.gap == "package-0: the counter went back"
    assert meter.maximum_interval_seconds == 60


def test_two_readings_within_one_update_are_zero_joules(sysfs: Build, clock: Clock) -> None:
    """The counter moves every millisecond: an equal reading is no fault."""
    meter = meter_of(sysfs("intel-rapl:0 package-0"), clock)
    meter.read()
    clock.sleep(0.0005)

    (reading,) = meter.read()

    assert reading.energy_joules == 0.0
    assert reading.gap is None


def test_a_failed_read_makes_a_gap_on_both_sides_of_it(sysfs: Build, clock: Clock) -> None:
    """The stretch before lacks its end, the stretch after lacks its start, and the one after that is whole."""
    fail: list[OSError] = []

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if fail:
            raise fail.pop()
        return os.pread(descriptor, size, offset)

    tree = sysfs("intel-rapl:0 package-0")
    meter = meter_of(tree, clock, pread=pread)
    meter.read()
    gaps: list[tuple[object, object]] = []
    for error in (OSError(errno.EINVAL, "Invalid argument"), None, None):
        clock.sleep(1)
        tree.use("intel-rapl:0", 50)
        fail[:] = [error] if error else []
        (reading,) = meter.read()
        gaps.append((reading.energy_joules, reading.gap))

    assert gaps[0] == (None, "package-0: Invalid argument")
    assert gaps[1] == (None, "package-0: no reading at the start of this stretch")
    assert gaps[2] == (pytest.approx(50), None)


def test_one_socket_of_two_that_fails_makes_the_figure_partial(sysfs: Build, clock: Clock) -> None:
    """The other socket's joules are known, and said to be a part."""
    tree = sysfs("intel-rapl:0 package-0\nintel-rapl:1 package-1")
    meter = meter_of(tree, clock)
    meter.read()
    clock.sleep(1)
    tree.use("intel-rapl:0", 50)
    tree.set("intel-rapl:1", "garbage")

    (reading,) = meter.read()

    assert reading.energy_joules == pytest.approx(50)
    assert reading.partial
    assert reading.gap is None


def test_an_interrupted_read_is_tried_again(sysfs: Build, clock: Clock) -> None:
    """EINTR is no failure."""
    interrupts = [InterruptedError(errno.EINTR, "Interrupted")] * 2

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if interrupts:
            raise interrupts.pop()
        return os.pread(descriptor, size, offset)

    meter = meter_of(sysfs("intel-rapl:0 package-0"), clock, pread=pread)

    assert [reading.gap for reading in meter.read()] == [None]


def test_a_read_that_hangs_is_a_gap_and_holds_nobody_up(sysfs: Build, clock: Clock) -> None:
    """While it hangs every reading is a gap at once, with one thread; afterwards counting begins anew."""
    hang, go_on = threading.Event(), threading.Event()

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if hang.is_set():
            go_on.wait(10)
        return os.pread(descriptor, size, offset)

    tree = sysfs("intel-rapl:0 package-0")
    threads_before = set(threading.enumerate())
    meter = meter_of(tree, clock, pread=pread, read_seconds=0.05)
    meter.read()
    hang.set()
    clock.sleep(1)
    first, second = meter.read(), meter.read()
    threads = len(set(threading.enumerate()) - threads_before)
    hang.clear()
    go_on.set()
    read: list[Reading] = []
    while not read or "not answered" in (read[-1].gap or ""):
        clock.sleep(1)
        tree.use("intel-rapl:0", 10)
        read = list(meter.read())
    clock.sleep(1)
    tree.use("intel-rapl:0", 20)
    after = meter.read()
    meter.close()

    assert [first[0].gap, second[0].gap] == [
        "powercap did not answer within 0.05 s",
        "powercap has not answered for 0 s",
    ]
    assert threads == 1
    assert read[0].energy_joules is None
    assert after[0].energy_joules == pytest.approx(20)


def test_a_socket_that_goes_and_comes_back_under_another_id_is_known_by_its_name(sysfs: Build, clock: Clock) -> None:
    """CPUs go offline in mid-run: partial while it is away, whole again when it is back."""
    tree = sysfs("intel-rapl:0 package-0\nintel-rapl:1 package-1")

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("(deleted)"):
            raise OSError(errno.ENODEV, "No such device")
        return os.pread(descriptor, size, offset)

    meter = meter_of(tree, clock, pread=pread)
    meter.read()
    seen: list[tuple[object, bool]] = []
    for second in range(26):
        clock.sleep(1)
        tree.use("intel-rapl:0", 10)
        if second == 2:
            tree.remove("intel-rapl:1")
        if second == 6:
            tree.add("intel-rapl:a package-1 energy=0")
        if second in range(2):
            tree.use("intel-rapl:1", 5)
        if second >= 7:
            tree.use("intel-rapl:a", 5)
        (reading,) = meter.read()
        seen.append((reading.energy_joules, reading.partial))

    assert seen[:2] == [(pytest.approx(15), False)] * 2
    assert seen[2:6] == [(pytest.approx(10), True)] * 4
    assert seen[-1] == (pytest.approx(15), False)


def test_a_counter_that_is_opened_later_begins_later(sysfs: Build, clock: Clock) -> None:
    """DRAM that becomes readable in mid-run is partial until it has both ends of a stretch."""
    tree = sysfs("intel-rapl:0 package-0")
    meter = meter_of(tree, clock)
    meter.read()
    tree.add("intel-rapl:0:0 dram D15")
    clock.sleep(11)
    found = by_domain(meter)
    clock.sleep(1)
    tree.use("intel-rapl:0:0", 3)

    assert found["dram"].energy_joules is None
    assert by_domain(meter)["dram"].energy_joules == pytest.approx(3)


def test_a_closed_meter_may_be_closed_again(sysfs: Build, clock: Clock) -> None:
    """A second call does nothing, and every descriptor is given back."""
    before = set(os.listdir("/proc/self/fd"))
    meter = meter_of(sysfs("intel-rapl:0 package-0\nintel-rapl:0:0 dram"), clock)
    meter.read()
    meter.close()
    meter.close()
    del meter

    assert set(os.listdir("/proc/self/fd")) == before


def test_the_busy_time_of_a_container_is_not_taken_for_the_hosts(
    sysfs: Build, clock: Clock, procfs: ProcfsTree
) -> None:
    """Under LXCFS /proc/stat is the container's own: the host's joules cannot be shared by it."""
    tree = sysfs("intel-rapl:0 package-0")
    procfs.write("self/mountinfo", f"50 49 0:40 /proc/stat {procfs.root}/stat rw - fuse.lxcfs lxcfs rw\n")

    meter = PowercapMeter(tree.root, procfs=procfs.root, monotonic_ns=clock, boottime_ns=clock.boottime_ns)

    assert meter.scope.busy_cpu_seconds() is None


def test_the_busy_time_is_the_machines(sysfs: Build, clock: Clock, procfs: ProcfsTree) -> None:
    """Where /proc/stat is the kernel's own, shares are of the whole machine."""
    meter = PowercapMeter(sysfs("intel-rapl:0 package-0").root, procfs=procfs.root, monotonic_ns=clock)

    assert (meter.scope.kind, meter.scope.cpus, meter.scope.busy_cpu_seconds()) == ("machine", 4, 100.0)


def test_a_chosen_platform_counts_alone_once_it_has_moved(sysfs: Build, clock: Clock) -> None:
    """psys contains package and DRAM: 9.61 J of it are all that is added."""
    tree = sysfs("intel-rapl:0 package-0\nintel-rapl:0:0 dram\nintel-rapl:1 psys")
    meter = meter_of(tree, clock, psys=True)
    meter.read()
    seen = []
    for _ in range(2):
        clock.sleep(1)
        for zone, joules in {"0": 3.78, "0:0": 1.0, "1": 9.61}.items():
            tree.use(f"intel-rapl:{zone}", joules)
        seen.append({reading.domain: reading.energy_joules for reading in meter.read()})

    assert seen == [{"psys": pytest.approx(9.61)}] * 2
    assert meter.basis == "psys by intel-rapl"


@pytest.mark.parametrize("platform_joules", [0.0, 2.0])
def test_a_platform_that_stands_still_or_is_less_than_its_parts_is_not_used(
    sysfs: Build, clock: Clock, platform_joules: float
) -> None:
    """Makers leave psys unconnected: then package and DRAM serve, and the basis says why."""
    tree = sysfs("intel-rapl:0 package-0\nintel-rapl:0:0 dram\nintel-rapl:1 psys J1")
    meter = meter_of(tree, clock, psys=True)
    meter.read()
    clock.sleep(1)
    for zone, joules in {"0": 60.0, "0:0": 10.0, "1": platform_joules}.items():
        tree.use(f"intel-rapl:{zone}", joules)

    read = {reading.domain: reading.energy_joules for reading in meter.read()}

    assert read == {"package": pytest.approx(60), "dram": pytest.approx(10)}
    assert meter.basis.endswith("not psys: it stands still or is less than its parts")


def test_a_platform_that_was_not_chosen_is_not_read(sysfs: Build, clock: Clock) -> None:
    """Neither added nor named."""
    meter = meter_of(sysfs("intel-rapl:0 package-0\nintel-rapl:1 psys"), clock)

    assert [reading.domain for reading in meter.read()] == ["package"]


@given(
    start=st.integers(0, RANGES["E15"]),
    watts=st.lists(st.floats(0, 900), min_size=1, max_size=8),
    seconds=st.floats(0.5, 20),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_wrap_at_any_point_gives_the_same_joules_as_none(
    tmp_path_factory: pytest.TempPathFactory, start: int, watts: list[float], seconds: float
) -> None:
    """The same use on a counter that starts anywhere and on one that never wraps reads the same."""
    totals = []
    for listing in (f"intel-rapl:0 package-0 E15 energy={start}", "intel-rapl:0 package-0 J1 energy=0"):
        tree, clock = SysfsTree(tmp_path_factory.mktemp("sys"), listing), Clock()
        meter = meter_of(tree, clock)
        meter.read()
        total = 0.0
        for power in watts:
            clock.sleep(seconds)
            tree.use("intel-rapl:0", power * seconds)
            (reading,) = meter.read()
            assert reading.energy_joules is not None
            total += reading.energy_joules
        meter.close()
        totals.append(total)

    assert totals[0] == pytest.approx(totals[1], abs=5e-6 * len(watts))


@given(cuts=st.lists(st.floats(0.01, 5), min_size=1, max_size=10), start=st.integers(0, RANGES["E61"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cutting_a_stretch_changes_no_total(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[float], start: int
) -> None:
    """The differences of many short stretches add up to the difference of the long one, to a microjoule each."""
    tree, clock = SysfsTree(tmp_path_factory.mktemp("sys"), f"intel-rapl:0 package-0 energy={start}"), Clock()
    often, once = meter_of(tree, clock), meter_of(tree, clock)
    often.read()
    once.read()
    total = 0.0
    for seconds in cuts:
        clock.sleep(seconds)
        tree.use("intel-rapl:0", 80 * seconds)
        (reading,) = often.read()
        total += reading.energy_joules or 0.0
    (whole,) = once.read()
    often.close()
    once.close()

    assert whole.energy_joules == pytest.approx(total, rel=1e-9, abs=1e-9)


@given(
    failures=st.lists(
        st.sampled_from([None, errno.EINVAL, errno.EIO, errno.ENODEV, errno.ENODATA]), min_size=2, max_size=12
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_failures_give_gaps_and_never_joules(
    tmp_path_factory: pytest.TempPathFactory, failures: list[int | None]
) -> None:
    """A stretch has its true joules where both its ends were read, and none otherwise; nothing is caught up later."""
    tree, clock = SysfsTree(tmp_path_factory.mktemp("sys"), "intel-rapl:0 package-0"), Clock()
    fail: list[int] = []

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if fail:
            raise OSError(fail[0], "no")
        return os.pread(descriptor, size, offset)

    meter = meter_of(tree, clock, pread=pread)
    meter.read()
    ends = [True]
    for failure in failures:
        clock.sleep(11)
        tree.use("intel-rapl:0", 25)
        fail[:] = [failure] if failure else []
        (reading,) = meter.read()
        ends.append(failure is None)
        if all(ends[-2:]):
            assert reading.energy_joules == pytest.approx(25)
            assert reading.gap is None
        else:
            assert reading.energy_joules is None
            assert reading.gap
    meter.close()


def test_a_meter_without_a_package_says_which_file_and_what_to_do(tmp_path: Path, clock: Clock) -> None:
    """One line for the log and for `doctor`."""
    tree = SysfsTree(tmp_path, "intel-rapl:0 package-0")
    (tree.folder("intel-rapl:0") / "energy_uj").unlink()

    with pytest.raises(MeterAbsentError, match=r"intel-rapl:0/energy_uj is not there"):
        meter_of(tree, clock)
