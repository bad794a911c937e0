"""What the DuckDB store does beside taking records in: one machine book, compact roll-ups, retention, new prices.

Every step is one transaction and changes no total. The steps run on the thread that loads, so nothing else writes;
upkeep is a row of short ones, so that records are loaded in between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from carbon_sdk.collector.duckdb_load import get_meta, set_meta, transaction
from carbon_sdk.collector.report import DAY_SECONDS, MACHINE_MEASURES, PROCESS_MEASURES, SLOT_SECONDS
from carbon_sdk.collector.store import LASTING, NewPrice

CELL_US = 60_000_000
"""The machine book is chosen minute by minute: the emit interval unless set otherwise."""
FOLD_ROWS = 200_000
"""Rows of a roll-up that one step of the upkeep sums up."""
_SETTLED_SECONDS = 2 * 3600
"""Roll-up rows older than this are summed into one per key; records that come later still are summed the next day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is kept.

    Args:
        raw_days: Days that single records are kept.
        fine_days: Days that quarter-hour sums are kept; after that sums by day, for ever.
        instance_days: Days after its last record that an instance is remembered. Older records are refused, so that a
            record whose instance was forgotten cannot be stored a second time.
    """

    raw_days: int = 30
    fine_days: int = 400
    instance_days: int = 400


_DIRTY = f"""
create or replace temp table dirty as
select distinct machine_id,
    unnest(range(window_start // {SLOT_SECONDS}000000,
                 greatest(window_end - 1, window_start) // {SLOT_SECONDS}000000 + 1)) * {SLOT_SECONDS} as slot
from machine_copies where frame > ?
"""
_TOO_LATE = """
delete from dirty where slot < ? and exists (
    select 1 from machine_rollup r where r.machine_id = dirty.machine_id and r.slot <= dirty.slot
        and r.slot + r.seconds > dirty.slot)
"""
# A copy is laid out over the minutes that it covers. Of the copies of a minute, that of the instance which covers most
# of it (longest, least gap) is taken; of equals the first by name, so that one instance serves throughout, and the same
# one in whatever order the copies came.
_CHOICE = f"""
insert into machine_rollup
with spread as (
    select c.*, a.kind, unnest(range(window_start // {CELL_US}, greatest(window_end - 1, window_start) // {CELL_US} +
        1)) as cell
    from machine_copies c join accounts a using (account_id)
    where machine_id in (select machine_id from dirty)
        and window_end >= (select min(slot) from dirty) * 1000000
        and window_start < ((select max(slot) from dirty) + {SLOT_SECONDS}) * 1000000
), part as (
    select *, case when window_end > window_start
        then (least(window_end, (cell + 1) * {CELL_US}) - greatest(window_start, cell * {CELL_US}))
            / (window_end - window_start) else 1 end as share,
        greatest((window_end - window_start) / 1e6 - gap_seconds, 0) as known_seconds
    from spread
), domains as (
    select cell * {CELL_US} // {SLOT_SECONDS}000000 * {SLOT_SECONDS} as slot, cell, machine_id, instance_id, kind,
        provenance_id, known_seconds * share as covered_seconds, g_per_joule, intensity_g_per_kwh,
        unnest(['package', 'dram', 'psys', 'gpu']) as domain,
        unnest([package, dram, psys, gpu]) * share as energy_joules
    from part
), copies as (
    select d.*, sum(covered_seconds) over (partition by machine_id, kind, domain, cell, instance_id) as covered
    from domains d join dirty using (machine_id, slot) where energy_joules is not null
), ranked as (
    select *, energy_joules * g_per_joule as emissions_g,
        dense_rank() over (partition by machine_id, kind, domain, cell order by covered desc, instance) as place
    from copies join instances using (instance_id)
)
select slot, {SLOT_SECONDS}, machine_id, kind, domain, provenance_id,
    {", ".join(f"sum({one.expression})" for one in MACHINE_MEASURES)}
from ranked where place = 1 group by all
"""


def refresh_machines(connection: duckdb.DuckDBPyConnection) -> int:
    """Bring the machine book up to the copies that have come since the last time.

    Returns:
        How many quarters of how many machines were chosen again.
    """
    done, newest = get_meta(connection, "machines_frame"), get_meta(connection, "frame")
    if done >= newest:
        return 0
    with transaction(connection):
        connection.execute(_DIRTY, [done])
        connection.execute(_TOO_LATE, [get_meta(connection, "copies_from")])
        row = connection.execute("select count(*) from dirty").fetchone()
        dirty = row[0] if row else 0
        if dirty:
            connection.execute(
                "delete from machine_rollup using dirty where machine_rollup.machine_id = dirty.machine_id "
                "and machine_rollup.slot = dirty.slot"
            )
            connection.execute(_CHOICE)
        set_meta(connection, "machines_frame", newest)
    return int(dirty)


_KEYS = {
    "rollup": ("account_id, provenance_id", tuple(one.name for one in PROCESS_MEASURES)),
    "service_rollup": ("project, service, kind, provenance_id", tuple(one.name for one in PROCESS_MEASURES)),
    "unit_rollup": ("account_id, unit", ("amount",)),
    "machine_rollup": ("machine_id, kind, domain, provenance_id", tuple(one.name for one in MACHINE_MEASURES)),
    "repriced": ("repricing_id, account_id, provenance_id", ("first_g", "new_g")),
}


def compact(connection: duckdb.DuckDBPyConnection, now: int, *, rows: int = FOLD_ROWS) -> Iterator[None]:
    """Sum the deltas of the roll-ups into one row per key, for the quarters that have settled, step by step.

    Args:
        connection: The store.
        now: Seconds since 1970.
        rows: That one step sums up, about.
    """
    until = (now - _SETTLED_SECONDS) // SLOT_SECONDS * SLOT_SECONDS
    since = get_meta(connection, "compacted_until")
    if until // DAY_SECONDS > since // DAY_SECONDS:
        since -= DAY_SECONDS  # once a day, again, for what came late
    if until <= since:
        return
    for table in ("rollup", "service_rollup", "unit_rollup"):
        yield from _fold(connection, table, f"slot >= {since} and slot < {until}", "slot", SLOT_SECONDS, rows)
    _fold_intensities(connection)
    set_meta(connection, "compacted_until", until)
    yield


def retain(
    connection: duckdb.DuckDBPyConnection, now: int, retention: Retention, *, rows: int = FOLD_ROWS
) -> Iterator[None]:
    """Delete single records, fold quarters into days and forget instances, each after its time, step by step.

    Args:
        connection: The store.
        now: Seconds since 1970.
        retention: How long.
        rows: Of a roll-up that one step sums up, about.
    """
    refresh_machines(connection)
    offset = get_meta(connection, "day_offset")
    raw_until = _days_before(now, retention.raw_days, offset)
    fine_until = _days_before(now, retention.fine_days, offset)
    with transaction(connection):
        connection.execute("delete from records where window_start < ?", [raw_until * 1_000_000])
        connection.execute("delete from machine_copies where window_start < ?", [raw_until * 1_000_000])
        set_meta(connection, "copies_from", max(raw_until, get_meta(connection, "copies_from")))
    yield
    if fine_until > get_meta(connection, "coarse_until"):
        set_meta(connection, "coarse_until", fine_until)
    day = f"(slot + {offset}) // {DAY_SECONDS} * {DAY_SECONDS} - {offset}"
    for table in _KEYS:
        yield from _fold(connection, table, f"slot < {fine_until}", day, DAY_SECONDS, rows)
    _forget_instances(connection, now - retention.instance_days * DAY_SECONDS)
    yield


def _days_before(now: int, days: int, offset: int) -> int:
    return (now + offset) // DAY_SECONDS * DAY_SECONDS - offset - days * DAY_SECONDS


def _fold(
    connection: duckdb.DuckDBPyConnection, table: str, which: str, slot: str, seconds: int, rows: int
) -> Iterator[None]:
    """Replace the quarters of a roll-up by their sums per key and longer slot, or per key alone, step by step."""
    keys = _KEYS[table][0]
    found = connection.execute(
        f"select {slot} as start, count(*) from {table} where {which} and seconds = {SLOT_SECONDS} "
        "group by all order by start"
    ).fetchall()
    for start, count in found:
        steps = count // rows + 1
        of_slot = f"slot >= {start} and slot < {start + seconds} and seconds = {SLOT_SECONDS}"
        for step in range(steps):
            _fold_rows(connection, table, f"{of_slot} and hash({keys}) % {steps} = {step}", start, seconds)
            yield


def _fold_rows(connection: duckdb.DuckDBPyConnection, table: str, which: str, start: int, seconds: int) -> None:
    keys, measures = _KEYS[table]
    sums = ", ".join(f"sum({name})" for name in measures)
    with transaction(connection):
        connection.execute(
            f"create or replace temp table folded as select {start}, {seconds}, {keys}, {sums} from {table} "
            f"where {which} group by {keys}"
        )
        connection.execute(f"delete from {table} where {which}")
        connection.execute(f"insert into {table} (slot, seconds, {keys}, {', '.join(measures)}) select * from folded")


def _fold_intensities(connection: duckdb.DuckDBPyConnection) -> None:
    """Leave the newest of each service and provenance."""
    connection.execute(
        """
        create or replace temp table folded as select * from intensities qualify row_number() over (
            partition by project, service, provenance_id order by window_end desc) = 1
        """
    )
    with transaction(connection):
        connection.execute("delete from intensities")
        connection.execute("insert into intensities select * from folded")


def _forget_instances(connection: duckdb.DuckDBPyConnection, before: int) -> None:
    """Sum the heads into one row per instance, and leave out those that were last seen before a moment."""
    before = max(before, get_meta(connection, "forgotten_until"))
    with transaction(connection):
        connection.execute(
            "create or replace temp table folded as select instance_id, max(sequence), max(seen_us) from heads "
            "group by instance_id having max(seen_us) >= ? "
            "or instance_id in (select instance_id from instances where starts_with(instance, ?))",
            [before * 1_000_000, LASTING],
        )
        connection.execute("delete from heads")
        connection.execute("insert into heads select * from folded")
        connection.execute(
            "create or replace temp table forgotten as "
            "select instance_id from instances where instance_id not in (select instance_id from heads)"
        )
        if connection.execute("select 1 from forgotten limit 1").fetchone():  # records are only then looked through
            connection.execute(
                "delete from instances where instance_id in (select instance_id from forgotten) "
                "and instance_id not in (select instance_id from records)"
            )
        set_meta(connection, "forgotten_until", before)


_REPRICE = f"""
create or replace temp table new_prices as
select r.slot, r.seconds, account_id, provenance_id, sum(r.emissions_g) as first_g,
    sum(r.energy_joules) / 3.6e6 * any_value(n.g_per_kwh) * any_value(p.pue) * any_value(coalesce(p.wall_factor, 1))
        as new_g
from rollup r join accounts a using (account_id) join provenances p using (provenance_id)
    join priced n on n.slot = r.slot and n.zone = p.zone and n.place is not distinct from p.place
        and n.signal = p.intensity_signal and n.scope = p.intensity_scope and n.quality = p.intensity_quality
where a.project = ? and r.energy_joules is not null and r.seconds = {SLOT_SECONDS}
group by all
"""


def reprice(
    connection: duckdb.DuckDBPyConnection, project: str, source: str, prices: Sequence[NewPrice], now_us: int
) -> int:
    """Price stored energy again, beside the first price.

    Args:
        connection: The store.
        project: Whose records.
        source: Whose intensities these are.
        prices: What a kWh weighed, by zone and quarter of an hour.
        now_us: Microseconds since 1970.

    Returns:
        The number of this repricing.
    """
    slots = [int(price.slot.timestamp()) for price in prices]
    table = pa.table(
        {
            **{
                name: pa.array([getattr(price, name) for price in prices], pa.string())
                for name in ("zone", "place", "signal", "scope", "quality")
            },
            "slot": pa.array(slots, pa.int64()),
            "g_per_kwh": pa.array([price.g_per_kwh for price in prices], pa.float64()),
        }
    )
    connection.register("priced", table)
    try:
        with transaction(connection):
            connection.execute(_REPRICE, [project])
            row = connection.execute("select coalesce(max(repricing_id), 0) + 1 from repricings").fetchone()
            number = int(row[0]) if row else 1
            connection.execute(
                "delete from repriced using new_prices n where repriced.slot = n.slot "
                "and repriced.account_id = n.account_id and repriced.provenance_id = n.provenance_id"
            )
            connection.execute("insert into repriced select ?, * from new_prices", [number])
            connection.execute(
                "insert into repricings select ?, ?, ?, ?, ?, ?, count(*) from new_prices",
                [number, now_us, project, source, min(slots), max(slots) + SLOT_SECONDS],
            )
    finally:
        connection.unregister("priced")
    return number
