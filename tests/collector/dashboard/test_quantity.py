"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.collector.dashboard.quantity import GRAMS, JOULES, SECONDS, Ladder, column, percent, quantity


@pytest.mark.parametrize(
    ("value", "ladder", "shown"),
    [
        (0.0, GRAMS, "0 g"),
        (3.2e-5, GRAMS, "32.0 µg"),
        (0.0171, GRAMS, "17.1 mg"),
        (60.54, GRAMS, "60.5 g"),
        (999.96, GRAMS, "1.00 kg"),
        (2_340_000.0, GRAMS, "2.34 t"),
        (1.5, JOULES, "1.50 J"),
        (3600.0, JOULES, "1.00 Wh"),
        (3.6e6, JOULES, "1.00 kWh"),
        (7.2e9, JOULES, "2.00 MWh"),
        (0.0042, SECONDS, "4.20 ms"),
        (None, GRAMS, "–"),
    ],
)
def test_a_value_has_three_digits_and_the_unit_that_suits_it(value: float | None, ladder: Ladder, shown: str) -> None:
    """From micrograms to tonnes, from joules to megawatt-hours; unknown is a dash, never a zero."""
    assert str(quantity(value, ladder)) == shown


@given(st.floats(1e-9, 1e13), st.sampled_from([GRAMS, JOULES, SECONDS]))
def test_what_is_shown_is_the_value_to_three_digits(value: float, ladder: Ladder) -> None:
    """The unit's size times the number is what was given."""
    shown = quantity(value, ladder)
    size = dict(ladder)[shown.unit]

    assert float(shown.number.replace(",", "")) * size == pytest.approx(value, rel=6e-3, abs=6e-7 * size)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), min_size=1, max_size=20))
def test_the_digits_of_a_column_stand_in_line(values: list[float | None]) -> None:
    """One unit, one number of decimals; nothing that exists is shown as nothing."""
    _, shown = column(values, GRAMS)
    decimals = {len(text.partition(".")[2]) for text in shown if text != "–"}

    assert len(decimals) <= 1
    for value, text in zip(values, shown, strict=True):
        assert (text == "–") == (value is None)
        if value:
            assert text.strip("0.") != ""


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0 %"), (0.0004, "< 0.1 %"), (0.034, "3.4 %"), (0.5, "50 %"), (1.0, "100 %"), (None, "–")],
)
def test_a_small_share_is_not_rounded_away(share: float | None, shown: str) -> None:
    """What is little but not nothing says so."""
    assert percent(share) == shown
