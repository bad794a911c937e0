"""The routes that answer questions: figures, books, heat map, raw records, projects, repricings."""

import base64
import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from carbon_sdk.collector import books, buckets, export, figure, heat_map, report
from carbon_sdk.collector.access import Caller
from carbon_sdk.collector.gate import problem, project_of
from carbon_sdk.collector.report import BUCKETS, DIMENSIONS, REPORTS, SLOT_SECONDS, Dimension, Query
from carbon_sdk.collector.store import Format, QueryError, Selection, Store
from carbon_sdk.errors import WireError
from carbon_sdk.wire import utc_moment, utc_text

FORMATS: tuple[Format, ...] = get_args(Format)
UNKNOWN = "~"
"""Stands for an unknown value in a filter: `zone=~`."""
MOST_ROWS = 10_000
MOST_RECORDS = 100_000
DEFAULT_ROWS = 1_000
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_OF_BOOKS = frozenset({"project", "from", "to", "tz"})
_PLAIN = frozenset({"project", "from", "to", "tz", "bucket", "limit", "cursor", "detail", "format", "order"})


class Answers:
    """The endpoints that read.

    Args:
        store: What is asked.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def projects(self, request: Request) -> Response:
        """`GET /v1/projects`: those that the caller may read."""
        caller: Caller = request.state.caller
        if "read" not in caller.scopes:
            return problem(403, "this token does not allow to read")
        found = [one for one in await self._store.projects() if caller.project in (None, one.name)]
        return JSONResponse({"projects": [_plain(one) for one in found]})

    async def reports(self, _request: Request) -> Response:
        """`GET /v1/reports`: the questions that have a name."""
        rows = [
            {"name": one.name, "title": one.title, "by": one.by, "book": one.book, "order": one.order}
            for one in REPORTS.values()
        ]
        return JSONResponse({"reports": rows, "dimensions": DIMENSIONS, "buckets": BUCKETS})

    async def figures(self, request: Request) -> Response:
        """`GET /v1/reports/{name}`: one question over a stretch of time."""
        named = REPORTS.get(request.path_params["name"])
        if named is None:
            return problem(404, f"there is no such report; there are {', '.join(REPORTS)}")
        project = project_of(request, "read")
        if isinstance(project, Response):
            return project
        asked = request.query_params
        try:
            query = _query(asked.multi_items(), project, named.by, named.book)
            limit = _limit(asked.get("limit"), MOST_ROWS, DEFAULT_ROWS)
            order = asked.get("order", named.order if not query.edges else None)
            if order not in (None, *(one.name for one in query.measures)):
                raise ValueError(f"order must be a measure: {', '.join(one.name for one in query.measures)}")
            if asked.get("format", "json") not in ("json", "csv"):
                raise ValueError("format must be json or csv")
            figures = await self._store.figures(query)
            if len(figures) > report.MOST_FIGURES:
                raise ValueError(f"the answer has more than {report.MOST_FIGURES} rows; filter, or widen the bucket")
            shown, cursor = figure.page(figures, order, limit, asked.get("cursor"))
        except (ValueError, QueryError) as exc:
            return problem(400, str(exc))
        if asked.get("format") == "csv":
            return _file(export.figures_csv(shown), "csv", f"{named.name}.csv", cursor)
        return JSONResponse(
            {
                "report": named.name,
                "project": project,
                "from": utc_text(query.start),
                "to": utc_text(query.end),
                "rows": [figure.to_object() for figure in shown],
                "cursor": cursor,
            }
        )

    async def books(self, request: Request) -> Response:
        """`GET /v1/books`: where the measured joules went; the parts add up to the whole."""
        project = project_of(request, "read")
        if isinstance(project, Response):
            return project
        try:
            asked = request.query_params.multi_items()
            strange = {name for name, _ in asked} - _OF_BOOKS
            if strange:
                raise ValueError(f"{min(strange)!r} means nothing to the books: they are those of the whole project")
            process = await self._store.figures(_query(asked, project, ("kind",), "process"))
            machine = await self._store.figures(_query(asked, project, ("kind",), "machine"))
        except (ValueError, QueryError) as exc:
            return problem(400, str(exc))
        found = books.books_of(process, machine)
        return JSONResponse(
            {
                "project": project,
                "measured_joules": found.measured,
                "idle_joules": found.idle,
                "unattributed_joules": found.unattributed,
                "accounts_joules": dict(found.accounts),
                "rest_joules": found.rest,
                "known": {str(figure.key["kind"]): figure.shares for figure in (*process, *machine)},
            }
        )

    async def heat_map(self, request: Request) -> Response:
        """`GET /v1/heat-map`: sums by weekday and hour of the day."""
        project = project_of(request, "read")
        if isinstance(project, Response):
            return project
        asked = dict(request.query_params)
        try:
            zone = _zone(asked.get("tz"))
            items = [item for item in request.query_params.multi_items() if item[0] not in ("bucket", "measure")]
            measure = asked.get("measure", "emissions_g")
            query = _query([*items, ("bucket", "hour")], project, heat_map.dimensions(measure), "process")
            if measure not in [one.name for one in query.measures]:
                raise ValueError(f"measure must be one of {', '.join(one.name for one in query.measures)}")
            maps = heat_map.heat_maps(await self._store.figures(query), zone, measure)
            sums = {
                name: [[sum(hours) if hours else None for hours in row] for row in cells]
                for name, cells in maps.items()
            }
            whole = await self._store.figures(dataclasses.replace(query, by=(), edges=()))
        except (ValueError, QueryError) as exc:
            return problem(400, str(exc))
        known = whole[0].shares if whole else {}
        return JSONResponse({"project": project, "measure": measure, "weekdays_from_monday": sums, "known": known})

    async def records(self, request: Request) -> Response:
        """`GET /v1/records`: raw records, a page at a time."""
        project = project_of(request, "read")
        if isinstance(project, Response):
            return project
        asked = request.query_params
        try:
            form = asked.get("format", "ndjson")
            if form not in FORMATS:
                raise ValueError(f"format must be one of {', '.join(FORMATS)}")
            filters = _filters(asked.multi_items())
            if "domain" in filters:
                raise ValueError("domain: a record has several; its columns hold each")
            selection = Selection(
                project=project,
                start=_moment("from", asked.get("from"), None),
                end=_moment("to", asked.get("to"), None),
                filters=filters,
                limit=_limit(asked.get("limit"), MOST_RECORDS, MOST_RECORDS),
                after=place_of(asked.get("cursor")),
            )
            records = await self._store.records(selection)
        except (ValueError, QueryError) as exc:
            return problem(400, str(exc))
        cursor = None
        if records.num_rows == selection.limit:
            cursor = packed(records["_after"][-1].as_py())
        write = {"parquet": export.parquet, "csv": export.records_csv, "ndjson": export.ndjson}[form]
        body = await anyio.to_thread.run_sync(write, records)
        return _file(body, form, f"records.{form}", cursor)

    async def record(self, request: Request) -> Response:
        """`GET /v1/records/{instance}/{sequence}`: the record of a key, with its second price if it has one."""
        project = project_of(request, "read")
        if isinstance(project, Response):
            return project
        instance, sequence = request.path_params["instance"], request.path_params["sequence"]
        if sequence >= 2**63:
            return problem(404, "there is no such record")
        record, second = await self._store.record(project, instance, sequence)
        found = list(export.objects(record))
        if not found:
            return problem(404, "there is no such record; single records are kept for a while only")
        return JSONResponse({"record": found[0], "repriced": None if second is None else _plain(second)})

    async def intensities(self, request: Request) -> Response:
        """`GET /v1/intensities`: the newest intensity of each service and zone."""
        project = project_of(request, "read")
        if isinstance(project, Response):
            return project
        return JSONResponse({"intensities": [_plain(one) for one in await self._store.intensities(project)]})

    async def repricings(self, request: Request) -> Response:
        """`GET /v1/repricings`: which stretches of the past have a second price."""
        project = project_of(request, "read")
        if isinstance(project, Response):
            return project
        return JSONResponse({"repricings": [_plain(one) for one in await self._store.repricings(project)]})


def _query(asked: list[tuple[str, str]], project: str, by: tuple[Dimension, ...], book: report.Book) -> Query:
    plain = dict(asked)
    filters = _filters(asked)
    barred = report.MACHINE_ONLY if book == "process" else report.PROCESS_ONLY
    if barred & filters.keys():
        raise ValueError(f"{', '.join(sorted(barred & filters.keys()))}: not known in the {book} book")
    start = _moment("from", plain.get("from"), SLOT_SECONDS)
    end = _moment("to", plain.get("to"), SLOT_SECONDS)
    if start >= end:
        raise ValueError("from must lie before to")
    bucket = plain.get("bucket")
    if bucket is not None and bucket not in BUCKETS:
        raise ValueError(f"bucket must be one of {', '.join(BUCKETS)}")
    edges = buckets.bucket_edges(start, end, bucket, _zone(plain.get("tz"))) if bucket else ()
    return Query(
        project=project,
        start=start,
        end=end,
        book=book,
        by=by,
        edges=edges,
        filters=filters,
        detail=plain.get("detail", "0") in ("1", "true"),
    )


def _filters(asked: list[tuple[str, str]]) -> dict[Dimension, tuple[str | None, ...]]:
    filters: dict[Dimension, tuple[str | None, ...]] = {}
    for name, value in asked:
        if name in DIMENSIONS:
            dimension = name
            filters[dimension] = (*filters.get(dimension, ()), None if value == UNKNOWN else _text(value))
        elif name not in _PLAIN:
            raise ValueError(f"{name[:40]!r} is neither a parameter nor a dimension: {', '.join(DIMENSIONS)}")
    return filters


def _moment(name: str, text: str | None, grid_seconds: int | None) -> datetime:
    if text is None:
        raise ValueError(f"{name} is missing: an ISO 8601 time with an offset, 2026-03-01T00:00:00Z")
    try:
        moment = utc_moment(text.replace(" ", "+"))  # an unescaped + in a query arrives as a space
    except (WireError, OverflowError) as exc:
        raise ValueError(f"{name}: {exc}") from exc
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError(f"{name} must lie between the years 2000 and 2100")
    if grid_seconds and (moment - _EARLIEST) % timedelta(seconds=grid_seconds):
        raise ValueError(f"{name} must lie on a quarter of an hour")
    return moment


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ValueError, OSError, KeyError) as exc:  # a path, a folder, an unknown name
        raise ValueError("tz must be a time zone such as Europe/Berlin") from exc


def _text(value: str) -> str:
    if "\x00" in value or len(value) > 512:
        raise ValueError("a filter is a text of at most 512 characters")
    try:
        value.encode()
    except UnicodeError as exc:
        raise ValueError("a filter is UTF-8 text") from exc
    return value


def _limit(text: str | None, most: int, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise ValueError(f"limit must be a whole number from 1 to {most}")
    return int(text)


def packed(place: list[int]) -> str:
    """The cursor that continues behind a raw record."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def place_of(cursor: str | None) -> tuple[int, int, int] | None:
    """What `packed` wrote.

    Raises:
        ValueError: It did not write this.
    """
    if cursor is None:
        return None
    try:
        start, instance, sequence = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        place = (int(start), int(instance), int(sequence))
        if any(not -(2**63) <= part < 2**63 for part in place):
            raise ValueError
    except (ValueError, TypeError, RecursionError, OverflowError) as exc:
        raise ValueError("the cursor is not one that this collector gave out") from exc
    return place


def _plain(value: Any) -> Mapping[str, Any]:
    return {
        name: utc_text(part) if isinstance(part, datetime) else part for name, part in dataclasses.asdict(value).items()
    }


def _file(body: bytes, form: str, name: str, cursor: str | None) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    if cursor:
        headers["x-next-cursor"] = cursor
    return Response(body, media_type=export.MEDIA[form], headers=headers)
