"""The OpenTelemetry sink: instruments of the API, read back through the SDK and from a real OTLP receiver."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HTTPExporter
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.integrations.asgi import Receive
from carbon_sdk.integrations.asgi_request import Scope, Send
from carbon_sdk.sinks.opentelemetry import OpenTelemetrySink
from carbon_sdk.testing import FakeMeter, FixedIntensity
from tests.servers.serving import COMMANDS, PATIENCE_SECONDS, Server
from tests.sinks.totals import standing, total, totals

Export = metrics_service_pb2.ExportMetricsServiceRequest
Answer = metrics_service_pb2.ExportMetricsServiceResponse

ENDPOINT = {"carbon.kind": "request", "carbon.endpoint": "GET /a", "http.request.method": "GET", "http.route": "/a"}


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def sink(reader: InMemoryMetricReader) -> Iterator[OpenTelemetrySink]:
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    yield OpenTelemetrySink(provider)
    provider.shutdown()


def points(reader: InMemoryMetricReader, name: str) -> list[tuple[Mapping[str, object], float]]:
    """The data points of one metric as attributes and value."""
    data = reader.get_metrics_data()
    return [
        (dict(point.attributes or {}), point.value)  # type: ignore[union-attr]
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def test_instruments_hold_what_the_totals_say(reader: InMemoryMetricReader, sink: OpenTelemetrySink) -> None:
    """A request's energy stands under its endpoint, its route and its domain, and grows by what came since."""
    sink.update(totals(total(requests=2, package=3.0, grams=0.5)))
    sink.update(totals(total(requests=3, package=4.0, grams=0.75)))

    own = {**ENDPOINT, "carbon.span": "GET /a"}
    assert points(reader, "carbon.energy") == [({**own, "carbon.domain": "package"}, 4.0)]
    assert points(reader, "carbon.emissions") == [(own, 0.75)]
    assert points(reader, "carbon.requests") == [(ENDPOINT, 3)]
    assert points(reader, "carbon.intensity") == [({"carbon.zone": "DE", "carbon.source": "fixed"}, 400.0)]


def test_a_job_has_no_route(reader: InMemoryMetricReader, sink: OpenTelemetrySink) -> None:
    """Only an HTTP request carries HTTP's attributes, and units carry their name."""
    sink.update(totals(total(kind="worker", root="mail send", requests=1, cpu=0.5, tokens=7.0)))

    job = {"carbon.kind": "worker", "carbon.endpoint": "mail send"}
    assert points(reader, "carbon.requests") == [(job, 1)]
    assert points(reader, "carbon.units") == [({**job, "carbon.span": "mail send", "carbon.unit": "tokens"}, 7.0)]


def test_budgets_stand_as_shares_of_their_limit(reader: InMemoryMetricReader, sink: OpenTelemetrySink) -> None:
    """What is not known yet has no point."""
    sink.update(totals(budgets=[standing(spent=12.0, projected=None)]))

    assert points(reader, "carbon.budget.spent") == [({"carbon.budget": "day"}, 1.2)]
    assert points(reader, "carbon.budget.projected") == []


def test_energy_that_was_never_read_has_no_point(reader: InMemoryMetricReader, sink: OpenTelemetrySink) -> None:
    """Unknown is not zero."""
    sink.update(totals(total(cpu=1.0)))

    assert points(reader, "carbon.energy") == points(reader, "carbon.emissions") == []


CHECKOUT = ("web", "POST /checkout")


def rooted(service: str, endpoint: str) -> dict[str, str]:
    return {"carbon.root.service": service, "carbon.root.endpoint": endpoint}


def test_the_view_by_root_holds_each_joule_once(reader: InMemoryMetricReader, sink: OpenTelemetrySink) -> None:
    """A request of its own, calls on behalf of a checkout elsewhere, and the background, which nobody asked for."""
    sink.update(totals(total(requests=2, package=1.0), total(requests=5, package=2.0, dram=1.0, origin=CHECKOUT)))
    accounts = (
        total(requests=3, package=1.5, grams=0.1),
        total(kind="span", name="resize", package=0.5),
        total(requests=9, package=4.0, dram=2.0, grams=0.5, origin=CHECKOUT),
        total(kind="background", root="background", package=8.0),
    )
    sink.update(totals(*accounts))

    assert points(reader, "carbon.root.energy") == [
        (rooted("shop", "GET /a"), 2.0),
        (rooted(*CHECKOUT), 6.0),
        (rooted("", ""), 8.0),
    ]
    assert sum(value for _, value in points(reader, "carbon.energy")) == 16.0, "the same joules, seen twice"
    assert (rooted(*CHECKOUT), 0.5) in points(reader, "carbon.root.emissions")


def test_a_request_counts_where_its_chain_began(reader: InMemoryMetricReader, sink: OpenTelemetrySink) -> None:
    """What began in another service is counted there; without a reading there are no joules by root."""
    sink.update(totals(total(requests=3, cpu=1.0), total(requests=9, cpu=1.0, origin=CHECKOUT)))

    assert points(reader, "carbon.root.requests") == [(rooted("shop", "GET /a"), 3)]
    assert points(reader, "carbon.root.energy") == points(reader, "carbon.root.emissions") == []


@pytest.fixture
def http_receiver() -> Iterator[tuple[str, list[Export]]]:
    received: list[Export] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(Export.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(Answer().SerializeToString())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/metrics", received
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def grpc_receiver() -> Iterator[tuple[str, list[Export]]]:
    received: list[Export] = []

    class Receiver(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Export, context: grpc.ServicerContext) -> Answer:
            received.append(request)
            return Answer()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call]
        Receiver(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", received
    server.stop(None).wait()


def joules_of(received: list[Export], metric_name: str = "carbon.energy") -> dict[tuple[str, ...], float]:
    """Joules by service, and by root in that view, as they arrived last."""
    return {
        (attribute.value.string_value, *roots_of(point)): point.as_double
        for export in received
        for resource in export.resource_metrics
        for attribute in resource.resource.attributes
        if attribute.key == "service.name"
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == metric_name
        for point in metric.sum.data_points
    }


def roots_of(point: metrics_pb2.NumberDataPoint) -> tuple[str, ...]:
    """The service and endpoint of its chain; nothing in the other view."""
    told = {one.key: one.value.string_value for one in point.attributes}
    return tuple(told[name] for name in rooted("", "") if name in told)


def assert_joules(received: list[Export]) -> None:
    """Both views have arrived, each with all joules; by endpoint there is one point for both."""
    assert joules_of(received) == {("shop",): 3.5}
    assert joules_of(received, "carbon.root.energy") == {("shop", "shop", "GET /a"): 2.5, ("shop", *CHECKOUT): 1.0}


def deliver(exporter: HTTPExporter | GRPCExporter) -> None:
    provider = MeterProvider(
        metric_readers=[PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)],
        resource=Resource({"service.name": "shop"}),
        shutdown_on_exit=False,
    )
    called = total(requests=1, package=1.0, origin=CHECKOUT)
    OpenTelemetrySink(provider).update(totals(total(requests=1, package=2.5), called))
    provider.shutdown()


def test_joules_arrive_over_http(http_receiver: tuple[str, list[Export]]) -> None:
    """OTLP over HTTP to a receiver of the public protobuf package."""
    address, received = http_receiver

    deliver(HTTPExporter(endpoint=address, compression=Compression.NoCompression))

    assert_joules(received)


def test_joules_arrive_over_grpc(grpc_receiver: tuple[str, list[Export]]) -> None:
    """OTLP over gRPC to a receiver of the public protobuf package."""
    address, received = grpc_receiver

    deliver(GRPCExporter(endpoint=address, insecure=True))

    assert_joules(received)


def test_the_example_delivers_its_endpoint(
    http_receiver: tuple[str, list[Export]], free_port: int, tmp_path: Path
) -> None:
    """Under a real server, with the next export."""
    address, received = http_receiver
    server = Server(
        COMMANDS["uvicorn"]("examples.opentelemetry_service:app", free_port),
        free_port,
        tmp_path,
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=address,
        OTEL_METRIC_EXPORT_INTERVAL="200",
        OTEL_SERVICE_NAME="squares",
    )
    joules: dict[str, float] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not joules.get("GET /squares/{count}") and time.monotonic() < deadline:
        server.ask("GET", "/squares/2000000")
        time.sleep(0.2)
        joules = {roots[-1]: amount for roots, amount in joules_of(received, "carbon.root.energy").items()}
    server.stop()

    assert joules["GET /squares/{count}"] > 0.0
    assert {roots[0] for roots in joules_of(received)} == {"squares"}


async def test_a_receiver_that_never_answers_holds_up_neither_a_request_nor_a_window() -> None:
    """It takes the first export and is silent; requests are answered and windows close all the same."""
    silent = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/metrics"
    beside = InMemoryMetricReader()
    exporter = HTTPExporter(endpoint=address, timeout=60)
    provider = MeterProvider(
        metric_readers=[PeriodicExportingMetricReader(exporter, export_interval_millis=10), beside],
        shutdown_on_exit=False,
    )
    carbon = Carbon(
        meters=[FakeMeter(20.0)],
        provider=FixedIntensity(),
        sinks={"opentelemetry": OpenTelemetrySink(provider)},
        sample_interval_seconds=0.1,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with (
        carbon,
        asyncio.timeout(30),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(CarbonMiddleware(app, carbon=carbon)), base_url="http://test"
        ) as client,
    ):
        await client.get("/a")
        connection, _ = await asyncio.to_thread(silent.accept)
        assert await asyncio.to_thread(connection.recv, 1), "an export waits for its answer"
        answered = [(await client.get("/a")).status_code for _ in range(50)]
        while sum(value for _, value in points(beside, "carbon.requests")) < 51:
            await asyncio.sleep(0.02)
    connection.close()
    silent.close()
    exporter.shutdown()  # try no more
    await asyncio.to_thread(provider.shutdown)

    assert answered == [204] * 50
