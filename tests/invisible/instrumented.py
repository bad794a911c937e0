"""One application under a tool that instruments it, with carbon_sdk and without; prints what was seen, as JSON.

    python tests/invisible/instrumented.py TOOL ORDER

TOOL is `opentelemetry`, `opentelemetry-throughout` (its instrumentations of threads and asyncio too) or `sentry`; ORDER
says when it is installed: `alone`, `before` us or `after` us.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
from fastapi import FastAPI

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink

Whose = Callable[[], Any]
"""Tells whose the calling code is in the tool's eyes."""
BURN_SECONDS = 0.01
PARTS = 5
"""So many times an endpoint burns."""


def burn() -> None:
    end = time.thread_time() + BURN_SECONDS
    while time.thread_time() < end:
        pass


def application(whose: Whose) -> FastAPI:
    """Answers, in each part of a request, whether the tool still knows whose it is."""
    app = FastAPI()

    def part() -> Any:
        burn()
        return whose()

    @app.get("/items/{number}")
    async def items(number: int) -> list[bool]:
        mine = part()

        async def child() -> Any:
            await asyncio.sleep(0)
            return part()

        called = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.001, lambda: called.set_result(part()))
        started: list[Any] = []
        thread = threading.Thread(target=lambda: started.append(part()))
        thread.start()
        seen = [await asyncio.create_task(child()), await asyncio.to_thread(part), await called]
        await asyncio.to_thread(thread.join)
        await asyncio.to_thread(subprocess.run, ["true"], check=True)
        return [mine is not None, *(one == mine for one in (*seen, *started))]

    @app.get("/fails")
    async def fails() -> None:
        await asyncio.sleep(0)
        await asyncio.create_task(failing())

    async def failing() -> None:
        raise ValueError("of the application")

    return app


class OpenTelemetry:
    """Its SDK, and the instrumentation of FastAPI."""

    def install(self) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        trace.set_tracer_provider(provider)

    def instrument(self, app: FastAPI) -> None:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(app)

    def whose(self) -> Any:
        from opentelemetry import trace

        context = trace.get_current_span().get_span_context()
        return (context.trace_id, context.span_id) if context.is_valid else None

    def seen(self) -> list[Any]:
        spans = self.exporter.get_finished_spans()
        numbers = {span.context.span_id: span.name for span in spans}
        return [
            [
                span.name,
                span.kind.name,
                span.status.status_code.name,
                numbers.get(span.parent.span_id) if span.parent else None,
                sorted(span.attributes or ()),
                [event.name for event in span.events],
            ]
            for span in spans
        ]


class OpenTelemetryThroughout(OpenTelemetry):
    """The same, and its instrumentations of threads and of asyncio, which make spans of what this application runs."""

    def install(self) -> None:
        super().install()
        from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor

        os.environ["OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE"] = "child,failing"
        os.environ["OTEL_PYTHON_ASYNCIO_TO_THREAD_FUNCTION_NAMES_TO_TRACE"] = "part,run"
        os.environ["OTEL_PYTHON_ASYNCIO_FUTURE_TRACE_ENABLED"] = "true"
        ThreadingInstrumentor().instrument()
        AsyncioInstrumentor().instrument()


class Sentry:
    """Its SDK with what it turns on by itself, and its integration of asyncio."""

    def install(self) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.asyncio import AsyncioIntegration
        from sentry_sdk.transport import Transport

        envelopes = self.envelopes = []  # type: list[Any]

        class Kept(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                envelopes.append(envelope)

        sentry_sdk.init(
            dsn="http://key@localhost/1", transport=Kept, traces_sample_rate=1.0, integrations=[AsyncioIntegration()]
        )

    def instrument(self, app: FastAPI) -> None:
        """It has patched Starlette's classes."""

    def whose(self) -> Any:
        import sentry_sdk

        span = sentry_sdk.get_current_span()
        return span.trace_id if span is not None else None

    def seen(self) -> list[Any]:
        return sorted((self._told(item.payload.json) for one in self.envelopes for item in one.items), key=repr)

    def _told(self, payload: Any) -> list[Any]:
        """Of an error its frames; of a transaction its spans."""
        spans = sorted(f"{span['op']} {span['description']}" for span in payload.get("spans") or ())
        errors = [
            [
                error["type"],
                error["mechanism"]["type"],
                [frame["function"] for frame in error.get("stacktrace", {}).get("frames", ()) if not of_ours(frame)],
            ]
            for error in payload.get("exception", {}).get("values", ())
        ]
        return [payload.get("type", "error"), payload.get("transaction"), payload.get("level"), spans, errors]


def of_ours(frame: Any) -> bool:
    return str(frame["module"]).startswith("carbon_sdk.")


async def main(tool: Any, order: str) -> None:
    """Serve two requests that end well and one that does not."""
    sink = RecordingSink()
    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks={"r": sink}, emit_interval_seconds=3600)
    if order != "after":
        tool.install()
    if order != "alone":
        await carbon.__aenter__()
        carbon.clock.follow_loop()
    if order == "after":
        tool.install()
    app = application(tool.whose)
    if order == "before":
        tool.instrument(app)
    if order != "alone":
        app.add_middleware(CarbonMiddleware, carbon=carbon)
    if order != "before":
        tool.instrument(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answers = [await client.get(path) for path in ("/items/7", "/items/8", "/fails")]
    await carbon.aclose()
    booked = {
        record.name: [record.cpu_seconds, record.requests, record.errors]
        for record in sink.emissions
        if record.kind == "request"
    }
    seen = [[answer.status_code, answer.text] for answer in answers]
    told = {"answers": seen, "tool": tool.seen(), "booked": booked, "faults": dict(carbon.log.faults)}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    tools = {"opentelemetry": OpenTelemetry, "opentelemetry-throughout": OpenTelemetryThroughout, "sentry": Sentry}
    asyncio.run(main(tools[sys.argv[1]](), sys.argv[2]))
