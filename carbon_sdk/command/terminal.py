"""Measures a program and tells on stderr, at its end, what it cost.

Standard output belongs to the program. Whatever goes wrong with measuring or telling, the program runs, and its exit
code is ours.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from carbon_sdk.command import report
from carbon_sdk.command.books import open_books
from carbon_sdk.command.csv_file import CSVFile
from carbon_sdk.command.family import Ended
from carbon_sdk.command.program import Program
from carbon_sdk.command.result import Result, close
from carbon_sdk.log import Log
from carbon_sdk.settings import from_environment


class Terminal:
    """A program's books, and whoever reads of them.

    Args:
        program: It runs.
        as_json: Tell it as JSON.
        csv: Append a row to this file; no table then, unless JSON or an explanation is asked for.
        interval_seconds: How often to tell how it goes.
        explained: Show how the figures come about.
    """

    def __init__(
        self,
        program: Program,
        *,
        as_json: bool = False,
        csv: CSVFile | None = None,
        interval_seconds: float | None = None,
        explained: bool = False,
    ) -> None:
        self._program = program
        self._as_json = as_json
        self._csv = csv
        self._interval_seconds = interval_seconds
        self._explained = explained
        self._told = 0
        self._name = Path(program.words[0]).name
        self._log = log = Log(_tell)
        settings = from_environment(program.environment, on_error=lambda problem: log.fault(problem.setting, problem))
        self._stack = ExitStack()
        self._books = self._stack.enter_context(open_books(settings, self._name, log, program=program))
        self._show = None if as_json or csv is not None or explained else _drawing()

    def begin(self) -> None:
        """The first window."""
        self._books.begin()

    def seconds_to_boundary(self) -> float:
        """How long until the next window closes."""
        return self._books.seconds_to_boundary()

    def tick(self) -> None:
        """A boundary: close a window, and tell how it goes where that is due."""
        self._books.tick()
        seconds = (time.monotonic_ns() - self._program.baseline.monotonic_ns) / 1e9
        if self._interval_seconds is not None and seconds >= (self._told + 1) * self._interval_seconds:
            self._told = int(seconds // self._interval_seconds)
            _write(report.progress_line(self._name, seconds, self._books.total()) + "\n")

    def cut(self) -> None:
        """The program stops here, or goes on."""
        self._books.cut()

    def tell(self, ended: Ended, duration_seconds: float) -> None:
        """The program has ended."""
        with self._stack:
            result = close(self._program, self._books, ended, duration_seconds)
        try:
            if self._csv is not None:
                self._csv.append(report.figures(result))
            if self._explained:
                from carbon_sdk.explain import explain  # noqa: PLC0415  # nobody else waits for it

                _write(explain(result.record, windows=result.windows).text(get_terminal_size().columns))
            if self._as_json:
                _write(report.json_line(result))
            elif self._show is not None:
                _write(self._show(result))
        except Exception as exc:  # the program has ended, and its exit code is what whoever called us waits for
            self._log.fault("run.report", exc)
        self._log.flush()


def _drawing() -> Callable[[Result], str]:
    """What shows a result to people: a table, or sentences where nothing is installed that draws one."""
    try:
        from carbon_sdk.command.table import table  # noqa: PLC0415  # needs the extra `cli`
    except ImportError:
        return report.lines
    return table


def _tell(level: str, _event: str, fields: Mapping[str, Any]) -> None:
    """A problem as one line for people."""
    if level != "info":
        remedy = f". {fields['remedy']}" if fields.get("remedy") else ""
        _write(f"carbon-sdk: {fields.get('problem')}{remedy}\n")


def _write(text: str) -> None:
    """To stderr; who closed it wants to hear nothing."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return
