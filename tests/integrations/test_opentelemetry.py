"""A request's energy on the span of OpenTelemetry's own instrumentation, exemplars, and resource attributes."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, format_trace_id
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from carbon_sdk import Carbon, CarbonMiddleware, track
from carbon_sdk.sinks.prometheus import PrometheusSink
from carbon_sdk.testing import FakeMeter, FixedIntensity

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_collection")]


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Bench:
    """An application, instrumented and measured, and the spans that it has ended."""

    def __init__(self, registry: CollectorRegistry, sampler: Sampler) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.carbon = Carbon(
            meters=[FakeMeter(20.0)],
            provider=FixedIntensity(360.0),
            sinks={"prometheus": PrometheusSink(registry)},
            sample_interval_seconds=0.1,
            zone="DE",
        )
        app = FastAPI()

        @app.get("/items/{item}")
        async def item(item: int) -> int:
            burn(0.02)
            await asyncio.sleep(0.01)
            async with track("nested"):
                burn(0.02)
            await asyncio.to_thread(burn, 0.02)
            return item

        app.add_middleware(CarbonMiddleware, carbon=self.carbon, traces=True)
        FastAPIInstrumentor.instrument_app(app, tracer_provider=self.provider)
        self.app = app

    async def get(self, path: str) -> int:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get(path)).status_code

    def server_spans(self) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.kind is SpanKind.SERVER]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@asynccontextmanager
async def bench(registry: CollectorRegistry, sampler: Sampler = ALWAYS_ON) -> AsyncIterator[Bench]:
    one = Bench(registry, sampler)
    async with one.carbon:
        await asyncio.sleep(0.25)  # a window has closed: what a CPU second costs is known
        yield one
    FastAPIInstrumentor.uninstrument_app(one.app)
    one.provider.shutdown()


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


async def test_a_requests_span_holds_what_it_weighed_so_far(registry: CollectorRegistry) -> None:
    """Its own CPU, its nested span's and its thread's; joules by the last window, and marked as not final."""
    async with bench(registry) as one:
        for _ in range(2):  # the first request of a loop goes another way
            assert await one.get("/items/7") == 200
        spans = one.server_spans()

    assert len(spans) == 2
    for span in spans:
        found = attributes(span)
        assert found["carbon.cpu_seconds"] == pytest.approx(0.06, rel=0.2)
        assert found["carbon.provisional"] is True
        assert found["carbon.energy_joules"] > 0.0
        assert found["carbon.emissions_g"] == pytest.approx(found["carbon.energy_joules"] / 3.6e6 * 360.0)
        assert (found["carbon.zone"], found["carbon.intensity_g_per_kwh"]) == ("DE", 360.0)


async def test_a_counter_leads_to_the_trace_that_moved_it(registry: CollectorRegistry) -> None:
    """As an OpenMetrics exemplar, on the endpoint's line."""
    async with bench(registry) as one:
        await one.get("/items/7")
        await one.get("/nowhere")
    (last, *_) = [span for span in one.server_spans() if "{item}" in span.name]
    assert last.context is not None

    lines = generate_latest(registry).decode().splitlines()  # type: ignore[no-untyped-call]
    (line,) = [line for line in lines if line.startswith("carbon_requests_total{") and "{item}" in line]
    assert f'trace_id="{format_trace_id(last.context.trace_id)}"' in line


async def test_a_trace_that_is_not_sampled_costs_nothing_and_leads_nowhere(registry: CollectorRegistry) -> None:
    """Nobody could follow it."""
    async with bench(registry, ALWAYS_OFF) as one:
        assert await one.get("/items/7") == 200

    assert not one.server_spans()


async def test_a_fault_of_the_traces_does_not_reach_the_response() -> None:
    """It is counted, and told once."""
    from opentelemetry import context, trace

    class Broken(trace.NonRecordingSpan):
        def is_recording(self) -> bool:
            raise RuntimeError("a tracer of somebody's own")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks={})
    transport = httpx.ASGITransport(CarbonMiddleware(app, carbon=carbon, traces=True))
    async with carbon, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        token = context.attach(trace.set_span_in_context(Broken(trace.INVALID_SPAN_CONTEXT)))
        try:
            bodies = [(await client.get("/")).text for _ in range(3)]
        finally:
            context.detach(token)

    assert bodies == ["whole"] * 3
    assert carbon.log.faults["traces"] == 3


def test_the_resource_says_where_and_on_which_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by name among OpenTelemetry's detectors."""
    for name, text in {
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "carbon_sdk",
        "CARBON_SDK_SERVICE": "shop",
        "CARBON_SDK_ZONE": "DE",
    }.items():
        monkeypatch.setenv(name, text)
    code = (
        "import json; from opentelemetry.sdk.resources import Resource\n"
        "print(json.dumps(dict(Resource.create().attributes)))"
    )

    detected = json.loads(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )

    assert detected["service.name"] == "shop"
    assert detected["carbon.place"] == "DE"
    assert len(detected["carbon.machine"]) == 16
    assert "cloud.region" not in detected


def test_without_opentelemetry_the_middleware_says_what_to_install() -> None:
    """The exact words for pip."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from carbon_sdk import CarbonMiddleware; CarbonMiddleware(None, traces=True)"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr

    assert 'pip install "carbon-sdk[opentelemetry]"' in said
