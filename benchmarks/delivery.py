"""What delivery to a collector costs the app: CPU and bytes by form, and what a dead receiver costs a request.

    python -m benchmarks.delivery 2>/dev/null

The first table is the sink's own work on a batch, in CPU of its thread. The second times requests of a measured ASGI
app in process, in rounds that take turns: without a sink, with a collector that runs, and with receivers that refuse
or never answer.
"""

import argparse
import asyncio
import gzip
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.ingest import RECORDS, Server, emissions
from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.emission import Emission
from carbon_sdk.http import HTTP
from carbon_sdk.settings import from_environment
from carbon_sdk.sinks.collector import CollectorSink
from carbon_sdk.sinks.spool import Spool
from carbon_sdk.wire import to_columns, to_json

BATCHES = 40
REQUESTS, ROUNDS = 1_000, 7


def as_array(batch: Sequence[Emission]) -> bytes:
    """An array of records."""
    return f"[{','.join(map(to_json, batch))}]".encode()


def as_columns(batch: Sequence[Emission]) -> bytes:
    """What the sink sends."""
    return to_columns(batch).encode()


def costs(
    batch: Sequence[Emission], make: Callable[[Sequence[Emission]], bytes], pack: Callable[[bytes], bytes]
) -> str:
    """CPU us and bytes a record."""
    times = []
    for _ in range(9):
        started = time.thread_time()
        body = pack(make(batch))
        times.append(time.thread_time() - started)
    return f"{statistics.median(times) / len(batch) * 1e6:.1f} | {len(body) / len(batch):.0f}"


def encodings(batch: Sequence[Emission]) -> None:
    """The first table."""
    zstd = zstandard.ZstdCompressor(level=3).compress
    print("| form | CPU us a record | bytes a record |\n|---|---|---|")
    for name, make in (("array of records", as_array), ("columns", as_columns)):
        for packing, pack in (("plain", bytes), ("gzip", lambda body: gzip.compress(body, 6)), ("zstd", zstd)):
            print(f"| {name}, {packing} | {costs(batch, make, pack)} |")


async def delivered(folder: Path) -> None:
    """Records a second through the sink to a collector on another core, acknowledged one batch after the other."""
    server = Server(folder / "collector")
    http = HTTP()
    try:
        spool = Spool(folder / "spool", maximum_bytes=10**9)
        sink = CollectorSink(f"http://127.0.0.1:{server.port}", http=http, spool=spool)
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
        batches = [emissions(0, minute, start) for minute in range(BATCHES)]
        cpu, started = time.thread_time(), time.perf_counter()
        for batch in batches:
            await sink.write(batch)
        took, used = time.perf_counter() - started, time.thread_time() - cpu
        await sink.aclose()
        records = BATCHES * RECORDS
        print(
            f"\n{records:,} records through the spool to a collector: {records / took:,.0f} a second, "
            f"{used / records * 1e6:.1f} us CPU a record"
        )
    finally:
        await http.aclose()
        server.stop()


async def hello(_request: Request) -> PlainTextResponse:
    """The endpoint."""
    return PlainTextResponse("hello")


async def requests(app: CarbonMiddleware) -> float:
    """Median us of a request."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("localhost", 1),
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: object) -> None:
        return

    times = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        await app(dict(scope), receive, send)  # type: ignore[arg-type]
        times.append(time.perf_counter() - started)
        await asyncio.sleep(0)
    return statistics.median(times) * 1e6


@contextmanager
def receivers(folder: Path) -> Iterator[dict[str, str | None]]:
    """Addresses by what they do."""
    server = Server(folder / "running")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
        closed.close()
        try:
            yield {
                "no sink": None,
                "a collector that answers": f"http://127.0.0.1:{server.port}",
                "refuses": f"http://127.0.0.1:{port}",
                "does not resolve": "http://nowhere.invalid:8321",
                "accepts and never answers": f"http://127.0.0.1:{silent.getsockname()[1]}",
            }
        finally:
            server.stop()


async def one_round(folder: Path, address: str | None) -> tuple[float, float]:
    """Median us of a request, and seconds that closing took; records come each second meanwhile."""
    environ = {"CARBON_SDK_STATE_DIR": str(folder / "state"), "CARBON_SDK_COLLECTOR_URL": address or ""}
    settings = from_environment(
        environ,
        sinks=("collector",) if address else (),
        zone="DE",
        emit_interval_seconds=1.0,
        first_record_seconds=1.0,
    )
    carbon = Carbon(settings)
    app = CarbonMiddleware(Starlette(routes=[Route("/", hello)]), carbon=carbon)
    async with carbon:
        await asyncio.sleep(2.5)
        median = await requests(app)
        started = time.perf_counter()
    return median, time.perf_counter() - started


async def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    folder = Path(tempfile.mkdtemp(prefix="carbon-delivery-"))
    try:
        encodings(emissions(0, 0, datetime.now(UTC) - timedelta(hours=1)))
        await delivered(folder)
        with receivers(folder) as addresses:
            seen: dict[str, list[tuple[float, float]]] = {name: [] for name in addresses}
            for _ in range(ROUNDS):
                for name, address in addresses.items():
                    seen[name].append(await one_round(folder, address))
        print("\n| receiver | us a request | closing, greatest s |\n|---|---|---|")
        for name, rounds in seen.items():
            medians, closings = zip(*rounds, strict=True)
            print(f"| {name} | {statistics.median(medians):.1f} | {max(closings):.1f} |")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
