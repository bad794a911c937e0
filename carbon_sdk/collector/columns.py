"""How the fields of an `Emission` are laid out in columns, and what the fast decoder accepts.

Every field of the record belongs to exactly one group here; a test holds that against the dataclass. Texts that repeat
from record to record are kept once and referred to by number:

* the **account** (service, kind, root, name, and the origin of its chain of calls): whose joules;
* the **provenance**: everything that says how a figure is known;
* the **instance** and the **machine**.

What is left are times, counts and numbers, and they are what a row of the store holds.

The Structs below are derived from the dataclass, never written by hand. They accept a part of what `wire` accepts and
read it alike; whatever they refuse is judged by `wire` itself, record by record.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from carbon_sdk.emission import SCHEMA, Emission
from carbon_sdk.wire import MAXIMUM_TEXT

ACCOUNT: tuple[str, ...] = ("service", "kind", "root", "name", "origin_service", "origin_endpoint")
"""Whose joules."""
PROVENANCE: tuple[str, ...] = (
    "release",
    "meter",
    "meter_scope",
    "basis",
    "idle_rule",
    "energy_package_method",
    "energy_dram_method",
    "energy_psys_method",
    "energy_gpu_method",
    "energy_method",
    "intensity_source",
    "intensity_quality",
    "intensity_signal",
    "intensity_scope",
    "zone",
    "place",
    "mixed",
    "pue",
    "wall_factor",
    "partial",
    "approximate",
    "share_rule",
    "idle_policy",
    "schema",
)
"""How it is known."""
TIMES: tuple[str, ...] = ("window_start", "window_end", "intensity_observed_at", "intensity_valid_until")
"""Kept as microseconds since 1970-01-01T00:00Z."""
COUNTS: tuple[str, ...] = ("sequence", "requests", "errors", "timeouts", "cancelled", "retries")
UNITS = "units"
"""Kept as a map; null when empty."""
NUMBERS: tuple[str, ...] = (
    "duration_seconds",
    "cpu_seconds",
    "energy_joules",
    "energy_package_joules",
    "energy_dram_joules",
    "energy_psys_joules",
    "energy_gpu_joules",
    "energy_low_joules",
    "energy_high_joules",
    "idle_energy_joules",
    "emissions_g",
    "idle_emissions_g",
    "emissions_embodied_g",
    "sci_g",
    "sci_g_per_request",
    "intensity_g_per_kwh",
    "gap_seconds",
    "gap_cpu_seconds",
    "late_cpu_seconds",
    "cpu_overcount_seconds",
)

ORDER: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Emission))
"""The order of the fields on the wire, and in the Structs: msgspec is quickest where both are one."""

LARGEST_NUMBER = 1e15
"""Bound of every number of a record, so that no sum overflows: 1e15 J is ten days of a large power station."""
LARGEST_COUNT = 10**12
"""Bound of every count of one record but its sequence."""

HINTS: Mapping[str, Any] = get_type_hints(Emission)
KINDS: tuple[str, ...] = get_args(HINTS["kind"])

_Text = Annotated[str, msgspec.Meta(max_length=MAXIMUM_TEXT)]
_Sequence = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Whole = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNT)]
_Number = Annotated[float, msgspec.Meta(ge=0, le=LARGEST_NUMBER)]
_Schema = Annotated[int, msgspec.Meta(ge=0, le=SCHEMA)]
_PLAIN: dict[object, Any] = {str: _Text, int: _Whole, float: _Number, bool: bool}


def _accepted(name: str) -> Any:
    """The type that the fast decoder takes for a field."""
    hint = HINTS[name]
    optional = get_origin(hint) in (Union, types.UnionType)
    if optional:
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if name == "schema":
        accepted: Any = _Schema
    elif name == "sequence":
        accepted = _Sequence
    elif name in TIMES:
        accepted = _Text
    elif name == UNITS:
        accepted = dict[_Text, _Number]
    elif get_origin(hint) is Literal:
        accepted = hint
    else:
        accepted = _PLAIN[hint]
    return accepted | None if optional else accepted


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return msgspec.NODEFAULT


_FIELDS = {field.name: field for field in dataclasses.fields(Emission)}

Record: Any = msgspec.defstruct(
    "Record",
    [(name, _accepted(name), msgspec.field(default=_default(_FIELDS[name]))) for name in ORDER],
    kw_only=True,
    gc=False,
)
"""One record as a JSON object."""

Columns: Any = msgspec.defstruct(
    "Columns",
    [(name, list[_accepted(name)] | _accepted(name), msgspec.field(default=_default(_FIELDS[name]))) for name in ORDER],  # type: ignore[misc]
    kw_only=True,
    gc=False,
)
"""Many records as one JSON object of columns; a value that is not a list holds for every row."""
