"""The report as tables: one CSV of its lines, and a workbook with a sheet for each part."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import xlsxwriter

from carbon_sdk.cells import cell
from carbon_sdk.collector.inventory.inventory import SCI, Factor, Gap, Inventory, Line, Method
from carbon_sdk.collector.inventory.scopes import Scoped, market_based, scoped

LINE = tuple(field.name for field in fields(Line))
_NEVER = datetime(2000, 1, 1)  # noqa: DTZ001  # a workbook names a day on which it was made; the same for all


def lines_csv(inventory: Inventory) -> bytes:
    """The lines, with project, operator and hash in each, so that a row says by itself where it comes from."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(["project", *LINE, "operator", "sha256"])
    for line in inventory.lines:
        values = [inventory.project, *asdict(line).values(), inventory.operator or "", inventory.sha256]
        writer.writerow([cell("" if value is None else value) for value in values])
    return text.getvalue().encode()


def workbook(inventory: Inventory) -> bytes:
    """The workbook."""
    made = io.BytesIO()
    with xlsxwriter.Workbook(made, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        book.set_properties({"title": "Greenhouse gas emissions of software", "created": _NEVER})
        head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        number = book.add_format({"num_format": "#,##0.######"})
        for name, columns, rows in _sheets(inventory):
            sheet = book.add_worksheet(name)
            sheet.freeze_panes(1, 0)
            sheet.write_row(0, 0, columns, head)
            for place, column in enumerate(columns):
                sheet.set_column(place, place, max(12, min(len(column) + 2, 40)))
            for row, values in enumerate(rows, start=1):
                for place, value in enumerate(values):
                    if isinstance(value, int | float):
                        sheet.write_number(row, place, value, number)
                    elif value is not None:
                        sheet.write_string(row, place, str(value))
            sheet.fit_to_pages(1, 0)
            sheet.set_landscape()
    return made.getvalue()


Sheet = tuple[str, Sequence[str], Iterable[Sequence[Any]]]


def _sheets(inventory: Inventory) -> list[Sheet]:
    return [
        ("About", ("What", "Value"), _about(inventory)),
        _sheet("Scopes", Scoped, scoped(inventory)),
        _sheet("Service and month", Line, inventory.lines),
        _sheet("SCI", SCI, inventory.sci),
        _sheet("Methods", Method, inventory.methods),
        _sheet("Gaps", Gap, inventory.gaps),
        _sheet("Factors", Factor, inventory.factors),
    ]


def _sheet(name: str, kind: Any, rows: Iterable[Any]) -> Sheet:
    columns = tuple(field.name for field in fields(kind))
    return name, columns, [tuple(getattr(row, column) for column in columns) for row in rows]


def _about(inventory: Inventory) -> list[tuple[str, Any]]:
    market_g, market_words = market_based(inventory)
    boundary: Mapping[str, Any] = asdict(inventory.boundary)
    return [
        ("Project", inventory.project),
        ("First day", inventory.first_day),
        ("Last day", inventory.last_day),
        ("Time zone", inventory.zone),
        ("Operator of the machines", inventory.operator or "not stated"),
        ("Basis", "location-based: the average of the grid where the machines stand"),
        ("Market-based, g", market_g),
        ("Market-based", market_words),
        *((f"Active energy of {name}, kWh", value) for name, value in inventory.boundary.domains_kwh.items()),
        *((name.replace("_", " "), value) for name, value in boundary.items() if name != "domains_kwh"),
        *((f"Share of quality {name}", share) for name, share in inventory.quality.items()),
        ("Not counted", "power supplies, fans, disks, network, the devices of users"),
        ("Made by", f"carbon_sdk {inventory.version}"),
        ("sha256", inventory.sha256),
    ]
