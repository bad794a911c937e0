"""Functional units: counted in spans, shown as grams for each, wherever grams for each request are shown."""

from fractions import Fraction
from typing import Any

import pytest

from carbon_sdk import Carbon, track
from carbon_sdk.cpu.clock import Account, Clock
from carbon_sdk.demo.books import add_up
from carbon_sdk.demo.table import as_object
from carbon_sdk.sinks.structlog import fields_of
from carbon_sdk.spans.span import Span
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink
from tests.collector.service import emission

pytestmark = pytest.mark.anyio


async def test_what_a_span_counts_stands_in_its_record_and_its_log_line() -> None:
    """Calls add up; grams for each are grams over units."""
    sink = RecordingSink()
    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(100.0), sinks={"record": sink})
    async with carbon, track("generate") as span:
        sum(range(1_000_000))
        span.count("tokens", 512)
        span.count("tokens", 488)
        span.count("images")

    (record,) = [emission for emission in sink.emissions if emission.name == "generate"]
    assert record.units == {"tokens": 1000.0, "images": 1.0}
    assert record.emissions_g is not None
    assert record.emissions_g_per_unit == {"tokens": record.emissions_g / 1000, "images": record.emissions_g}
    assert fields_of(record)["emissions_g_per_unit"] == record.emissions_g_per_unit


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def span(told: list[str]) -> Span:
    job = Account("worker", "job", "job")
    return Span(job, clock=Clock(on_error=lambda kind, problem: told.append(f"{kind}: {problem}")))


def counted(span: Span) -> dict[str, float]:
    assert span.tally is not None
    return span.tally.units


def test_names_of_units_have_a_limit_as_accounts_have(span: Span) -> None:
    """A name made of a request's data fills no memory, and no label of a metric."""
    for number in range(100):
        span.count(f"unit {number}")
    span.count("unit 3")

    assert len(counted(span)) == 32
    assert counted(span)["unit 3"] == 2.0
    assert counted(span)["other"] == 69.0


@pytest.mark.parametrize(
    ("unit", "amount"),
    [
        ("tokens", -1),
        ("tokens", float("nan")),
        ("tokens", float("inf")),
        ("tokens", 1e13),
        ("tokens", "many"),
        ("", 1),
        ("a\nb", 1),
        ("x" * 101, 1),
        (7, 1),
    ],
)
def test_what_cannot_be_counted_is_told_and_does_not_reach_the_app(
    span: Span, told: list[str], unit: Any, amount: Any
) -> None:
    """Nor does it reach a record that a collector would refuse."""
    span.count(unit, amount)

    assert counted(span) == {}
    assert len(told) == 1
    assert told[0].startswith("count: ")


def test_numbers_of_any_library_count(span: Span) -> None:
    """A count comes out of numpy as often as not; what calls itself a real number is one."""
    span.count("rows", 3)
    span.count("rows", Fraction(1, 2))  # type: ignore[arg-type]

    assert counted(span) == {"rows": 3.5}


def test_the_table_of_the_demo_has_them() -> None:
    """A row is an endpoint with all of its spans."""
    books = add_up(
        [
            emission(0, root="POST /chat", emissions_g=1.0),
            emission(1, root="POST /chat", kind="span", name="s", emissions_g=3.0, units={"rows": 8.0}),
        ]
    )

    (row,) = as_object(books, "log", ())["endpoints"]
    assert (row["units"], row["emissions_g_per_unit"]) == ({"rows": 8.0}, {"rows": 0.5})
