"""What grams and joules are like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.collector.equivalents import equivalents, rows


def test_every_row_says_who_says_so_and_what_was_counted() -> None:
    """Source, licence and boundary go with the figure."""
    for row in rows().values():
        assert row.source
        assert row.licence
        assert row.boundary
        assert (row.grams is None) != (row.watt_hours is None)


def test_grams_are_likened_within_their_boundary() -> None:
    """Lifecycle to lifecycle, direct to the tailpipe, marginal to nothing."""
    told = equivalents({"average/lifecycle": 169.7, "average/direct": 244.2, "marginal/lifecycle": 5.0}, None)

    assert [one.row.boundary for one in told] == ["lifecycle", "tailpipe"]
    assert [one.amount for one in told] == pytest.approx([1.0, 1.0])


def test_electric_things_are_likened_by_energy_whatever_the_grid() -> None:
    """65 Wh are one hour of the lamp, clean or dirty."""
    clean, dirty = (equivalents({"average/lifecycle": grams}, 65.0 * 3600.0) for grams in (1.0, 100.0))

    assert [one.amount for one in clean[1:]] == [one.amount for one in dirty[1:]]
    assert next(one.amount for one in clean if one.row.key == "lamp_65w_hour") == pytest.approx(1.0)


@given(st.floats(1e-6, 1e9), st.floats(1e-3, 1e12))
def test_twice_as_much_is_twice_as_much(grams: float, joules: float) -> None:
    """Every equivalent is proportional."""
    once, twice = (equivalents({"average/lifecycle": grams * n}, joules * n) for n in (1, 2))

    for one, other in zip(once, twice, strict=True):
        assert other.amount == pytest.approx(2 * one.amount)


def test_what_is_unknown_is_like_nothing() -> None:
    """No grams, no joules, no equivalents."""
    assert equivalents({}, None) == []
