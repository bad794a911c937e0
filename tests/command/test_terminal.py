"""At a terminal: Ctrl-C, and a shell's job control."""

import os
import pty
import select
import shutil
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SIGNALS = str(Path(__file__).parent / "signals.py")
RUN = [sys.executable, "-m", "carbon_sdk.cli", "run"]


class Terminal:
    """A terminal with one program in its foreground.

    Args:
        words: The program.
        environment: Its environment.
    """

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.shown = ""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, environment)
        settings = termios.tcgetattr(self._master)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(self._master, termios.TCSANOW, settings)

    @property
    def foreground(self) -> int:
        """The process group that the keys go to."""
        return os.tcgetpgrp(self._master)

    def type(self, text: str) -> None:
        """Let somebody type."""
        os.write(self._master, text.encode())

    def until(self, done: Callable[[], object], seconds: float = 60.0) -> None:
        """Read what is shown until something holds."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"it did not come: {self.shown}"
            if select.select([self._master], [], [], 0.02)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode("utf-8", "replace")
                except OSError:  # the other side is closed
                    time.sleep(0.02)

    def ended(self) -> int:
        """Its exit code, or the negative number of the signal that ended it."""
        status: list[int] = []

        def look() -> bool:
            pid, found = os.waitpid(self.pid, os.WNOHANG)
            status.extend([found] if pid else [])
            return bool(status)

        self.until(look)
        return os.waitstatus_to_exitcode(status[0])

    def close(self) -> None:
        """End what still runs."""
        os.close(self._master)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[[list[str]], Terminal]]:
    """Opens terminals, and closes them with the test."""
    opened: list[Terminal] = []
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path), "PS1": "$ "}

    def start(words: list[str]) -> Terminal:
        opened.append(Terminal(words, environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_ctrl_c_reaches_the_program_once_and_what_it_used_is_told(
    terminal: Callable[[list[str]], Terminal], tmp_path: Path
) -> None:
    """The terminal sends it to the whole group; we wait for what the program makes of it."""
    file = tmp_path / "signals"
    opened = terminal([*RUN, "--", sys.executable, SIGNALS, str(file)])
    opened.until(lambda: file.exists() and file.read_text() == "ready")
    opened.type("\x03")

    assert opened.ended() == 7
    assert file.read_text() == str(int(signal.SIGINT))
    assert "exit 7" in opened.shown


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_a_shell_stops_and_continues_it_as_any_job(terminal: Callable[[list[str]], Terminal], tmp_path: Path) -> None:
    """Ctrl-Z: the shell has its prompt again; `fg`: the program goes on, and its exit code arrives."""
    file = tmp_path / "signals"
    opened = terminal(["bash", "--norc", "--noprofile", "-i"])
    opened.until(lambda: "$ " in opened.shown)
    opened.type(f"{' '.join(RUN)} -- {sys.executable} {SIGNALS} {file}\n")
    opened.until(lambda: file.exists() and file.read_text() == "ready")
    job = opened.foreground
    opened.type("\x1a")
    opened.until(lambda: "Stopped" in opened.shown)
    opened.type("echo the shell answers: $((40 + 2))\n")
    opened.until(lambda: "answers: 42" in opened.shown)
    opened.type("fg\n")
    opened.until(lambda: opened.foreground == job)
    opened.type("\x03")
    opened.until(lambda: "exit 7" in opened.shown)
    opened.type("echo code $?\n")
    opened.until(lambda: "code 7" in opened.shown)

    assert file.read_text() == str(int(signal.SIGINT))
