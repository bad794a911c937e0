"""What a scrape is answered: our counters from their ready lines, everything else by prometheus_client.

prometheus_client puts each line's labels together and escapes them anew at every scrape; benchmarks/jobs.py shows what
that costs.
"""

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import Metric
from prometheus_client.exposition import ThreadingWSGIServer, choose_encoder, gzip_accepted
from prometheus_client.registry import Collector

from carbon_sdk.sinks.prometheus_counters import SampledMetric

GZIP_LEVEL = 1
"""The quickest: it leaves 45,649 bytes of 900 kB of lines, level 9 leaves 40,523."""
SLOWEST_SECONDS = 10.0
"""A scraper that neither asks nor reads for so long is let go; a scrape's own limit is 10 s in Prometheus."""


def expose(registry: Collector, accept: str = "") -> tuple[bytes, str]:
    """All metrics of a registry, in the format that a scraper prefers.

    Args:
        registry: The app's or its own.
        accept: The request's `Accept` header.

    Returns:
        The body, and its `Content-Type`.
    """
    encode, content_type = choose_encoder(accept)
    if "escaping=dots" in content_type:  # names are written differently there
        return encode(registry), content_type
    openmetrics = content_type.startswith("application/openmetrics-text")
    ours = "".join(
        metric.text(openmetrics=openmetrics) for metric in registry.collect() if isinstance(metric, SampledMetric)
    )
    return ours.encode("utf-8", "backslashreplace") + encode(_Others(registry)), content_type


class _Others(Collector):
    """What is in a registry beside our counters."""

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        return (metric for metric in self._registry.collect() if not isinstance(metric, SampledMetric))


def start_server(registry: Collector, address: str, port: int) -> Callable[[], None]:
    """Answer scrapes from a thread.

    Returns:
        To be called once, to take the server down.

    Raises:
        OSError: It cannot listen there.
    """

    def answer(environ: dict[str, str], start_response: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            start_response("405 Method Not Allowed", [("Allow", "GET")])
            return [b""]
        body, content_type = expose(registry, environ.get("HTTP_ACCEPT", ""))
        headers = [("Content-Type", content_type)]
        if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            body = gzip.compress(body, GZIP_LEVEL)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", headers)
        return [body]

    listening = _IPv6Server if ":" in address else ThreadingWSGIServer
    server: WSGIServer = make_server(address, port, answer, listening, _Handler)
    thread = threading.Thread(target=server.serve_forever, name="carbon-prometheus", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


class _IPv6Server(ThreadingWSGIServer):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = SLOWEST_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a scrape is no event."""
