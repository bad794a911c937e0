"""Groups go into the DuckDB tables: records, roll-ups as deltas, copies of the machine book, heads, all or nothing."""

import contextlib
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from carbon_sdk.collector.columns import ACCOUNT, COUNTS, NUMBERS, PROVENANCE, TIMES, UNITS
from carbon_sdk.collector.dimensions import Key
from carbon_sdk.collector.group import Group
from carbon_sdk.collector.report import PROCESS_MEASURES, SLOT_SECONDS, WEIGHABLE

_ROW = ", ".join(("instance_id", "machine_id", "account_id", "provenance_id", *TIMES, *COUNTS, UNITS, *NUMBERS))
_SLOT = f"window_start // {SLOT_SECONDS}000000 * {SLOT_SECONDS}"
_SUMS = ", ".join(one.name for one in PROCESS_MEASURES)
_NEWEST = ("intensity_g_per_kwh", "intensity_observed_at", "intensity_valid_until")

INSERT_RECORDS = f"insert into records ({_ROW}) select {_ROW} from incoming"
MAKE_DELTA = f"""
create or replace temp table delta as
select {_SLOT} as slot, {SLOT_SECONDS} as seconds, account_id, provenance_id,
    {", ".join(f"sum({one.expression}) as {one.name}" for one in PROCESS_MEASURES)}, max(window_end) as window_end,
    {", ".join(f"arg_max({name}, window_end) as {name}" for name in _NEWEST)}
from incoming where not machine_book group by all
"""
INSERT_ROLLUP = f"""
insert into rollup (slot, seconds, account_id, provenance_id, {_SUMS})
select slot, seconds, account_id, provenance_id, {_SUMS} from delta
"""
INSERT_SERVICES = f"""
insert into service_rollup (slot, seconds, project, service, kind, provenance_id, {_SUMS})
select slot, seconds, project, service, kind, provenance_id, {", ".join(f"sum({one.name})" for one in PROCESS_MEASURES)}
from delta join accounts using (account_id) group by all
"""
INSERT_INTENSITIES = f"""
insert into intensities (project, service, provenance_id, window_end, g_per_kwh, observed_at, valid_until)
select project, service, provenance_id, max(window_end), {", ".join(f"arg_max({name}, window_end)" for name in _NEWEST)}
from delta join accounts using (account_id) where intensity_g_per_kwh is not null group by all
"""
INSERT_UNITS = f"""
insert into unit_rollup
select slot, {SLOT_SECONDS}, account_id, entry.key, sum(entry.value)
from (select {_SLOT} as slot, account_id, unnest(map_entries(units)) as entry from incoming where units is not null)
group by all
"""
INSERT_COPIES = f"""
insert into machine_copies
select ?, window_start, window_end, machine_id, instance_id, account_id, provenance_id, gap_seconds,
    energy_package_joules, energy_dram_joules, energy_psys_joules, energy_gpu_joules,
    case when {WEIGHABLE} then emissions_g / energy_joules end, intensity_g_per_kwh
from incoming where machine_book
"""

_NUMBERED = pa.int32()


def load(connection: duckdb.DuckDBPyConnection, groups: Sequence[Group], frame: int, seen_us: int) -> None:
    """Write groups in one transaction.

    Args:
        connection: Where to.
        groups: In the order of their frames.
        frame: The last frame's number.
        seen_us: The present, microseconds since 1970.

    Raises:
        duckdb.Error: Nothing of it was written.
    """
    incoming = pa.concat_tables([group.table for group in groups])
    try:
        with transaction(connection):
            _insert_keys(connection, "account", ACCOUNT, [one for group in groups for one in group.accounts])
            _insert_keys(connection, "machine", ("machine",), [one for group in groups for one in group.machines])
            _insert_keys(connection, "instance", ("instance",), [one for group in groups for one in group.instances])
            _insert_keys(connection, "provenance", PROVENANCE, [one for group in groups for one in group.provenances])
            _insert_heads(connection, groups, seen_us)
            connection.register("incoming", incoming)
            for statement in (INSERT_RECORDS, MAKE_DELTA, INSERT_ROLLUP, INSERT_SERVICES, INSERT_INTENSITIES):
                connection.execute(statement)
            if incoming[UNITS].null_count < len(incoming):
                connection.execute(INSERT_UNITS)
            connection.execute(INSERT_COPIES, [frame])
            set_meta(connection, "frame", frame)
    finally:
        connection.unregister("incoming")


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of a block or nothing of it; what ends the block early is raised again once all is taken back."""
    connection.execute("begin")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # DuckDB has ended the transaction already
            connection.execute("rollback")
        raise


def set_meta(connection: duckdb.DuckDBPyConnection, name: str, value: int) -> None:
    """Note a number in the table `meta`."""
    connection.execute("delete from meta where name = ?", [name])
    connection.execute("insert into meta values (?, ?)", [name, value])


def get_meta(connection: duckdb.DuckDBPyConnection, name: str, default: int = 0) -> int:
    """A number of the table `meta`."""
    row = connection.execute("select value from meta where name = ?", [name]).fetchone()
    return default if row is None else int(row[0])


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    connection.register("fresh", rows)
    try:
        connection.execute(f"insert into {table} by name select * from fresh")
    finally:
        connection.unregister("fresh")


def _insert_keys(
    connection: duckdb.DuckDBPyConnection, what: str, parts: Sequence[str], rows: Sequence[tuple[int, str, Key]]
) -> None:
    """Add texts: number, project, then the parts of the key, whose types Arrow reads from the values."""
    if rows:
        columns = {
            f"{what}_id": pa.array([number for number, _, _ in rows], _NUMBERED),
            "project": pa.array([project for _, project, _ in rows], pa.string()),
            **{name: pa.array([key[place] for _, _, key in rows]) for place, name in enumerate(parts)},
        }
        _insert(connection, f"{what}s", pa.table(columns))


def _insert_heads(connection: duckdb.DuckDBPyConnection, groups: Sequence[Group], seen_us: int) -> None:
    highest = {number: sequence for group in groups for number, sequence, _ in group.heads}
    columns = [
        pa.array(list(highest), _NUMBERED),
        pa.array(list(highest.values()), pa.int64()),
        pa.array([seen_us] * len(highest), pa.int64()),
    ]
    _insert(connection, "heads", pa.table(columns, names=["instance_id", "sequence", "seen_us"]))
