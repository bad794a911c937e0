"""What a command cost, as a table in a terminal. Needs the extra `cli`."""

import shlex

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from carbon_sdk.command.csv_file import DOMAINS
from carbon_sdk.command.report import ending, machine, sentences
from carbon_sdk.command.result import Result

LONGEST_COMMAND = 78


def show(result: Result, console: Console) -> None:
    """Print it.

    Args:
        result: What to show.
        console: Where to.
    """
    words = shlex.join(result.words)
    words = words if len(words) <= LONGEST_COMMAND else f"{words[: LONGEST_COMMAND - 1]}…"
    console.print(Text(words, style="bold"))
    console.print(Text(f"{ending(result)}, {result.duration_seconds:.2f} s, {result.cpu_seconds:.2f} CPU s"))
    rows = machine(result)
    domains = [domain for domain in DOMAINS if domain in rows["measured"] or domain in rows["the command"]]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("joules")
    for head in (*domains, "all", "g CO2e"):
        table.add_column(head, justify="right")
    grams = {record.kind: record.emissions_g for record in result.records}
    for name, joules in rows.items():
        own = name == "the command"
        table.add_row(
            name,
            *(_cell(joules.get(domain)) for domain in domains),
            _cell(sum(joules.values()) if joules else None),
            _grams(grams.get("worker")) if own else "",
            style="bold" if own else "dim",
        )
    console.print(table)
    for line in sentences(result):
        console.print(Text(line, style="yellow" if line.startswith("Still") else ""), soft_wrap=False)


def _cell(joules: float | None) -> str:
    return "unknown" if joules is None else f"{joules:,.2f}"


def _grams(grams: float | None) -> str:
    return "unknown" if grams is None else f"{grams:.6f}"
