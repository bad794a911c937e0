"""Any program: what its whole tree used, and that it runs as it would without us."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk.command.books import CommandClock
from carbon_sdk.cpu.clock import Account
from carbon_sdk.sampler import Energy, Window
from carbon_sdk.spans.ledger import Ledger

HERE = Path(__file__).parent
BURN, KERNEL, SIGNALS = (str(HERE / name) for name in ("burn.py", "kernel.py", "signals.py"))
RUN = [sys.executable, "-m", "carbon_sdk.cli", "run"]
ALONE = """
import sys
from carbon_sdk.command import program, terminal
from carbon_sdk.environment import environment
program.run(sys.argv[1:], environment(), lambda one: terminal.Terminal(one, as_json=True), control_group=False)
loaded = {"aiohttp", "httpx", "http.client", "asyncio", "importlib.metadata"} & sys.modules.keys()
assert not loaded, f"nothing is asked over the network, and nobody waits for {loaded}"
"""
WAYS = {"group": [*RUN, "--json", "--"], "tree": [sys.executable, "-c", ALONE]}
"""With a control group where the machine lets us, and without one."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the person who runs the tests."""
    return {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path), "CARBON_SDK_ZONE": "DE"}


@pytest.fixture(params=sorted(WAYS))
def told(request: pytest.FixtureRequest, environment: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Runs a command in one of two ways, and gives what was told of it."""

    def run(*words: str) -> dict[str, Any]:
        done = subprocess.run(
            [*WAYS[request.param], *words], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        figures: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
        if request.param == "tree":
            assert figures["followed"] == "process tree"
        return figures

    return run


def python(*words: str) -> tuple[str, ...]:
    return (sys.executable, *words)


@pytest.mark.skipif(not shutil.which("make") or not shutil.which("cc"), reason="needs make and a C compiler")
def test_a_parallel_build_is_charged_what_the_kernel_says(told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """`make -j2` of a small C project: compilers are grandchildren that live for a moment."""
    body = "".join(f"int f{n}(int x) {{ return x * {n} + (x >> {n % 7}); }}\n" for n in range(400))
    for unit in "abcd":
        (tmp_path / f"{unit}.c").write_text(body.replace("f", unit))
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "Makefile").write_text("main: a.o b.o c.o d.o main.o\n\tcc -o $@ $^\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n")
    file = tmp_path / "kernel"
    figures = told(*python(KERNEL, str(file), "make", "-s", "-j2", "-C", str(tmp_path)))

    assert figures["exit_code"] == 0
    assert figures["cpu_seconds"] == pytest.approx(float(file.read_text()), rel=0.03)
    assert figures["energy_joules"] > 0.0
    assert figures["emissions_g"] > 0.0
    assert (figures["zone"], figures["intensity_quality"]) == ("DE", "static")


def test_all_of_a_pipeline_is_charged(told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Its parts run at once."""
    file = tmp_path / "kernel"
    pipeline = f"{sys.executable} {BURN} 0.4 | {sys.executable} {BURN} 0.6 | cat"
    figures = told(*python(KERNEL, str(file), "sh", "-c", pipeline))

    assert figures["cpu_seconds"] == pytest.approx(float(file.read_text()), rel=0.03)
    assert figures["cpu_seconds"] > 1.0


def test_a_daemon_that_forked_twice_is_charged(told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """It has left its session and lost its parents; what it used arrives all the same."""
    file, kernel = tmp_path / "daemon", tmp_path / "kernel"
    script = f"{sys.executable} {BURN} 1.2 {file}; while [ ! -s {file} ]; do sleep 0.1; done; sleep 0.2"
    figures = told(*python(KERNEL, str(kernel), "sh", "-c", script))
    used = float(file.read_text())

    assert used >= 1.2
    assert figures["cpu_seconds"] == pytest.approx(used + float(kernel.read_text()), rel=0.03)
    assert figures["left_running"] == {}


def test_what_outlives_the_command_is_told(told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """The command's end is the run's end; a server that it left behind is named."""
    file = tmp_path / "pid"
    figures = told("sh", "-c", f"sleep 300 >/dev/null 2>&1 & echo $! > {file}; sleep 0.3")
    pid = file.read_text().strip()
    os.kill(int(pid), signal.SIGKILL)

    assert figures["left_running"] == {pid: "sleep"}


def test_a_child_that_is_killed_is_charged_until_then(told: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """A signal ends it; what it had used is the kernel's to tell."""
    file = tmp_path / "kernel"
    script = f"{sys.executable} {BURN} 60 & p=$!; sleep 1; kill -9 $p; wait $p; exit 5"
    figures = told(*python(KERNEL, str(file), "sh", "-c", script))

    assert figures["exit_code"] == 5
    assert figures["cpu_seconds"] > 0.1
    assert figures["cpu_seconds"] == pytest.approx(float(file.read_text()), rel=0.03)


def test_where_the_machines_joules_went_adds_up(told: Callable[..., dict[str, Any]]) -> None:
    """The command, others, this process, idle: together what was measured, and nobody's is negative."""
    figures = told(*python(BURN, "0.5"))
    parts = dict(figures["machine_joules"])
    measured = parts.pop("measured")

    assert sum(parts.values()) == pytest.approx(measured, rel=1e-9)
    assert all(joules >= -1e-9 for joules in parts.values())
    assert parts["the command"] == pytest.approx(figures["energy_joules"])


def run(environment: dict[str, str], *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*RUN, *words], env=environment, capture_output=True, text=True, timeout=120, check=False, **more
    )


def test_output_input_and_exit_code_are_the_programs(environment: dict[str, str]) -> None:
    """Standard output holds nothing of ours."""
    done = run(environment, "--", "sh", "-c", "cat; exit 3", input="hello\n")

    assert (done.returncode, done.stdout) == (3, "hello\n")
    assert "exit 3" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_program_that_a_signal_ended_ends_us_by_the_same(environment: dict[str, str], number: int) -> None:
    """Whoever waits for us sees what it would have seen; what was used is told before."""
    done = run(environment, "--", "sh", "-c", f"kill -{number} $$")

    assert done.returncode == -number
    assert f"ended by {signal.Signals(number).name}" in done.stderr


@pytest.mark.parametrize(("words", "code"), [(["no-such-program"], 127), ([""], 127), (["/etc/passwd"], 126), ([], 2)])
def test_what_cannot_be_run_ends_as_in_a_shell(environment: dict[str, str], words: list[str], code: int) -> None:
    """One line, no traceback."""
    done = run(environment, "--", *words)

    assert done.returncode == code
    assert done.stderr.startswith("carbon-sdk: ")
    assert "Traceback" not in done.stderr


def test_a_program_finds_the_signals_that_it_would_have_without_us(environment: dict[str, str]) -> None:
    """None blocked, none ignored that was not; of the C library's own two nobody knows."""
    look = ["sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status"]
    bare = subprocess.run(look, capture_output=True, text=True, check=True).stdout
    masks = [
        [int(line.split()[1], 16) & 0x7FFF_FFFF for line in shown.splitlines()]
        for shown in (run(environment, "--", *look).stdout, bare)
    ]

    assert len(masks[0]) == 2
    assert masks[0] == masks[1]


@pytest.fixture
def noting(environment: dict[str, str], tmp_path: Path) -> Callable[[], tuple["subprocess.Popen[str]", Path]]:
    """Starts a program that writes down its signals, in a process group of its own."""

    def start() -> tuple["subprocess.Popen[str]", Path]:
        file = tmp_path / "signals"
        command = [*RUN, "--", *python(SIGNALS, str(file))]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        until(lambda: file.exists() and file.read_text() == "ready")
        return process, file

    return start


def until(done: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("to_group", [False, True])
def test_a_signal_arrives_once_however_it_was_sent(
    noting: Callable[[], tuple["subprocess.Popen[str]", Path]], number: int, to_group: bool
) -> None:
    """To us alone: passed on. To the whole group: the program has it already."""
    process, file = noting()
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, told = process.communicate(timeout=60)

    assert file.read_text() == str(int(number))
    assert process.returncode == 7
    assert "exit 7" in told


def test_a_long_run_is_told_as_it_goes_and_when_it_is_killed(environment: dict[str, str]) -> None:
    """A line each interval; at SIGTERM the figures up to then."""
    words = [*RUN, "--interval", "0.3", "--", *python(BURN, "60")]
    process = subprocess.Popen(
        words, env={**environment, "CARBON_SDK_SAMPLE_INTERVAL_SECONDS": "0.2"}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(2)]
    process.terminate()
    _, rest = process.communicate(timeout=60)

    assert all(re.search(r": \d+ s, [\d.]+ CPU s, [\d.]+ J, [\d.]+ g", line) for line in lines), lines
    assert process.returncode == -signal.SIGTERM
    assert "ended by SIGTERM" in rest
    assert "the command" in rest


def test_runs_are_added_to_a_csv_file_row_by_row(environment: dict[str, str], tmp_path: Path) -> None:
    """One head; a text that a spreadsheet would take for a formula is quoted; a file with other columns is refused."""
    file = tmp_path / "runs.csv"
    (tmp_path / "=evil").write_text("#!/bin/sh\nexit 4\n")
    (tmp_path / "=evil").chmod(0o755)
    more = {**environment, "PATH": f"{tmp_path}{os.pathsep}{environment['PATH']}"}
    first = run(more, "--csv", str(file), "--", "=evil")
    second = run(more, "--csv", str(file), "--", "true")
    rows = [line.split(",") for line in file.read_text().splitlines()]
    (tmp_path / "other.csv").write_text("a,b\n")
    refused = run(more, "--csv", str(tmp_path / "other.csv"), "--", "touch", str(tmp_path / "ran"))

    assert (first.returncode, first.stderr, second.returncode) == (4, "", 0)
    assert [row[1] for row in rows] == ["command", "'=evil", "true"]
    assert [row[2] for row in rows[1:]] == ["4", "0"]
    assert (refused.returncode, (tmp_path / "ran").exists()) == (2, False)
    assert "other columns" in refused.stderr


def test_a_run_is_explained_window_by_window(environment: dict[str, str]) -> None:
    """The arithmetic that is shown for a record serves here too."""
    done = run(environment, "--explain", "--", *python(BURN, "0.3"))

    assert "Window by window" in done.stderr
    assert "PUE" in done.stderr
    assert "but the record says" not in done.stderr


def test_a_provider_that_is_set_prices_the_run(environment: dict[str, str]) -> None:
    """Without one nobody is asked."""
    set_up = {**environment, "CARBON_SDK_PROVIDER": "constant", "CARBON_SDK_CONSTANT_G_PER_KWH": "250"}
    done = run(set_up, "--json", "--", *python(BURN, "0.2"))
    figures = json.loads(done.stderr.splitlines()[-1])

    assert figures["intensity_source"] == "constant"
    assert figures["emissions_g"] == pytest.approx(figures["energy_joules"] / 3.6e6 * 250.0)


def test_a_setting_that_cannot_be_used_is_told_and_the_program_runs(environment: dict[str, str]) -> None:
    """Measuring never stands in a program's way."""
    done = run({**environment, "CARBON_SDK_IDLE_WATTS": "many"}, "--", "true")

    assert done.returncode == 0
    assert "CARBON_SDK_IDLE_WATTS" in done.stderr


def test_what_the_commands_processes_used_of_a_gpu_is_the_commands() -> None:
    """Not this process's, whose part the driver would tell otherwise."""
    account = Account("worker", "train", "train")
    cut = CommandClock(account, lambda: 0, 0).cut()
    energy = Energy(domain="gpu", joules=100.0, method="counter", idle_joules=20.0, process_share=0.75)
    page = Ledger().book(
        Window(
            started_at=datetime(2026, 3, 29, tzinfo=UTC),
            ended_at=datetime(2026, 3, 29, 0, 0, 1, tzinfo=UTC),
            seconds=1.0,
            energies=(energy,),
            busy_cpu_seconds=1.0,
            cpus=4.0,
            container_cpu_seconds=None,
            cut=cut,
        )
    )

    assert page.entries[account].joules == {"gpu": pytest.approx(60.0)}
    assert page.rest == {"gpu": pytest.approx(20.0)}
