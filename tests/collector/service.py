"""The real collector, as a process of its own on a free port."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import httpx

from carbon_sdk.emission import Emission
from carbon_sdk.wire import to_json

LONG = os.environ.get("LONG") == "1"
"""Tests that repeat themselves do so as often as before a release."""
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
"""Windows of the tests begin here: recent enough to be taken, past enough to be whole."""


def stamp(moment: datetime) -> str:
    """As the API writes a time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


DAYS = {"from": stamp(HOUR - timedelta(hours=48)), "to": stamp(HOUR + timedelta(hours=6))}
"""The stretch of time about it."""


class Collector:
    """A collector that runs on a folder.

    Args:
        folder: Its data.
        words: Further words of its command line.
        before: Words before it: a command that ends by becoming the collector.
    """

    def __init__(self, folder: Path, *words: str, before: Sequence[str] = ()) -> None:
        self.folder = folder
        serve = [sys.executable, "-m", "carbon_sdk.collector", "serve", "--data", str(folder), "--port", "0"]
        self.process = subprocess.Popen(
            [*before, *serve, *words],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        self.log: list[dict[str, Any]] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line) if line.startswith("{") else {"event": line.strip()})
            if self.log[-1]["event"] == "collector_started":
                break
        else:
            self.process.communicate()
            raise AssertionError(f"the collector did not start: {self.log}")
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()
        self.client = httpx.Client(base_url=self.log[-1]["url"], trust_env=False, timeout=20.0)

    def send(self, records: Sequence[Emission], **headers: str) -> dict[str, Any]:
        """The answer to one batch."""
        answer = self.client.post(
            "/v1/emissions",
            content=f"[{','.join(map(to_json, records))}]",
            headers={"content-type": "application/json", **headers},
        )
        body: dict[str, Any] = answer.json()
        return {"status": answer.status_code, **body}

    def ask(self, path: str, **asked: str) -> dict[str, Any]:
        """The answer to one question over the hours of the tests, once queries see all that was acknowledged."""
        while "records_waiting 0\n" not in self.client.get("/metrics").text:
            time.sleep(0.02)
        answer = self.client.get(path, params={**DAYS, **asked})
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def total(self, measure: str = "energy_joules") -> float:
        """The sum over all services."""
        return sum(row[measure] or 0.0 for row in self.ask("/v1/reports/services")["rows"])

    def keys(self) -> list[tuple[str, int]]:
        """The key of every record kept."""
        keys: list[tuple[str, int]] = []
        asked: dict[str, str] = dict(DAYS)
        while True:
            answer = self.client.get("/v1/records", params={**asked, "limit": "5000"})
            answer.raise_for_status()
            rows = map(json.loads, answer.text.splitlines())
            keys += [(row["instance"], row["sequence"]) for row in rows]
            if "x-next-cursor" not in answer.headers:
                return keys
            asked["cursor"] = answer.headers["x-next-cursor"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        self.client.close()
        self.process.send_signal(number)
        self._reader.join(30)
        return self.process.wait(30)

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self.log.append(json.loads(line) if line.startswith("{") else {"event": line.strip()})


def emission(sequence: int, *, instance: str = "0" * 15 + "1", joules: float = 1.5, **fields: Any) -> Emission:
    """One minute of one endpoint."""
    start = fields.pop("window_start", HOUR + timedelta(minutes=sequence % 60))
    given: dict[str, Any] = {
        "instance": instance,
        "sequence": sequence,
        "service": "shop",
        "machine": "m" * 16,
        "kind": "request",
        "root": "GET /items/{id}",
        "name": "GET /items/{id}",
        "window_start": start,
        "window_end": fields.pop("window_end", start + timedelta(minutes=1)),
        "meter": "powercap",
        "meter_scope": "machine",
        "basis": "powercap: package-0",
        "idle_rule": "learnt",
        "requests": 3,
        "cpu_seconds": joules / 10.0,
        "energy_joules": joules,
        "energy_package_joules": joules,
        "energy_package_method": "counter",
        "energy_method": "counter",
        "emissions_g": joules / 3.6e6 * 300.0,
        "intensity_g_per_kwh": 300.0,
        "intensity_source": "constant",
        "intensity_quality": "measured",
        "intensity_signal": "average",
        "intensity_scope": "lifecycle",
        "zone": "DE",
        "place": "DE",
    }
    return Emission(**{**given, **fields})
