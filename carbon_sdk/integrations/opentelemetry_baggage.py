"""OpenTelemetry's `baggage` beside ours in one header: `OTEL_PROPAGATORS=tracecontext,carbon_sdk`.

OpenTelemetry's own propagator writes that header anew where it has something to say, so ours would be lost, and hands
on all that it has read to every host, so ours would reach strangers. This one stands in its place: it reads and writes
what it does, leaves our members alone that an instrumented client has written, and takes none of them in.
"""

from collections.abc import Mapping
from typing import Any

try:
    from opentelemetry.baggage import remove_baggage
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.context import Context
    from opentelemetry.propagators import textmap
except ImportError as exc:
    raise ImportError('The propagator needs OpenTelemetry: pip install "carbon-sdk[opentelemetry]"') from exc

from carbon_sdk.integrations.baggage import ENDPOINT, SERVICE, ours_alone

HEADER = "baggage"


class CarbonBaggagePropagator(W3CBaggagePropagator):
    """OpenTelemetry's propagator of baggage, which leaves the members of carbon_sdk to carbon_sdk."""

    def extract(
        self,
        carrier: textmap.CarrierT,
        context: Context | None = None,
        getter: textmap.Getter[textmap.CarrierT] = textmap.default_getter,
    ) -> Context:
        """What the carrier holds, without our members: they are the business of the middleware."""
        found = super().extract(carrier, context, getter)
        return remove_baggage(ENDPOINT, remove_baggage(SERVICE, found))

    def inject(
        self,
        carrier: textmap.CarrierT,
        context: Context | None = None,
        setter: textmap.Setter[textmap.CarrierT] = textmap.default_setter,
    ) -> None:
        """What the context holds, with our members behind it that the carrier has already."""
        theirs: dict[str, Any] = {}
        super().inject(theirs, context)
        if HEADER in theirs:
            before = carrier.get(HEADER) if isinstance(carrier, Mapping) else None
            ours = ours_alone(before) if isinstance(before, str) else ""
            setter.set(carrier, HEADER, f"{theirs[HEADER]},{ours}" if ours else theirs[HEADER])
