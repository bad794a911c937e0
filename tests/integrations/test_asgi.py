"""The middleware: each request's CPU on its own endpoint, and an app that behaves as without it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from carbon_sdk import Carbon, CarbonMiddleware, track
from carbon_sdk.cpu.clock import drive, nobody
from carbon_sdk.emission import Emission
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_collection")]
BURN_SECONDS = 0.01


def burn(seconds: float = BURN_SECONDS) -> None:
    """Use the CPU of this thread for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def pause_and_burn() -> None:
    await asyncio.sleep(0.001)
    burn()


def burn_first() -> None:
    burn()


app = FastAPI()


@app.get("/inline/{number}")
async def inline(number: int) -> dict[str, int]:
    burn()
    return {"number": number}


@app.get("/around")
async def around() -> None:
    burn(BURN_SECONDS / 2)
    await asyncio.sleep(0.002)
    burn(BURN_SECONDS / 2)


@app.get("/steps")
async def steps() -> None:
    for _ in range(20):
        burn(BURN_SECONDS / 20)
        await asyncio.sleep(0)


@app.get("/gather")
async def gathered() -> None:
    await asyncio.gather(pause_and_burn(), pause_and_burn())


@app.get("/group")
async def grouped() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pause_and_burn())
        tasks.create_task(pause_and_burn())


@app.get("/wait-for")
async def waited() -> None:
    await asyncio.wait_for(pause_and_burn(), 5)


@app.get("/to-thread")
async def threaded() -> None:
    await asyncio.to_thread(burn)


@app.get("/executor")
async def executed() -> None:
    await asyncio.get_running_loop().run_in_executor(None, burn)


@app.get("/sync")
def sync() -> None:
    burn()


@app.get("/dependency")
async def depending(_: None = Depends(burn_first)) -> None:
    pass


@app.get("/stream")
async def streamed() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            burn(BURN_SECONDS / 4)
            yield b"x"
            await asyncio.sleep(0)

    return StreamingResponse(chunks())


@app.get("/background")
async def background(tasks: BackgroundTasks) -> None:
    tasks.add_task(pause_and_burn)


@app.get("/error")
async def failing() -> None:
    raise ValueError("the app's own")


async def listed(n: int) -> int:
    return n


@app.get("/refused")
async def refused() -> None:
    raise HTTPException(503)


SHAPES = {
    "/inline/7": 1,
    "/around": 1,
    "/steps": 1,
    "/gather": 2,
    "/group": 2,
    "/wait-for": 1,
    "/to-thread": 1,
    "/executor": 1,
    "/sync": 1,
    "/dependency": 1,
    "/stream": 1,
    "/background": 1,
}


async def visit(application: Any, *requests: tuple[str, str], root_path: str = "") -> dict[str, Emission]:
    """The records, by name, of requests that a measured application has served."""
    sink = RecordingSink()
    carbon = Carbon(
        meters=[FakeMeter(20.0)],
        provider=FixedIntensity(100.0),
        sinks={"record": sink},
        emit_interval_seconds=3600,  # a test that meets the end of a minute must not see two records
        first_record_seconds=3600,
    )
    transport = httpx.ASGITransport(
        CarbonMiddleware(application, carbon=carbon), raise_app_exceptions=False, root_path=root_path
    )
    async with carbon, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await asyncio.gather(*(client.request(method, path) for method, path in requests))
    assert not carbon.log.faults
    records: dict[str, Emission] = {}
    for emission in sink.emissions:
        assert emission.name not in records, "one record for each account and interval"
        records[emission.name] = emission
    return records


async def test_every_shape_of_endpoint_is_charged_its_own_cpu_while_all_overlap() -> None:
    """Inline, awaited, in tasks, in threads, streaming: four of each at once, each on its own account."""
    records = await visit(app, *[("GET", path) for path in SHAPES for _ in range(4)])
    total = sum(record.cpu_seconds or 0.0 for record in records.values())

    for path, burns in SHAPES.items():
        record = records[f"GET {path}".replace("/7", "/{number}")]
        assert record.requests == 4
        assert record.cpu_seconds == pytest.approx(4 * burns * BURN_SECONDS, rel=0.35), path
    assert total <= time.process_time()


async def test_parallel_requests_to_one_route_are_one_account() -> None:
    """100 requests, 20 at a time, are one record with count 100."""
    records = await visit(app, *[("GET", f"/inline/{number % 20}") for number in range(100)])

    assert records["GET /inline/{number}"].requests == 100
    assert records["GET /inline/{number}"].cpu_seconds == pytest.approx(1.0, rel=0.2)


async def test_the_books_of_real_traffic_balance() -> None:
    """Own accounts, idle and unattributed never exceed what was measured; the rest of the machine is no record."""
    records = await visit(app, *[("GET", "/inline/1")] * 10)
    measured = records["measured"].energy_joules
    booked = sum(record.energy_joules or 0.0 for name, record in records.items() if name != "measured")

    assert measured is not None
    assert measured * 0.99 < booked < measured * (1.0 + 1e-9)


async def test_mounted_applications_keep_their_route() -> None:
    """Mount, router prefix and parameter are all in the endpoint's name; a proxy's prefix is not."""
    inner = FastAPI()
    inner.add_api_route("/c1/list/{n}", listed)
    outer = FastAPI()
    outer.mount("/api/v1", inner)
    records = await visit(outer, ("GET", "/proxy/api/v1/c1/list/7"), root_path="/proxy")

    assert "GET /api/v1/c1/list/{n}" in records


async def test_a_prefix_that_a_proxy_has_cut_off_is_no_part_of_the_route() -> None:
    """As `uvicorn --root-path` and `FastAPI(root_path=)` tell of it, with a mount and without."""
    inner = FastAPI()
    outer = FastAPI()
    for application in (inner, outer):
        application.add_api_route("/list/{n}", listed)
    outer.mount("/c1", inner)
    records = await visit(outer, *[("GET", f"/proxy{path}") for path in ("/list/7", "/c1/list/7")], root_path="/proxy")

    assert {"GET /list/{n}", "GET /c1/list/{n}"} <= set(records)


async def test_what_a_mounts_parameters_held_is_in_no_name() -> None:
    """A customer's name is nobody's endpoint, and there are many of them."""
    inner = FastAPI()
    inner.add_api_route("/list/{n}", listed)
    outer = FastAPI()
    outer.mount("/of/{customer}/in/{year}", inner)
    records = await visit(outer, *[("GET", f"/of/ann{n}@example.org/in/20{n}/list/{n}") for n in range(10, 20)])

    assert records["GET /of/{customer}/in/{year}/list/{n}"].requests == 10


async def test_a_mount_of_what_has_no_routes_is_named_once_and_without_its_parameters(tmp_path: Path) -> None:
    """Static files, and any other ASGI application."""
    (tmp_path / "a.css").write_text("")
    outer = Starlette()
    outer.mount("/static", StaticFiles(directory=tmp_path))
    outer.mount("/of/{customer}/files", StaticFiles(directory=tmp_path))
    paths = ["/static/a.css", "/static/missing.css", *(f"/of/ann{n}/files/a.css" for n in range(10))]
    records = await visit(outer, *[("GET", f"/proxy{path}") for path in paths], root_path="/proxy")

    assert records["GET /static"].requests == 2
    assert records["GET /of/{customer}/files"].requests == 10


async def test_starlette_routes_and_mounts_have_names_too() -> None:
    """Not only FastAPI's."""

    async def hello(request: Request) -> Response:
        return Response("hello")

    records = await visit(
        Starlette(routes=[Mount("/shop", routes=[Route("/items/{item}", hello)])]), ("GET", "/shop/items/9")
    )

    assert "GET /shop/items/{item}" in records


async def test_a_raw_path_and_a_strangers_method_never_become_names() -> None:
    """What no route answers is one name; a word that is no method is `_OTHER`."""
    records = await visit(app, *[("GET", f"/guess/{n}") for n in range(50)], ("BREW", "/inline/1"))
    names = {name for name, record in records.items() if record.kind == "request"}

    assert names <= {"GET (no route)", "_OTHER /inline/{number}", "_OTHER (no route)"}
    assert records["GET (no route)"].requests == 50


async def test_errors_are_counted_and_reach_the_server() -> None:
    """An exception and a 503 are errors; a 404 is not."""
    records = await visit(app, ("GET", "/error"), ("GET", "/refused"), ("GET", "/nowhere"))

    assert (records["GET /error"].errors, records["GET /refused"].errors) == (1, 1)
    assert records["GET (no route)"].errors == 0
    carbon = Carbon(meters=[], provider=FixedIntensity(), sinks={})
    transport = httpx.ASGITransport(CarbonMiddleware(app, carbon=carbon))
    async with carbon, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with pytest.raises(ValueError, match="the app's own"):
            await client.get("/error")


async def test_work_after_the_response_does_not_stretch_the_request() -> None:
    """The duration ends with the last body byte; the CPU after it is the endpoint's."""
    slow = FastAPI()

    @slow.get("/")
    async def root(tasks: BackgroundTasks) -> None:
        tasks.add_task(asyncio.sleep, 0.3)

    records = await visit(slow, ("GET", "/"))

    assert records["GET /"].duration_seconds < 0.2


async def test_a_span_in_a_request_is_an_account_of_the_same_root() -> None:
    """Tracking a part does not empty the endpoint: both have its root."""
    nested = FastAPI()

    @nested.get("/img")
    async def img() -> None:
        burn()
        async with track("resize"):
            await pause_and_burn()

    records = await visit(nested, ("GET", "/img"))

    assert records["resize"].root == records["GET /img"].root == "GET /img"
    assert records["resize"].cpu_seconds == pytest.approx(BURN_SECONDS, rel=0.3)
    assert records["GET /img"].cpu_seconds == pytest.approx(BURN_SECONDS, rel=0.5)
    assert records["resize"].requests == 0


async def test_a_span_around_a_request_keeps_what_it_used_before_and_after() -> None:
    """A job that calls the application in its own task, and goes on in the same step."""
    sink = RecordingSink()
    carbon = Carbon(
        meters=[FakeMeter(20.0)],
        provider=FixedIntensity(100.0),
        sinks={"record": sink},
        emit_interval_seconds=3600,
        first_record_seconds=3600,
    )
    measured = CarbonMiddleware(app, carbon=carbon)
    scope = {"type": "http", "method": "GET", "path": "/inline/7", "query_string": b"", "headers": []}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    async def job() -> None:
        async with track("job"):
            burn()
            await measured(dict(scope), receive, send)
            burn()

    async with carbon:
        carbon.clock.follow_loop()
        await measured(dict(scope), receive, send)
        await drive(job(), nobody(carbon.log.fault))
    records = {emission.name: emission for emission in sink.emissions}

    assert records["job"].cpu_seconds == pytest.approx(2 * BURN_SECONDS, rel=0.3)
    assert records["GET /inline/{number}"].cpu_seconds == pytest.approx(2 * BURN_SECONDS, rel=0.3)
    assert records["GET /inline/{number}"].requests == 2


async def test_a_second_middleware_inside_passes_through() -> None:
    """A request is counted once however often the middleware was added."""
    twice = FastAPI()
    twice.add_middleware(CarbonMiddleware)
    twice.add_api_route("/", pause_and_burn)

    records = await visit(twice, ("GET", "/"))

    assert records["GET /"].requests == 1


async def test_work_under_a_base_http_middleware_is_followed() -> None:
    """Starlette runs the application in a task of its own there."""
    wrapped = FastAPI()

    class Plain(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            return await call_next(request)

    wrapped.add_middleware(Plain)
    wrapped.add_api_route("/", pause_and_burn)

    records = await visit(wrapped, ("GET", "/"))

    assert records["GET /"].cpu_seconds == pytest.approx(BURN_SECONDS, rel=0.5)


async def test_a_disabled_carbon_passes_everything_through() -> None:
    """`CARBON_SDK_DISABLED=1` leaves the application alone."""
    carbon = Carbon(disabled=True)
    transport = httpx.ASGITransport(CarbonMiddleware(app, carbon=carbon))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/inline/3")).json() == {"number": 3}
    assert not carbon.running
