"""How a program ended, and what it used."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from carbon_sdk.command.books import NANOSECONDS, Books
from carbon_sdk.command.family import Ended
from carbon_sdk.command.program import Program
from carbon_sdk.emission import Emission
from carbon_sdk.recent import WindowFigure


class Result(NamedTuple):
    """How a program ended, and what it used.

    Args:
        words: The program and its arguments.
        ended: How it ended.
        started_at: UTC.
        duration_seconds: From its start to its end.
        cpu_seconds: CPU seconds of its whole tree, those that still run included up to now.
        records: The records of the run: the program's, this process's, the machine's.
        windows: What each window of the last ten minutes held of it.
        left: Descendants that still run, name by number.
        followed: How the tree was followed.
    """

    words: tuple[str, ...]
    ended: Ended
    started_at: datetime
    duration_seconds: float
    cpu_seconds: float
    records: tuple[Emission, ...]
    windows: tuple[WindowFigure, ...]
    left: Mapping[int, str]
    followed: str

    @property
    def record(self) -> Emission:
        """The program's own record."""
        return next(record for record in self.records if record.kind == "worker")


def close(program: Program, books: Books, ended: Ended, duration_seconds: float) -> Result:
    """Close the books of a program that has ended."""
    cpu_ns = program.cpu_ns()
    records = books.close(duration_seconds=duration_seconds, failed=ended.exit_code != 0)
    own = [record for record in records if record.kind == "worker"]
    return Result(
        words=program.words,
        ended=ended,
        started_at=datetime.fromtimestamp(program.started, UTC),
        duration_seconds=duration_seconds,
        cpu_seconds=cpu_ns / NANOSECONDS,
        records=tuple(records),
        windows=tuple(window for record in own for window in books.recent.of(record)),
        left=program.family.living(),
        followed=program.followed,
    )
