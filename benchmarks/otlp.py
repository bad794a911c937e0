"""What a dead OTLP receiver does to requests: their latency in process without an export, and with one that hangs.

The exporter is OpenTelemetry's own over HTTP, due every tenth of a second; the receiver takes the connection and never
answers, or there is none at its port. The rounds of the ways go by turns; told are medians over rounds.

Run: `python -m benchmarks.otlp`, from the root of the repository.
"""

import argparse
import asyncio
import logging
import platform
import socket
import statistics
import time

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from benchmarks.overhead import application
from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.sinks.opentelemetry import OpenTelemetrySink
from carbon_sdk.testing import FakeMeter, FixedIntensity

WAYS = ("no export", "silent", "absent")


async def latencies(carbon: Carbon, requests: int) -> list[float]:
    """Microseconds of each of so many requests."""
    app = CarbonMiddleware(application(), carbon=carbon)

    async def nothing(*_: object) -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    found = []
    for _ in range(requests):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/items/7",
            "headers": [],
            "query_string": b"",
            "root_path": "",
        }
        begun = time.perf_counter_ns()
        await app(scope, nothing, nothing)
        found.append((time.perf_counter_ns() - begun) / 1000)
        await asyncio.sleep(0)
    return found


def provider_of(port: int) -> MeterProvider:
    """Exports to a port of this machine."""
    exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{port}/v1/metrics", timeout=5)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=100)
    return MeterProvider(metric_readers=[reader], shutdown_on_exit=False)


async def one(way: str, silent: int, requests: int) -> tuple[float, float]:
    """Median and 99th percentile of one way."""
    provider = None if way == "no export" else provider_of(silent if way == "silent" else 9)
    sinks = {} if provider is None else {"opentelemetry": OpenTelemetrySink(provider)}
    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks=sinks, zone="DE")
    async with carbon:
        await asyncio.sleep(0.3)
        found = await latencies(carbon, requests)
    if provider is not None:
        await asyncio.to_thread(provider.shutdown)
    return statistics.median(found), statistics.quantiles(found, n=100)[98]


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=5000)
    arguments = parser.parse_args()
    logging.disable()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way in WAYS:
                found[way].append(await one(way, silent.getsockname()[1], arguments.requests))
    print(f"CPython {platform.python_version()}\n| the receiver | p50, us | p99, us |\n|---|---|---|")
    for way, figures in found.items():
        middle, high = (statistics.median(values) for values in zip(*figures, strict=True))
        print(f"| {way} | {middle:.1f} | {high:.1f} |")


if __name__ == "__main__":
    asyncio.run(main())
