"""Two periods or two releases side by side."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from carbon_sdk.collector.dashboard.compare import MEASURES, contrast, refusals_of
from carbon_sdk.collector.dashboard.quantity import change
from carbon_sdk.collector.figure import Figure
from tests.collector.service import Collector

FIGURE = Figure(
    key={},
    start=datetime(2026, 3, 1, tzinfo=UTC),
    end=datetime(2026, 3, 2, tzinfo=UTC),
    sums={"requests": 10.0, "cpu_seconds": 4.0, "energy_joules": 100.0},
    emissions={"average/lifecycle": 5.0},
    quality={"measured": 1.0},
    method={"counter": 1.0},
    source={"electricity_maps": 1.0},
    idle_rule={"learnt": 1.0},
)


@pytest.mark.parametrize(
    ("changed", "reason", "barred"),
    [
        ({"idle_rule": {"usage_ratio": 1.0}}, "another idle rule: learnt, then usage_ratio", 4),
        ({"method": {"model": 1.0}}, "another method of measuring: counter, then model", 4),
        ({"method": {"counter": 0.6, "model": 0.4}}, "another method of measuring", 4),
        ({"emissions": {"marginal/direct": 5.0}}, "another kind of grams", 2),
        ({"method": {"counter": 0.9999, "model": 0.0001}}, "", 0),
        ({"quality": {"static": 1.0}}, "", 0),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(
    changed: dict[str, dict[str, float]], reason: str, barred: int
) -> None:
    """CPU time always can; joules with one idle rule and method; grams of one kind."""
    other = replace(FIGURE, **changed)  # type: ignore[arg-type]
    row = contrast("all", None, FIGURE, other)

    assert reason in "; ".join(refusals_of(FIGURE, other).values())
    assert [pair.change is None for pair in row.pairs].count(True) == barred
    assert len(row.pairs) == len(MEASURES)
    assert all(not pair.before and not pair.after for pair in row.pairs if pair.change is None)


def test_what_is_on_one_side_only_has_no_change() -> None:
    """A new endpoint is not infinitely worse than none."""
    row = contrast("new", None, None, FIGURE)

    assert {pair.before for pair in row.pairs} == {"–"}
    assert {pair.change for pair in row.pairs} == {""}


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (100.0, 80.0, "−20 %"),
        (100.0, 100.2, "as before"),
        (100.0, 103.4, "+3.4 %"),
        (0.0, 0.0, "as before"),
        (0.0, 5.0, "new"),
    ],
)
def test_a_change_is_told_in_per_cent(old: float, new: float, shown: str) -> None:
    """With its sign, and nothing where nothing moved."""
    assert change(old, new) == shown


def test_two_releases_of_a_service_stand_side_by_side(company: Collector) -> None:
    """The lighter PDFs show in the endpoint that makes them."""
    asked = {"service": "billing", "period": "7d", "old": "2026.3.1", "new": "2026.3.2"}
    page = company.client.get("/dashboard/compare", params=asked).text
    row = re.search(r"POST /invoices/\{id\}</a>.*?</tr>", page, re.DOTALL)

    assert row is not None
    changes = re.findall(r'<span class="change">([^<]*)</span>', row[0])
    assert changes[1] == "\N{MINUS SIGN}17 %"
    assert "not compared" not in page


def test_a_release_that_is_not_there_is_named(company: Collector) -> None:
    """A page that says so."""
    asked = {"service": "billing", "period": "7d", "old": "2026.3.1", "new": "nonesuch"}
    answer = company.client.get("/dashboard/compare", params=asked)

    assert answer.status_code == 400
    assert "nonesuch" in answer.text


def test_two_periods_are_compared_day_for_day(company: Collector) -> None:
    """The days before by themselves, unless others are chosen."""
    page = company.client.get("/dashboard/compare", params={"from": "2026-03-04", "to": "2026-03-06"}).text
    assert "1 – 3 Mar 2026" in page
    chosen = {"from": "2026-03-04", "to": "2026-03-06", "before_from": "2025-03-04", "before_to": "2025-03-06"}
    assert "4 – 6 Mar 2025" in company.client.get("/dashboard/compare", params=chosen).text
