"""The questions of `report` in DuckDB's SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from carbon_sdk.collector.columns import COUNTS, NUMBERS, PROVENANCE, TIMES, UNITS
from carbon_sdk.collector.figure import Counted, Sums
from carbon_sdk.collector.report import Dimension, Query
from carbon_sdk.collector.store import Project, Repricing, SecondPrice, SeenIntensity, Selection

_PLACES: Mapping[Dimension, str] = {
    "service": "a.service",
    "kind": "a.kind",
    "endpoint": "a.root",
    "name": "a.name",
    "root_service": "coalesce(a.origin_service, a.service)",
    "root_endpoint": "coalesce(a.origin_endpoint, a.root)",
}
_SERVICE_PLACES: Mapping[Dimension, str] = {"service": "r.service", "kind": "r.kind"}
_RECORD_PLACES: Mapping[Dimension, str] = {**_PLACES, "machine": "m.machine"}
_MACHINE_PLACES: Mapping[Dimension, str] = {"machine": "m.machine", "kind": "r.kind", "domain": "r.domain"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A roll-up that can answer a question.

    Args:
        table: Its name.
        keys: What its rows are told apart by, beside the time.
        joined: What tells the rest about a key.
        places: Where dimensions stand that are none of the provenance.
        owner: Which rows are the project's.
        repriced: What of a table of new prices has these keys; None where nothing is priced again.
    """

    table: str
    keys: str
    joined: str
    places: Mapping[Dimension, str]
    owner: str
    repriced: str | None


_ACCOUNTS = _Source(
    table="rollup",
    keys="account_id, provenance_id",
    joined="join accounts a using (account_id)",
    places=_PLACES,
    owner="",
    repriced="repriced",
)
_SERVICES = _Source(
    table="service_rollup",
    keys="service, kind, provenance_id",
    joined="",
    places=_SERVICE_PLACES,
    owner="project = $project",
    repriced="repriced join accounts using (account_id)",
)
_MACHINES = _Source(
    table="machine_rollup",
    keys="machine_id, kind, domain, provenance_id",
    joined="join machines m using (machine_id)",
    places=_MACHINE_PLACES,
    owner="machine_id in (select machine_id from machines where project = $project)",
    repriced=None,
)


def _source(query: Query) -> _Source:
    """The smallest roll-up that knows what is asked for."""
    if query.book == "machine":
        return _MACHINES
    narrow = _PLACES.keys() - _SERVICE_PLACES.keys()
    return _ACCOUNTS if narrow & {*query.by, *query.filters} else _SERVICES


def sums(connection: duckdb.DuckDBPyConnection, query: Query) -> list[Sums]:
    """The rows of an answer."""
    source = _source(query)
    words = [source.places.get(one, f"p.{one}") for one in query.grouped_by]
    parameters: dict[str, Any] = {
        "project": query.project,
        "start": _epoch(query.start),
        "end": _epoch(query.end),
    }
    condition = _conditions(query.filters, source.places, parameters)
    owner = _owner(source, query, parameters)
    names = [measure.name for measure in query.measures]
    bucket, buckets, slot = "0 as bucket", "", ""
    if query.edges:
        parameters["edges"] = [_epoch(edge) for edge in query.edges[:-1]]
        bucket, slot = "bucket", "slot, "
        buckets = (
            "asof join (select unnest($edges) as edge, unnest(range(len($edges))) as bucket) e on r.slot >= e.edge"
        )
    repriced, by_g = "", "null"
    if source.repriced:
        by_g = "sum(n.by_g)"
        repriced = f"""
            left join (
                select {slot}{source.keys}, sum(coalesce(new_g, 0) - coalesce(first_g, 0)) as by_g
                from {source.repriced} where slot >= $start and slot < $end and {owner}
                group by {slot}{source.keys}
            ) n using ({slot}{source.keys})
        """
    text = f"""
        select {bucket}, {", ".join(words)}, {", ".join(f"sum(r.{name})" for name in names)}, {by_g}
        from (
            select {slot}{source.keys}, {", ".join(f"sum({name}) as {name}" for name in names)}
            from {source.table} where slot >= $start and slot < $end and {owner}
            group by {slot}{source.keys}
        ) r
        {repriced} {source.joined} join provenances p using (provenance_id) {buckets}
        where true {condition}
        group by all
    """
    rows = connection.execute(text, parameters).fetchall()
    width = 1 + len(words)
    return [Sums(bucket=row[0], key=row[1:width], values=row[width:-1], repriced_by_g=row[-1]) for row in rows]


def _owner(source: _Source, query: Query, parameters: dict[str, Any]) -> str:
    """Which rows are looked at: the project's, and of its accounts those that the filters leave."""
    if source is not _ACCOUNTS:
        return source.owner
    filters = {name: values for name, values in query.filters.items() if name in _PLACES}
    wanted = _conditions(filters, _PLACES, parameters)
    return f"account_id in (select account_id from accounts a where project = $project {wanted})"


def counted(connection: duckdb.DuckDBPyConnection, query: Query) -> list[Counted]:
    """The functional units of an answer; none where the question asks for more than accounts."""
    if not query.knows_units:
        return []
    parameters: dict[str, Any] = {"project": query.project, "start": _epoch(query.start), "end": _epoch(query.end)}
    condition = _conditions(query.filters, _PLACES, parameters)
    bucket, buckets = "0", ""
    if query.edges:
        parameters["edges"] = [_epoch(edge) for edge in query.edges[:-1]]
        buckets = (
            "asof join (select unnest($edges) as edge, unnest(range(len($edges))) as bucket) e on u.slot >= e.edge"
        )
        bucket = "bucket"
    keys = "".join(f", {_PLACES[one]}" for one in query.by)
    text = f"""
        select {bucket}{keys}, u.unit, sum(u.amount)
        from unit_rollup u join accounts a using (account_id) {buckets}
        where u.slot >= $start and u.slot < $end and a.project = $project {condition}
        group by all
    """
    rows = connection.execute(text, parameters).fetchall()
    return [Counted(bucket=row[0], key=row[1:-2], unit=row[-2], amount=row[-1]) for row in rows]


_REPRICED = """
select SLOTaccount_id, provenance_id, sum(coalesce(new_g, 0) - coalesce(first_g, 0)) as by_g
from repriced where slot >= $start and slot < $end group by SLOTaccount_id, provenance_id
"""


def _conditions(
    filters: Mapping[Dimension, tuple[str | None, ...]], places: Mapping[Dimension, str], parameters: dict[str, Any]
) -> str:
    """SQL for filters; their values go to the parameters."""
    text = ""
    for dimension, values in filters.items():
        column = places.get(dimension, f"p.{dimension}")
        name = f"f_{dimension}"
        parameters[name] = [value for value in values if value is not None]
        parts = [f"{column} in (select unnest(${name}::varchar[]))"]
        if None in values:
            parts.append(f"{column} is null")
        text += f" and ({' or '.join(parts)})"
    return text


def units(connection: duckdb.DuckDBPyConnection, query: Query) -> dict[str, dict[str, float]]:
    """What the services of a project counted: service, unit, amount."""
    rows = connection.execute(
        "select service, unit, sum(amount) from unit_rollup join accounts using (account_id) "
        "where project = ? and slot >= ? and slot < ? group by all order by all",
        [query.project, _epoch(query.start), _epoch(query.end)],
    ).fetchall()
    counted: dict[str, dict[str, float]] = {}
    for service, unit, amount in rows:
        counted.setdefault(service, {})[unit] = amount
    return counted


def projects(connection: duckdb.DuckDBPyConnection) -> list[Project]:
    """The projects that have records."""
    rows = connection.execute(
        "select project, count(distinct service), sum(records), min(slot), max(slot + seconds) "
        "from service_rollup group by project order by project"
    ).fetchall()
    return [
        Project(name=name, services=services, records=int(records), first=_moment(first), last=_moment(last))
        for name, services, records, first, last in rows
    ]


def repricings(connection: duckdb.DuckDBPyConnection, project: str) -> list[Repricing]:
    """The repricings of a project, newest first."""
    rows = connection.execute(
        "select repricing_id, made_us, source, start_slot, end_slot, slots from repricings where project = ? "
        "order by repricing_id desc",
        [project],
    ).fetchall()
    return [
        Repricing(
            repricing_id=number,
            made_at=_moment(made_us // 1_000_000),
            source=source,
            start=_moment(start),
            end=_moment(end),
            slots=slots,
        )
        for number, made_us, source, start, end, slots in rows
    ]


def intensities(connection: duckdb.DuckDBPyConnection, project: str) -> list[SeenIntensity]:
    """The newest intensity of each service and zone."""
    rows = connection.execute(
        """
        select i.service, p.zone, g_per_kwh, p.intensity_source, p.intensity_quality, p.intensity_signal,
            p.intensity_scope, observed_at, valid_until, window_end
        from intensities i join provenances p using (provenance_id) where i.project = ?
        qualify row_number() over (
            partition by i.service, p.zone, p.intensity_signal, p.intensity_scope
            order by window_end desc, provenance_id
        ) = 1
        order by i.service, p.zone, p.intensity_signal, p.intensity_scope
        """,
        [project],
    ).fetchall()
    return [
        SeenIntensity(
            **dict(zip(("service", "zone", "g_per_kwh", "source", "quality", "signal", "scope"), row[:7], strict=True)),
            observed_at=None if row[7] is None else _moment(row[7] / 1e6),
            valid_until=None if row[8] is None else _moment(row[8] / 1e6),
            seen_at=_moment(row[9] / 1e6),
        )
        for row in rows
    ]


def records(connection: duckdb.DuckDBPyConnection, selection: Selection) -> pa.Table:
    """Raw records, oldest first."""
    parameters: dict[str, Any] = {
        "project": selection.project,
        "start": _epoch(selection.start) * 1_000_000 + selection.start.microsecond,
        "end": _epoch(selection.end) * 1_000_000 + selection.end.microsecond,
        "limit": selection.limit,
    }
    conditions = ["a.project = $project", "r.window_start >= $start", "r.window_start < $end"]
    if selection.after is not None:
        parameters |= dict(zip(("after_start", "after_instance", "after_sequence"), selection.after, strict=True))
        conditions.append(
            "(r.window_start, r.instance_id, r.sequence) > ($after_start, $after_instance, $after_sequence)"
        )
    text = f"""
        {_RECORDS}
        where {" and ".join(conditions)} {_conditions(selection.filters, _RECORD_PLACES, parameters)}
        order by r.window_start, r.instance_id, r.sequence limit $limit
    """
    return connection.sql(text, params=parameters).to_arrow_table()


_COLUMNS = (
    "i.instance",
    "a.service",
    "m.machine",
    "a.kind",
    "a.root",
    "a.name",
    "a.origin_service",
    "a.origin_endpoint",
    *(f"make_timestamp(r.{name}) as {name}" for name in TIMES),
    *(f"r.{name}" for name in (*COUNTS, UNITS, *NUMBERS)),
    *(f'p."{name}"' if name != "place" else "p.place as place" for name in PROVENANCE),
    "[r.window_start, r.instance_id, r.sequence] as _after",
)
_RECORDS = f"""
select {", ".join(_COLUMNS)} from records r
join accounts a using (account_id) join provenances p using (provenance_id)
join machines m using (machine_id) join instances i using (instance_id)
"""
_OF_KEY = "where a.project = $project and i.instance = $instance and r.sequence = $sequence"
_SECOND_PRICE = f"""
select n.repricing_id, g.made_us, g.source,
    n.new_g / s.energy_joules * 3.6e6 / (any_value(p.pue) * any_value(coalesce(p.wall_factor, 1))) as g_per_kwh
from records r join accounts a using (account_id) join provenances p using (provenance_id)
join instances i using (instance_id)
join repriced n on n.account_id = r.account_id and n.provenance_id = r.provenance_id
    and r.window_start >= n.slot * 1000000 and r.window_start < (n.slot + n.seconds) * 1000000
join repricings g using (repricing_id)
join (
    select slot, seconds, account_id, provenance_id, sum(energy_joules) as energy_joules from rollup group by all
) s on s.slot = n.slot and s.seconds = n.seconds and s.account_id = n.account_id and s.provenance_id = n.provenance_id
{_OF_KEY} and s.energy_joules > 0
group by n.repricing_id, g.made_us, g.source, n.new_g, s.energy_joules
order by n.repricing_id desc limit 1
"""


def record(
    connection: duckdb.DuckDBPyConnection, project: str, instance: str, sequence: int
) -> tuple[pa.Table, SecondPrice | None]:
    """The raw record of a key, and its second price."""
    key = {"project": project, "instance": instance, "sequence": sequence}
    found = connection.sql(f"{_RECORDS} {_OF_KEY}", params=key).to_arrow_table()
    row = connection.execute(_SECOND_PRICE, key).fetchone() if found.num_rows else None
    if row is None:
        return found, None
    number, made_us, source, g_per_kwh = row
    made_at = _moment(made_us // 1_000_000)
    return found, SecondPrice(repricing_id=number, made_at=made_at, source=source, g_per_kwh=g_per_kwh)


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp() // 1)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
