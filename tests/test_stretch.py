"""Stretches: parts of windows, and joules that are counted once."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.cpu.clock import Cut
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.sampler import Energy, Window
from carbon_sdk.spans.ledger import Ledger, Page
from carbon_sdk.spans.span import Span
from carbon_sdk.stretch import Mode, Stretch, Stretches
from carbon_sdk.testing import FixedIntensity

START = datetime(2026, 3, 29, 12, tzinfo=UTC)
CPUS = 4.0
IDLE_WATTS, WATTS_PER_CPU = 10.0, 5.0
PRICE = FixedIntensity(360.0).answer


class Machine:
    """A machine of constant power by load, on which one process uses CPU as a test says."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0
        self._window_seconds = self._window_cpu = 0.0
        self.others = 0.5  # CPUs that others keep busy
        self.read = True
        self.stretches = Stretches(
            lambda _name: (Span(None), lambda: None),
            process_cpu_ns=lambda: round(self.cpu * 1e9),
            monotonic_ns=lambda: round(self.seconds * 1e9),
        )

    def use(self, seconds: float, cpu: float) -> None:
        """Let time pass, in which the process used so much CPU."""
        self.seconds += seconds
        self.cpu += cpu
        self._window_seconds += seconds
        self._window_cpu += cpu

    def page(self) -> Page | None:
        """The window so far."""
        if self._window_seconds <= 0.0:
            return None
        busy = self._window_cpu + self.others * self._window_seconds
        idle = IDLE_WATTS * self._window_seconds
        joules = idle + WATTS_PER_CPU * busy if self.read else None
        window = Window(
            started_at=START,
            ended_at=START + timedelta(seconds=self._window_seconds),
            seconds=self._window_seconds,
            energies=(
                Energy(
                    domain="package", joules=joules, method="counter", idle_joules=idle, gap=None if joules else "x"
                ),
            ),
            busy_cpu_seconds=busy,
            cpus=CPUS,
            container_cpu_seconds=None,
            cut=Cut(accounts={}, spans=(), process_cpu_seconds=self._window_cpu, late_cpu_seconds=0.0),
        )
        return Ledger().book(window)

    def close_window(self) -> None:
        """A boundary."""
        page = self.page()
        if page is not None:
            self.stretches.window_closed(page)
        self._window_seconds = self._window_cpu = 0.0

    def begin(self, mode: Mode, outer: Stretch | None = None) -> Stretch:
        """A stretch begins."""
        return self.stretches.begin("run", mode, price=lambda: PRICE, outer=outer)

    def end(self, stretch: Stretch) -> float | None:
        """It ends; its joules."""
        return self.stretches.end(stretch, self.page).energy_joules


def test_a_stretch_of_the_machine_has_all_joules_of_its_time() -> None:
    """From the middle of one window to the middle of another."""
    machine = Machine()
    machine.use(0.4, 0.4)
    stretch = machine.begin("machine")
    machine.use(0.6, 0.6)
    machine.close_window()
    machine.use(1.0, 1.0)
    machine.close_window()
    machine.use(0.3, 0.3)
    joules = machine.end(stretch)

    assert joules == pytest.approx(1.9 * (IDLE_WATTS + WATTS_PER_CPU * 1.5))
    assert stretch.cost.seconds == pytest.approx(1.9)
    assert stretch.cost.grams == pytest.approx((joules or 0.0) / 3.6e6 * 360.0)


def test_two_stretches_of_the_machine_both_show_it() -> None:
    """They are said to, and never added."""
    machine = Machine()
    one, other = machine.begin("machine"), machine.begin("machine")
    machine.use(1.0, 1.0)

    assert machine.end(one) == machine.end(other) == pytest.approx(IDLE_WATTS + WATTS_PER_CPU * 1.5)


def test_cpu_before_a_stretch_in_its_first_window_is_not_its() -> None:
    """Imports at full load, then a quiet run."""
    machine = Machine()
    machine.use(0.5, 0.5)
    stretch = machine.begin("process")
    machine.use(0.5, 0.1)
    machine.close_window()

    assert machine.end(stretch) == pytest.approx(WATTS_PER_CPU * 0.1)


def test_a_stretch_within_another_takes_its_joules_out_of_it() -> None:
    """The outer one has what is left."""
    machine = Machine()
    outer = machine.begin("process")
    machine.use(0.5, 0.5)
    inner = machine.begin("process", outer)
    machine.use(1.0, 0.8)
    machine.close_window()
    machine.use(0.5, 0.4)
    within = machine.end(inner)
    machine.use(0.2, 0.1)

    assert within == pytest.approx(WATTS_PER_CPU * 1.2)
    assert machine.end(outer) == pytest.approx(WATTS_PER_CPU * 0.6)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.floats(0.01, 1.5), st.floats(0.0, 1.0)),
        st.tuples(st.just("begin"), st.sampled_from(["machine", "process"]), st.booleans()),
        st.tuples(st.just("end"), st.integers(0, 5), st.none()),
        st.tuples(st.just("window"), st.none(), st.none()),
        st.tuples(st.just("ask"), st.integers(0, 5), st.none()),
    ),
    max_size=30,
)


@given(STEPS)
def test_however_stretches_lie_no_joule_of_the_process_is_counted_twice(
    steps: list[tuple[str, object, object]],
) -> None:
    """Nested, side by side, ended out of order, asked in between: together exactly the process's joules, where one is
    always open."""
    machine = Machine()
    first = machine.begin("process")
    alive, ended = [first], []
    for what, one, two in steps:
        if what == "use":
            machine.use(float(one), float(one) * float(two))  # type: ignore[arg-type]
        elif what == "begin":
            outer = alive[-1] if two and alive[-1].mode == one else None
            alive.append(machine.begin(one, outer))  # type: ignore[arg-type]
        elif what == "end" and len(alive) > 1:
            stretch = alive.pop(1 + int(one) % (len(alive) - 1))  # type: ignore[call-overload]
            machine.end(stretch)
            ended.append(stretch)
        elif what == "window":
            machine.close_window()
        elif what == "ask":
            machine.stretches.so_far(alive[int(one) % len(alive)], machine.page)  # type: ignore[call-overload]
    for stretch in reversed(alive):
        machine.end(stretch)
        ended.append(stretch)
    total = sum(stretch.cost.energy_joules or 0.0 for stretch in ended if stretch.mode == "process")

    assert total == pytest.approx(WATTS_PER_CPU * machine.cpu, rel=1e-6, abs=1e-6)
    assert all((stretch.cost.energy_joules or 0.0) >= 0.0 for stretch in ended)


def test_a_window_without_a_reading_is_a_gap_of_the_stretch() -> None:
    """Its joules are those of the windows that were read; the seconds of the others are told."""
    machine = Machine()
    stretch = machine.begin("machine")
    machine.read = False
    machine.use(1.0, 1.0)
    machine.close_window()
    machine.read = True
    machine.use(1.0, 1.0)
    machine.close_window()
    machine.end(stretch)

    assert stretch.cost.energy_joules == pytest.approx(IDLE_WATTS + WATTS_PER_CPU * 1.5)
    assert stretch.cost.gap_seconds == pytest.approx(1.0)


def test_without_any_reading_the_energy_is_unknown() -> None:
    """Not zero."""
    machine = Machine()
    machine.read = False
    stretch = machine.begin("process")
    machine.use(1.0, 1.0)
    machine.close_window()

    assert machine.end(stretch) is None
    assert stretch.cost.gap_seconds == pytest.approx(1.0)


def test_a_reading_that_is_too_fresh_leaves_the_power_of_the_window_before() -> None:
    """No stretch waits for a meter."""
    machine = Machine()
    machine.use(1.0, 1.0)
    machine.close_window()
    whole, own = machine.begin("machine"), machine.begin("process")
    machine.use(0.05, 0.04)

    assert machine.stretches.end(whole, lambda: None).energy_joules == pytest.approx(
        0.05 * (IDLE_WATTS + WATTS_PER_CPU * 1.5)
    )
    assert machine.stretches.end(own, lambda: None).energy_joules == pytest.approx(0.04 * WATTS_PER_CPU)


def test_what_has_no_price_yet_gets_the_next_one() -> None:
    """A provider that answers late prices what came before."""
    machine = Machine()
    prices: list[Intensity] = []

    def price() -> Intensity | None:
        return prices[0] if prices else None

    stretch = machine.stretches.begin("run", "process", price=price)
    machine.use(1.0, 1.0)
    machine.close_window()
    unpriced = stretch.cost.grams
    prices.append(PRICE)
    machine.use(1.0, 1.0)
    machine.stretches.end(stretch, machine.page)

    assert unpriced == 0.0
    assert stretch.cost.grams == pytest.approx(2.0 * WATTS_PER_CPU / 3.6e6 * 360.0)


def test_a_second_end_answers_the_same() -> None:
    """And takes nothing more."""
    machine = Machine()
    stretch = machine.begin("process")
    machine.use(1.0, 1.0)
    first = machine.end(stretch)
    machine.use(1.0, 1.0)

    assert machine.end(stretch) == first


def test_stretches_may_begin_and_end_on_many_threads() -> None:
    """The sum is the process's all the same."""
    machine = Machine()
    machine.use(1.0, 1.0)
    found: list[Stretch] = []

    def work() -> None:
        for _ in range(50):
            stretch = machine.begin("process")
            found.append(stretch)
            machine.end(stretch)

    threads = [threading.Thread(target=work) for _ in range(4)]
    calls: list[Callable[[], None]] = [thread.start for thread in threads] + [thread.join for thread in threads]
    for call in calls:
        call()

    assert sum(stretch.cost.energy_joules or 0.0 for stretch in found) == pytest.approx(0.0, abs=1e-9)
