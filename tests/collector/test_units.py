"""Functional units in reports and on the pages: grams for each, beside grams for each request."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from carbon_sdk.emission import Emission
from tests.collector.engines import Engine
from tests.collector.service import HOUR, Collector, emission

pytestmark = pytest.mark.anyio


def spoken(sequence: int, *, root: str = "POST /chat", name: str | None = None, **fields: Any) -> Emission:
    return emission(sequence, root=root, name=name or root, **fields)


async def test_a_report_has_grams_for_each_unit_of_an_endpoint(engine: Engine) -> None:
    """The grams are all of the endpoint's, whichever of its spans has counted; and so in each bucket of time."""
    async with engine.inside() as collector:
        await collector.send(
            spoken(0, emissions_g=1.0, requests=4),
            spoken(1, name="generate", kind="span", requests=0, emissions_g=3.0, units={"tokens": 800.0}),
            spoken(2, root="GET /a", emissions_g=5.0),
            spoken(3, emissions_g=2.0, units={"tokens": 100.0}, window_start=HOUR + timedelta(hours=2)),
            spoken(4, service="other", emissions_g=9.0, units={"images": 3.0}),
        )
        rows = (await collector.ask("/v1/reports/endpoints", service="shop"))["rows"]
        hours = (await collector.ask("/v1/reports/endpoints", endpoint="POST /chat", service="shop", bucket="hour"))[
            "rows"
        ]
        (all_of_it,) = (await collector.ask("/v1/reports/totals"))["rows"]
        zones = (await collector.ask("/v1/reports/zones"))["rows"]
        csv = await collector.ask("/v1/reports/endpoints", format="csv")

    chat, other = sorted(rows, key=lambda row: row["key"]["endpoint"], reverse=True)
    assert (chat["units"], chat["emissions_g_per_unit"]) == ({"tokens": 900.0}, {"tokens": 6.0 / 900})
    assert (other["units"], other["emissions_g_per_unit"]) == ({}, {})
    assert [row["emissions_g_per_unit"] for row in hours] == [{"tokens": 4.0 / 800}, {"tokens": 2.0 / 100}]
    assert all_of_it["units"] == {"tokens": 900.0, "images": 3.0}
    assert [row["units"] for row in zones] == [{}], "units are kept by account"
    assert "units tokens" in csv.splitlines()[0]


async def test_grams_of_two_scopes_have_no_grams_for_each_unit(engine: Engine) -> None:
    """They are not one number."""
    async with engine.inside() as collector:
        await collector.send(
            spoken(0, units={"tokens": 10.0}), spoken(1, units={"tokens": 10.0}, intensity_scope="direct")
        )
        (row,) = (await collector.ask("/v1/reports/endpoints"))["rows"]

    assert (row["units"], row["emissions_g_per_unit"]) == ({"tokens": 20.0}, {})


def test_the_endpoint_page_shows_the_most_counted_first(start: Callable[..., Collector]) -> None:
    """Four at most."""
    collector = start()
    units = {f"unit {number}": float(number + 1) for number in range(6)}
    collector.send([spoken(0, emissions_g=12.0, units=units)])
    collector.ask("/v1/projects")
    page = collector.client.get(
        "/dashboard/endpoint", params={"service": "shop", "endpoint": "POST /chat", "period": "7d"}
    ).text

    shown = [page.find(f"Per unit: unit {number}") for number in (5, 4, 3, 2)]
    assert shown == sorted(shown)
    assert shown[0] > 0
    assert "Per unit: unit 1" not in page
