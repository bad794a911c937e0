"""What an explanation of a record is made of: equations, notes, and the way they are shown.

An **equation** is shown as it is computed, from left to right. Where its result is not the figure that the record
holds, because the record was changed or comes from elsewhere, it says so.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Literal

from carbon_sdk.emission import Emission
from carbon_sdk.recent import WindowFigure
from carbon_sdk.wire import to_object

Operator = Literal["+", "-", "x", "/"]

SIGNIFICANT_DIGITS = 6
SAME = 1e-6
"""Relative; floating point and a log's rounding stay below it, another price or another share does not."""
LABEL_COLUMNS = 14
LONGEST_LINE = 120
"""Longer lines are hard to read, however wide the terminal."""
HEADS = ("start", "s", "machine J", "idle J", "J/CPU s", "CPU s", "J", "GPU J", "g/kWh", "g")
"""Of the table of windows; a machine's book has no CPU seconds, most machines have no GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One number of an equation.

    Args:
        value: The number.
        unit: What it counts.
        operator: What is done with it; the first term's is +.
    """

    value: float
    unit: str
    operator: Operator = "+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """A figure, and how it comes about.

    Args:
        name: What it is.
        terms: Computed from left to right.
        unit: Of the result.
        told: The figure in the record; None where the record has none and the equation alone gives it.
    """

    name: str
    terms: tuple[Term, ...]
    unit: str
    told: float | None = None

    @property
    def value(self) -> float:
        """What the terms give."""
        result = 0.0
        for term in self.terms:
            if term.operator == "+":
                result += term.value
            elif term.operator == "-":
                result -= term.value
            elif term.operator == "x":
                result *= term.value
            else:
                result /= term.value
        return result

    @property
    def holds(self) -> bool:
        """The record's figure is the one that the terms give."""
        if self.told is None:
            return True
        largest = max(abs(term.value) for term in self.terms) if self._is_sum else abs(self.told)
        return math.isclose(self.value, self.told, rel_tol=SAME, abs_tol=SAME * largest)

    @property
    def text(self) -> str:
        """`9 J + 1.2 J = 10.2 J`."""
        shown = ""
        for place, term in enumerate(self.terms):
            number = f"{number_text(term.value)} {term.unit}".rstrip()
            if not place:
                shown = number
            elif term.operator in "x/" and self.terms[place - 1].operator in "+-" and place > 1:
                shown = f"({shown}) {term.operator} {number}"
            else:
                shown = f"{shown} {term.operator} {number}"
        result = f"{number_text(self.value)} {self.unit}".rstrip()
        text = result if len(self.terms) == 1 else f"{shown} = {result}"
        if self.holds or self.told is None:
            return text
        return f"{text}, but the record says {number_text(self.told)} {self.unit}"

    @property
    def _is_sum(self) -> bool:
        return all(term.operator in "+-" for term in self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that no equation says."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What belongs together.

    Args:
        title: What it is about.
        rows: Equations and notes.
        windows: Shown above them as a table.
    """

    title: str
    rows: tuple[Equation | Note, ...]
    windows: tuple[WindowFigure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a record's figures come about.

    Args:
        record: The record.
        sections: In the order of the line: energy, emissions, making; windows where somebody remembers them.
    """

    record: Emission
    sections: tuple[Section, ...]

    @property
    def equations(self) -> Iterator[Equation]:
        """All equations, in order."""
        for section in self.sections:
            yield from (row for row in section.rows if isinstance(row, Equation))

    @property
    def holds(self) -> bool:
        """Every figure of the record is the one that its own numbers give."""
        return all(equation.holds for equation in self.equations)

    def text(self, columns: int = 80) -> str:
        """For people.

        Args:
            columns: Width to wrap at; lines get no longer than is good to read.
        """
        width = min(columns, LONGEST_LINE)
        lines: list[str] = []
        for section in self.sections:
            lines += ["", section.title] if lines else [section.title]
            lines += _table(section.windows) if section.windows else []
            for row in section.rows:
                lines += textwrap.wrap(
                    row.text,
                    width,
                    initial_indent=f"  {row.name:<{LABEL_COLUMNS}}  ",
                    subsequent_indent=" " * (LABEL_COLUMNS + 4),
                    break_on_hyphens=False,
                )
        return "\n".join(lines) + "\n"

    def to_object(self) -> dict[str, Any]:
        """As one JSON-ready object."""
        return {
            "record": to_object(self.record),
            "holds": self.holds,
            "sections": [
                {"title": section.title, "rows": [_row_object(row) for row in section.rows]}
                for section in self.sections
            ],
            "windows": [window.to_object() for section in self.sections for window in section.windows],
        }


def number_text(value: float) -> str:
    """Six significant digits, without an exponent where people can read it so."""
    if value != 0.0 and not 1e-6 <= abs(value) < 1e15:
        return f"{value:.{SIGNIFICANT_DIGITS}g}"
    digits = SIGNIFICANT_DIGITS - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    text = f"{value:.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _table(windows: Iterable[WindowFigure]) -> list[str]:
    rows = [_cells(window) for window in windows]
    shown = [column for column, head in enumerate(HEADS) if any(row[column] != "-" for row in rows)]
    rows = [HEADS, *rows]
    widths = {column: max(len(row[column]) for row in rows) for column in shown}
    return ["  " + " ".join(f"{row[column]:>{widths[column]}}" for column in shown) for row in rows]


def _cells(window: WindowFigure) -> tuple[str, ...]:
    return (
        window.started_at.astimezone(UTC).strftime("%H:%M:%S"),
        f"{window.seconds:.3g}",
        _cell(window.machine_joules, "gap"),
        _cell(window.idle_joules, "gap"),
        _cell(window.joules_per_cpu_second, "unknown"),
        _cell(window.own_cpu_seconds, "-"),
        _cell(window.own_joules, "unknown"),
        _cell(window.own_gpu_joules, "-"),
        _cell(window.g_per_kwh, "-"),
        _cell(window.own_g, "unknown"),
    )


def _cell(value: float | None, unknown: str) -> str:
    return unknown if value is None else f"{value:.4g}"


def _row_object(row: Equation | Note) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": row.name, "text": row.text}
    if isinstance(row, Equation):
        shown |= {"value": row.value, "unit": row.unit, "holds": row.holds}
    return shown
