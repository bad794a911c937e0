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
from typing import Any

import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from carbon_sdk import Carbon, CarbonMiddleware

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
    for number, mib in asyncio.run(resident_mib(arguments.requests)):
        print(f"| resident after {number:,} requests, MiB | {mib:.1f} |")


if __name__ == "__main__":
    main()
