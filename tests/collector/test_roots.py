"""One chain of calls over several services, added up by where it began or by who did the work, never by both."""

import json
from typing import Any

import pytest

from tests.collector.engines import Engine
from tests.collector.service import emission

pytestmark = pytest.mark.anyio

CHECKOUT: dict[str, Any] = {"origin_service": "shop", "origin_endpoint": "POST /checkout"}


async def test_a_checkout_is_the_sum_of_what_it_caused_in_each_service(engine: Engine) -> None:
    """By root and by service the same joules, each once; who called by himself is his own root."""
    own = {"root": "POST /checkout", "name": "POST /checkout"}
    price = {"service": "price", "root": "GET /price", "name": "GET /price"}
    async with engine.inside() as collector:
        await collector.send(
            emission(0, joules=1.0, **own),
            emission(1, joules=2.0, service="cart", **CHECKOUT),
            emission(2, joules=4.0, **price, **CHECKOUT),
            emission(3, joules=8.0, **price),
        )
        roots = (await collector.ask("/v1/reports/roots"))["rows"]
        ways = (await collector.ask("/v1/reports/ways", root_endpoint="POST /checkout"))["rows"]
        (total,) = (await collector.ask("/v1/reports/totals"))["rows"]
        services = (await collector.ask("/v1/reports/services"))["rows"]
        lines = await collector.ask("/v1/records", root_service="shop")

    by_root = {(row["key"]["root_service"], row["key"]["root_endpoint"]): row["energy_joules"] for row in roots}
    assert by_root == {("shop", "POST /checkout"): 7.0, ("price", "GET /price"): 8.0}
    assert {(row["key"]["service"], row["energy_joules"]) for row in ways} == {
        ("shop", 1.0),
        ("cart", 2.0),
        ("price", 4.0),
    }
    assert total["energy_joules"] == sum(row["energy_joules"] for row in services) == 15.0
    assert {(one["service"], one["origin_service"]) for one in map(json.loads, lines.splitlines())} == {
        ("shop", None),
        ("cart", "shop"),
        ("price", "shop"),
    }
