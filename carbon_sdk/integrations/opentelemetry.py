"""For OpenTelemetry's traces: a request's energy on the span around it.

```python
app.add_middleware(CarbonMiddleware, traces=True)
FastAPIInstrumentor.instrument_app(app)
```

The span must be around the middleware, as those of OpenTelemetry's instrumentations are. It ends with the last byte of
the response, and the joules of a request are final when the window of its last CPU has closed, which is later. So the
span gets what is known with the last byte, by the joules of a CPU second in the last window, and says so:
`carbon.provisional`. The final figures are in metrics and records, by endpoint.

| attribute of the span | |
|---|---|
| `carbon.cpu_seconds` | CPU of the request, and of its spans and threads that have ended |
| `carbon.energy_joules` | active energy of it |
| `carbon.emissions_g` | grams CO2e of that |
| `carbon.intensity_g_per_kwh`, `carbon.zone` | what priced it |
| `carbon.provisional` | true |
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

try:
    from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
except ImportError as exc:
    raise ImportError('Traces need the API of OpenTelemetry: pip install "carbon-sdk[opentelemetry]"') from exc

from carbon_sdk import traces
from carbon_sdk.carbon import Carbon
from carbon_sdk.cpu.clock import LONG_NS, THREAD
from carbon_sdk.process import default

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


def traced(app: ASGIApp, carbon: Carbon | None) -> ASGIApp:
    """The application of a middleware; what its requests have weighed is written on the spans around them.

    Args:
        app: The application.
        carbon: Who measures; the process default when None.
    """

    def write() -> None:
        own = carbon or default()
        try:
            _annotate(own)
        except Exception as exc:  # OpenTelemetry's or ours: the response is the application's
            own.log.fault("traces", exc)

    async def traced_app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        def sending(message: Any) -> Awaitable[None]:
            if message.get("type") == "http.response.body" and not message.get("more_body"):
                write()  # whoever sends it on ends the span
            answer: Awaitable[None] = send(message)
            return answer

        try:
            await app(scope, receive, sending)
        except BaseException:
            write()
            raise

    return traced_app


def _annotate(carbon: Carbon) -> None:
    """Write what the request that runs here has weighed so far on the span around it."""
    slot = THREAD.slot
    request, span = slot.owner, get_current_span()
    if request is None or not span.is_recording():
        return
    account, context = request.resolve(), span.get_span_context()
    if account is not None and context.trace_flags.sampled:
        traces.note(account.root, format_trace_id(context.trace_id), format_span_id(context.span_id))
    open_ns = time.monotonic_ns() - slot.start_ns
    if open_ns >= LONG_NS:
        open_ns = slot.open_ns()
    span.set_attributes(_attributes(carbon, (request.total_ns + request.nested_ns + open_ns) / 1e9))


def _attributes(carbon: Carbon, cpu_seconds: float) -> dict[str, str | float | bool]:
    attributes: dict[str, str | float | bool] = {"carbon.cpu_seconds": cpu_seconds, "carbon.provisional": True}
    share = carbon.estimate(cpu_seconds, in_request=True)
    if share is not None and share.energy_joules is not None:
        attributes["carbon.energy_joules"] = share.energy_joules
        if share.emissions_g is not None and share.intensity is not None:
            attributes["carbon.emissions_g"] = share.emissions_g
            attributes["carbon.intensity_g_per_kwh"] = share.intensity.g_per_kwh
            attributes["carbon.zone"] = share.intensity.zone
    return attributes
