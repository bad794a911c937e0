"""Runs the demo: the service under a real uvicorn, real traffic over loopback, then the table."""

import asyncio
import contextlib
import json
import math
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
from rich.console import Console

from carbon_sdk.demo.books import Books, add_up
from carbon_sdk.demo.table import Told, as_object, show
from carbon_sdk.wire import from_json

PATHS = ("/compute/10", "/wait", "/thread", "/fan-out", "/stream")
CLIENTS = 8
START_SECONDS = 30.0


def main(environ: Mapping[str, str], *, seconds: float, as_json: bool, log: Path) -> int:
    """Run the demo and print its table.

    Args:
        environ: The environment that the service gets; its settings count.
        seconds: How long to send traffic.
        as_json: Print one JSON object instead of the table.
        log: File for the structured log lines.

    Returns:
        0, or 1 where the service did not come up.
    """
    console = Console()
    with tempfile.TemporaryDirectory(prefix="carbon-sdk-demo-") as folder:
        records = Path(folder) / "records.jsonl"
        log.unlink(missing_ok=True)
        port = free_port()
        service = start_service(port, {**environ, **_settings(records, log)})
        try:
            with (
                sigterm_as_interrupt(),
                contextlib.nullcontext() if as_json else console.status(f"{seconds:g} s of traffic to port {port} ..."),
            ):
                asyncio.run(send_traffic(port, seconds, service))
            service.send_signal(signal.SIGTERM)
            _, complaints = service.communicate(timeout=START_SECONDS)
        except (httpx.HTTPError, TimeoutError) as exc:
            service.kill()
            sys.stderr.write(f"the demo's service did not answer: {exc}\n{service.communicate()[1]}\n")
            return 1
        finally:
            service.kill()  # one that was interrupted leaves nobody behind; one that has ended is not touched
            service.wait()
        books = _read(records)
    if books.sample is None:
        sys.stderr.write(f"the demo's service left no records\n{complaints}\n")
        return 1
    if as_json:
        sys.stdout.write(json.dumps(as_object(books, str(log), _told(complaints))) + "\n")
    else:
        show(books, str(log), _told(complaints), console)
    return 0


def _told(complaints: str) -> list[Told]:
    """What carbon_sdk told on the service's standard error: why a source failed, what could not be read."""
    told = []
    for line in complaints.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("level") == "warning" and "problem" in event:
            told.append(Told(problem=str(event["problem"]), remedy=event.get("remedy")))
    return told


def _settings(records: Path, log: Path) -> dict[str, str]:
    return {
        "CARBON_SDK_SINKS": "structlog,jsonlines",
        "CARBON_SDK_STRUCTLOG_FILE": str(log),
        "CARBON_SDK_JSONLINES_PATH": str(records),
        "CARBON_SDK_SERVICE": "demo",
    }


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """A SIGTERM meanwhile is a Ctrl-C: whoever started processes ends them."""
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_service(port: int, environ: Mapping[str, str], *, apart: bool = False) -> "subprocess.Popen[str]":
    """The example service under uvicorn, in a process of its own; `apart`: one that a Ctrl-C here does not reach."""
    command = [sys.executable, "-m", "uvicorn", "carbon_sdk.demo.service:app", "--port", str(port)]
    return subprocess.Popen(  # noqa: S603  # our own interpreter and our own service
        [*command, "--log-level", "warning"],
        env=dict(environ),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=apart,
    )


async def send_traffic(
    port: int, seconds: float | None, service: "subprocess.Popen[str]", paths: Sequence[str] = PATHS
) -> None:
    """Visit every path of the service for some seconds, or until cancelled when None."""
    await until_up(port, service)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10.0) as client:
        loop = asyncio.get_running_loop()
        end = math.inf if seconds is None else loop.time() + seconds

        async def visitor(number: int) -> None:
            turn = number
            while loop.time() < end:
                reply = await client.get(paths[turn % len(paths)])
                reply.raise_for_status()
                turn += 1

        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(visitor(number))


async def until_up(port: int, service: "subprocess.Popen[str]") -> None:
    """Wait until the service answers.

    Raises:
        TimeoutError: It ended, or did not answer within half a minute.
    """
    url = f"http://127.0.0.1:{port}"
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(base_url=url, timeout=10.0) as client:
        while service.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                await client.get("/wait")
                return
            await asyncio.sleep(0.05)
    raise TimeoutError("it ended by itself")


def _read(records: Path) -> Books:
    lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
    return add_up(from_json(line) for line in lines)
