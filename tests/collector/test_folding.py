"""Figures of a finer question add up to what a store answers to a coarser one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.collector.figure import Figure, Sums, figures_of
from carbon_sdk.collector.folding import folded
from carbon_sdk.collector.report import HOW_KNOWN, PRICED, Query

START = datetime(2026, 3, 2, tzinfo=UTC)
FINE = Query(project="p", start=START, end=START + timedelta(hours=1), by=("service", "endpoint"))
COARSE = Query(project="p", start=START, end=START + timedelta(hours=1), by=("service",))
KNOWN: dict[str, list[str | None]] = {
    "intensity_quality": ["measured", "static", None],
    "energy_method": ["counter", "model"],
    "intensity_signal": ["average"],
    "intensity_scope": ["lifecycle", "direct"],
    "intensity_source": ["eco2mix", None],
    "idle_rule": ["learnt"],
}
NAMES = [one.name for one in FINE.measures]


@st.composite
def rows_of_an_engine(draw: st.DrawFn) -> Sums:
    """One row; what rests on a price is known where grams are."""
    how = [draw(st.sampled_from(KNOWN[name])) for name in HOW_KNOWN]
    numbers = st.floats(0.0, 1e6)
    priced = draw(st.booleans())
    values = [draw(numbers if priced else st.none()) if name in PRICED else draw(st.none() | numbers) for name in NAMES]
    return Sums(
        bucket=0,
        key=(draw(st.sampled_from(["shop", "cart"])), draw(st.sampled_from(["GET /a", "GET /b", "GET /c"])), *how),
        values=tuple(values),
        repriced_by_g=draw(st.none() | st.floats(0.0, 10.0)),
    )


def flat(figure: Figure) -> dict[str, object]:
    """All numbers of a figure, for a comparison that overlooks their last digits."""
    named = {name: getattr(figure, name) or {} for name in ("emissions", "quality", "method", "source", "repriced_g")}
    return {
        **figure.key,
        **{f"sums.{name}": value for name, value in figure.sums.items()},
        **{f"{name}.{key}": value for name, part in named.items() for key, value in part.items()},
    }


@given(st.lists(rows_of_an_engine(), max_size=12))
def test_endpoints_add_up_to_services_as_if_the_store_had_been_asked(rows: list[Sums]) -> None:
    """Sums, grams by kind, shares, old and new prices; what may not be added is unknown in both."""
    whole = figures_of(
        COARSE,
        [
            Sums(bucket=0, key=(row.key[0], *row.key[2:]), values=row.values, repriced_by_g=row.repriced_by_g)
            for row in rows
        ],
    )
    parts = sorted(folded(figures_of(FINE, rows), ("service",)), key=lambda one: str(one.key["service"]))

    assert len(parts) == len(whole)
    for part, expected in zip(parts, whole, strict=True):
        told, asked = flat(part), flat(expected)
        assert told.keys() == asked.keys()
        for name, value in asked.items():
            assert told[name] == (pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value), (
                name
            )
