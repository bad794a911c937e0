"""What can be asked of the records, defined once for every store.

A question is a `Query`: a book, a stretch of time, dimensions to group by, filters. A store answers with sums; this
module turns sums into `Figure`s, which carry beside each value how it is known. The named questions of the API and the
dashboard are `REPORTS`. An engine implements one method, `figures`, by grouping its roll-up and handing the rows to
`figures_of`; the measures' expressions are SQL that DuckDB and ClickHouse both read.

Three laws hold for every figure:

* A record lies wholly in the quarter of an hour in which its window starts, so figures of parts add up to the whole.
* The machine book is never added over processes: of the copies of a machine, interval and domain one was chosen.
* Grams of different signal or scope stand side by side and are never added.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from carbon_sdk.emission import JOULES_PER_KWH
from carbon_sdk.wire import utc_text

SLOT_SECONDS = 900
"""Width of the finest roll-up. Every time zone in use today is a whole number of quarter hours from UTC, so the days of
each can be cut out exactly (India +5:30, Nepal +5:45)."""
DAY_SECONDS = 86_400
MOST_BUCKETS = 20_000
MOST_FIGURES = 100_000
"""Rows of an answer before paging; a question that gives more must be narrowed."""

Book = Literal["process", "machine"]
Bucket = Literal["quarter", "hour", "day", "week", "month"]
Dimension = Literal[
    "service",
    "kind",
    "endpoint",
    "name",
    "release",
    "zone",
    "place",
    "intensity_source",
    "intensity_quality",
    "intensity_signal",
    "intensity_scope",
    "energy_method",
    "idle_rule",
    "idle_policy",
    "share_rule",
    "meter",
    "meter_scope",
    "machine",
    "domain",
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
HOW_KNOWN: tuple[Dimension, ...] = ("intensity_quality", "energy_method", "intensity_signal", "intensity_scope")
"""Every answer is grouped by these as well, and folded here, so that each figure knows its shares."""
PROCESS_ONLY: frozenset[Dimension] = frozenset({"service", "endpoint", "name"})
MACHINE_ONLY: frozenset[Dimension] = frozenset({"machine", "domain"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A sum that the roll-up keeps.

    Args:
        name: Its column.
        expression: Of one record, in SQL that every engine reads; its nulls are left out of the sum.
        whole: It is a count.
        detail: Left out of an answer that asks for no detail, to be quick.
    """

    name: str
    expression: str
    whole: bool = False
    detail: bool = False


_LOW = "coalesce(energy_low_joules, energy_joules)"
_HIGH = "coalesce(energy_high_joules, energy_joules)"
PROCESS_MEASURES: tuple[Measure, ...] = (
    Measure(name="records", expression="1", whole=True),
    Measure(name="requests", expression="requests", whole=True),
    Measure(name="errors", expression="errors", whole=True),
    Measure(name="records_without_energy", expression="case when energy_joules is null then 1 else 0 end", whole=True),
    Measure(name="records_without_emissions", expression="case when emissions_g is null then 1 else 0 end", whole=True),
    Measure(name="duration_seconds", expression="duration_seconds"),
    Measure(name="cpu_seconds", expression="cpu_seconds"),
    Measure(name="energy_joules", expression="energy_joules"),
    Measure(name="energy_low_joules", expression=_LOW),
    Measure(name="energy_high_joules", expression=_HIGH),
    Measure(name="idle_energy_joules", expression="idle_energy_joules"),
    Measure(name="emissions_g", expression="emissions_g"),
    Measure(
        name="emissions_low_g",
        expression=f"case when energy_joules > 0 then emissions_g * {_LOW} / energy_joules else emissions_g end",
    ),
    Measure(
        name="emissions_high_g",
        expression=f"case when energy_joules > 0 then emissions_g * {_HIGH} / energy_joules else emissions_g end",
    ),
    Measure(name="idle_emissions_g", expression="idle_emissions_g"),
    Measure(name="emissions_embodied_g", expression="emissions_embodied_g"),
    Measure(name="intensity_joules", expression="energy_joules * intensity_g_per_kwh"),
    Measure(name="priced_joules", expression="case when intensity_g_per_kwh is null then null else energy_joules end"),
    Measure(name="energy_package_joules", expression="energy_package_joules", detail=True),
    Measure(name="energy_dram_joules", expression="energy_dram_joules", detail=True),
    Measure(name="energy_psys_joules", expression="energy_psys_joules", detail=True),
    Measure(name="energy_gpu_joules", expression="energy_gpu_joules", detail=True),
    Measure(name="sci_g", expression="sci_g_per_request * requests", detail=True),
    Measure(
        name="sci_requests", expression="case when sci_g_per_request is null then null else requests end", detail=True
    ),
    Measure(name="gap_seconds", expression="gap_seconds", detail=True),
    Measure(name="gap_cpu_seconds", expression="gap_cpu_seconds", detail=True),
    Measure(name="late_cpu_seconds", expression="late_cpu_seconds", detail=True),
    Measure(name="cpu_overcount_seconds", expression="cpu_overcount_seconds", detail=True),
)
MACHINE_MEASURES: tuple[Measure, ...] = (
    Measure(name="energy_joules", expression="energy_joules"),
    Measure(name="emissions_g", expression="emissions_g"),
    Measure(name="covered_seconds", expression="covered_seconds"),
    Measure(name="intensity_joules", expression="energy_joules * intensity_g_per_kwh"),
    Measure(name="priced_joules", expression="case when intensity_g_per_kwh is null then null else energy_joules end"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question.

    Args:
        project: Whose records.
        start: From here, UTC, on a quarter of an hour.
        end: Up to here, UTC, on a quarter of an hour.
        book: Which of the two books.
        by: Group by these.
        edges: Ends of the time buckets: bucket i is [edges[i], edges[i+1]). Empty: one bucket.
        filters: Only what has one of these values; None stands for unknown.
        detail: Also the domains, SCI and gaps.
    """

    project: str
    start: datetime
    end: datetime
    book: Book = "process"
    by: tuple[Dimension, ...] = ()
    edges: tuple[datetime, ...] = ()
    filters: Mapping[Dimension, tuple[str | None, ...]] = field(default_factory=dict)
    detail: bool = False

    @property
    def grouped_by(self) -> tuple[Dimension, ...]:
        """What an engine groups by: the question's dimensions, then those that say how it is known."""
        return self.by + tuple(one for one in HOW_KNOWN if one not in self.by)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What an engine sums."""
        offered = PROCESS_MEASURES if self.book == "process" else MACHINE_MEASURES
        return tuple(one for one in offered if self.detail or not one.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Sums over some records, and how they are known. None is unknown, never zero.

    Args:
        key: Values of the dimensions asked for.
        start: Start of the time bucket, UTC.
        end: End of the time bucket, UTC.
        sums: Sum of each measure; a measure that no record knew is None.
        emissions: Grams by `signal/scope`, `average/lifecycle`; they are not added over these.
        quality: Share of the joules by quality of the intensity; `unknown` where there was none.
        method: Share of the joules by how they were known.
        repriced_g: Grams after the newest repricing, by `signal/scope`; None where nothing was repriced.
    """

    key: Mapping[str, str | None]
    start: datetime
    end: datetime
    sums: Mapping[str, float | None]
    emissions: Mapping[str, float]
    quality: Mapping[str, float]
    method: Mapping[str, float]
    repriced_g: Mapping[str, float] | None = None

    @property
    def emissions_g(self) -> float | None:
        """Grams, where all of them have one signal and one scope; None where they may not be added, or are unknown."""
        return next(iter(self.emissions.values())) if len(self.emissions) == 1 else None

    @property
    def emissions_g_per_request(self) -> float | None:
        """Grams per request; None where no request ended or the grams are not one number."""
        requests = self.sums.get("requests")
        return self.emissions_g / requests if requests and self.emissions_g is not None else None

    @property
    def intensity_g_per_kwh(self) -> float | None:
        """What a kWh weighed on average, without PUE."""
        weighed, joules = self.sums.get("intensity_joules"), self.sums.get("priced_joules")
        return weighed / joules if joules and weighed is not None else None

    @property
    def sci_g_per_request(self) -> float | None:
        """((E x I) + M) / R over the requests for which it is known; None where it is not, or was not asked for."""
        weighed, requests = self.sums.get("sci_g"), self.sums.get("sci_requests")
        return weighed / requests if requests and weighed is not None else None

    def rank(self, measure: str) -> float:
        """What to order by: the measure's sum; unknown ranks last."""
        value = sum(self.emissions.values()) if measure == "emissions_g" and self.emissions else self.sums.get(measure)
        return -1.0 if value is None else value

    def to_object(self) -> dict[str, Any]:
        """JSON-ready, with the derived values, kWh beside joules."""
        shown = {n: v for n, v in self.sums.items() if n not in _INNER}
        joules = self.sums.get("energy_joules")
        return {
            "key": dict(self.key),
            "start": utc_text(self.start),
            "end": utc_text(self.end),
            **shown,
            "energy_kwh": None if joules is None else joules / JOULES_PER_KWH,
            "emissions_g": self.emissions_g,
            "emissions": dict(self.emissions),
            "emissions_g_per_request": self.emissions_g_per_request,
            "intensity_g_per_kwh": self.intensity_g_per_kwh,
            "sci_g_per_request": self.sci_g_per_request,
            "repriced_g": None if self.repriced_g is None else dict(self.repriced_g),
            "quality": dict(self.quality),
            "method": dict(self.method),
        }


_INNER = frozenset({"intensity_joules", "priced_joules", "sci_g", "sci_requests", "emissions_g"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A named question.

    Args:
        name: Its name in the API.
        title: What it shows.
        by: Its dimensions.
        book: Its book.
        order: What its rows are ordered by, greatest first; none: by key and time.
    """

    name: str
    title: str
    by: tuple[Dimension, ...] = ()
    book: Book = "process"
    order: str | None = "emissions_g"


REPORTS: Mapping[str, Report] = {
    report.name: report
    for report in (
        Report(name="totals", title="All of it"),
        Report(name="services", title="Each service", by=("service",)),
        Report(name="endpoints", title="Each endpoint or job", by=("service", "endpoint")),
        Report(name="parts", title="What an endpoint is made of", by=("service", "endpoint", "kind", "name")),
        Report(
            name="zones", title="Each zone, source and quality", by=("zone", "intensity_source", "intensity_quality")
        ),
        Report(name="releases", title="Each release", by=("service", "release", "idle_rule", "energy_method")),
        Report(name="books", title="Spans, background, SDK, other", by=("kind",), order="energy_joules"),
        Report(
            name="scopes",
            title="For the inventory: signal, scope, source",
            by=("service", "intensity_signal", "intensity_scope", "intensity_source"),
        ),
        Report(
            name="machines",
            title="Each machine once",
            by=("machine", "kind", "domain"),
            book="machine",
            order="energy_joules",
        ),
        Report(
            name="machine_books",
            title="Measured, idle, unattributed",
            by=("kind",),
            book="machine",
            order="energy_joules",
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """One row of an engine's answer.

    Args:
        bucket: Number of the time bucket, from 0.
        key: Values of `Query.grouped_by`, in that order.
        values: Sums of `Query.measures`, in that order.
        repriced_by_g: What the newest repricing adds to the first price; None where there was none.
    """

    bucket: int
    key: tuple[str | None, ...]
    values: tuple[float | None, ...]
    repriced_by_g: float | None


def figures_of(query: Query, rows: Iterable[Sums]) -> list[Figure]:
    """The figures of an engine's rows, by key and time."""
    groups: dict[tuple[int, tuple[str | None, ...]], list[Sums]] = {}
    for row in rows:
        groups.setdefault((row.bucket, row.key[: len(query.by)]), []).append(row)
    edges = query.edges or (query.start, query.end)
    order = sorted(groups, key=lambda group: (group[0], tuple(part or "" for part in group[1])))
    return [_figure(query, edges[group[0]], edges[group[0] + 1], group[1], groups[group]) for group in order]


def _figure(query: Query, start: datetime, end: datetime, key: tuple[str | None, ...], rows: Sequence[Sums]) -> Figure:
    names = [measure.name for measure in query.measures]
    joules, grams = names.index("energy_joules"), names.index("emissions_g")
    at = {name: query.grouped_by.index(name) for name in HOW_KNOWN}
    emissions: dict[str, float] = {}
    repriced: dict[str, float] = {}
    for row in rows:
        kind = f"{row.key[at['intensity_signal']] or 'unknown'}/{row.key[at['intensity_scope']] or 'unknown'}"
        first = row.values[grams]
        if first is not None:
            emissions[kind] = emissions.get(kind, 0.0) + first
        if first is not None or row.repriced_by_g is not None:
            repriced[kind] = repriced.get(kind, 0.0) + (first or 0.0) + (row.repriced_by_g or 0.0)
    return Figure(
        key=dict(zip(query.by, key, strict=True)),
        start=start,
        end=end,
        sums={name: _sum(row.values[i] for row in rows) for i, name in enumerate(names)},
        emissions=emissions,
        quality=_shares((row.key[at["intensity_quality"]], row.values[joules]) for row in rows),
        method=_shares((row.key[at["energy_method"]], row.values[joules]) for row in rows),
        repriced_g=repriced if any(row.repriced_by_g is not None for row in rows) else None,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _shares(parts: Iterable[tuple[str | None, float | None]]) -> dict[str, float]:
    joules: dict[str, float] = {}
    for name, value in parts:
        if value:
            joules[name or "unknown"] = joules.get(name or "unknown", 0.0) + value
    whole = sum(joules.values())
    return {name: value / whole for name, value in sorted(joules.items(), key=lambda item: -item[1])}


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Where the measured joules went. Parts are None where they are unknown.

    Args:
        measured: All joules of the machines' domains.
        idle: Used by doing nothing, whoever carries them.
        unattributed: Measured, but nobody's share can be known.
        accounts: Active joules of the process book by kind: request, worker, span, background, sdk, other.
    """

    measured: float | None
    idle: float | None
    unattributed: float | None
    accounts: Mapping[str, float]

    @property
    def rest(self) -> float | None:
        """Active joules of everything that does not report: measured less all the others."""
        if self.measured is None:
            return None
        return self.measured - (self.idle or 0.0) - (self.unattributed or 0.0) - sum(self.accounts.values())


def books_of(process: Iterable[Figure], machine: Iterable[Figure]) -> Books:
    """The books of the answers to `books` and `machine_books` over the same time."""
    accounts: dict[str, float] = {}
    for figure in process:
        joules = figure.sums["energy_joules"]
        if joules is not None:
            accounts[figure.key["kind"] or "unknown"] = joules
    known = {figure.key["kind"]: figure.sums["energy_joules"] for figure in machine}
    return Books(
        measured=known.get("measured"),
        idle=known.get("idle"),
        unattributed=known.get("unattributed"),
        accounts=accounts,
    )


def heat_map(figures: Iterable[Figure], zone: ZoneInfo, measure: str = "emissions_g") -> list[list[float | None]]:
    """Sums by weekday (Monday first) and hour of the day in a time zone, from figures of one hour each."""
    cells: list[list[float | None]] = [[None] * 24 for _ in range(7)]
    for figure in figures:
        value = (
            sum(figure.emissions.values())
            if measure == "emissions_g" and figure.emissions
            else figure.sums.get(measure)
        )
        if value is not None:
            local = figure.start.astimezone(zone)
            cells[local.weekday()][local.hour] = (cells[local.weekday()][local.hour] or 0.0) + value
    return cells


def bucket_edges(start: datetime, end: datetime, bucket: Bucket, zone: ZoneInfo) -> tuple[datetime, ...]:
    """The ends of the buckets that cover a stretch of time; the first and the last may be cut short by it.

    Args:
        start: From here, UTC.
        end: Up to here, UTC.
        bucket: Their width. Days, weeks (from Monday) and months are those of the time zone; a day on which clocks
            change has 23 or 25 hours.
        zone: The time zone.

    Raises:
        ValueError: There would be too many.
    """
    edges = [start]
    inner = _later_edges(start, bucket, zone)
    while (edge := next(inner)) < end:
        edges.append(edge)
        if len(edges) > MOST_BUCKETS:
            raise ValueError(f"more than {MOST_BUCKETS} buckets; ask for wider ones, or a shorter time")
    return (*edges, end)


def _later_edges(start: datetime, bucket: Bucket, zone: ZoneInfo) -> Iterator[datetime]:
    """The borders of buckets after a moment, without end."""
    if bucket in ("quarter", "hour"):
        step = timedelta(seconds=SLOT_SECONDS if bucket == "quarter" else 3600)
        offset = start.astimezone(zone).utcoffset() or timedelta()
        edge = start - (start + offset - datetime(1970, 1, 1, tzinfo=UTC)) % step
        while True:
            edge += step
            yield edge
    local = start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if bucket == "week":
        local -= timedelta(days=local.weekday())
    elif bucket == "month":
        local = local.replace(day=1)
    while True:
        if bucket == "month":
            local = (local + timedelta(days=32)).replace(day=1)
        else:
            local += timedelta(days=7 if bucket == "week" else 1)
        yield local.replace(tzinfo=zone).astimezone(UTC)


def page(
    figures: Sequence[Figure], order: str | None, limit: int, cursor: str | None
) -> tuple[list[Figure], str | None]:
    """One page of figures, and the cursor of the next.

    The cursor holds the place in the order, not a row number, so that records which arrive between two pages neither
    repeat nor skip a row whose figure stands still.

    Raises:
        ValueError: The cursor is none of ours.
    """

    def place(figure: Figure) -> list[Any]:
        rank = [-figure.rank(order)] if order else []
        return [*rank, figure.start.timestamp(), *(value or "" for value in figure.key.values())]

    ordered = sorted(figures, key=place)
    if cursor is not None:
        try:
            behind = json.loads(base64.urlsafe_b64decode(cursor.encode()))
            ordered = [figure for figure in ordered if place(figure) > behind]
        except (ValueError, TypeError) as exc:
            raise ValueError("the cursor is not one that this collector gave out for this question") from exc
    shown = ordered[:limit]
    if len(ordered) <= limit:
        return shown, None
    return shown, base64.urlsafe_b64encode(json.dumps(place(shown[-1])).encode()).decode()
