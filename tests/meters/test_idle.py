"""Idle power: set, learnt within a tenth of the truth, or not known."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from carbon_sdk import Carbon
from carbon_sdk.meters.idle import IdlePower
from carbon_sdk.settings import from_environment

WINDOWS = 600


def live(power: IdlePower, *, idle: float, full: float, bend: float, noise: float, low: float, seed: int) -> None:
    """So many windows of one second of a machine with a concave curve, its load anywhere from `low` to 60 %."""
    chance = random.Random(seed)
    for _ in range(WINDOWS):
        load = chance.uniform(low, 0.6)
        watts = (idle + (full - idle) * load**bend) * max(1.0 + chance.gauss(0.0, noise), 0.5)
        power.observe(energy_joules=watts, seconds=1.0, utilisation=load)


@given(
    idle=st.floats(3.0, 120.0),
    times=st.floats(1.5, 8.0),
    bend=st.floats(0.45, 1.0),
    noise=st.sampled_from([0.0, 0.01, 0.03]),
    low=st.sampled_from([0.0, 0.01, 0.03]),
    seed=st.integers(0, 10_000),
)
@example_settings(max_examples=60)
def test_what_is_learnt_is_within_a_tenth_of_the_truth(
    idle: float, times: float, bend: float, noise: float, low: float, seed: int
) -> None:
    """Whatever the curve; in much noise within a seventh. Where the windows do not tell, nothing is said."""
    power = IdlePower()
    live(power, idle=idle, full=idle * times, bend=bend, noise=noise, low=low, seed=seed)
    watts, rule = power.watts()

    assert (watts is None) == (rule == "usage_ratio")
    assert watts is None or watts == pytest.approx(idle, rel=0.1 if noise <= 0.01 else 1 / 7)


def test_a_machine_with_quiet_moments_is_learnt() -> None:
    """Refusing always would be no answer."""
    power = IdlePower()
    live(power, idle=40.0, full=160.0, bend=0.7, noise=0.01, low=0.0, seed=1)
    watts, rule = power.watts()

    assert rule == "learnt"
    assert watts == pytest.approx(40.0, rel=0.1)


@given(idle=st.floats(3.0, 120.0), bend=st.floats(0.45, 1.0), seed=st.integers(0, 1000))
@example_settings(max_examples=20)
def test_a_machine_that_is_never_quiet_teaches_nothing(idle: float, bend: float, seed: int) -> None:
    """Never below 15 %: the intercept of a concave curve would be too high."""
    power = IdlePower()
    live(power, idle=idle, full=idle * 4.0, bend=bend, noise=0.01, low=0.15, seed=seed)

    assert power.watts() == (None, "usage_ratio")


def test_a_machine_that_always_rests_is_not_told_from_its_housekeeping() -> None:
    """One utilisation gives no curve."""
    power = IdlePower()
    for _ in range(WINDOWS):
        power.observe(energy_joules=50.0, seconds=1.0, utilisation=0.002)

    assert power.watts() == (None, "usage_ratio")


def test_what_was_learnt_survives_a_restart() -> None:
    """Through JSON and back, the same watts at once."""
    power = IdlePower()
    live(power, idle=40.0, full=160.0, bend=0.7, noise=0.01, low=0.0, seed=1)
    live(power, idle=40.0, full=160.0, bend=0.7, noise=0.01, low=0.0, seed=2)
    again = IdlePower(state=json.loads(json.dumps(power.dump())))
    watts, rule = again.watts()

    assert rule == "learnt"
    assert watts == pytest.approx(40.0, rel=0.1)


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {"bins": 3},
        {"bins": [[1, 2]]},
        {"bins": [[float("nan")] * 5] * 13},
        {"bins": [[-1.0] * 5] * 13},
        {"bins": [[9.0, 9.0, 0.01, 0.0, 0.0]] * 13},
        {"bins": [[0, 60.0, 0.06, 3000.0, 150000.0]] * 13},
        {"bins": [[1e308] * 5] * 13},
        {"bins": [[10**400] * 5] * 13},
    ],
)
def test_a_state_that_is_none_of_ours_teaches_nothing(state: object) -> None:
    """Torn, foreign, or not finite."""
    assert IdlePower(state=state).dump() == {}


def test_what_is_set_is_not_learnt() -> None:
    """The user knows."""
    power = IdlePower(25.0)
    live(power, idle=40.0, full=160.0, bend=0.7, noise=0.0, low=0.0, seed=1)

    assert power.watts() == (25.0, "set")
    assert power.dump() == {}


def test_a_window_without_joules_or_length_is_left_out() -> None:
    """A counter that stood still says nothing of idle power."""
    power = IdlePower()
    power.observe(energy_joules=0.0, seconds=1.0, utilisation=0.01)
    power.observe(energy_joules=5.0, seconds=0.0, utilisation=0.01)

    assert power.dump() == {}


@pytest.mark.anyio
@pytest.mark.parametrize("text", ['{"basis": "powercap", "bins": [[', "[" * 100_000, "\x00"])
async def test_a_state_file_that_cannot_be_read_is_told_once_and_measuring_goes_on(tmp_path: Path, text: str) -> None:
    """Torn, nested without end, or no text: learning begins anew."""
    (tmp_path / "idle_power.json").write_text(text)
    carbon = Carbon(from_environment(state_dir=tmp_path, zone="DE", sinks=()))
    async with carbon:
        assert carbon.running
    assert dict(carbon.log.faults) == {"state": 1}
