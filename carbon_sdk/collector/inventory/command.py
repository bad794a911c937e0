"""`carbon-sdk report`: the report as a file, from a collector that runs or from its store."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from carbon_sdk.collector.access import OPEN_PROJECT, project_name
from carbon_sdk.collector.clickhouse_command import add_cluster, cluster_of
from carbon_sdk.collector.commands import do
from carbon_sdk.collector.folder import add_folder
from carbon_sdk.collector.inventory import boamps, page, sheets
from carbon_sdk.collector.inventory.inventory import Inventory, from_object
from carbon_sdk.collector.inventory.quarters import Quarter
from carbon_sdk.collector.store import StoreError
from carbon_sdk.emission import Emission

FORMATS = ("html", "csv", "xlsx", "json", "boamps")
Reprice = Callable[[str, Sequence[Emission]], Sequence[Emission | None]]
"""Prices records by the history of a provider, by name; None where a record keeps its price."""


def main(words: Sequence[str], reprice: Reprice) -> int:
    """Make one report.

    Args:
        words: The words after `carbon-sdk report`.
        reprice: Who knows providers and their history.

    Returns:
        The exit code: 0, or 2 where the report could not be made.
    """
    arguments = _parser().parse_args(words)
    try:
        project_name(arguments.project)
        if (arguments.supplier_g_per_kwh is None) != (arguments.supplier_source is None):
            raise StoreError("--supplier-g-per-kwh and --supplier-source come together: a factor has a source")
        if arguments.reprice is not None:
            _price_again(arguments, reprice)
        inventory = from_object(_done(arguments, "inventory", **_asked(arguments), **_told(arguments)))
        made = _rendered(inventory, arguments)
    except (StoreError, ValueError, OSError) as exc:
        sys.stderr.write(f"carbon-sdk report: {exc}\n")
        return 2
    if arguments.output is None:
        sys.stdout.buffer.write(made)
        sys.stdout.buffer.flush()
    else:
        arguments.output.write_bytes(made)
        sys.stderr.write(f"{arguments.output}: {len(made)} bytes, of values with sha256 {inventory.sha256}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="carbon-sdk report", description="A report of emissions for a greenhouse gas inventory."
    )
    parser.add_argument("--from", required=True, metavar="DAY", help="the first day, 2026-01-01")
    parser.add_argument("--to", required=True, metavar="DAY", help="the last day, which belongs to it")
    parser.add_argument("--tz", default="UTC", help="whose days: Europe/Berlin (UTC)")
    parser.add_argument("--format", choices=FORMATS, default="html", help="of the file (html)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write it (stdout)")
    parser.add_argument("--project", default=OPEN_PROJECT, help="the project whose records (%(default)s)")
    add_folder(parser)
    parser.add_argument("--operator", choices=("own", "cloud"), help="who runs the machines: decides the scopes")
    parser.add_argument("--supplier-g-per-kwh", type=float, metavar="G", help="a supplier's factor: market-based too")
    parser.add_argument("--supplier-source", metavar="WHO", help="whose factor that is")
    parser.add_argument("--reprice", metavar="PROVIDER", help="first price again by what this provider measured")
    parser.add_argument("--context", type=Path, metavar="FILE", help="BoAmps: JSON of what is known of the task")
    add_cluster(parser)
    return parser


def _done(arguments: argparse.Namespace, command: str, **fields: Any) -> Any:
    return do(arguments.data.expanduser(), command, cluster=cluster_of(arguments), **fields)


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "project": arguments.project,
        "from": getattr(arguments, "from"),
        "to": arguments.to,
        "tz": arguments.tz,
    }


def _told(arguments: argparse.Namespace) -> dict[str, Any]:
    supplier = None
    if arguments.supplier_source is not None:
        supplier = {"g_per_kwh": arguments.supplier_g_per_kwh, "source": arguments.supplier_source}
    return {"operator": arguments.operator, "supplier": supplier}


def _price_again(arguments: argparse.Namespace, reprice: Reprice) -> None:
    """Price the period's quarters by measured history; the first price stays beside it."""
    asked = _asked(arguments)
    quarters = [Quarter(**one) for one in _done(arguments, "quarters", **asked)]
    priced = reprice(arguments.reprice, [one.record(number) for number, one in enumerate(quarters)])
    prices = [
        asdict(replace(quarter, g_per_kwh=record.emissions_g))
        for quarter, record in zip(quarters, priced, strict=True)
        if record is not None and record.emissions_g is not None
    ]
    if not prices:
        sys.stderr.write(f"{arguments.reprice} knows nothing better of this period; nothing was priced again\n")
        return
    rows = _done(arguments, "reprice", project=asked["project"], source=arguments.reprice, prices=prices)
    sys.stderr.write(f"{len(prices)} of {len(quarters)} quarters priced again by {arguments.reprice}, {rows} rows\n")


def _rendered(inventory: Inventory, arguments: argparse.Namespace) -> bytes:
    if arguments.format == "html":
        return page.html(inventory).encode()
    if arguments.format == "csv":
        return sheets.lines_csv(inventory)
    if arguments.format == "xlsx":
        return sheets.workbook(inventory)
    if arguments.format == "json":
        return _json(inventory.to_object())
    context = {} if arguments.context is None else json.loads(arguments.context.read_text(encoding="utf-8"))
    content = boamps.boamps(inventory, context)
    if lacking := boamps.missing(content):
        sys.stderr.write(f"not valid BoAmps yet: give {', '.join(lacking)} of the task with --context FILE\n")
    return _json(content)


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
