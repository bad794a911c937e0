"""The questions of `report` in ClickHouse's SQL, asked of one shard; what the shards answer is added by the caller.

Only what servers since 18.16 understand is used: no joins of more than two tables, no window functions, no parameters.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from carbon_sdk.collector import clickhouse_sums
from carbon_sdk.collector.clickhouse_server import Shard, literal
from carbon_sdk.collector.clickhouse_sums import Slots, in_words
from carbon_sdk.collector.columns import ACCOUNT, COUNTS, HINTS, NUMBERS, PROVENANCE, TIMES, UNITS
from carbon_sdk.collector.cuts import check_cuts
from carbon_sdk.collector.figure import Counted, Sums
from carbon_sdk.collector.report import DAY_SECONDS, MACHINE_ONLY, SLOT_SECONDS, Dimension, Query
from carbon_sdk.collector.store import SeenIntensity, Selection

_COLUMNS: Mapping[Dimension, tuple[str, ...]] = {
    "endpoint": ("root",),
    "root_service": ("origin_service", "service"),
    "root_endpoint": ("origin_endpoint", "root"),
}
_EVER = 2**40
_CHANGED = ("late", "stale")
MOST_LATE = 2_000
"""Slots that one question names singly; where more came late, all since the first are read from the records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a shard holds of a service.

    Args:
        project: Its project.
        service: Its name.
        records: Records.
        first: Start of the first slot, seconds since 1970.
        last: End of the last.
    """

    project: str
    service: str
    records: int
    first: int
    last: int


async def slots_of(shard: Shard, start: int, end: int, *, days: bool = False) -> Slots:
    """Where the sums of a stretch of time lie on a shard; `days`: those of whole days will do."""
    rows = await shard.rows(
        "select name, toInt64(max(value)) as value from meta "
        "where name in ('rolled_until', 'coarse_until', 'days_until') "
        "group by name "
        "union all select if(done = 0, 'late', 'stale') as name, slot as value from late final where done < 2 "
        f"and slot >= {start} and slot < {end} group by name, slot limit {MOST_LATE + 1}"
    )
    kept = {name: value for name, value in rows if name not in _CHANGED}
    rolled_until = kept.get("rolled_until", 0)
    late, stale = (sorted(value for name, value in rows if name == one and value < rolled_until) for one in _CHANGED)
    if len(late) + len(stale) > MOST_LATE:
        first = await shard.value("select min(slot) from late final where done < 2")
        rolled_until, late, stale = min(rolled_until, int(first)), [], []
    return Slots(
        start=start,
        end=end,
        rolled_until=rolled_until,
        late=tuple(late),
        coarse_until=kept.get("coarse_until", 0),
        days_until=min(rolled_until, kept.get("days_until", 0)) if days else 0,
        stale=tuple(stale),
    )


async def sums(shard: Shard, query: Query) -> list[Sums]:
    """The rows of an answer."""
    slots = await slots_of(shard, _epoch(query.start), _epoch(query.end), days=_by_days(query))
    check_cuts(query, slots.coarse_until, 0)
    own = f"project = {literal(query.project)}"
    narrowed = _conditions(query.filters)
    texts = _texts((*query.grouped_by, *query.filters))
    if query.book == "machine":
        inner, outer, by_g = clickhouse_sums.machine(slots, texts, own), f"1{narrowed}", "null"
    else:
        inner = clickhouse_sums.process(slots, query.measures, texts, f"{own}{narrowed}")
        outer, by_g = "1", "sum(by_g)"
    words = [_word(one) for one in query.grouped_by]
    keys = ["bucket", *(f"k{place}" for place in range(len(words)))]
    rows = await shard.rows(
        f"select {_bucket(query.edges)} as bucket, "
        + "".join(f"{word} as {key}, " for word, key in zip(words, keys[1:], strict=True))
        + ", ".join(f"sum(v_{measure.name})" for measure in query.measures)
        + f", {by_g} from ({inner}) where {outer} group by {', '.join(keys)}"
    )
    width = 1 + len(words)
    whole = [measure.whole for measure in query.measures]
    return [
        Sums(
            bucket=row[0],
            key=tuple(row[1:width]),
            values=tuple(
                int(value) if is_whole and value is not None else value
                for value, is_whole in zip(row[width:-1], whole, strict=True)
            ),
            repriced_by_g=row[-1],
        )
        for row in rows
    ]


async def counted(shard: Shard, query: Query) -> list[Counted]:
    """The functional units of an answer; none where the question asks for more than accounts."""
    if not query.knows_units:
        return []
    slots = await slots_of(shard, _epoch(query.start), _epoch(query.end), days=_by_days(query))
    check_cuts(query, slots.coarse_until, 0)
    where = f"project = {literal(query.project)}{_conditions(query.filters)}"
    inner = clickhouse_sums.units(slots, _texts((*query.by, *query.filters)), where)
    keys = ["bucket", *(f"k{place}" for place in range(len(query.by))), "unit"]
    words = "".join(f"{_word(one)} as {key}, " for one, key in zip(query.by, keys[1:-1], strict=True))
    rows = await shard.rows(
        f"select {_bucket(query.edges)} as bucket, {words}unit, sum(amount) from ({inner}) group by {', '.join(keys)}"
    )
    return [Counted(bucket=row[0], key=tuple(row[1:-2]), unit=row[-2], amount=row[-1]) for row in rows]


async def services(shard: Shard) -> list[Counts]:
    """What the shard holds of every service."""
    slots = await slots_of(shard, 0, _EVER, days=True)
    rows = await shard.rows(
        f"select project, service, sum(counted), min(first), max(last) + {SLOT_SECONDS} "
        f"from ({clickhouse_sums.services(slots)}) group by project, service"
    )
    names = ("project", "service", "records", "first", "last")
    return [Counts(**dict(zip(names, row, strict=True))) for row in rows]


async def intensities(shard: Shard, project: str) -> list[SeenIntensity]:
    """The intensities that the services have seen, several of a zone."""
    rows = await shard.rows(
        "select service, zone, g_per_kwh, intensity_source, intensity_quality, intensity_signal, intensity_scope, "
        f"observed_at, valid_until, seen from intensities final where project = {literal(project)} "
        "order by seen desc, provenance"
    )
    return [
        SeenIntensity(
            **dict(zip(("service", "zone", "g_per_kwh", "source", "quality", "signal", "scope"), row[:7], strict=True)),
            observed_at=None if row[7] is None else moment(row[7] / 1e6),
            valid_until=None if row[8] is None else moment(row[8] / 1e6),
            seen_at=moment(row[9] / 1e6),
        )
        for row in rows
    ]


_PLACE = "bitShiftRight(cityHash64(instance), 1)"
_TEXTS = ("instance", "machine", *ACCOUNT, *PROVENANCE)
_FIELDS = (*_TEXTS, *TIMES, *COUNTS, "unit_names", "unit_amounts", *NUMBERS)


async def records(shard: Shard, selection: Selection) -> list[list[Any]]:
    """Raw records of a shard, oldest first, as rows for `table_of`."""
    start, end = _microseconds(selection.start), _microseconds(selection.end)
    where = [
        f"project = {literal(selection.project)}",
        f"slot >= {start // 1_000_000 - SLOT_SECONDS}",
        f"slot <= {end // 1_000_000}",
        f"window_start >= {start}",
        f"window_start < {end}",
    ]
    if selection.after is not None:
        where.append(f"(assumeNotNull(window_start), {_PLACE}, sequence) > {selection.after}")
    return await shard.rows(
        f"select {_selected()} from records final where {' and '.join(where)}{_conditions(selection.filters)} "
        f"order by window_start, {_PLACE}, sequence limit {selection.limit}"
    )


async def record(shard: Shard, project: str, instance: str, sequence: int) -> list[list[Any]]:
    """The raw record of a key, as one row or none."""
    return await shard.rows(
        f"select {_selected()} from records final where project = {literal(project)} "
        f"and instance = {literal(instance)} and sequence = {sequence} limit 1"
    )


def table_of(rows: Iterable[Sequence[Any]], limit: int) -> pa.Table:
    """Rows of several shards as the table that `Store.records` gives."""
    merged = sorted(rows, key=lambda row: tuple(row[-3:]))[:limit]
    columns: dict[str, pa.Array] = {}
    taken = list(zip(*merged, strict=True)) if merged else [()] * (len(_FIELDS) + 3)
    for name, values in zip(_FIELDS, taken, strict=False):
        columns[name] = pa.array(values, _arrow_type(name))
    names, amounts = columns.pop("unit_names"), columns.pop("unit_amounts")
    columns[UNITS] = pa.array(
        [
            list(zip(of, many, strict=True)) or None
            for of, many in zip(names.to_pylist(), amounts.to_pylist(), strict=True)
        ],
        pa.map_(pa.string(), pa.float64()),
    )
    for name in PROVENANCE:
        if "bool" in str(HINTS[name]):
            columns[name] = columns[name].cast(pa.bool_())
    columns["_after"] = pa.array([list(row[-3:]) for row in merged], pa.list_(pa.int64()))
    return pa.table(columns)


def _arrow_type(name: str) -> pa.DataType:
    if name in TIMES:
        return pa.timestamp("us")
    if name == "unit_names":
        return pa.list_(pa.string())
    if name == "unit_amounts":
        return pa.list_(pa.float64())
    hint = str(HINTS[name])
    if name in COUNTS or "'int'" in hint or "bool" in hint:
        return pa.int64()
    return pa.float64() if "float" in hint else pa.string()


def _selected() -> str:
    return ", ".join((*(f"`{name}`" for name in _FIELDS), "window_start as w", f"{_PLACE} as p", "sequence as s"))


def _texts(dimensions: Iterable[Dimension]) -> tuple[str, ...]:
    """The columns that dimensions are made of."""
    return tuple(dict.fromkeys(column for one in dimensions for column in _COLUMNS.get(one, (one,))))


def _word(dimension: Dimension) -> str:
    columns = _COLUMNS.get(dimension, (dimension,))
    return f"coalesce({', '.join(columns)})" if len(columns) > 1 else f"`{columns[0]}`"


def _conditions(filters: Mapping[Dimension, tuple[str | None, ...]]) -> str:
    """SQL for filters."""
    text = ""
    for dimension, values in filters.items():
        word = _word(dimension)
        known = [value for value in values if value is not None]
        parts = [f"{word} in ({in_words(known)})"] if known else []
        if None in values and dimension not in MACHINE_ONLY:
            parts.append(f"{word} is null")
        text += f" and ({' or '.join(parts) or '0'})"
    return text


def _bucket(edges: Sequence[datetime]) -> str:
    """SQL: the number of the time bucket of a slot; a division where all are of one width."""
    if not edges:
        return "toInt64(0)"
    starts = [_epoch(edge) for edge in edges]
    widths = {end - start for start, end in itertools.pairwise(starts)}
    if len(widths) == 1:
        return f"toInt64(intDiv(slot - {starts[0]}, {widths.pop()}))"
    # A lambda of an old ClickHouse finds no column of an aggregation: it is handed its own, once for each edge.
    slots = f"arrayResize([slot], {len(starts) - 1}, slot)"
    return f"toInt64(arrayCount((edge, at) -> edge <= at, {starts[:-1]}, {slots})) - 1"


def _by_days(query: Query) -> bool:
    """No time bucket of a question cuts through a day of UTC; its first and its last day may be cut."""
    return all(_epoch(edge) % DAY_SECONDS == 0 for edge in query.edges[1:-1])


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp() // 1)


def _microseconds(moment: datetime) -> int:
    return _epoch(moment) * 1_000_000 + moment.microsecond


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)
