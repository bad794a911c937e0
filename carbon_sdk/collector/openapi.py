"""The OpenAPI document of the collector, and a page that shows it without a script."""

import dataclasses
import html
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from carbon_sdk.collector.answers import FORMATS, MOST_RECORDS, MOST_ROWS, UNKNOWN
from carbon_sdk.collector.columns import HINTS, ORDER, TIMES, UNITS
from carbon_sdk.collector.export import MEDIA
from carbon_sdk.collector.report import BUCKETS, DIMENSIONS, PROCESS_MEASURES, REPORTS
from carbon_sdk.emission import Emission
from carbon_sdk.wire import MAXIMUM_TEXT

_TEXT = {"type": "string", "maxLength": MAXIMUM_TEXT}
_SCALARS: Mapping[object, dict[str, Any]] = {
    str: _TEXT,
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0},
    bool: {"type": "boolean"},
}


def _schema_of(name: str) -> dict[str, Any]:
    hint = HINTS[name]
    optional = get_origin(hint) in (Union, types.UnionType)
    if optional:
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if name in TIMES:
        schema: dict[str, Any] = {"type": "string", "format": "date-time"}
    elif name == UNITS:
        schema = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}
    elif get_origin(hint) is Literal:
        schema = {"type": "string", "enum": list(get_args(hint))}
    else:
        schema = dict(_SCALARS[hint])
    return {"anyOf": [schema, {"type": "null"}]} if optional else schema


def _required() -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(Emission)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _parameter(name: str, schema: Mapping[str, Any], words: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": words, "schema": dict(schema)}


def _in_path(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": dict(schema)}


_PROJECT = _parameter(
    "project",
    {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    "The project, where no token says it.",
)
_MOMENT = {"type": "string", "format": "date-time"}
_PERIOD = [
    {
        **_parameter("from", _MOMENT, "From here, with an offset; on a quarter of an hour for figures.", required=True),
        "example": "2026-03-01T00:00:00Z",
    },
    {**_parameter("to", _MOMENT, "Up to here, not included.", required=True), "example": "2026-04-01T00:00:00+02:00"},
]
_TZ = _parameter("tz", {"type": "string", "default": "UTC"}, "Time zone of days, weeks and months: Europe/Berlin.")
_FILTERS = [
    _parameter(
        name, {"type": "array", "items": _TEXT}, f"Only these; repeat for several; {UNKNOWN} stands for unknown."
    )
    for name in DIMENSIONS
]
_CURSOR = _parameter("cursor", {"type": "string"}, "Continue where the last page ended.")


def _limit(most: int) -> dict[str, Any]:
    return _parameter("limit", {"type": "integer", "minimum": 1, "maximum": most}, "Most rows of this page.")


def _answer(words: str, *media: str) -> dict[str, Any]:
    shapes: dict[str, Any] = {one: {"schema": {} if one == "application/json" else {"type": "string"}} for one in media}
    return {"description": words, "content": shapes or {"application/json": {"schema": {}}}}


_ERRORS = {
    "400": _answer("The question is wrong; the answer says how."),
    "401": _answer("A token is needed."),
    "403": _answer("The token does not allow this."),
    "421": _answer("Without tokens the service answers to localhost only."),
    "429": _answer("Too many requests; Retry-After says when."),
    "503": _answer("The store is busy or failing; Retry-After says when."),
}


def _get(
    summary: str, parameters: list[dict[str, Any]], answer: dict[str, Any], *, unknown: str | None = None
) -> dict[str, Any]:
    responses = {"200": answer, **_ERRORS, **({} if unknown is None else {"404": _answer(unknown)})}
    return {"get": {"summary": summary, "parameters": parameters, "responses": responses}}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "carbon_sdk collector", "version": "1", "license": {"name": "Apache-2.0"}},
        "security": [{}, {"token": []}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/v1/emissions": {"post": _hand_over()},
            "/v1/projects": _get("Projects that have records", [], _answer("The projects.")),
            "/v1/reports": _get("The questions that have a name", [], _answer("The reports.")),
            "/v1/reports/{name}": _report(),
            "/v1/books": _get("Where the measured joules went", [_PROJECT, *_PERIOD], _answer("The books.")),
            "/v1/heat-map": _heat_map(),
            "/v1/records": _records(),
            "/v1/records/{instance}/{sequence}": _record(),
            "/v1/intensities": _get(
                "The newest intensity of each service and zone",
                [_PROJECT],
                _answer("Grams CO2e per kWh, and who says so."),
            ),
            "/v1/repricings": _get("Stretches with a second price", [_PROJECT], _answer("The repricings.")),
            "/healthz": {"get": {"summary": "The process runs", "responses": {"200": _answer("It does.")}}},
            "/readyz": {
                "get": {
                    "summary": "Records are taken",
                    "responses": {"200": _answer("They are."), "503": _answer("They are not.")},
                }
            },
            "/metrics": _get("Prometheus metrics", [], _answer("The text format.", "text/plain")),
        },
    }


def _hand_over() -> dict[str, Any]:
    record = {"type": "object", "required": _required(), "properties": {name: _schema_of(name) for name in ORDER}}
    columns = {
        "type": "object",
        "required": _required(),
        "description": "A list for each field, all of one length; a value that is no list holds for every row.",
        "properties": {
            name: {"anyOf": [_schema_of(name), {"type": "array", "items": _schema_of(name)}]} for name in ORDER
        },
    }
    body = {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "array", "items": record}},
            "application/x-ndjson": {"schema": {"type": "string"}},
            "application/vnd.carbon-sdk.columns+json": {"schema": columns},
        },
    }
    return {
        "summary": "Hand over a batch of records",
        "description": "Each record is kept once by (instance, sequence). On an answer of 200 or 426 what is `stored` is "  # noqa: E501
        "on disk. 426: records `kept` have a newer schema, or stand behind one; send them again to a newer collector.",
        "parameters": [_PROJECT],
        "requestBody": body,
        "responses": {
            "200": _answer("What became of each record: stored, known, refused."),
            "426": _answer("The same; some records have a schema that this collector does not know."),
            "408": _answer("The body came too slowly."),
            "413": _answer("The body is too long."),
            "415": _answer("An unknown Content-Type or Content-Encoding."),
            **_ERRORS,
        },
    }


def _report() -> dict[str, Any]:
    return _get(
        "One question: " + "; ".join(f"{one.name}: {one.title.lower()}" for one in REPORTS.values()),
        [
            _in_path("name", {"type": "string", "enum": list(REPORTS)}),
            _PROJECT,
            *_PERIOD,
            _TZ,
            _parameter("bucket", {"type": "string", "enum": list(BUCKETS)}, "Cut the time into these: a time series."),
            _parameter("order", {"type": "string", "enum": [one.name for one in PROCESS_MEASURES]}, "Greatest first."),
            _parameter("detail", {"type": "boolean"}, "Also domains, SCI and gaps."),
            _parameter("format", {"type": "string", "enum": ["json", "csv"]}, "Of the answer."),
            _limit(MOST_ROWS),
            _CURSOR,
            *_FILTERS,
        ],
        _answer("Figures.", "application/json", MEDIA["csv"]),
        unknown="There is no such report.",
    )


def _heat_map() -> dict[str, Any]:
    return _get(
        "Sums by weekday and hour",
        [_PROJECT, *_PERIOD, _TZ, _parameter("measure", {"type": "string"}, "What is summed."), *_FILTERS],
        _answer("Seven rows of 24: for each signal and scope where grams are summed, else `all`."),
    )


def _records() -> dict[str, Any]:
    return _get(
        "Raw records",
        [
            _PROJECT,
            *_PERIOD,
            _parameter("format", {"type": "string", "enum": list(FORMATS)}, "Of the answer."),
            *(one for one in _FILTERS if one["name"] != "domain"),
            _limit(MOST_RECORDS),
            _CURSOR,
        ],
        _answer("Records; X-Next-Cursor where there are more.", *(MEDIA[one] for one in FORMATS)),
    )


def _record() -> dict[str, Any]:
    return _get(
        "The record of a key, and its second price",
        [_in_path("instance", _TEXT), _in_path("sequence", _SCALARS[int]), _PROJECT],
        _answer("`record`, and `repriced` or null."),
        unknown="There is no such record.",
    )


def page(described: Mapping[str, Any]) -> str:
    """The document as one HTML page."""
    parts = []
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            rows = "".join(
                f"<tr><td><code>{html.escape(one['name'])}</code></td><td>{html.escape(one.get('description', ''))}</td></tr>"  # noqa: E501
                for one in operation.get("parameters", ())
            )
            parts.append(
                f"<h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{html.escape(operation['summary'])}</p>"
                + (f"<table>{rows}</table>" if rows else "")
            )
    style = (
        "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}td{padding:.1rem 1rem .1rem 0}"
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>carbon_sdk collector</title>'
        f"<style>{style}</style><h1>carbon_sdk collector</h1>"
        '<p>The machine-readable document is <a href="/openapi.json">openapi.json</a>.</p>' + "".join(parts)
    )
