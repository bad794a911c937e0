"""Runs another project's test suite without carbon_sdk and with it in every application, and compares test by test.

    python tests/peers/twice.py FOLDER [arguments of pytest]

It fails where a test ended otherwise with carbon_sdk than without, where carbon_sdk counted a fault of its own, and
where it measured no request. A test that ended otherwise is first run alone, both ways: a suite has flaky tests too.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

PLUGIN = "measured"
FEW = 20
"""So many tests at most are run again alone: more are no chance."""
Outcomes = dict[str, str]


def outcomes(report: Path) -> Outcomes:
    """How each test of a JUnit report ended: `passed`, `failed`, `error` or `skipped`, by file, class and name."""
    ended: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):  # our own pytest has just written it
        name = f"{case.get('classname')}::{case.get('name')}"
        told = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        ended[name] = {"failure": "failed"}.get(told[0], told[0]) if told else "passed"
    return ended


def differences(bare: Outcomes, measured: Outcomes) -> list[str]:
    """The tests that ended otherwise, or ran only once."""
    return sorted(name for name in bare.keys() | measured.keys() if bare.get(name) != measured.get(name))


class Suite:
    """A suite that can be run without carbon_sdk and with it.

    Args:
        folder: Where the suite's project lies.
        arguments: For pytest.
        work: For reports, records and faults.
    """

    def __init__(self, folder: Path, arguments: Sequence[str], work: Path) -> None:
        self._folder = folder
        self._arguments = arguments
        self._work = work
        self.records = work / "records.jsonl"

    def run(self, *, measured: bool, only: str | None = None) -> Outcomes:
        """Run it once; a test's own failure is an outcome, anything else ends the program."""
        report = self._work / f"{'measured' if measured else 'bare'}.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", f"--junitxml={report}", *self._arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CARBON_SDK_")}
        if measured:
            command += ["-p", PLUGIN, f"--carbon-faults={self._work}"]
            environment |= {
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), environment.get("PYTHONPATH", "")]),
                "CARBON_SDK_SINKS": "jsonlines",
                "CARBON_SDK_JSONLINES_PATH": str(self.records),
                "CARBON_SDK_STATE_DIR": str(self._work / "state"),
                "CARBON_SDK_ZONE": "DE",  # an unknown place and meter are told in the log, which suites count
                "CARBON_SDK_METER": "model",
            }
        if only is not None:
            command += ["-k", only]
        done = subprocess.run(command, cwd=self._folder, env=environment, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"pytest ended with {done.returncode} in {self._folder}")
        return outcomes(report)

    def differs_alone(self, name: str) -> bool:
        """Whether a test ends otherwise again when it is run by its function's name, both ways."""
        only = name.rpartition("::")[2].partition("[")[0]
        return bool(differences(self.run(measured=False, only=only), self.run(measured=True, only=only)))

    def requests(self) -> int:
        """How many requests carbon_sdk has measured."""
        lines = self.records.read_text(encoding="utf-8").splitlines() if self.records.exists() else []
        records = [json.loads(line) for line in lines]
        return sum(record["requests"] for record in records if record["kind"] == "request")

    def faults(self) -> dict[str, int]:
        """What carbon_sdk has counted against itself, in all processes."""
        counted: dict[str, int] = {}
        for file in self._work.glob("*.json"):
            for kind, times in json.loads(file.read_text(encoding="utf-8")).items():
                counted[kind] = counted.get(kind, 0) + times
        return counted


def main(folder: str, *arguments: str) -> int:
    """Compare; the exit status."""
    with tempfile.TemporaryDirectory() as work:
        suite = Suite(Path(folder), arguments, Path(work))
        bare, measured = suite.run(measured=False), suite.run(measured=True)
        other = differences(bare, measured)
        if len(other) <= FEW:
            other = [name for name in other if suite.differs_alone(name)]
        requests, faults = suite.requests(), suite.faults()
    told = [f"{name}: {bare.get(name)} without carbon_sdk, {measured.get(name)} with it" for name in other]
    told += [f"carbon_sdk counted the fault {kind} {times} times" for kind, times in faults.items()]
    passed = sum(outcome == "passed" for outcome in measured.values())
    told.append(
        f"{len(measured)} tests, {passed} passed, {len(other)} ended otherwise than without; "
        f"{requests} requests measured"
    )
    sys.stdout.write("\n".join(told) + "\n")
    return 1 if other or faults or not requests else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
