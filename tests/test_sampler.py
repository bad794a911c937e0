"""Windows: what lies between two readings of everything."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.cpu.clock import Cut
from carbon_sdk.meters.meter import Reading
from carbon_sdk.sampler import Sampler, Window
from carbon_sdk.spans.ledger import Ledger
from carbon_sdk.testing import FakeMeter, FakeScope, ManualClock


class StillCPU:
    """A CPU account of a process that uses a set share of a CPU."""

    def __init__(self, clock: ManualClock, share: float = 0.0) -> None:
        self._clock = clock
        self._share = share
        self._last = clock.monotonic_ns()

    def cut(self) -> Cut:
        now = self._clock.monotonic_ns()
        used = (now - self._last) / 1e9 * self._share
        self._last = now
        return Cut(accounts={}, spans=(), process_cpu_seconds=used, late_cpu_seconds=0.0)


def line(clock: ManualClock, *meters: FakeMeter, interval: float = 1.0, container: FakeScope | None = None) -> Sampler:
    sampler = Sampler(
        meters,
        StillCPU(clock, 0.5),
        container=container,
        interval_seconds=interval,
        monotonic_ns=clock.monotonic_ns,
        utcnow=clock.utcnow,
    )
    sampler.begin()
    return sampler


def fake(clock: ManualClock, watts: float = 10.0) -> FakeMeter:
    return FakeMeter(watts, scope=FakeScope(), monotonic_ns=clock.monotonic_ns)


def total(windows: list[Window]) -> float:
    return sum(energy.joules or 0.0 for window in windows for energy in window.energies)


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=20))
def test_however_time_is_cut_the_joules_are_the_same(steps: list[float]) -> None:
    """Windows of any lengths add up to watts times seconds."""
    clock = ManualClock()
    sampler = line(clock, fake(clock))
    windows = []
    for step in steps:
        clock.advance(step)
        windows.append(sampler.close())

    assert total(windows) == pytest.approx(10.0 * sum(steps), rel=1e-6)
    assert sum(window.seconds for window in windows) == pytest.approx(sum(steps), rel=1e-6)


@given(st.lists(st.floats(0.01, 0.9), max_size=10))
def test_provisional_readings_change_no_window(looks: list[float]) -> None:
    """A look into the open window adds to it and cuts nothing."""
    clock = ManualClock()
    sampler = line(clock, fake(clock))
    for look in looks:
        clock.advance(look)
        sampler.peek(0.0)
    clock.advance(1.0)
    window = sampler.close()

    assert total([window]) == pytest.approx(10.0 * (1.0 + sum(looks)), rel=1e-6)
    assert window.cut.process_cpu_seconds == pytest.approx(0.5 * window.seconds)


def test_a_look_that_comes_too_soon_says_nothing() -> None:
    """Below a tenth of a second the machine's busy time has not moved."""
    clock = ManualClock()
    sampler = line(clock, fake(clock))

    clock.advance(0.05)
    assert sampler.peek(0.0) is None
    clock.advance(0.06)
    assert sampler.peek(0.0) is not None


def test_boundaries_lie_on_multiples_of_the_interval() -> None:
    """All processes of a kernel cut at the same moments."""
    clock = ManualClock()
    clock.advance(123.4)
    sampler = line(clock, fake(clock))

    assert sampler.seconds_to_boundary() == pytest.approx(0.6)
    clock.advance(0.6)
    assert sampler.seconds_to_boundary() == pytest.approx(1.0)
    clock.advance(0.95)
    assert sampler.seconds_to_boundary() == pytest.approx(1.05)


def test_a_meter_that_moves_slowly_makes_windows_longer() -> None:
    """Windows are whole multiples of the interval, as long as the slowest meter needs."""
    clock = ManualClock()
    meter = fake(clock)
    meter.minimum_interval_seconds = 5.0

    assert line(clock, meter, interval=2.0).seconds_to_boundary() == pytest.approx(6.0)


def test_a_process_that_was_frozen_has_a_gap() -> None:
    """A closed lid used no joules that anyone could know."""
    clock = ManualClock()
    sampler = line(clock, fake(clock))
    clock.advance(3600)

    (energy,) = sampler.close().energies
    assert energy.joules is None
    assert "more than fake can bridge" in (energy.gap or "")
    clock.advance(1)
    assert total([sampler.close()]) == pytest.approx(10.0)


def test_a_failed_reading_is_a_gap_and_the_next_window_is_whole() -> None:
    """The joules of a gap are unknown, never zero and never made up later."""
    clock = ManualClock()
    meter = fake(clock)
    sampler = line(clock, meter)
    meter.failing = "EINVAL"
    clock.advance(1)
    lost = sampler.close()
    meter.failing = None
    clock.advance(1)
    found = sampler.close()

    assert (lost.energies[0].joules, lost.energies[0].gap) == (None, "EINVAL")
    assert total([found]) == pytest.approx(10.0)


class Broken(FakeMeter):
    """A meter of somebody's own that says one thing and no other.

    Args:
        reading: What it says.
    """

    def __init__(self, **reading: float) -> None:
        super().__init__(0.0)
        told: dict[str, Any] = {"energy_joules": 5.0, **reading}
        self._reading = Reading(domain="package", method="model", **told)

    def read(self) -> Sequence[Reading]:
        """The one thing."""
        return [self._reading]


@pytest.mark.parametrize("joules", [math.nan, math.inf, -math.inf, -5.0])
def test_joules_that_cannot_be_are_a_gap(joules: float) -> None:
    """One of them would make a number of the whole record that no JSON has, or take energy away."""
    (energy,) = line(ManualClock(), Broken(energy_joules=joules)).close().energies

    assert (energy.joules, energy.gap) == (None, "a reading that cannot be")


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -5.0])
def test_what_a_meter_says_beside_its_joules_costs_none_of_them(wrong: float) -> None:
    """Bounds, idle power and shares that cannot be are not known."""
    meter = Broken(low_joules=wrong, high_joules=wrong, idle_joules=wrong, process_share=wrong)
    (energy,) = line(ManualClock(), meter).close().energies

    assert (energy.joules, energy.low_joules, energy.idle_joules, energy.process_share) == (5.0, None, None, None)


def test_what_ran_before_the_first_reading_is_a_gap_and_takes_nothing_from_the_first_window() -> None:
    """CPU is counted from the start; the joules before the meters were read are unknown, and not the next window's."""
    clock = ManualClock()
    cpu = StillCPU(clock, 2.0)
    since_ns = clock.monotonic_ns()
    clock.advance(0.4)
    sampler = Sampler([fake(clock)], cpu, since_ns=since_ns, monotonic_ns=clock.monotonic_ns, utcnow=clock.utcnow)
    clock.advance(0.1)
    before = sampler.begin()
    clock.advance(0.2)
    first = sampler.close()

    assert before.seconds == pytest.approx(0.5)
    assert before.energies[0].joules is None
    assert before.cut.process_cpu_seconds == pytest.approx(1.0)
    assert before.ended_at - before.started_at == timedelta(seconds=0.5)
    assert total([first]) == pytest.approx(2.0)
    assert first.cut.process_cpu_seconds == pytest.approx(0.4)
    assert Ledger().book(before).gap_seconds == pytest.approx(0.5)


def test_utc_labels_and_never_measures() -> None:
    """A clock that is set back changes no length."""
    clock = ManualClock()
    moments = iter([clock.utcnow(), clock.utcnow(), clock.utcnow().replace(year=2020)])
    sampler = Sampler([fake(clock)], StillCPU(clock), monotonic_ns=clock.monotonic_ns, utcnow=lambda: next(moments))
    sampler.begin()
    clock.advance(1)

    window = sampler.close()

    assert window.seconds == pytest.approx(1.0)
    assert window.ended_at >= window.started_at


def test_busy_time_is_taken_at_the_meters_scope() -> None:
    """The meter's own scope says how busy it was; the container's own CPU stands beside it."""
    clock, container = ManualClock(), FakeScope(cpus=1.5, kind="container")
    meter = fake(clock)
    sampler = line(clock, meter, container=container)
    meter.scope.busy, container.busy = 3.0, 0.5
    clock.advance(1)

    window = sampler.close()

    assert (window.busy_cpu_seconds, window.container_cpu_seconds, window.cpus) == (3.0, 0.5, 4.0)


def test_without_a_meter_a_window_has_no_joules_and_is_still_a_window() -> None:
    """CPU seconds are known even where joules are not."""
    clock = ManualClock()
    sampler = line(clock)
    clock.advance(1)
    window = sampler.close()

    assert window.energies == ()
    assert window.cut.process_cpu_seconds == pytest.approx(0.5)
    assert Ledger().book(window).gap_seconds == pytest.approx(1.0)
    assert sampler.peek(0.0) is None


def test_bounds_idle_and_the_processs_share_are_added_up() -> None:
    """What a meter says of two stretches is said of the window."""
    clock = ManualClock()
    meter = FakeMeter(10.0, scope=FakeScope(), monotonic_ns=clock.monotonic_ns, method="model", low=0.5, high=2.0)
    sampler = line(clock, meter)
    clock.advance(0.5)
    sampler.peek(0.0)
    clock.advance(0.5)

    (energy,) = sampler.close().energies

    assert energy.low_joules == pytest.approx(5.0)
    assert energy.high_joules == pytest.approx(20.0)
    assert energy.idle_joules is None
    assert energy.process_share is None
