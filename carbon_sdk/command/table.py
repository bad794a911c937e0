"""What a command cost, as a table for people: plain text, which loads nothing that the last milliseconds wait for."""

import shlex
import textwrap
from collections.abc import Mapping

from carbon_sdk.command.csv_file import DOMAINS
from carbon_sdk.command.report import ending, machine, sentences
from carbon_sdk.command.result import Result

LONGEST_COMMAND = 78
BOLD, DIM, YELLOW = "1", "2", "33"  # SGR, ECMA-48, 8.3.117


def table(result: Result, *, columns: int, styled: bool) -> str:
    """The table, and what it does not say.

    Args:
        result: What to show.
        columns: Of the terminal.
        styled: It is a terminal that knows bold and dim.
    """

    def style(line: str, code: str) -> str:
        return f"\x1b[{code}m{line}\x1b[0m" if styled else line

    words = shlex.join(result.words)
    words = words if len(words) <= LONGEST_COMMAND else f"{words[: LONGEST_COMMAND - 3]}..."
    lines = [
        style(words, BOLD),
        f"{ending(result)}, {result.duration_seconds:.2f} s, {result.cpu_seconds:.2f} CPU s",
    ]
    head, *rows = _cells(result)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines += [_aligned(head, widths), "-" * (sum(widths) + 3 * (len(widths) - 1))]
    lines += [style(_aligned(row, widths), BOLD if number == 0 else DIM) for number, row in enumerate(rows)]
    for sentence in sentences(result):
        wrapped = textwrap.wrap(sentence, columns, break_long_words=False)
        lines += [style(line, YELLOW) for line in wrapped] if sentence.startswith("Still") else wrapped
    return "\n".join(lines) + "\n"


def _cells(result: Result) -> list[list[str]]:
    """The head, then the command's row and those of the others."""
    rows = machine(result)
    domains = [domain for domain in DOMAINS if domain in rows["measured"] or domain in rows["the command"]]
    grams = "unknown" if result.record.emissions_g is None else f"{result.record.emissions_g:.6f}"
    cells = [[name, *_joules(joules, domains), ""] for name, joules in rows.items()]
    cells[0][-1] = grams
    return [["joules", *domains, "all", "g CO2e"], *cells]


def _joules(joules: Mapping[str, float], domains: list[str]) -> list[str]:
    found = [joules.get(domain) for domain in domains]
    return ["unknown" if one is None else f"{one:,.2f}" for one in [*found, sum(joules.values()) if joules else None]]


def _aligned(cells: list[str], widths: list[int]) -> str:
    """Names to the left, numbers to the right."""
    name, *numbers = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "   ".join([name, *numbers]).rstrip()
