"""The joules between two readings of a counter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.meters.counter import difference


def test_a_counter_of_unknown_range_that_went_back_says_nothing() -> None:
    """Nobody can tell a wrap from a reset."""
    found = difference(9, 1, joules_per_count=1.0, counts=None, seconds=1.0, maximum_watts=1000.0)

    assert (found.joules, found.problem) == (None, "the counter went back")


def test_a_reset_far_from_the_end_of_the_range_is_not_taken_for_a_wrap() -> None:
    """Unwrapped it would be impossible watts."""
    found = difference(5_000, 10, joules_per_count=1.0, counts=262_143.0, seconds=1.0, maximum_watts=1000.0)

    assert (found.joules, found.problem) == (None, "the counter went back")


def test_impossible_watts_are_said() -> None:
    """With the joules and the time, so that somebody can judge."""
    found = difference(0, 4_000, joules_per_count=1.0, counts=None, seconds=1.0, maximum_watts=1000.0)

    assert found.problem == "4000 J in 1 s is more than 1000 W"


@given(start=st.integers(0, 2**32 - 1), used=st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_the_differences_add_up_wherever_the_counter_starts_again(start: int, used: list[int]) -> None:
    """A counter of 32 bits, whose unit is a microjoule."""
    total, before = 0.0, start
    for step in used:
        after = (before + step) % 2**32
        found = difference(before, after, joules_per_count=1e-6, counts=2**32, seconds=1.0, maximum_watts=1000.0)
        assert found.joules is not None
        total += found.joules
        before = after

    assert total == pytest.approx(sum(used) * 1e-6)
