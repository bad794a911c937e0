"""The trace in which each endpoint was served last: what leads from a counter to a request that moved it."""

MAXIMUM_ENDPOINTS = 1000

_latest: dict[str, dict[str, str]] = {}


def note(endpoint: str, trace_id: str, span_id: str) -> None:
    """A request to an endpoint has ended, in a trace that was sampled."""
    if endpoint in _latest or len(_latest) < MAXIMUM_ENDPOINTS:
        _latest[endpoint] = {"trace_id": trace_id, "span_id": span_id}


def exemplar(endpoint: str) -> dict[str, str] | None:
    """Labels of an OpenMetrics exemplar; None where no trace is known."""
    return _latest.get(endpoint)
