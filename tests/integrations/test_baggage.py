"""On whose behalf a call is made: told to those whom a setting names, believed from those who share a secret."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from carbon_sdk import Carbon, CarbonMiddleware, SettingsError, track
from carbon_sdk.cpu.clock import Origin
from carbon_sdk.emission import Emission
from carbon_sdk.integrations import aiohttp as carbon_aiohttp
from carbon_sdk.integrations import httpx as carbon_httpx
from carbon_sdk.integrations.baggage import MAXIMUM_BYTES, Reader, Writer, without_ours, written
from carbon_sdk.settings import Settings
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink

pytestmark = pytest.mark.anyio

SECRET, OLDER, OTHER = "a secret of sixteen", "the one before that", "not theirs at all"
NOW = 1_774_785_600.0
CHECKOUT = Origin("shop", "POST /checkout")
NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)


def reader(*secrets: str, trusted: bool = False, now: float = NOW) -> Reader:
    return Reader(secrets=secrets or (SECRET,), trusted=trusted, now_seconds=lambda: now)


def signed(origin: Origin = CHECKOUT, secret: str = SECRET) -> str:
    text = written(origin, secret=secret, now_seconds=NOW)
    assert text is not None
    return text


@given(NAMES, NAMES)
def test_what_one_service_writes_another_reads(service: str, endpoint: str) -> None:
    """Whatever letters the names hold, commas, equal signs and percent signs among them."""
    text = written(Origin(service, endpoint), secret=SECRET, now_seconds=NOW)
    if text is not None:
        assert len(text) <= MAXIMUM_BYTES
        assert reader().read(f"tenant=7;x=y,{text} , user=9") == Origin(service, endpoint)


@given(st.data())
def test_whoever_changes_one_character_is_not_believed(data: st.DataObject) -> None:
    """Name, moment or signature: none of it holds without the secret."""
    text = signed()
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("azAZ09-_%;=,. ").filter(lambda one: one != text[place]))
    found = reader().read(text[:place] + letter + text[place + 1 :])

    assert found in (None, CHECKOUT), "a blank at the edge is no change"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("carbon.service=shop,carbon.endpoint=POST%20%2Fcheckout", "unsigned"),
        ("carbon.service=shop,carbon.endpoint=x;t=soon;s=abc", "unsigned"),
        ("carbon.service=shop,carbon.endpoint=x;t=1774785600;s=\xff\xfe", "forged"),
        (signed(secret=OTHER), "forged"),
        ("carbon.service=shop", "malformed"),
        ("carbon.service=a,carbon.service=b,carbon.endpoint=x", "malformed"),
        ("carbon.service=a%FF,carbon.endpoint=x", "malformed"),
        ("carbon.service=a%00b,carbon.endpoint=x", "malformed"),
        (f"carbon.service=shop,carbon.endpoint={'x' * 300}", "oversized"),
    ],
)
def test_what_is_not_believed_is_dropped_and_counted(header: str, reason: str) -> None:
    """It raises nothing, and the request is the first of its own chain."""
    judge = reader()

    assert judge.read(header) is None
    assert judge.dropped == {reason: 1}


@pytest.mark.parametrize("seconds", [-301, 301, 86_400])
def test_a_recorded_call_that_comes_late_is_not_believed(seconds: float) -> None:
    """Nor one that comes from the future."""
    judge = reader(now=NOW + seconds)

    assert judge.read(signed()) is None
    assert judge.dropped == {"late": 1}


def test_while_a_secret_is_replaced_both_are_believed() -> None:
    """The new one signs; those who still hold the old one are heard."""
    judge = reader(SECRET, OLDER)

    assert judge.read(signed(secret=SECRET)) == judge.read(signed(secret=OLDER)) == CHECKOUT
    assert judge.read(signed(secret=OTHER)) is None


def test_behind_a_gateway_that_strips_baggage_no_signature_is_needed() -> None:
    """A setting says so; nothing else does."""
    text = written(CHECKOUT, secret=None, now_seconds=NOW)
    assert text is not None

    assert Reader(secrets=(), trusted=True).read(text) == CHECKOUT
    assert reader().read(text) is None


def test_a_name_that_is_too_long_is_not_sent() -> None:
    """A part of it would name another endpoint."""
    assert written(Origin("shop", "GET /" + "x" * 250), secret=SECRET, now_seconds=NOW) is None


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("cart.internal", True),
        ("CART.internal.", True),
        ("a.svc.local", True),
        ("evilcart.internal", False),
        ("cart.internal.evil.com", False),
        ("svc.local", False),
        ("evil-svc.local", False),
        (None, False),
    ],
)
def test_only_hosts_that_were_named_learn_who_caused_a_call(host: str | None, told: bool) -> None:
    """Names of routes stay inside the company."""
    carbon = Carbon(meters=[FakeMeter(1.0)], provider=FixedIntensity(), sinks={}, zone="DE")
    writer = Writer(service="shop", hosts=("cart.internal", ".svc.local"), secret=SECRET)
    with carbon, track("job"):
        header = writer.header(host, "tenant=7")

    assert header is not None
    assert header.startswith("tenant=7")
    assert ("carbon.service=shop" in header) is told


def test_outside_a_span_nothing_is_told() -> None:
    """Nobody caused the call that we know of; what a redirected call carried goes."""
    writer = Writer(service="shop", hosts=("cart.internal",), secret=SECRET)

    assert writer.header("cart.internal", None) is None
    assert writer.header("cart.internal", signed()) is None
    assert without_ours(f"a=1,{signed()},b=2;p") == "a=1,b=2;p"


@pytest.mark.parametrize("value", ["http://cart", "cart:80", "a b", "*"])
def test_a_host_that_is_none_is_refused_at_start(value: str) -> None:
    """The message names the setting and shows how a host is written."""
    with pytest.raises(SettingsError, match=r"PROPAGATE_TO.*cart\.internal"):
        Settings(propagate_to=value)  # type: ignore[arg-type]  # as the environment gives it


def test_a_short_secret_is_refused_and_never_shown() -> None:
    """Neither in the error nor in a repr."""
    with pytest.raises(SettingsError) as refused:
        Settings(baggage_secrets="hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(refused.value)
    assert SECRET not in repr(Settings(baggage_secrets=(SECRET,)))


Server = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Server]:
    """Starts real local servers; each answers with what is given, at the port that comes back."""
    runners: list[web.AppRunner] = []

    async def start(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> int:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        port: int = runner.addresses[0][1]
        return port

    yield start
    for runner in runners:
        await runner.cleanup()


async def _with_httpx(writer: Writer, url: str) -> None:
    async with carbon_httpx.instrument(httpx.AsyncClient(follow_redirects=True), writer=writer) as client:
        await client.get(url, headers={"baggage": "tenant=7"})


async def _with_httpx_in_a_thread(writer: Writer, url: str) -> None:
    def call() -> None:
        with carbon_httpx.instrument(httpx.Client(follow_redirects=True), writer=writer) as client:
            client.get(url, headers={"baggage": "tenant=7"})

    await asyncio.to_thread(call)


async def _with_aiohttp(writer: Writer, url: str) -> None:
    async with carbon_aiohttp.instrument(aiohttp.ClientSession(), writer=writer) as session:
        await session.get(url, headers={"baggage": "tenant=7"})


@pytest.mark.parametrize("call", [_with_httpx, _with_httpx_in_a_thread, _with_aiohttp])
async def test_a_redirect_to_a_stranger_takes_our_names_out_and_leaves_the_others(
    call: Callable[[Writer, str], Awaitable[None]], serve: Server
) -> None:
    """127.0.0.1 was named, localhost was not: three hops over both, on real sockets."""
    heard: list[tuple[str, str]] = []
    ports: list[int] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        heard.append((request.path, request.headers.get("baggage", "")))
        target = {
            "/1": f"http://localhost:{ports[0]}/2",
            "/2": f"http://127.0.0.1:{ports[0]}/3",
        }.get(request.path)
        return web.Response(status=307, headers={"location": target}) if target else web.Response()

    ports.append(await serve(handle))
    writer = Writer(service="shop", hosts=("127.0.0.1",), secret=SECRET)
    carbon = Carbon(meters=[FakeMeter(1.0)], provider=FixedIntensity(), sinks={}, zone="DE")
    async with carbon, track("job"):
        await call(writer, f"http://127.0.0.1:{ports[0]}/1")

    assert [path for path, _ in heard] == ["/1", "/2", "/3"]
    assert [header.count("carbon.service=shop,carbon.endpoint=job") for _, header in heard] == [1, 0, 1]
    assert all(header.startswith("tenant=7") for _, header in heard)


async def records_of(app: Any, *headers: str, **settings: Any) -> list[Emission]:
    """What requests with these `baggage` headers leave in the books."""
    sink = RecordingSink()
    carbon = Carbon(
        meters=[FakeMeter(20.0)],
        provider=FixedIntensity(100.0),
        sinks={"record": sink},
        zone="DE",
        emit_interval_seconds=3600,
        first_record_seconds=3600,
        **settings,
    )
    transport = httpx.ASGITransport(CarbonMiddleware(app, carbon=carbon))
    async with carbon, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for header in headers:
            answer = await client.get("/price", headers={"baggage": header} if header else {})
            assert answer.status_code == 200
    return [emission for emission in sink.emissions if emission.kind in ("request", "span")]


def pricing() -> Starlette:
    async def price(request: Request) -> PlainTextResponse:
        with track("tax"):
            sum(range(50_000))
        return PlainTextResponse("7")

    return Starlette(routes=[Route("/price", price)])


async def test_a_request_goes_to_its_own_endpoint_and_names_the_origin_that_it_believes() -> None:
    """Two records of one endpoint: on behalf of a checkout, and its own; nested spans likewise."""
    now = written(CHECKOUT, secret=SECRET, now_seconds=time.time())
    assert now is not None
    records = await records_of(pricing(), now, "", now, signed(secret=OTHER), baggage_secrets=(SECRET,))

    requests = {record.origin_endpoint: record for record in records if record.kind == "request"}
    assert {origin: record.requests for origin, record in requests.items()} == {"POST /checkout": 2, None: 2}
    assert {record.name for record in requests.values()} == {"GET /price"}
    assert requests["POST /checkout"].origin_service == "shop"
    spans = {record.origin_endpoint for record in records if record.kind == "span"}
    assert spans == {"POST /checkout", None}


async def test_without_a_secret_or_a_gateway_nobody_is_believed() -> None:
    """The default: a stranger cannot book joules on an endpoint of his choice."""
    text = written(CHECKOUT, secret=None, now_seconds=NOW)
    assert text is not None

    assert {record.origin_service for record in await records_of(pricing(), text)} == {None}
    trusting = await records_of(pricing(), text, trust_baggage=True)
    assert {record.origin_service for record in trusting} == {"shop"}


async def test_origins_without_end_fill_no_books() -> None:
    """Beyond the limit of accounts a request is the first of its own chain again, and none is lost."""
    texts = [written(Origin("shop", f"GET /{number}"), secret=None, now_seconds=NOW) or "" for number in range(1100)]
    records = [one for one in await records_of(pricing(), *texts, trust_baggage=True) if one.kind == "request"]

    assert len(records) <= 1001
    assert sum(record.requests for record in records) == 1100
