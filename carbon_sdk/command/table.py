"""What a command cost, as a table for people. Needs the extra `cli`; loaded while the program runs."""

try:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(f'{exc.name} is missing: pip install "carbon-sdk[cli]"', name=exc.name) from exc

from carbon_sdk.command import report
from carbon_sdk.command.result import Result


def table(result: Result) -> str:
    """The table, and what it does not say, as the terminal at standard error shows them.

    Args:
        result: What to show.
    """
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    with console.capture() as shown:
        console.print(Text(report.command(result), style="bold"), no_wrap=True, overflow="ellipsis")
        console.print(Text(report.ending(result)))
        console.print(_rows(result))
        for sentence in report.sentences(result):
            console.print(Text(sentence, style="yellow" if sentence.startswith(report.STILL_RUNNING) else ""))
    return shown.get()


def _rows(result: Result) -> Table:
    """The command's row, then those of the others."""
    (name, *numbers), *rows = report.rows(result)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    grid.add_column(name)
    for number in numbers:
        grid.add_column(number, justify="right")
    for place, row in enumerate(rows):
        grid.add_row(*row, style="dim" if place else "bold")
    return grid
