"""Requests per second of a one-line Starlette endpoint under uvicorn (uvloop, httptools) on one core, with and without.

Both servers run pinned to one core and are loaded in turn by `wrk` (Debian's package) from the other.
Run: `python benchmarks/throughput.py`.
"""

import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from carbon_sdk import CarbonMiddleware

ROUNDS = 7
SECONDS = 3


async def hello(request: Request) -> JSONResponse:
    """The one line."""
    return JSONResponse({"hello": "world"})


bare = Starlette(routes=[Route("/items/{item}", hello)])
measured = Starlette(routes=[Route("/items/{item}", hello)])
measured.add_middleware(CarbonMiddleware)


def serve(name: str) -> "tuple[subprocess.Popen[bytes], int]":
    """A server on core 0, ready for requests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["taskset", "-c", "0", sys.executable, "-m", "uvicorn", f"throughput:{name}", "--port", str(port)]
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=os.path.dirname(os.path.abspath(__file__)),
        env={**os.environ, "CARBON_SDK_STRUCTLOG_FILE": os.devnull},
        stderr=subprocess.DEVNULL,
    )
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.1).close()
            return process, port
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not come up")


def load(port: int) -> float:
    """Requests per second that `wrk` sees."""
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/items/7"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", shown)
    assert found, shown
    return float(found[1])


def main() -> None:
    """Print the table."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    servers = {name: serve(name) for name in ("bare", "measured")}
    figures: dict[str, list[float]] = {name: [] for name in servers}
    try:
        for turn in range(ROUNDS + 1):
            for name, (_, port) in servers.items():
                figure = load(port)
                if turn:
                    figures[name].append(figure)
    finally:
        for process, _ in servers.values():
            process.terminate()
            process.wait()
    ratio = statistics.median(own / base for own, base in zip(figures["measured"], figures["bare"], strict=True))
    print(f"CPython {platform.python_version()}, {ROUNDS} rounds of {SECONDS} s\n| server | requests/s |\n|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {statistics.median(values):,.0f} |")
    print(f"| ratio | {ratio:.3f} |")


if __name__ == "__main__":
    main()
