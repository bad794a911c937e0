"""The wire: a record there and back is the same record."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.emission import Emission, Kind
from carbon_sdk.errors import WireError
from carbon_sdk.wire import (
    NewerSchemaError,
    from_json,
    from_object,
    objects_of,
    to_columns,
    to_json,
    to_object,
    utc_moment,
    utc_text,
)

START = datetime(2026, 3, 29, 18, tzinfo=UTC)
numbers = st.none() | st.floats(0, 1e12)
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=50)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def emission(**more: object) -> Emission:
    fields: dict[str, object] = {
        "instance": "0123456789abcdef",
        "sequence": 7,
        "service": "shop",
        "machine": "f" * 16,
        "kind": "request",
        "root": "GET /items/{id}",
        "name": "GET /items/{id}",
        "window_start": START,
        "window_end": START + timedelta(minutes=1),
        "meter": "powercap",
        "meter_scope": "machine",
        "basis": "package-0",
        "idle_rule": "learnt",
    }
    return Emission(**{**fields, **more})  # type: ignore[arg-type]


records = st.builds(
    emission,
    sequence=st.integers(0, 2**63 - 1),
    service=texts,
    kind=st.sampled_from(get_args(Kind)),
    root=texts,
    requests=st.integers(0, 10**9),
    cpu_seconds=numbers,
    energy_joules=numbers,
    energy_method=st.sampled_from([None, "counter", "power_integral", "model"]),
    emissions_g=numbers,
    intensity_observed_at=st.none() | moments,
    mixed=st.booleans(),
    units=st.dictionaries(texts, st.floats(0, 1e9), max_size=3),
    release=st.none() | texts,
)


@given(st.lists(records, min_size=1, max_size=5))
def test_columns_there_and_back_are_the_same_records_in_order(batch: list[Emission]) -> None:
    """Whether a field is equal in all of them or not."""
    assert list(map(from_object, objects_of(to_columns(batch)))) == batch


@given(records)
def test_json_there_and_back_is_the_same_record(record: Emission) -> None:
    """Nothing is lost and nothing is rounded."""
    assert from_json(to_json(record)) == record


@pytest.mark.parametrize("name", ["", "\n", "a\x00b", "\ud800", "x" * 10_000, "\U0001f331" * 512])
def test_a_name_that_an_app_made_up_costs_no_record(name: str) -> None:
    """What a reader refuses is replaced, what is too long is cut; what it takes stays as it is."""
    record = emission(name=name, basis=name)
    (read,) = [from_object(one) for one in objects_of(to_columns([record]))]

    assert from_json(to_json(record)) == read
    assert read.name[:2] == read.basis[:2] == name[:2].replace("\x00", "\ufffd").replace("\ud800", "?")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_anything_else_is_refused_with_a_wire_error(junk: object) -> None:
    """Bad input is never another exception."""
    with pytest.raises(WireError):
        from_object(junk)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", -1),
        ("sequence", True),
        ("sequence", 1.5),
        ("energy_joules", "1"),
        ("energy_joules", float("nan")),
        ("energy_joules", -0.1),
        ("energy_joules", 10**400),
        ("kind", "joke"),
        ("mixed", 1),
        ("units", {"x": None}),
        ("window_start", "2026-03-29T18:00:00"),
        ("window_start", "yesterday"),
        ("window_start", "0001-01-01T00:00:00+05:00"),
        ("window_end", "2026-03-29T17:00:00Z"),
        ("service", "x" * 513),
        ("service", "a\x00b"),
        ("service", None),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    """The sender can find its mistake."""
    with pytest.raises(WireError, match=field):
        from_object({**to_object(emission()), field: value})


def test_a_missing_field_is_named() -> None:
    """A record without its key is no record."""
    record = to_object(emission())
    del record["instance"]

    with pytest.raises(WireError, match="instance is missing"):
        from_object(record)


def test_unknown_fields_are_ignored_and_a_newer_schema_is_refused() -> None:
    """Readers live with what they do not know, except a schema above their own."""
    record = to_object(emission())

    assert from_object({**record, "colour": "green"}) == emission()
    with pytest.raises(NewerSchemaError):
        from_object({**record, "schema": 2})


def test_every_time_is_utc_with_its_z() -> None:
    """One moment is one text on every machine."""
    kathmandu = timezone(timedelta(hours=5, minutes=45))

    assert utc_text(START.astimezone(kathmandu)) == "2026-03-29T18:00:00.000000Z"
    assert utc_moment("2026-03-29T23:45:00+05:45") == START
    assert utc_moment("2026-03-29T18:00:00.000Z") == START
    with pytest.raises(WireError, match="time zone"):
        utc_text(datetime(2026, 1, 1))


def test_the_object_has_the_records_fields_in_its_order() -> None:
    """What is on the wire can be read beside the class."""
    fields = [field.name for field in dataclasses.fields(Emission)]

    assert list(json.loads(to_json(emission()))) == fields


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff"])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    """Torn and hostile texts too."""
    with pytest.raises(WireError):
        from_json(text)
