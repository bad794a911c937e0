"""Answers as files: raw records as Parquet, CSV and NDJSON, figures as CSV."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from carbon_sdk.cells import cell
from carbon_sdk.collector.columns import TIMES, UNITS
from carbon_sdk.collector.figure import Figure
from carbon_sdk.emission import Emission
from carbon_sdk.wire import utc_text

MEDIA = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "json": "application/json",
}
_FIELDS = tuple(Emission.__dataclass_fields__)


def parquet(records: pa.Table) -> bytes:
    """Raw records with every field of `Emission`; times as UTC timestamps."""
    columns = {
        name: pc.assume_timezone(records[name].cast(pa.timestamp("us")), "UTC") if name in TIMES else records[name]
        for name in _FIELDS
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def objects(records: pa.Table) -> Iterable[dict[str, Any]]:
    """Raw records as JSON objects of the wire format."""
    for row in records.select([name for name in _FIELDS if name in records.schema.names]).to_pylist():
        for name in TIMES:
            row[name] = _time(row[name])
        row[UNITS] = dict(row[UNITS] or ())
        yield {name: row[name] for name in _FIELDS}


def ndjson(records: pa.Table) -> bytes:
    """Raw records, one JSON object a line, as they came over the wire."""
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in objects(records)).encode()


def records_csv(records: pa.Table) -> bytes:
    """Raw records as CSV with a head; units as JSON."""
    rows = ({**row, UNITS: json.dumps(row[UNITS]) if row[UNITS] else None} for row in objects(records))
    return _csv(_FIELDS, rows)


def figures_csv(figures: Sequence[Figure]) -> bytes:
    """Figures as CSV: dimensions, times, values, then a column for each kind of grams and each share."""
    rows = []
    for figure in figures:
        value = figure.to_object()
        row = {**value.pop("key"), **{name: value.pop(name) for name in ("start", "end")}}
        for name, part in value.items():
            if isinstance(part, Mapping):
                row |= {f"{name} {kind}": amount for kind, amount in part.items()}
            elif part is not None or name != "repriced_g":
                row[name] = part
        rows.append(row)
    return _csv(tuple(dict.fromkeys(name for row in rows for name in row)), rows)


def _csv(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(names)
    for row in rows:
        writer.writerow([cell(row.get(name)) for name in names])
    return text.getvalue().encode()


def _time(value: datetime | None) -> str | None:
    return None if value is None else utc_text(value.replace(tzinfo=UTC))
