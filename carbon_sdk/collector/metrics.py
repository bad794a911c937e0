"""The collector's own metrics in Prometheus' text format, and its health."""

from collections import Counter
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carbon_sdk.collector.store import Store

_STORE: tuple[tuple[str, str, str, str], ...] = (
    ("stored_records", "records_stored_total", "counter", "Records kept since the start."),
    ("known_records", "records_known_total", "counter", "Records that were known already, since the start."),
    ("refused_records", "records_refused_by_limits_total", "counter", "Records beyond a limit on variety."),
    ("waiting_records", "records_waiting", "gauge", "Acknowledged records that queries do not see yet."),
    ("commits", "journal_frames_total", "counter", "Groups written to the journal since the start."),
    ("journal_bytes", "journal_bytes", "gauge", "Length of the journal."),
    ("store_bytes", "store_bytes", "gauge", "Length of the store's file."),
    ("accounts", "accounts", "gauge", "Different endpoints, jobs and spans."),
    ("provenances", "provenances", "gauge", "Different ways of knowing."),
    ("instances", "instances_in_memory", "gauge", "Instances whose sequence is held in memory."),
)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the histogram of a request's duration."""


class Metrics:
    """Counts requests, and tells of them and of the store.

    Args:
        store: Whose health is told.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0
        self._count = 0

    def request(self, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests[(method, status)] += 1
        self._seconds += seconds
        self._count += 1
        for bound in SECONDS:
            if seconds <= bound:
                self._buckets[bound] += 1

    def text(self) -> str:
        """All of it in the text format."""
        health = self._store.health()
        lines: list[str] = []
        for name, metric, kind, words in _STORE:
            lines += _head(metric, kind, words)
            lines.append(f"carbon_sdk_collector_{metric} {getattr(health, name)}")
        lines += _head("up", "gauge", "1 while records are taken.")
        lines.append(f"carbon_sdk_collector_up {0 if health.problem else 1}")
        lines += _head("requests_total", "counter", "Requests answered.")
        for (method, status), count in sorted(self._requests.items()):
            lines.append(f'carbon_sdk_collector_requests_total{{method="{method}",status="{status}"}} {count}')
        lines += _head("request_seconds", "histogram", "From a request's head to its answer.")
        for bound in SECONDS:
            lines.append(f'carbon_sdk_collector_request_seconds_bucket{{le="{bound:g}"}} {self._buckets[bound]}')
        lines.append(f'carbon_sdk_collector_request_seconds_bucket{{le="+Inf"}} {self._count}')
        lines.append(f"carbon_sdk_collector_request_seconds_sum {self._seconds}")
        lines.append(f"carbon_sdk_collector_request_seconds_count {self._count}")
        return "\n".join(lines) + "\n"


def _head(metric: str, kind: str, words: str) -> list[str]:
    return [f"# HELP carbon_sdk_collector_{metric} {words}", f"# TYPE carbon_sdk_collector_{metric} {kind}"]


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Measured:
    """Middleware: counts each request and how long it took.

    Args:
        app: What is behind.
        metrics: Where it is counted.
        monotonic: Clock, seconds.
        log: Called with an event and its fields for each answer of 500 or above; but 503, which senders wait out and
            the store has told of already.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, monotonic: Callable[[], float], log: Callable[..., object]
    ) -> None:
        self.app = app
        self._metrics = metrics
        self._monotonic = monotonic
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = self._monotonic()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "_OTHER"
            seconds = self._monotonic() - started
            self._metrics.request(method, status, seconds)
            if status >= 500 and status != 503:
                self._log("collector_request_failed", method=method, path=scope["path"][:200], status=status)


class HealthRoutes:
    """`/healthz`, `/readyz` and `/metrics`.

    Args:
        store: Whose health is told.
        metrics: The metrics.
    """

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def healthz(self, _request: Request) -> Response:
        """The process runs."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """Records are taken and can be read; 503 with the reason where not."""
        health = self._store.health()
        if health.problem is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "failing", "reason": health.problem}, status_code=503)

    async def metrics(self, request: Request) -> Response:
        """The metrics; with tokens, for those that may read."""
        if "read" not in request.state.caller.scopes:
            return JSONResponse({"error": "this token does not allow to read"}, status_code=403)
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")
