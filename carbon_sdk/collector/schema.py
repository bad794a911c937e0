"""The tables of the DuckDB store, and how an older file becomes a newer one.

`MIGRATIONS[n]` leads from version n to n + 1; version 0 is an empty file. They only go forward, each in one
transaction, and are never edited after a release: a later change is a further migration.
"""

from collections.abc import Sequence

import duckdb

from carbon_sdk.collector.columns import COUNTS, NUMBERS, PROVENANCE, TIMES
from carbon_sdk.collector.report import MACHINE_MEASURES, PROCESS_MEASURES
from carbon_sdk.collector.store import StoreError

_PROVENANCE_TYPES = {
    "mixed": "boolean",
    "partial": "boolean",
    "approximate": "boolean",
    "pue": "double",
    "wall_factor": "double",
    "schema": "integer",
}
_MEASURES = ", ".join(f"{one.name} {'bigint' if one.whole else 'double'}" for one in PROCESS_MEASURES)

_VERSION_1 = (
    "create table meta (name varchar not null, value bigint not null)",
    "create table accounts (account_id integer not null, project varchar not null, service varchar not null, "
    "kind varchar not null, root varchar not null, name varchar not null, "
    "origin_service varchar, origin_endpoint varchar)",
    "create table provenances (provenance_id integer not null, project varchar not null, "
    + ", ".join(f'"{name}" {_PROVENANCE_TYPES.get(name, "varchar")}' for name in PROVENANCE)
    + ")",
    "create table instances (instance_id integer not null, project varchar not null, instance varchar not null)",
    "create table machines (machine_id integer not null, project varchar not null, machine varchar not null)",
    "create table heads (instance_id integer not null, sequence bigint not null, seen_us bigint not null)",
    "create table records (instance_id integer not null, machine_id integer not null, account_id integer not null, "
    "provenance_id integer not null, "
    + ", ".join(f"{name} bigint" for name in (*TIMES, *COUNTS))
    + ", units map(varchar, double), "
    + ", ".join(f"{name} double" for name in NUMBERS)
    + ")",
    "create table rollup (slot bigint not null, seconds integer not null, account_id integer not null, "
    f"provenance_id integer not null, {_MEASURES})",
    "create table unit_rollup (slot bigint not null, seconds integer not null, account_id integer not null, "
    "unit varchar not null, amount double not null)",
    "create table machine_copies (frame bigint not null, window_start bigint not null, window_end bigint not null, "
    "machine_id integer not null, instance_id integer not null, account_id integer not null, "
    "provenance_id integer not null, gap_seconds double, package double, dram double, psys double, gpu double, "
    "g_per_joule double, intensity_g_per_kwh double)",
    "create table machine_rollup (slot bigint not null, seconds integer not null, machine_id integer not null, "
    "kind varchar not null, domain varchar not null, provenance_id integer not null, "
    + ", ".join(f"{one.name} double" for one in MACHINE_MEASURES)
    + ")",
    "create table repricings (repricing_id integer not null, made_us bigint not null, project varchar not null, "
    "source varchar not null, start_slot bigint not null, end_slot bigint not null, slots bigint not null)",
    "create table repriced (repricing_id integer not null, slot bigint not null, seconds integer not null, "
    "account_id integer not null, provenance_id integer not null, first_g double, new_g double)",
)

_VERSION_2 = tuple(
    f"alter table records add column if not exists {name} bigint" for name in ("timeouts", "cancelled", "retries")
)

MIGRATIONS: tuple[Sequence[str], ...] = (_VERSION_1, _VERSION_2)
VERSION = len(MIGRATIONS)
"""The version that this collector reads and writes."""


def version_of(connection: duckdb.DuckDBPyConnection) -> int:
    """The version of an open file; 0 if it is empty.

    Raises:
        StoreError: It holds tables, but none of ours.
    """
    tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    if not tables:
        return 0
    row = None
    if "meta" in tables:
        row = connection.execute("select value from meta where name = 'version'").fetchone()
    if row is None:
        raise StoreError("the file is a DuckDB database, but not a collector's; name another folder with --data")
    return int(row[0])


def migrate(connection: duckdb.DuckDBPyConnection) -> int:
    """Bring an open file to `VERSION`.

    Returns:
        The version that it had.

    Raises:
        StoreError: It is newer than this collector.
    """
    found = version_of(connection)
    if found > VERSION:
        raise StoreError(
            f"the store has version {found}, this collector knows up to {VERSION}; install the newer carbon-sdk again, "
            "or restore a backup made before the update"
        )
    for version in range(found, VERSION):
        connection.execute("begin")
        try:
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            connection.execute("delete from meta where name = 'version'")
            connection.execute("insert into meta values ('version', ?)", [version + 1])
            connection.execute("commit")
        except duckdb.Error:
            connection.execute("rollback")
            raise
    return found
