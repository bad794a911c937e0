"""Emission to JSON and back: the one codec of the SDK and the collector.

A record is one JSON object with the fields of `Emission`, in its order, unknown ones as null. Times are UTC with a Z
and microseconds. A reader ignores fields that it does not know; a schema newer than its own it refuses.
"""

import dataclasses
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from carbon_sdk.emission import SCHEMA, Emission
from carbon_sdk.errors import WireError

MAXIMUM_TEXT = 512
"""Characters of a text field that a reader accepts."""


class NewerSchemaError(WireError):
    """The record was written by a newer carbon_sdk: the reader must be updated, the record kept."""


def utc_text(moment: datetime) -> str:
    """`2026-03-29T18:00:00.000000Z`.

    Raises:
        WireError: The moment has no time zone.
    """
    if moment.tzinfo is None:
        raise WireError(f"{moment!r} has no time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_moment(text: str) -> datetime:
    """The moment that `utc_text` wrote; any ISO 8601 text with an offset is taken.

    Raises:
        WireError: It is no time, or has no offset.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise WireError(f"{text[:40]!r} is not an ISO 8601 time") from exc
    if moment.tzinfo is None:
        raise WireError(f"{text[:40]!r} has no offset; write Z for UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise WireError(f"{text[:40]!r} lies outside the years 1 to 9999") from exc


def to_object(emission: Emission) -> dict[str, Any]:
    """The record as a JSON-ready object."""
    return {name: _plain(getattr(emission, name)) for name in _FIELDS}


def to_json(emission: Emission) -> str:
    """The record as one line of JSON."""
    return json.dumps(to_object(emission), allow_nan=False, separators=(",", ":"))


def to_columns(emissions: Sequence[Emission]) -> str:
    """Records as one JSON object of columns, a seventh of their length as single objects.

    A list holds a field's values in order; anything else holds for every record. `sequence` is always a list.
    """
    columns: dict[str, Any] = {}
    for name in _FIELDS:
        values = [getattr(one, name) for one in emissions]
        if name != "sequence" and values.count(values[0]) == len(values):
            columns[name] = _plain(values[0])
        else:
            columns[name] = [_plain(value) for value in values]
    return json.dumps(columns, allow_nan=False, separators=(",", ":"))


def objects_of(columns: str | bytes) -> list[dict[str, Any]]:
    """The records that `to_columns` wrote, each as `to_object` gives it."""
    decoded: dict[str, Any] = json.loads(columns)
    records = len(decoded["sequence"])
    lists = [value if isinstance(value, list) else [value] * records for value in decoded.values()]
    return [dict(zip(decoded, row, strict=True)) for row in zip(*lists, strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, str):
        return legible(value)
    return dict(value) if isinstance(value, Mapping) else value


def legible(text: str) -> str:
    """A text as every reader takes it: a name that the app made up, or all the devices of a large machine, may be long
    and hold anything, and would cost its record."""
    if len(text) <= MAXIMUM_TEXT and text.isprintable():
        return text
    short = text if len(text) <= MAXIMUM_TEXT else f"{text[: MAXIMUM_TEXT - 1]}…"
    return short.replace("\x00", "\ufffd").encode(errors="replace").decode()


def from_json(text: str | bytes) -> Emission:
    """The record in one JSON text.

    Raises:
        WireError: It is not JSON, or not a record; the message names the field.
        NewerSchemaError: Its schema is newer than this reader's.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise WireError("not JSON") from exc
    return from_object(record)


def from_object(record: object) -> Emission:
    """The record in one decoded JSON object.

    Raises:
        WireError: A field is missing or wrong; the message names it.
        NewerSchemaError: Its schema is newer than this reader's.
    """
    if not isinstance(record, Mapping):
        raise WireError("a record is a JSON object")
    schema = record.get("schema", SCHEMA)
    if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
        raise NewerSchemaError(f"schema {schema} is newer than {SCHEMA}; update the reader")
    values: dict[str, Any] = {}
    for name, (check, required) in _FIELDS.items():
        if name not in record:
            if required:
                raise WireError(f"{name} is missing")
            continue
        try:
            values[name] = check(record[name])
        except WireError as exc:
            raise WireError(f"{name}: {exc}") from exc
    emission = Emission(**values)
    if emission.window_end < emission.window_start:
        raise WireError("window_end: lies before window_start")
    return emission


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAXIMUM_TEXT or "\x00" in value:
        raise WireError(f"must be a text of at most {MAXIMUM_TEXT} characters")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise WireError("must be a whole number from 0")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError("must be a number")
    try:
        number = float(value)
    except OverflowError as exc:
        raise WireError("must be finite") from exc
    if not math.isfinite(number) or number < 0:
        raise WireError("must be finite and at least 0")
    return number


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise WireError("must be true or false")
    return value


def _moment(value: object) -> datetime:
    return utc_moment(_text(value))


def _units(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise WireError("must be an object of numbers")
    return {_text(name): _number(count) for name, count in value.items()}


def _one_of(allowed: tuple[object, ...]) -> Callable[[object], Any]:
    def check(value: object) -> Any:
        if value not in allowed:
            raise WireError("must be one of " + ", ".join(map(str, allowed)))
        return value

    return check


def _optional(check: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else check(value)


_PLAIN: dict[object, Callable[[object], Any]] = {
    str: _text,
    int: _whole,
    float: _number,
    bool: _truth,
    datetime: _moment,
}


def _check_of(hint: Any) -> Callable[[object], Any]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (part for part in get_args(hint) if part is not type(None))
        return _optional(_check_of(inner))
    if origin is Literal:
        return _one_of(get_args(hint))
    return _PLAIN.get(hint, _units)


def _fields() -> dict[str, tuple[Callable[[object], Any], bool]]:
    hints = get_type_hints(Emission)
    return {
        field.name: (
            _check_of(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(Emission)
    }


_FIELDS = _fields()
