"""What carbon_sdk costs a process that does nothing with it: import, sampler, memory over a million requests.

Run: `python benchmarks/footprint.py`.
"""

import argparse
import asyncio
import gc
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.cpu.clock import Account, Cut, Use
from carbon_sdk.recent import Recent
from carbon_sdk.sampler import Energy, Window
from carbon_sdk.spans.ledger import Ledger, Page
from carbon_sdk.testing import FixedIntensity

FOREIGN = ("starlette", "fastapi", "prometheus_client", "opentelemetry", "httpx", "aiohttp", "structlog")


def import_milliseconds(statement: str) -> float:
    """Median of nine fresh interpreters that have imported asyncio."""
    code = (
        f"import asyncio, time; begun = time.perf_counter(); {statement}; print((time.perf_counter() - begun) * 1000)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(9)]
    return statistics.median(float(run.stdout) for run in runs)


def foreign_modules(statement: str) -> str:
    """Which web frameworks, exporters and HTTP clients a statement loads."""
    code = f"import sys; {statement}; print([m for m in {FOREIGN!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


async def sampler_share(seconds: float) -> float:
    """CPU of this process while only the sampler runs, as a share of a core."""
    async with Carbon(sinks={}):
        await asyncio.sleep(2)
        begun = time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - begun) / seconds


async def resident_mib(requests: int) -> list[tuple[int, float]]:
    """Resident memory while requests to 50 endpoints go by."""

    async def hello(request: Request) -> Response:
        return Response(b"hello")

    app = CarbonMiddleware(
        Starlette(routes=[Route(f"/{n}/{{item}}", hello) for n in range(50)]), carbon=Carbon(sinks={})
    )

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    process, readings = psutil.Process(), []
    for number in range(1, requests + 1):
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/{number % 50}/{number}",
            "root_path": "",
            "query_string": b"",
            "headers": [],
        }
        await app(scope, receive, send)
        if number in (1000, requests // 100, requests // 10, requests // 2, requests):
            gc.collect()
            readings.append((number, process.memory_info().rss / 2**20))
    if app.carbon is not None:
        await app.carbon.aclose()
    return readings


def remembering(endpoints: int) -> tuple[float, float]:
    """Microseconds for remembering a window, and MiB of ten minutes of them."""
    started = datetime(2026, 1, 1, tzinfo=UTC)
    names = [Account("request", f"GET /{number}", f"GET /{number}") for number in range(endpoints)]
    energies = (
        Energy(domain="package", joules=30.0, method="counter", idle_joules=10.0),
        Energy(domain="dram", joules=3.0, method="counter", idle_joules=1.0),
    )
    price = FixedIntensity().answer

    def page(second: int) -> Page:
        return Ledger().book(
            Window(
                started_at=started + timedelta(seconds=second),
                ended_at=started + timedelta(seconds=second + 1),
                seconds=1.0,
                energies=energies,
                busy_cpu_seconds=1.0,
                cpus=2.0,
                container_cpu_seconds=None,
                cut=Cut(
                    accounts={name: Use(cpu_seconds=0.5 / endpoints) for name in names},
                    spans=(),
                    process_cpu_seconds=0.6,
                    late_cpu_seconds=0.0,
                ),
            )
        )

    tracemalloc.start()
    recent = Recent("0" * 16)
    before = tracemalloc.get_traced_memory()[0]
    for second in range(600):
        recent.add(page(second), price, pue=1.0, wall_factor=None)
    mib = (tracemalloc.get_traced_memory()[0] - before) / 2**20
    tracemalloc.stop()
    pages = [page(second) for second in range(600, 1200)]
    begun = time.perf_counter()
    for one in pages:
        recent.add(one, price, pue=1.0, wall_factor=None)
    return (time.perf_counter() - begun) / len(pages) * 1e6, mib


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    print(f"CPython {platform.python_version()}\n| what | figure |\n|---|---|")
    print(f"| `import carbon_sdk`, ms | {import_milliseconds('import carbon_sdk'):.1f} |")
    print(f"| `from carbon_sdk import track`, ms | {import_milliseconds('from carbon_sdk import track'):.1f} |")
    print(f"| foreign modules that `track` loads | {foreign_modules('from carbon_sdk import track')} |")
    print(f"| sampler at 1 Hz, share of a core | {asyncio.run(sampler_share(arguments.seconds)):.3%} |")
    for endpoints in (50, 1000):
        microseconds, mib = remembering(endpoints)
        print(f"| remember a window of {endpoints:,} busy endpoints, us | {microseconds:.0f} |")
        print(f"| windows of {endpoints:,} busy endpoints that are remembered, MiB | {mib:.1f} |")
    for number, mib in asyncio.run(resident_mib(arguments.requests)):
        print(f"| resident after {number:,} requests, MiB | {mib:.1f} |")


if __name__ == "__main__":
    main()
