"""A real worker process of a framework, and the records that it hands over."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from carbon_sdk.emission import Emission
from carbon_sdk.wire import from_json

ROOT = Path(__file__).parent.parent.parent


class Worker:
    """A worker that runs until it is told to stop.

    Args:
        command: The module to run and its words.
        folder: Where its records and its output go.
        environment: Variables beside those of this process.
    """

    def __init__(self, command: Sequence[str], *, folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.records_file = folder / "records.jsonl"
        self.output_file = folder / "output.txt"
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "CARBON_SDK_SERVICE": "worker",
            "CARBON_SDK_ZONE": "DE",
            "CARBON_SDK_SINKS": "jsonlines",
            "CARBON_SDK_JSONLINES_PATH": str(self.records_file),
            "CARBON_SDK_STATE_DIR": str(folder / "state"),
            **environment,
        }
        with self.output_file.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it and its children have printed."""
        return self.output_file.read_text(encoding="utf-8")

    def wait_for(self, text: str, *, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until it has printed something so many times."""
        end = time.monotonic() + seconds
        while self.output.count(text) < times:
            assert time.monotonic() < end, f"{text!r} is not in: {self.output}"
            assert self.process.poll() is None, f"it has ended: {self.output}"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> "Records":
        """What it has handed over once it has ended as it was told."""
        self.process.send_signal(number)
        try:
            self.process.wait(30)
        finally:
            self.kill()
        return Records(self.records_file)

    def kill(self) -> None:
        """End it and its children, if they still run."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Records:
    """Records of a file, added up by account over intervals and processes.

    Args:
        file: JSON lines, as the sink wrote them.
    """

    def __init__(self, file: Path) -> None:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.all: list[Emission] = [from_json(line) for line in lines]

    def __getitem__(self, name: str) -> list[Emission]:
        return [record for record in self.all if record.name == name]

    def names(self, kind: str) -> set[str]:
        """The accounts of one kind."""
        return {record.name for record in self.all if record.kind == kind}

    def ends(self, name: str) -> dict[str, int]:
        """Runs by how they ended, those that are not 0."""
        fields = ("requests", "errors", "timeouts", "cancelled", "retries")
        sums = {field: sum(getattr(record, field) for record in self[name]) for field in fields}
        return {field: count for field, count in sums.items() if count}

    def cpu_seconds(self, name: str) -> float:
        """CPU seconds of one account."""
        return sum(record.cpu_seconds or 0.0 for record in self[name])

    def energy_joules(self, name: str) -> float:
        """Joules of one account."""
        return sum(record.energy_joules or 0.0 for record in self[name])
