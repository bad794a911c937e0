"""What may be added is added, and what may not stands side by side."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from carbon_sdk.collector.access import Tokens
from carbon_sdk.collector.app import create_app
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.collector.server import Serving, serve
from carbon_sdk.emission import Emission
from carbon_sdk.wire import from_object
from tests.collector.engines import Engine
from tests.collector.service import DAYS, HOUR, emission

pytestmark = pytest.mark.anyio


def of_both_scopes() -> list[Emission]:
    """An hour of one endpoint, priced by lifecycle, then by direct factors."""
    return [
        emission(0, joules=3.6e6, emissions_g=400.0, idle_emissions_g=40.0),
        emission(1, joules=3.6e6, emissions_g=300.0, idle_emissions_g=30.0, intensity_scope="direct"),
    ]


async def test_of_two_copies_of_the_machine_book_the_one_with_least_gap_is_kept(engine: Engine) -> None:
    """Whichever came first or is first by name; the other is not added."""
    book = {"kind": "measured", "root": "measured", "name": "measured"}
    async with engine.inside() as collector:
        await collector.send(
            emission(0, instance="a" * 16, joules=30.0, gap_seconds=30.0, **book),
            emission(0, instance="b" * 16, joules=55.0, gap_seconds=5.0, **book),
            emission(0, instance="c" * 16, joules=40.0, gap_seconds=20.0, **book),
        )
        books = await collector.ask("/v1/books")

    assert books["measured_joules"] == pytest.approx(55.0)


async def test_a_gap_counts_once_for_each_process_however_many_accounts_tell_it(engine: Engine) -> None:
    """Two processes had no reading for two seconds; three endpoints and both backgrounds say so."""
    gap: dict[str, Any] = {"gap_seconds": 2.0, "gap_cpu_seconds": 0.25}
    background: dict[str, Any] = {"kind": "background", "root": "background", "name": "background", "requests": 0}
    async with engine.inside() as collector:
        await collector.send(
            *(emission(place, root=f"GET /{place}", name=f"GET /{place}", **gap) for place in range(3)),
            emission(3, **background, **gap),
            emission(0, instance="b" * 16, **background, **gap),
        )
        (totals,) = (await collector.ask("/v1/reports/totals", detail="1"))["rows"]
        kinds = (await collector.ask("/v1/reports/books", detail="1"))["rows"]
        endpoints = (await collector.ask("/v1/reports/endpoints", detail="1", kind="request"))["rows"]

    assert (totals["gap_seconds"], totals["gap_cpu_seconds"]) == (4.0, 1.25)
    assert {row["key"]["kind"]: row["gap_seconds"] for row in kinds} == {"background": 4.0, "request": None}
    assert {row["gap_seconds"] for row in endpoints} == {None}


async def test_books_of_a_part_of_the_project_are_refused_by_name(engine: Engine) -> None:
    """They were those of the whole, whatever was asked for."""
    async with engine.inside() as collector:
        await collector.send(emission(0))
        answer = await collector.client.get("/v1/books", params={**DAYS, "service": "another"})

    assert answer.status_code == 400
    assert "'service' means nothing to the books" in answer.json()["error"]


async def test_a_record_of_next_to_no_joules_makes_no_sum_infinite(engine: Engine) -> None:
    """As rounding leaves them, or a hostile sender writes them, beside grams and bounds of any size."""
    book = {"kind": "measured", "root": "measured", "name": "measured"}
    bounds: dict[str, Any] = {"energy_low_joules": 0.5, "energy_high_joules": 1e15}
    async with engine.inside() as collector:
        await collector.send(
            emission(0, joules=3.6e6, emissions_g=300.0),
            emission(1, joules=1e-320, emissions_g=1e-6, **bounds),
            emission(2, joules=1e-320, emissions_g=1e-6, **book),
        )
        answers = [await collector.ask(f"/v1/reports/{what}", detail="1") for what in ("totals", "machines")]

    assert "Infinity" not in json.dumps(answers)
    assert "NaN" not in json.dumps(answers)
    assert answers[0]["rows"][0]["emissions_high_g"] == pytest.approx(300.0)


async def test_grams_of_two_scopes_are_never_one_number(engine: Engine) -> None:
    """Joules are added; whatever rests on a price is unknown as a sum, and each scope's own is there."""
    async with engine.inside() as collector:
        await collector.send(*of_both_scopes())
        (row,) = (await collector.ask("/v1/reports/totals", detail="1"))["rows"]
        (direct,) = (await collector.ask("/v1/reports/totals", intensity_scope="direct"))["rows"]

    assert row["energy_joules"] == pytest.approx(7.2e6)
    assert row["emissions"] == {"average/lifecycle": 400.0, "average/direct": 300.0}
    for name in ("emissions_g", "emissions_low_g", "emissions_high_g", "idle_emissions_g", "intensity_g_per_kwh"):
        assert row[name] is None, name
    assert (direct["emissions_g"], direct["idle_emissions_g"]) == (300.0, 30.0)


async def test_a_heat_map_of_grams_is_one_for_each_scope(engine: Engine) -> None:
    """And one for all where joules are summed."""
    async with engine.inside() as collector:
        await collector.send(*of_both_scopes())
        grams = (await collector.ask("/v1/heat-map"))["weekdays_from_monday"]
        joules = (await collector.ask("/v1/heat-map", measure="energy_joules"))["weekdays_from_monday"]

    assert {name: cells[HOUR.weekday()][HOUR.hour] for name, cells in grams.items()} == {
        "average/lifecycle": 400.0,
        "average/direct": 300.0,
    }
    assert joules["all"][HOUR.weekday()][HOUR.hour] == pytest.approx(7.2e6)


async def test_the_order_by_grams_adds_no_scopes_either(engine: Engine) -> None:
    """A service of 400 g and 300 g under two scopes does not stand above one of 500 g."""
    async with engine.inside() as collector:
        await collector.send(*of_both_scopes(), emission(2, service="large", emissions_g=500.0))
        rows = (await collector.ask("/v1/reports/services"))["rows"]

    assert [row["key"]["service"] for row in rows] == ["large", "shop"]


@pytest.mark.parametrize(
    ("asked", "sequences"),
    [
        ({}, [0, 1, 2, 3]),
        ({"endpoint": "GET /b"}, [1]),
        ({"zone": "FR"}, [2]),
        ({"zone": "~"}, [3]),
        ({"zone": ["FR", "~"]}, [2, 3]),
        ({"intensity_quality": "static", "service": "shop"}, [3]),
        ({"machine": "n" * 16}, [2]),
        ({"from": (HOUR + timedelta(seconds=90)).isoformat()}, [2, 3]),
        ({"service": "none"}, []),
    ],
)
async def test_records_are_found_by_what_figures_are_grouped_by(
    engine: Engine, asked: dict[str, str], sequences: list[int]
) -> None:
    """Each figure can be followed to its records."""
    async with engine.inside() as collector:
        await collector.send(
            emission(0),
            emission(1, root="GET /b", name="GET /b"),
            emission(2, zone="FR", place="FR", machine="n" * 16),
            emission(3, zone=None, intensity_quality="static"),
        )
        lines = await collector.ask("/v1/records", **asked)

    assert [json.loads(line)["sequence"] for line in lines.splitlines()] == sequences


async def test_the_newest_intensity_of_each_service_and_zone_is_known(engine: Engine) -> None:
    """Of two batches the later record counts, whichever came first; another signal stands apart; unknown is none."""
    async with engine.inside() as collector:
        await collector.send(emission(1, intensity_g_per_kwh=310.0), emission(2, service="mail", zone="FR"))
        await collector.send(emission(0, instance="late", intensity_g_per_kwh=999.0))
        await collector.send(emission(3, intensity_signal="marginal", intensity_g_per_kwh=700.0))
        await collector.send(emission(4, service="dark", intensity_g_per_kwh=None, emissions_g=None))
        found = (await collector.ask("/v1/intensities"))["intensities"]
        elsewhere = (await collector.ask("/v1/intensities", project="other"))["intensities"]

    assert [(one["service"], one["zone"], one["signal"], one["g_per_kwh"]) for one in found] == [
        ("mail", "FR", "average", 300.0),
        ("shop", "DE", "average", 310.0),
        ("shop", "DE", "marginal", 700.0),
    ]
    assert (found[1]["source"], found[1]["quality"], found[1]["scope"]) == ("constant", "measured", "lifecycle")
    assert elsewhere == []


@pytest.mark.parametrize(
    "text", ["GET /it's", "a\\tb\\", "tab\there", "line\nbreak\r", "' or 1 --", "\\N", "Zürich ☀", '"]']
)
async def test_texts_come_back_as_they_were_and_can_be_asked_for(engine: Engine, text: str) -> None:
    """Quotes, backslashes, tabs and line breaks mean nothing to an engine."""
    async with engine.inside() as collector:
        sent = emission(0, root=text, name=text, zone=text, units={text: 2.0})
        answer = await collector.send(sent, emission(1))
        found = (await collector.ask("/v1/records", endpoint=text, zone=text)).splitlines()
        rows = (await collector.ask("/v1/reports/endpoints", endpoint=text))["rows"]

    assert answer["stored"] == 2
    assert [from_object(json.loads(line)) for line in found] == [sent]
    assert [(row["key"]["endpoint"], row["units"]) for row in rows] == [(text, {text: 2.0})]


async def test_records_have_no_domain_to_be_found_by(engine: Engine) -> None:
    """It says so."""
    async with engine.inside() as collector:
        answer = await collector.client.get("/v1/records", params={**DAYS, "domain": "package"})

    assert answer.status_code == 400
    assert "domain" in answer.json()["error"]


async def test_further_routes_are_served_and_stand_behind_the_same_gate(tmp_path: Path) -> None:
    """A page beside the API, on the running service; a foreign host name finds neither."""

    async def page(_request: Request) -> Response:
        return PlainTextResponse("a page")

    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def log(event: str, **fields: str) -> None:
        if event == "collector_started":
            started.set_result(fields["url"])

    running = asyncio.create_task(
        serve(
            DuckDBStore(tmp_path),
            tmp_path,
            Serving(port=0),
            commands={},
            log=log,
            routes=[Route("/page", page)],
        )
    )
    async with httpx.AsyncClient(base_url=await started, trust_env=False) as client:
        assert (await client.get("/page")).text == "a page"
        assert (await client.get("/page", headers={"host": "evil.example"})).status_code == 421
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(("comes_from", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 421)])
async def test_without_tokens_the_service_is_open_to_its_own_machine_alone(
    tmp_path: Path, comes_from: str, status: int
) -> None:
    """Also where they were taken away while it listens to all: whoever comes may call the host as he likes."""
    store = DuckDBStore(tmp_path)
    app = create_app(store, Tokens(tmp_path / "tokens.json"))
    transport = httpx.ASGITransport(app, client=(comes_from, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/v1/projects")).status_code == status
    await store.aclose()
