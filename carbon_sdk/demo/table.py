"""The demo's table, for people and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from carbon_sdk.demo.books import DOMAINS, Books, Row
from carbon_sdk.emission import Emission


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One warning of carbon_sdk.

    Args:
        problem: What does not work.
        remedy: What to do about it; None where the problem says so itself.
    """

    problem: str
    remedy: str | None


def as_object(books: Books, log: str, told: Sequence[Told]) -> dict[str, Any]:
    """The table as one JSON-ready object.

    Args:
        books: What to show.
        log: The file with the structured log lines.
        told: The service's warnings.
    """
    sample = books.sample
    return {
        "endpoints": [_row(row) for row in books.endpoints],
        "process": [_row(row) for row in books.process],
        "machine": [_row(row) for row in books.machine],
        "measured": _row(books.measured),
        "booked_joules": books.booked_joules,
        "intensity_g_per_kwh": sample.intensity_g_per_kwh if sample else None,
        "intensity_source": sample.intensity_source if sample else None,
        "intensity_quality": sample.intensity_quality if sample else None,
        "zone": sample.zone if sample else None,
        "meter": sample.meter if sample else None,
        "energy_method": sample.energy_method if sample else None,
        "basis": sample.basis if sample else None,
        "told": [{"problem": one.problem, "remedy": one.remedy} for one in told],
        "log": log,
    }


def show(books: Books, log: str, told: Sequence[Told], console: Console) -> None:
    """Print the table.

    Args:
        books: What to show.
        log: The file with the structured log lines.
        told: The service's warnings.
        console: Where to.
    """
    console.print(_table(books, console.width))
    console.print(_notes(books, log))
    for one in told:
        console.print(Text(one.problem, style="yellow"))
        if one.remedy is not None:
            console.print(Text(f"  {one.remedy}."))


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "requests": row.requests,
        "cpu_seconds": row.cpu_seconds,
        "energy_joules": row.total_joules,
        **{f"energy_{domain}_joules": row.energy_joules.get(domain) for domain in DOMAINS},
        "emissions_g": row.emissions_g,
        "emissions_g_per_request": row.g_per_request,
        "sci_g_per_request": row.sci_g_per_request,
        "units": row.units,
        "emissions_g_per_unit": row.g_per_unit,
    }


def _table(books: Books, width: int) -> RenderableType:
    domains = [domain for domain in DOMAINS if domain in books.measured.energy_joules]
    table = Table(
        box=box.SIMPLE_HEAD,
        title="What each endpoint emitted",
        title_justify="left",
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("endpoint", overflow="fold")
    sci = any(row.sci_g_per_request is not None for row in books.endpoints)
    heads = ("requests", "CPU s", *(f"{domain} J" for domain in domains), "g CO2e", "mg/request")
    for name in (*heads, "SCI mg/request") if sci else heads:
        table.add_column(name, justify="right")
    for row in books.endpoints:
        table.add_row(row.name, *_cells(row, domains, served=True, sci=sci))
    table.add_section()
    for row in (*books.process, *books.machine):
        table.add_row(row.name, *_cells(row, domains, served=False, sci=sci), style="dim")
    table.add_section()
    table.add_row("measured", *_cells(books.measured, domains, served=False, sci=sci), style="bold")
    return table


def _cells(row: Row, domains: list[str], *, served: bool, sci: bool) -> list[str]:
    joules = [_number(row.energy_joules.get(domain), 2) for domain in domains]
    per_request = _number(_milligrams(row.g_per_request), 4) if served else ""
    index = [_number(_milligrams(row.sci_g_per_request), 4) if served else ""] if sci else []
    return [
        str(row.requests) if served else "",
        _number(row.cpu_seconds, 2) if row.cpu_seconds is not None else "",
        *joules,
        _number(row.emissions_g, 6),
        per_request,
        *index,
    ]


def _milligrams(grams: float | None) -> float | None:
    return None if grams is None else grams * 1000.0


def _number(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:,.{digits}f}"


def _notes(books: Books, log: str) -> RenderableType:
    sample = books.sample
    lines = [f"Structured log lines: {log}"]
    if sample is not None:
        lines = [*_units(books), _intensity(sample), _meter(sample), _sum(books), *lines]
    return Group(*(Text(line) for line in lines))


def _units(books: Books) -> list[str]:
    """A line for each functional unit of each endpoint."""
    return [
        f"{row.name} counted {row.units[unit]:,.0f} {unit}, each of {_number(grams * 1000, 4)} mg CO2e"
        for row in books.endpoints
        for unit, grams in row.g_per_unit.items()
    ]


def _intensity(sample: Emission) -> str:
    if sample.intensity_g_per_kwh is None:
        return "Intensity: unknown"
    return (
        f"Intensity: {sample.intensity_g_per_kwh:.0f} g/kWh in zone {sample.zone}, by {sample.intensity_source} "
        f"({sample.intensity_quality}, {sample.intensity_signal}, {sample.intensity_scope})"
    )


def _meter(sample: Emission) -> str:
    return f"Energy: meter {sample.meter}, method {sample.energy_method or 'none'}: {sample.basis}"


def _sum(books: Books) -> str:
    measured = books.measured.total_joules
    if measured is None:
        return "Books: no joules could be read here, so there is nothing to add up"
    return f"Books: {books.booked_joules:.2f} J booked of {measured:.2f} J measured"
