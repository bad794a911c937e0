"""The command `carbon-sdk run`. Nothing that measures or tells is loaded before the program runs."""

import argparse
import sys

from carbon_sdk.command import program
from carbon_sdk.command.program import Measurement, Program, ProgramError
from carbon_sdk.environment import environment


def run(arguments: argparse.Namespace) -> int:
    """Run a program, tell what it cost, and end this process as it ended.

    Args:
        arguments: As parsed.

    Returns:
        Where no program was run: 127 where it is not found, 126 where it cannot be executed, 2 where none is named.

    Raises:
        CarbonSDKError: The CSV file cannot be written; nothing was run.
    """
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not words:
        sys.stderr.write("carbon-sdk: run what? carbon-sdk run -- COMMAND ...\n")
        return 2
    file = None
    if arguments.csv is not None:
        from carbon_sdk.command.csv_file import CSVFile  # noqa: PLC0415  # looked at before the program starts

        file = CSVFile(arguments.csv)

    def load(running: Program) -> Measurement:
        from carbon_sdk.command import terminal  # noqa: PLC0415  # while the program runs

        return terminal.Terminal(
            running,
            as_json=arguments.json,
            csv=file,
            interval_seconds=arguments.interval,
            explained=arguments.explain,
        )

    try:
        ended = program.run(words, environment(), load)
    except ProgramError as exc:
        sys.stderr.write(f"carbon-sdk: {exc}\n")
        return exc.exit_code
    else:
        program.end_as(ended)
