"""Groups become lines of `TabSeparated`, shard by shard: the one way in that every ClickHouse reads, and quickly.

Texts are written once per account and provenance, machine and instance of a group; the rest is done in columns.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from carbon_sdk.collector.clickhouse_schema import KEY, PLAIN
from carbon_sdk.collector.clickhouse_server import Cluster
from carbon_sdk.collector.columns import UNITS
from carbon_sdk.collector.dimensions import Key
from carbon_sdk.collector.group import Group
from carbon_sdk.collector.report import SLOT_SECONDS

_TEXTS_KEPT = 100_000
"""Accounts and provenances whose cells are remembered."""
_NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_SLOT_US = SLOT_SECONDS * 1_000_000

assert KEY == ("project", "slot", "machine", "instance", "sequence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What of a group lies on one shard.

    Args:
        lines: The rows, in the order of `RECORD_COLUMNS`.
        slots: The quarters of an hour whose sums they change, seconds since 1970.
    """

    lines: bytes
    slots: frozenset[int]


def number_of(project: str, key: Sequence[object]) -> int:
    """A number for texts that every collector gives them, 63 bits of a hash: 1e6 texts collide with 5e-8."""
    written = json.dumps([project, *key]).encode()
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest(), "big") >> 1


def cell(value: object) -> str:
    """One value of a row."""
    if value is None:
        return _NULL
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    return str(int(value)) if isinstance(value, bool) else repr(value)


def part_of(group: Group, cluster: Cluster, shard: int) -> Part | None:
    """What of a group, which has all of its texts with it, lies on a shard; None where nothing does."""
    here = [n for n, project, key in group.machines if cluster.shard_of(project, str(key[0])) == shard]
    if len(here) == len(group.machines):
        return _part(group, group.table)
    table = group.table.filter(pc.is_in(group.table["machine_id"], value_set=pa.array(here, pa.int32())))
    return _part(group, table) if len(table) else None


def _part(group: Group, table: pa.Table) -> Part:
    starts = pc.divide(table["window_start"], _SLOT_US)
    ends = pc.divide(pc.max_element_wise(pc.subtract(table["window_end"], 1), table["window_start"]), _SLOT_US)
    touched = pa.table({"start": starts, "end": pc.if_else(table["machine_book"], ends, starts)})
    spans = touched.group_by(["start", "end"]).aggregate([]).to_pylist()
    slots = {slot * SLOT_SECONDS for span in spans for slot in range(span["start"], span["end"] + 1)}
    heads = [(number, key) for number, _, key in group.heads]
    columns = [
        _texts(table["instance_id"], [(number, cell(key[0])) for number, key in heads]),
        pc.multiply(starts, SLOT_SECONDS),
        _texts(table["machine_id"], [(number, cell(key[0])) for number, _, key in group.machines]),
        _texts(table["instance_id"], [(number, cell(key[1])) for number, key in heads]),
        table["sequence"],
        table["machine_book"].cast(pa.int8()),
        _texts(table["account_id"], _numbered(group.accounts)),
        _texts(table["provenance_id"], _numbered(group.provenances)),
        *(_units(table[UNITS], name) if name.startswith("unit_") else table[name] for name in PLAIN),
    ]
    words = [pc.fill_null(column.cast(pa.string()), _NULL) for column in columns]
    rows = pc.binary_join_element_wise(*words, "\t").combine_chunks()
    ended = pc.binary_join_element_wise(rows, "", "\n")
    return Part(lines=ended.buffers()[2].to_pybytes(), slots=frozenset(slots))


def _numbered(rows: Sequence[tuple[int, str, Key]]) -> Iterable[tuple[int, str]]:
    for number, project, key in rows:
        yield number, _cells(project, key)


@functools.lru_cache(maxsize=_TEXTS_KEPT)
def _cells(project: str, key: Key) -> str:
    """The number and the texts of an account or a provenance: most records of a batch have those of the last."""
    return "\t".join((str(number_of(project, key)), *map(cell, key)))


def _texts(ids: pa.ChunkedArray, known: Iterable[tuple[int, str]]) -> pa.ChunkedArray:
    numbers, texts = [], []
    for number, text in known:
        numbers.append(number)
        texts.append(text)
    return _looked_up(ids, numbers, pa.array(texts, pa.string()))


def _looked_up(ids: pa.ChunkedArray, numbers: Sequence[int], values: pa.Array) -> pa.ChunkedArray:
    return pc.take(values, pc.index_in(ids, value_set=pa.array(numbers, ids.type)))


def _units(units: pa.ChunkedArray, name: str) -> pa.ChunkedArray | pa.Array:
    """The names or the amounts of functional units as an array of ClickHouse."""
    if units.null_count == len(units):
        return pa.array(["[]"] * len(units), pa.string())
    place = 0 if name == "unit_names" else 1
    return pa.array([_array(row or (), place) for row in units.to_pylist()], pa.string())


def _array(entries: Iterable[tuple[str, float]], place: int) -> str:
    """Texts stand in quotes, escaped once like a cell."""
    words = (cell(entry[place]) for entry in entries)
    if place:
        return f"[{','.join(words)}]"
    quoted = (f"'{word}'" for word in (word.replace("'", "\\'") for word in words))
    return f"[{','.join(quoted)}]"
