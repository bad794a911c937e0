"""The report as one HTML file that prints well: styles inside, no script, nothing to load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import jinja2

from carbon_sdk.collector.dashboard.known import METHODS, QUALITIES
from carbon_sdk.collector.dashboard.period import day_text
from carbon_sdk.collector.dashboard.quantity import GRAMS, JOULES, UNKNOWN, column, count, percent, quantity
from carbon_sdk.collector.inventory.inventory import Inventory, Line, counted, months, total
from carbon_sdk.collector.inventory.scopes import by_service, market_based, scoped
from carbon_sdk.emission import JOULES_PER_KWH

FOLDER = Path(__file__).parent / "templates"
MONTHS_ACROSS = 6
"""Columns that fit on a sheet of paper."""
DOMAINS = {"package": "CPU packages", "dram": "memory", "psys": "whole platform (psys)", "gpu": "GPU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Services by month: a unit, the months, a row of texts for each service, and the sums.

    Args:
        title: What it shows.
        unit: Of all its numbers.
        months: Its columns.
        rows: A service and its texts, the sum last.
        sums: The texts of the last row.
    """

    title: str
    unit: str
    months: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    sums: tuple[str, ...]


def html(inventory: Inventory) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count,
        percent=percent,
        grams=lambda value: str(quantity(value, GRAMS)),
        kwh=lambda value: str(quantity(None if value is None else value * JOULES_PER_KWH, JOULES)),
        day=lambda text: day_text(date.fromisoformat(text)),
        known=lambda value: UNKNOWN if value is None else f"{value:,.4g}",
    )
    return environment.get_template("inventory.html").render(style=style(), **_shown(inventory))


def style() -> str:
    """Its styles."""
    return (FOLDER / "inventory.css").read_text(encoding="utf-8")


def _shown(inventory: Inventory) -> dict[str, Any]:
    market_g, market_words = market_based(inventory)
    return {
        "report": inventory,
        "summary": [_summary(inventory, kind) for kind in inventory.kinds],
        "energy_kwh": total(line.energy_kwh for line in inventory.lines),
        "requests": counted(line.requests for line in inventory.lines),
        "scopes": scoped(inventory),
        "market_g": market_g,
        "market_words": market_words,
        "matrices": [matrix for kind in inventory.kinds for matrix in _matrices(inventory, kind)],
        "repriced_rows": _repriced(inventory),
        "methods_words": METHODS,
        "quality_words": QUALITIES,
        "domains": {DOMAINS[name]: value for name, value in inventory.boundary.domains_kwh.items()},
        "quality": sorted(inventory.quality.items(), key=lambda item: -item[1]),
        "refused": [kind for kind in inventory.kinds if kind.startswith("marginal")],
    }


def _summary(inventory: Inventory, kind: str) -> Mapping[str, Any]:
    lines = [line for line in inventory.lines if line.kind == kind]
    return {
        "kind": kind.replace("/", ", "),
        "grams": total(line.emissions_g for line in lines),
        "low": total(line.emissions_low_g for line in lines),
        "high": total(line.emissions_high_g for line in lines),
        "each": _each(lines),
    }


def _each(lines: Sequence[Line]) -> float | None:
    grams, requests = total(line.emissions_g for line in lines), counted(line.requests for line in lines)
    return grams / requests if grams is not None and requests else None


def _matrices(inventory: Inventory, kind: str) -> list[Matrix]:
    """Grams, then energy, each in tables of so many months as fit on paper."""
    services = by_service(inventory.lines, kind)
    every = months(inventory.lines)
    words = "" if len(inventory.kinds) == 1 else f", {kind.replace('/', ', ')}"
    return [
        _matrix(f"{title}{words}", services, every[first : first + MONTHS_ACROSS], name, ladder)
        for title, name, ladder in (("CO₂e", "emissions_g", GRAMS), ("Active energy", "energy_kwh", JOULES))
        for first in range(0, len(every), MONTHS_ACROSS)
    ]


def _matrix(
    title: str, services: Mapping[str, Mapping[str, Line]], across: Sequence[str], name: str, ladder: Any
) -> Matrix:
    size = JOULES_PER_KWH if name.endswith("_kwh") else 1.0

    def value(line: Line | None) -> float | None:
        own = None if line is None else getattr(line, name)
        return None if own is None else own * size

    table = [[value(held.get(month)) for month in across] for held in services.values()]
    for row in table:
        row.append(total(row))
    sums = [total(row[place] for row in table) for place in range(len(across) + 1)]
    unit, texts = column([one for row in [*table, sums] for one in row], ladder)
    width = len(across) + 1
    shown = [tuple(texts[start : start + width]) for start in range(0, len(texts), width)]
    return Matrix(
        title=title,
        unit=unit,
        months=tuple(across),
        rows=tuple(zip(services, shown[:-1], strict=True)),
        sums=shown[-1],
    )


def _repriced(inventory: Inventory) -> list[tuple[str, str, str, str]]:
    """Each service whose grams were priced again: old and new, what is the same left out."""
    rows = []
    for kind in inventory.kinds:
        for service, held in by_service(inventory.lines, kind).items():
            lines = list(held.values())
            if any(line.repriced_g is not None for line in lines):
                new = total(line.repriced_g if line.repriced_g is not None else line.emissions_g for line in lines)
                old = total(line.emissions_g for line in lines)
                rows.append((service, kind.replace("/", ", "), str(quantity(old, GRAMS)), str(quantity(new, GRAMS))))
    return rows
