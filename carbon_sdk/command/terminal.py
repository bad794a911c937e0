"""The command `carbon-sdk run`: runs a program and tells at its end, on stderr, what it cost.

Standard output belongs to the program. Whatever goes wrong with measuring or telling, the program runs, and its exit
code is ours.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carbon_sdk.command import command, report
from carbon_sdk.command.command import CommandError, Result
from carbon_sdk.explain import explain
from carbon_sdk.log import Log
from carbon_sdk.settings import from_environment
from carbon_sdk.sinks.sink import Total


def run(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    as_json: bool = False,
    csv: Path | None = None,
    interval_seconds: float | None = None,
    explained: bool = False,
) -> int:
    """Run a program and tell what it cost.

    Args:
        words: The program and its arguments.
        environment: The program's; the settings are in it too.
        as_json: Tell it as JSON.
        csv: Append a row to this file; no table then, unless JSON or an explanation is asked for.
        interval_seconds: How often to tell how it goes.
        explained: Show how the figures come about.

    Returns:
        The program's exit code; 127 where it is not found, 126 where it cannot be executed.

    Raises:
        CarbonSDKError: The CSV file cannot be written; nothing was run.
    """
    log = Log(_told)
    settings = from_environment(environment, on_error=lambda problem: log.fault(problem.setting, problem))
    file = None if csv is None else report.CSVFile(csv)
    name = Path(words[0]).name

    def progress(seconds: float, total: Total | None) -> None:
        _write(report.progress_line(name, seconds, total) + "\n")

    try:
        result = command.run(
            words,
            settings,
            log,
            environment=environment,
            progress=progress,
            progress_seconds=interval_seconds,
        )
    except CommandError as exc:
        _write(f"carbon-sdk: {exc}\n")
        return exc.exit_code
    try:
        if file is not None:
            file.append(result)
        if explained:
            _write(explain(result.record, windows=result.windows).text(shutil.get_terminal_size().columns))
        if as_json:
            _write(report.json_line(result))
        elif file is None and not explained:
            _show(result)
    except Exception as exc:  # the program has ended, and its exit code is what whoever called us waits for
        log.fault("run.report", exc)
    log.flush()
    return command.end_as(result.ended)


def _show(result: Result) -> None:
    try:
        from rich.console import Console  # noqa: PLC0415  # the extra `cli`

        from carbon_sdk.command import table  # noqa: PLC0415
    except ModuleNotFoundError:
        hint = 'for a table: pip install "carbon-sdk[cli]"'
        _write("\n".join([report.summary(result), *report.sentences(result), hint, ""]))
        return
    table.show(result, Console(stderr=True))


def _told(level: str, _event: str, fields: Mapping[str, Any]) -> None:
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
