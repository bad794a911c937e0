"""A request's body becomes a checked batch; one bad record never costs the others.

The road is short for bodies in which every record is right: msgspec reads them into the Structs of `columns`. If it
refuses anything at all, the body is read again by `json` and each record judged by `wire`, which alone decides what a
record is and says what is wrong with it. Then the collector's own bounds are applied to both alike.
"""

import array
import itertools
import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from carbon_sdk import wire
from carbon_sdk.collector.columns import (
    ACCOUNT,
    COUNTS,
    LARGEST_COUNT,
    LARGEST_NUMBER,
    NUMBERS,
    ORDER,
    PROVENANCE,
    TIMES,
    UNITS,
    Columns,
    Record,
)
from carbon_sdk.collector.store import KEPT, REFUSED, Batch
from carbon_sdk.emission import MACHINE_KINDS, Emission
from carbon_sdk.errors import WireError

Form = Literal["array", "ndjson", "columns"]

MOST_DIGITS = 400
"""More than any number that a double can hold."""
MOST_UNITS = 32
"""Kinds of functional units in one record."""
LONGEST_MACHINE_RECORD_SECONDS = 7_200
"""Bound of a record of the machine book, which is laid out by the minute: twice the longest emit interval."""
Moments = Callable[[Sequence[Any]], list[int | None]]
"""Turns a column of times into microseconds."""
_KIND = ACCOUNT.index("kind")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_AT = {name: place for place, name in enumerate(ORDER)}
_account_of = operator.itemgetter(*(_AT[name] for name in ACCOUNT))
_provenance_of = operator.itemgetter(*(_AT[name] for name in PROVENANCE))

PLAIN = pa.schema(
    [(name, pa.int64()) for name in (*TIMES, *COUNTS)]
    + [(UNITS, pa.map_(pa.string(), pa.float64()))]
    + [(name, pa.float64()) for name in NUMBERS]
)
"""Columns that a row keeps as they are."""
_TYPECODES = {pa.int64(): "q", pa.float64(): "d"}


class BodyError(Exception):
    """The body as a whole cannot be read; no record of it was looked at."""


class TooManyError(Exception):
    """The body holds more records than one batch may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the collector takes beyond what makes a record right.

    Args:
        records: Most records in a batch.
        oldest_us: Windows that start earlier are refused: their instances may be forgotten. Microseconds since 1970.
        newest_us: Windows that end later are refused: that clock is wrong. Microseconds since 1970.
    """

    records: int
    oldest_us: int
    newest_us: int


_array = msgspec.json.Decoder(list[Record])
_lines = msgspec.json.Decoder(Record)
_columns = msgspec.json.Decoder(Columns)
_row = msgspec.structs.astuple


def decode(body: bytes, form: Form, bounds: Bounds) -> Batch:
    """Read and check a body.

    Raises:
        BodyError: It is no JSON of that form.
        TooManyError: It holds too many records.
    """
    try:
        batch, careful = _quick(body, form, bounds), False
    except (msgspec.MsgspecError, WireError, OverflowError, UnicodeError):
        batch, careful = _careful(body, form, bounds), True
    _hold_to(batch, bounds, numbers=careful)
    return _in_sequence(batch)


def _quick(body: bytes, form: Form, bounds: Bounds) -> Batch:
    if b"\\" in body and b"\\u0000" in body:  # msgspec lets a NUL through, wire does not
        raise WireError("a text holds NUL")
    if form == "columns":
        return _from_columns(_columns.decode(body), bounds)
    decoded = _array.decode(body) if form == "array" else _lines.decode_lines(body)
    _check_count(len(decoded), bounds)
    return _from_rows([_row(one) for one in decoded], range(len(decoded)), len(decoded), _Moments().of)


def _check_count(records: int, bounds: Bounds) -> None:
    if records > bounds.records:
        raise TooManyError


def _from_rows(rows: Sequence[tuple[Any, ...]], positions: Sequence[int], records: int, moments: Moments) -> Batch:
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(ORDER)
    alike = bool(rows) and all(map(_is_one_value, _provenance_of(columns)))
    return Batch(
        accounts=list(map(_account_of, rows)),
        provenances=[_provenance_of(rows[0])] * len(rows) if alike else list(map(_provenance_of, rows)),
        instances=list(columns[_AT["instance"]]),
        machines=list(columns[_AT["machine"]]),
        sequences=list(columns[_AT["sequence"]]),
        plain=_plain(columns, moments),
        positions=positions,
        outcomes=bytearray(records),
    )


def _from_columns(decoded: Any, bounds: Bounds) -> Batch:
    given: tuple[Any, ...] = _row(decoded)
    lengths = {len(column) for column in given if isinstance(column, list)}
    if len(lengths) != 1:
        raise BodyError("columns need one length, and at least one column must be a list")
    (records,) = lengths
    _check_count(records, bounds)

    def rows(part: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if not any(isinstance(column, list) for column in part):
            return [part] * records
        return list(zip(*(c if isinstance(c, list) else itertools.repeat(c, records) for c in part), strict=True))

    columns = [column if isinstance(column, list) else [column] * records for column in given]
    return Batch(
        accounts=rows(_account_of(given)),
        provenances=rows(_provenance_of(given)),
        instances=columns[_AT["instance"]],
        machines=columns[_AT["machine"]],
        sequences=columns[_AT["sequence"]],
        plain=_plain(columns, _Moments().of),
        positions=range(records),
        outcomes=bytearray(records),
    )


def _plain(columns: Sequence[Sequence[Any]], moments: Moments) -> pa.RecordBatch:
    """The columns that a row keeps."""
    arrays = [_array_of(moments(columns[_AT[name]]), pa.int64()) for name in TIMES]
    arrays += [_array_of(columns[_AT[name]], pa.int64()) for name in COUNTS]
    units = columns[_AT[UNITS]]
    pairs = [list(one.items()) if one else None for one in units] if any(units) else [None] * len(units)
    arrays.append(_array_of(pairs, PLAIN.field(UNITS).type))
    arrays += [_array_of(columns[_AT[name]], pa.float64()) for name in NUMBERS]
    return pa.RecordBatch.from_arrays(arrays, schema=PLAIN)


def _is_one_value(column: Sequence[Any]) -> bool:
    return bool(column) and column[0] == column[-1] and column.count(column[0]) == len(column)


def _array_of(column: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column in Arrow; most are one value throughout, and most others know every value."""
    if _is_one_value(column):
        return pa.nulls(len(column), kind) if column[0] is None else pa.repeat(pa.scalar(column[0], kind), len(column))
    try:
        values = array.array(_TYPECODES[kind], column)
    except (KeyError, TypeError):
        return pa.array(column, kind)
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(values)])


class _Moments:
    """Microseconds of the times of one body, each text read by `wire` once."""

    def __init__(self) -> None:
        self._known: dict[str | None, int | None] = {None: None}

    def of(self, column: Sequence[Any]) -> list[int | None]:
        one_value = _is_one_value(column)
        for text in {column[0]} if one_value else set(column):
            if text not in self._known:
                self._known[text] = _microseconds(wire.utc_moment(text))
        return [self._known[column[0]]] * len(column) if one_value else [self._known[text] for text in column]


def _microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _careful(body: bytes, form: Form, bounds: Bounds) -> Batch:
    """The same by `wire`, record by record."""
    judged: list[_Judged] = []
    for one in _judged_lines(body) if form == "ndjson" else _judged(_objects(body, form, bounds)):
        judged.append(one)
        _check_count(len(judged), bounds)
    newer: dict[str, int] = {}
    for one in judged:
        if isinstance(one.error, wire.NewerSchemaError):
            newer[one.instance] = min(one.sequence, newer.get(one.instance, one.sequence))
    rows: list[tuple[Any, ...]] = []
    positions: list[int] = []
    outcomes, reasons = bytearray(len(judged)), {}
    for position, one in enumerate(judged):
        if isinstance(one.error, wire.NewerSchemaError):
            outcomes[position], reasons[position] = KEPT, str(one.error)
        elif one.emission is None:
            outcomes[position], reasons[position] = REFUSED, str(one.error)
        elif one.sequence > newer.get(one.instance, one.sequence):
            outcomes[position], reasons[position] = KEPT, "a record of this instance before it has a newer schema"
        else:
            rows.append(_tuple_of(one.emission))
            positions.append(position)
    batch = _from_rows(rows, positions, len(judged), list)
    batch.outcomes, batch.reasons = outcomes, reasons
    return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What `wire` says of one record, and the key that it seems to have."""

    emission: Emission | None
    error: WireError | None
    instance: str
    sequence: int


def _objects(body: bytes, form: Form, bounds: Bounds) -> Iterable[object]:
    try:
        decoded = json.loads(body.decode("utf-8-sig"), parse_int=_whole)
    except (ValueError, RecursionError) as exc:
        raise BodyError("the body is not JSON") from exc
    if form == "array":
        if not isinstance(decoded, list):
            raise BodyError("the body is no JSON array of records")
        return decoded
    if not isinstance(decoded, Mapping):
        raise BodyError("the body is no JSON object of columns")
    known = {name: decoded[name] for name in ORDER if name in decoded}
    lengths = {len(column) for column in known.values() if isinstance(column, list)}
    if len(lengths) != 1:
        raise BodyError("columns need one length, and at least one column must be a list")
    (records,) = lengths
    _check_count(records, bounds)
    return (
        {name: column[row] if isinstance(column, list) else column for name, column in known.items()}
        for row in range(records)
    )


def _whole(digits: str) -> int | float:
    """A whole number; one that is far beyond every bound is not read, which Python refuses to do for a good reason."""
    return int(digits) if len(digits) <= MOST_DIGITS else math.inf


def _judged(objects: Iterable[object]) -> Iterator[_Judged]:
    for one in objects:
        key = one if isinstance(one, Mapping) else {}
        instance, sequence = key.get("instance"), key.get("sequence")
        emission, error = _verdict(one)
        yield _Judged(
            emission=emission,
            error=error,
            instance=instance if isinstance(instance, str) else "",
            sequence=sequence if isinstance(sequence, int) else 0,
        )


def _judged_lines(body: bytes) -> Iterator[_Judged]:
    for line in body.split(b"\n"):
        if not line.strip():
            continue
        try:
            decoded = json.loads(line.decode("utf-8-sig"), parse_int=_whole)
        except (ValueError, RecursionError):
            yield _Judged(emission=None, error=WireError("not JSON"), instance="", sequence=0)
            continue
        yield from _judged((decoded,))


def _verdict(record: object) -> tuple[Emission | None, WireError | None]:
    try:
        emission = wire.from_object(record)
        _texts_of(emission)
    except WireError as exc:
        return None, exc
    except OverflowError:
        return None, WireError("a time lies outside the years 1 to 9999 in UTC")
    except UnicodeError:
        return None, WireError("a text holds half a surrogate pair")
    return emission, None


def _texts_of(emission: Emission) -> None:
    """Raise UnicodeError where a text cannot be written as UTF-8."""
    for name in ORDER:
        value = getattr(emission, name)
        for text in value if name == UNITS else (value,):
            if isinstance(text, str):
                text.encode()


def _tuple_of(emission: Emission) -> tuple[Any, ...]:
    values: list[Any] = []
    for name in ORDER:
        value = getattr(emission, name)
        if isinstance(value, datetime):
            value = _microseconds(value)
        values.append(value)
    return tuple(values)


def _hold_to(batch: Batch, bounds: Bounds, *, numbers: bool) -> None:
    """Refuse the rows that break a bound of the collector, and take them out of the batch.

    Args:
        batch: The batch.
        bounds: The bounds.
        numbers: Look at the size of numbers too; the Structs have done so already.
    """
    refused: dict[int, str] = {}
    plain = batch.plain
    tests = [
        (pc.less(plain["window_start"], bounds.oldest_us), "window_start: is older than what is kept"),
        (pc.greater(plain["window_end"], bounds.newest_us), "window_end: lies in the future"),
        (pc.less(plain["window_end"], plain["window_start"]), "window_end: lies before window_start"),
    ]
    if numbers:
        for names, most in ((COUNTS[1:], LARGEST_COUNT), (NUMBERS, LARGEST_NUMBER)):
            tests += [(pc.greater(plain[name], most), f"{name}: is above {most:g}") for name in names]
    for test, reason in tests:
        if pc.any(test).as_py():
            refused.update((row, reason) for row, bad in enumerate(test.to_pylist()) if bad)
    if "" in batch.instances:
        refused.update((row, "instance: is empty") for row, name in enumerate(batch.instances) if not name)
    if plain[UNITS].null_count < len(batch):
        for row, units in enumerate(plain[UNITS].to_pylist()):
            if units is not None and (len(units) > MOST_UNITS or any(amount > LARGEST_NUMBER for _, amount in units)):
                refused[row] = f"units: more than {MOST_UNITS}, or one is above {LARGEST_NUMBER:g}"
    longest_us = LONGEST_MACHINE_RECORD_SECONDS * 1_000_000
    long = pc.greater(pc.subtract(plain["window_end"], plain["window_start"]), longest_us)
    if pc.any(long).as_py():
        reason = f"window_end: a machine's record covers at most {LONGEST_MACHINE_RECORD_SECONDS} s"
        for row, bad in enumerate(long.to_pylist()):
            if bad and batch.accounts[row][_KIND] in MACHINE_KINDS:
                refused.setdefault(row, reason)
    batch.refuse(refused)


def _in_sequence(batch: Batch) -> Batch:
    """The batch with the sequences of each instance ascending."""
    highest: dict[str, int] = {}
    for instance, sequence in zip(batch.instances, batch.sequences, strict=True):
        if sequence < highest.get(instance, 0):
            order = sorted(range(len(batch)), key=batch.sequences.__getitem__)
            batch.keep(order)
            break
        highest[instance] = sequence
    return batch
