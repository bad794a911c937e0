"""A program starts before anything is loaded that measures it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SIGNALS = str(HERE / "signals.py")
START = """
import pathlib, sys, time
from carbon_sdk.command import program

loaded, told = map(pathlib.Path, sys.argv[1:3])

class Measurement:
    def begin(self): pass
    def seconds_to_boundary(self): return 60.0
    def tick(self): pass
    def cut(self): pass
    def tell(self, ended, duration_seconds): told.write_text(str(duration_seconds))

def load(running):
    while not loaded.exists():
        time.sleep(0.01)
    if loaded.read_text() == "fails":
        raise OSError("no meter answers")
    return Measurement()

program.end_as(program.run(sys.argv[3:], {"PATH": "/usr/bin:/bin"}, load))
"""
"""Loads for as long as a file is not there."""


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", START, str(folder / "loaded"), str(folder / "told"), *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def appears(file: Path, text: str | None = None) -> None:
    end = time.monotonic() + 60.0
    while not file.exists() or (text is not None and file.read_text() != text):
        assert time.monotonic() < end, f"{file.name} did not come"
        time.sleep(0.02)


def test_a_signal_is_passed_on_while_nothing_is_loaded_yet(tmp_path: Path) -> None:
    """It does not wait for the meters."""
    file = tmp_path / "signals"
    process = start(tmp_path, sys.executable, SIGNALS, str(file))
    appears(file, "ready")
    os.kill(process.pid, signal.SIGUSR1)
    appears(file, str(int(signal.SIGUSR1)))
    (tmp_path / "loaded").touch()
    process.communicate(timeout=60)

    assert process.returncode == 7
    assert (tmp_path / "told").exists()


def test_a_program_that_ends_before_all_is_loaded_took_its_own_time(tmp_path: Path) -> None:
    """What was loaded after its end is not its duration."""
    file = tmp_path / "ended"
    process = start(tmp_path, "sh", "-c", f"touch {file}")
    appears(file)
    time.sleep(2.0)
    (tmp_path / "loaded").touch()
    process.communicate(timeout=60)

    assert process.returncode == 0
    assert float((tmp_path / "told").read_text()) < 1.9


def test_what_cannot_be_loaded_is_told_and_the_program_goes_on(tmp_path: Path) -> None:
    """Its exit code is ours, as ever."""
    (tmp_path / "loaded").write_text("fails")
    process = start(tmp_path, "sh", "-c", "sleep 0.5; exit 4")
    _, told = process.communicate(timeout=60)

    assert process.returncode == 4
    assert told == "carbon-sdk: nothing is measured: OSError: no meter answers\n"


def test_little_is_loaded_before_a_program_starts() -> None:
    """Neither meters nor settings nor what tells."""
    code = "import sys, carbon_sdk.cli, carbon_sdk.command.verb; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "carbon_sdk.command.program" in shown
    assert not {"carbon_sdk.settings", "carbon_sdk.sampler", "carbon_sdk.meters.detect", "json", "inspect"} & {*shown}


def test_a_run_without_a_provider_loads_nothing_that_could_ask_the_network() -> None:
    """Nor what is worth loading only to a driver or to a mistake."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CARBON_SDK_")}

    words = [sys.executable, "-X", "importtime", "-m", "carbon_sdk.cli", "run", "--", "true"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(re.findall(r"^import time: .*\| +([\w.]+)$", done.stderr, re.M))

    late = {"asyncio", "socket", "ssl", "http.client", "aiohttp", "httpx", "structlog", "logging", "difflib"}
    assert late & loaded == set()
    assert {"carbon_sdk.sampler", "rich.table"} <= loaded
    assert "the command" in done.stderr, "it was measured and told"


def test_what_draws_the_table_is_loaded_while_the_program_runs_and_may_be_missing(tmp_path: Path) -> None:
    """Nobody waits for it at the end; where it is not installed, the same figures are told as sentences."""
    (tmp_path / "rich").mkdir()
    looked_for = tmp_path / "looked_for"
    stand_in = f"open({str(looked_for)!r}, 'w').close(); raise ModuleNotFoundError('no rich', name='rich')"
    (tmp_path / "rich" / "__init__.py").write_text(stand_in)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "CARBON_SDK_ZONE": "DE"}
    waiting = f"for _ in $(seq 200); do test -e {looked_for} && exit 0; sleep 0.1; done; exit 1"
    words = ["-m", "carbon_sdk.cli", "run", "--", "sh", "-c", waiting]
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, "it was looked for before the program's end"
    assert re.search(r"^the command: package [\d.]+, dram [\d.]+, all [\d.]+, g CO2e [\d.]+$", done.stderr, re.M)
    assert re.search(r"^measured: .* all [\d.]+$", done.stderr, re.M)


def test_the_table_is_as_wide_as_the_terminal() -> None:
    """Sentences are wrapped, and a long command is cut."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CARBON_SDK_ZONE": "DE", "COLUMNS": "60"}
    words = ["-m", "carbon_sdk.cli", "run", "--", "sh", "-c", f": {'long ' * 30}"]
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stderr.splitlines()

    assert max(map(len, lines)) <= 60
    assert lines[0].endswith("…")
    assert sum(line.startswith("sh -c") or "long" in line for line in lines) == 1
