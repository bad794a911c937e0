"""The demo's table: what its rows are made of."""

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import pytest
from fastapi.routing import APIRoute
from rich.console import Console

from carbon_sdk.demo import service
from carbon_sdk.demo.books import Books, add_up
from carbon_sdk.demo.table import as_object, show
from carbon_sdk.emission import Emission

START = datetime(2026, 3, 29, 12, tzinfo=UTC)
RECORD = Emission(
    instance="0" * 16,
    sequence=0,
    service="shop",
    machine="m" * 16,
    kind="request",
    root="GET /a",
    name="GET /a",
    window_start=START,
    window_end=START.replace(minute=1),
    meter="model",
    meter_scope="container",
    basis="a model",
    idle_rule="model",
    requests=10,
    cpu_seconds=1.0,
    energy_joules=30.0,
    energy_package_joules=20.0,
    energy_dram_joules=10.0,
    energy_method="model",
    emissions_g=0.004,
    sci_g=0.012,
    sci_g_per_request=0.0012,
)


def shown(books: Books, width: int) -> list[str]:
    """The table, line by line."""
    stream = StringIO()
    show(books, "carbon.log", (), Console(file=stream, width=width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_sci_stands_in_the_table_where_it_is_known(width: int) -> None:
    """Weighed by requests over the records of an endpoint: 10 at 1.2 mg and 30 at 0.8 mg."""
    books = add_up([RECORD, replace(RECORD, sequence=1, requests=30, sci_g=0.024)])
    lines = shown(books, width)
    (row,) = [line for line in lines if line.strip().startswith("GET /a")]

    assert row.split()[-1] == "0.9000"
    assert max(map(len, lines)) <= width
    assert as_object(books, "carbon.log", ())["endpoints"][0]["sci_g_per_request"] == pytest.approx(0.0009)


def test_an_unknown_sci_has_no_column_and_is_null() -> None:
    """Nobody is told 0."""
    books = add_up([replace(RECORD, sci_g=None, sci_g_per_request=None)])

    assert not any("SCI" in line for line in shown(books, 200))
    assert as_object(books, "carbon.log", ())["endpoints"][0]["sci_g_per_request"] is None


def test_each_endpoint_of_the_demo_has_its_line_in_a_terminal_of_80_columns() -> None:
    """The first thing that a newcomer sees is not broken in mid-word."""
    routes = [f"GET {route.path}" for route in service.app.routes if isinstance(route, APIRoute)]
    plain = replace(RECORD, sci_g=None, sci_g_per_request=None)
    machine = replace(plain, kind="measured", root="measured", name="measured", requests=0)
    books = add_up([machine, *(replace(plain, root=name, name=name) for name in routes)])
    lines = [line.strip() for line in shown(books, 80)]

    assert routes
    assert [name for name in routes if not any(line.startswith(f"{name} ") for line in lines)] == []


@pytest.mark.parametrize(("span_g", "each"), [(0.018, 0.003), (None, None)])
def test_an_endpoints_sci_takes_in_its_spans_or_is_none(span_g: float | None, each: float | None) -> None:
    """Its own part alone would look as if it were all."""
    span = replace(RECORD, sequence=1, kind="span", name="resize", requests=0, sci_g=span_g, sci_g_per_request=None)
    (endpoint,) = add_up([RECORD, span]).endpoints

    assert endpoint.g_per_request is not None
    assert endpoint.sci_g_per_request == (None if each is None else pytest.approx(each))
