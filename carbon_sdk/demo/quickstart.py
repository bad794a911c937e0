"""The quick start: a collector and three services that deliver to it, all on this machine, and what it then knows.

An order in the first service is passed on to the second, and by that to the third.

Needs the extras `demo` and `collector`.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from carbon_sdk.demo.drive import (
    PATHS,
    START_SECONDS,
    free_port,
    send_traffic,
    sigterm_as_interrupt,
    start_service,
    until_up,
)

SERVICES = ("shop", "billing", "mail")
EMIT_SECONDS = 2.0
UNTIL = "Traffic goes on until Ctrl-C."
QUARTER = timedelta(minutes=15)
"""Questions to the collector begin and end on these."""


def main(environ: Mapping[str, str], *, seconds: float | None, as_json: bool, port: int) -> int:
    """Run until interrupted, or for some seconds, then print each service's total as the collector knows it.

    A SIGTERM is an interrupt too.

    Args:
        environ: The environment that collector and services get.
        seconds: How long to send traffic; until Ctrl-C when None.
        as_json: Print one JSON object at the end instead of tables.
        port: The collector's; 0 for any that is free.

    Returns:
        0, or 1 where something did not come up.
    """
    console = Console()
    with tempfile.TemporaryDirectory(prefix="carbon-sdk-quickstart-") as folder:
        try:
            with (
                sigterm_as_interrupt(),
                _collector(Path(folder), port, environ) as address,
                _services(address, folder, environ) as ports,
            ):
                if not as_json:
                    console.print(f"dashboard: {address}/dashboard/")
                    console.print(f"API: {address}/docs    services: {', '.join(SERVICES)}")
                first = EMIT_SECONDS * 2 if seconds is None else seconds
                asyncio.run(_traffic(ports, first))
                if seconds is None:
                    seen = _table(_totals(address))
                    with contextlib.suppress(KeyboardInterrupt):
                        asyncio.run(_until_interrupted(ports, lambda: console.print(seen, UNTIL)))
                _stop(ports)
                totals = _totals(address)
        except (httpx.HTTPError, TimeoutError) as exc:
            sys.stderr.write(f"the quick start did not come up: {exc}\n")
            return 1
    if not totals:
        sys.stderr.write("the services delivered nothing to the collector\n")
        return 1
    if as_json:
        sys.stdout.write(json.dumps({"collector": address, "services": totals}) + "\n")
    else:
        console.print(_table(totals))
    return 0


@contextlib.contextmanager
def _collector(folder: Path, port: int, environ: Mapping[str, str]) -> Iterator[str]:
    """The address of a collector that runs as long as the block."""
    words = ["-m", "carbon_sdk.collector", "serve", "--data", str(folder / "collector"), "--port", str(port)]
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own service
        [sys.executable, *words], env=dict(environ), stderr=subprocess.PIPE, text=True, start_new_session=True
    )  # a Ctrl-C is for us alone: the services end first, then we ask for the totals
    assert process.stderr is not None, "it was asked for"
    said = ""
    try:
        for line in process.stderr:
            said += line
            if '"collector_started"' in line:
                yield str(json.loads(line)["url"])
                return
        raise TimeoutError(said.strip() or "the collector ended by itself")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=START_SECONDS)


@contextlib.contextmanager
def _services(address: str, folder: str, environ: Mapping[str, str]) -> Iterator[dict[int, "subprocess.Popen[str]"]]:
    """The demo's service once for each name, by port."""
    running: dict[int, subprocess.Popen[str]] = {}
    trust = {"CARBON_SDK_PROPAGATE_TO": "127.0.0.1", "CARBON_SDK_BAGGAGE_SECRETS": secrets.token_hex(16)}
    called: dict[str, str] = {}
    try:
        for name in reversed(SERVICES):
            port = free_port()
            settings = {
                **trust,
                **called,
                "CARBON_SDK_SINKS": "collector",
                "CARBON_SDK_COLLECTOR_URL": address,
                "CARBON_SDK_STATE_DIR": folder,
                "CARBON_SDK_EMIT_INTERVAL_SECONDS": str(EMIT_SECONDS),
                "CARBON_SDK_FIRST_RECORD_SECONDS": str(EMIT_SECONDS),
                "CARBON_SDK_SERVICE": name,
            }
            running[port] = start_service(port, {**environ, **settings}, apart=True)
            called = {"DEMO_CALLED": f"http://127.0.0.1:{port}/order"}
        yield running
    finally:
        _stop(running)


def _stop(running: Mapping[int, "subprocess.Popen[str]"]) -> None:
    """End the services that still run, each with its last flush."""
    alive = [process for process in running.values() if process.poll() is None]
    for process in alive:
        process.send_signal(signal.SIGTERM)
    for process in alive:
        process.communicate(timeout=START_SECONDS)


async def _traffic(running: Mapping[int, "subprocess.Popen[str]"], seconds: float | None) -> None:
    first = list(running)[-1]
    await asyncio.gather(*(until_up(port, process) for port, process in running.items()))  # before orders are passed on
    async with asyncio.TaskGroup() as tasks:
        for port, process in running.items():
            paths = (*PATHS, "/order") if port == first else PATHS
            tasks.create_task(send_traffic(port, seconds, process, paths))


async def _until_interrupted(running: Mapping[int, "subprocess.Popen[str]"], say: Callable[[], None]) -> None:
    say()  # from inside the loop, which takes the interrupt from here on
    await _traffic(running, None)


def _totals(address: str) -> list[dict[str, Any]]:
    """What the collector knows of each service in this quarter of an hour and the one before."""
    now = datetime.now(UTC)
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    stretch = {"from": (quarter - QUARTER).isoformat(), "to": (quarter + QUARTER).isoformat()}
    with httpx.Client(base_url=address, timeout=START_SECONDS) as client:
        while "records_waiting 0\n" not in client.get("/metrics").text:  # what it has acknowledged, it shows soon
            time.sleep(0.02)
        answer = client.get("/v1/reports/services", params=stretch)
        answer.raise_for_status()
    return [
        {
            "service": row["key"]["service"],
            **{name: row[name] for name in ("requests", "cpu_seconds", "energy_joules", "emissions_g")},
        }
        for row in answer.json()["rows"]
    ]


def _table(totals: list[dict[str, Any]]) -> Table:
    table = Table("service", "requests", "CPU s", "J", "g CO2e", title="What the collector knows")
    for row in totals:
        figures = (row["cpu_seconds"], row["energy_joules"], row["emissions_g"])
        table.add_row(row["service"], str(row["requests"]), *("-" if one is None else f"{one:.3g}" for one in figures))
    return table
