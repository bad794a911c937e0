"""Groups go into the DuckDB tables: records, roll-ups as deltas, copies of the machine book, heads, all or nothing."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from carbon_sdk.collector.columns import ACCOUNT, COUNTS, NUMBERS, PROVENANCE, TIMES, UNITS
from carbon_sdk.collector.dimensions import Key
from carbon_sdk.collector.group import Group
from carbon_sdk.collector.report import PROCESS_MEASURES, SLOT_SECONDS

_ROW = ("instance_id", "machine_id", "account_id", "provenance_id", *TIMES, *COUNTS, UNITS, *NUMBERS)
_SLOT = f"window_start // {SLOT_SECONDS}000000 * {SLOT_SECONDS}"

INSERT_RECORDS = f"insert into records by name select {', '.join(_ROW)} from incoming"
INSERT_ROLLUP = (
    f"insert into rollup select {_SLOT}, {SLOT_SECONDS}, account_id, provenance_id, "
    + ", ".join(f"sum({one.expression})" for one in PROCESS_MEASURES)
    + " from incoming where not machine_book group by all"
)
INSERT_UNITS = f"""
insert into unit_rollup
select slot, {SLOT_SECONDS}, account_id, entry.key, sum(entry.value)
from (select {_SLOT} as slot, account_id, unnest(map_entries(units)) as entry from incoming where units is not null)
group by all
"""
INSERT_COPIES = """
insert into machine_copies
select ?, window_start, window_end, machine_id, instance_id, account_id, provenance_id, gap_seconds,
    energy_package_joules, energy_dram_joules, energy_psys_joules, energy_gpu_joules,
    case when energy_joules > 0 then emissions_g / energy_joules end, intensity_g_per_kwh
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
    connection.execute("begin")
    try:
        _insert_keys(connection, "accounts", len(ACCOUNT), [one for group in groups for one in group.accounts])
        _insert_keys(connection, "machines", 1, [one for group in groups for one in group.machines])
        _insert_keys(connection, "instances", 1, [one for group in groups for one in group.instances])
        _insert_keys(connection, "provenances", len(PROVENANCE), [one for group in groups for one in group.provenances])
        _insert_heads(connection, groups, seen_us)
        connection.register("incoming", incoming)
        connection.execute(INSERT_RECORDS)
        connection.execute(INSERT_ROLLUP)
        if incoming[UNITS].null_count < len(incoming):
            connection.execute(INSERT_UNITS)
        connection.execute(INSERT_COPIES, [frame])
        set_meta(connection, "frame", frame)
        connection.execute("commit")
    except BaseException:
        roll_back(connection)
        raise
    finally:
        connection.unregister("incoming")


def roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Leave a transaction that failed; one that DuckDB has ended already is left as it is."""
    try:
        connection.execute("rollback")
    except duckdb.Error:
        return


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
        connection.execute(f"insert into {table} select * from fresh")
    finally:
        connection.unregister("fresh")


def _insert_keys(
    connection: duckdb.DuckDBPyConnection, table: str, width: int, rows: Sequence[tuple[int, str, Key]]
) -> None:
    """Add texts: number, project, then the parts of the key, whose types Arrow reads from the values."""
    if rows:
        columns = [pa.array([number for number, _, _ in rows], _NUMBERED)]
        columns.append(pa.array([project for _, project, _ in rows], pa.string()))
        columns += [pa.array([key[part] for _, _, key in rows]) for part in range(width)]
        _insert(connection, table, pa.table(columns, names=[f"c{i}" for i in range(len(columns))]))


def _insert_heads(connection: duckdb.DuckDBPyConnection, groups: Sequence[Group], seen_us: int) -> None:
    highest = {number: sequence for group in groups for number, sequence, _ in group.heads}
    columns = [
        pa.array(list(highest), _NUMBERED),
        pa.array(list(highest.values()), pa.int64()),
        pa.array([seen_us] * len(highest), pa.int64()),
    ]
    _insert(connection, "heads", pa.table(columns, names=["instance_id", "sequence", "seen_us"]))
