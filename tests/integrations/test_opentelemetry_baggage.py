"""OpenTelemetry's propagation of baggage and ours, in one header, by OpenTelemetry's own instrumentation of httpx."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

from carbon_sdk.cpu.clock import Origin
from carbon_sdk.integrations.baggage import Reader, written
from carbon_sdk.integrations.opentelemetry_baggage import CarbonBaggagePropagator

SECRET = "a secret of sixteen"
NOW = 1_774_785_600.0
CHECKOUT = Origin("shop", "POST /checkout")
WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
CALLER = """
import asyncio, json, sys
import httpx
from aiohttp import web
from opentelemetry import baggage, context
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from carbon_sdk import Carbon, track
from carbon_sdk.integrations.httpx import instrument

seen = []

async def answer(request):
    seen.append(request.headers.get("baggage"))
    return web.Response()

async def main(order):
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    if order == "before us":
        HTTPXClientInstrumentor().instrument()
    client = httpx.AsyncClient()
    if order == "this client alone":
        HTTPXClientInstrumentor.instrument_client(client)
    instrument(client)
    if order == "after us":
        HTTPXClientInstrumentor().instrument()
    async with Carbon(service="shop", sinks={}), client, track("checkout"):
        await client.get(f"http://127.0.0.1:{port}/")
        context.attach(baggage.set_baggage("user", "7"))
        await client.get(f"http://127.0.0.1:{port}/")
        await client.get(f"http://localhost:{port}/")
    await runner.cleanup()
    print(json.dumps(seen))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("order", ["before us", "after us", "this client alone"])
def test_both_reach_the_host_that_may_learn_ours(order: str, tmp_path: Path) -> None:
    """And a host that may not learn ours is told the application's own alone."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OTEL_PROPAGATORS": "tracecontext,carbon_sdk",
        "CARBON_SDK_ZONE": "DE",
        "CARBON_SDK_STATE_DIR": str(tmp_path),
        "CARBON_SDK_PROPAGATE_TO": "127.0.0.1",
        "CARBON_SDK_BAGGAGE_SECRETS": SECRET,
    }

    done = subprocess.run([sys.executable, "-c", CALLER, order], env=environment, stdout=subprocess.PIPE, check=True)

    alone, both, stranger = json.loads(done.stdout)
    reader = Reader(secrets=[SECRET], trusted=False)
    assert reader.read(alone) == Origin("shop", "checkout")
    assert reader.read(both) == Origin("shop", "checkout")
    assert both.startswith("user=7,")
    assert stranger == "user=7"


@given(st.dictionaries(WORDS, WORDS, max_size=4))
def test_what_the_application_says_goes_on_and_comes_back_as_by_opentelemetry_itself(said: dict[str, str]) -> None:
    """Ours stands behind it for who can read it, and is nothing that OpenTelemetry hands on."""
    context = Context()
    for name, value in said.items():
        context = baggage.set_baggage(name, value, context)
    ours = written(CHECKOUT, secret=SECRET, now_seconds=NOW)
    assert ours is not None
    carrier: dict[str, str] = {"baggage": ours}
    plain: dict[str, str] = {}
    CarbonBaggagePropagator().inject(carrier, context)
    W3CBaggagePropagator().inject(plain, context)

    assert carrier["baggage"] == (f"{plain['baggage']},{ours}" if said else ours)
    assert dict(baggage.get_all(CarbonBaggagePropagator().extract(carrier, Context()))) == said
    assert Reader(secrets=[SECRET], trusted=False, now_seconds=lambda: NOW).read(carrier["baggage"]) == CHECKOUT


def test_ours_of_the_last_call_does_not_go_on_with_the_next() -> None:
    """A redirect to a stranger: the client has taken ours out, and OpenTelemetry holds none of it."""
    ours = written(CHECKOUT, secret=SECRET, now_seconds=NOW)
    context = CarbonBaggagePropagator().extract({"baggage": f"user=7,{ours}"}, Context())
    carrier: dict[str, str] = {}
    CarbonBaggagePropagator().inject(carrier, context)

    assert carrier == {"baggage": "user=7"}
