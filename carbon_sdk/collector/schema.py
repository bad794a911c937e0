"""The tables of the DuckDB store, and how an older file becomes a newer one.

`MIGRATIONS[n]` leads from version n to n + 1; version 0 is an empty file. They only go forward, each in one
transaction, and are never edited after a release: a later change is a further migration. That is why the columns stand
here as words, though most are fields of `Emission`: a new field is a new column, added by a migration of its own. A
test holds the newest version against what the code reads and writes.
"""

from collections.abc import Sequence

import duckdb

from carbon_sdk.collector.store import StoreError

_VERSION_1 = (
    "create table meta (name varchar not null, value bigint not null)",
    """
    create table accounts (account_id integer not null, project varchar not null, service varchar not null, kind
    varchar not null, root varchar not null, name varchar not null)
    """,
    """
    create table provenances (provenance_id integer not null, project varchar not null, "release" varchar,
    "meter" varchar, "meter_scope" varchar, "basis" varchar, "idle_rule" varchar, "energy_package_method"
    varchar, "energy_dram_method" varchar, "energy_psys_method" varchar, "energy_gpu_method" varchar,
    "energy_method" varchar, "intensity_source" varchar, "intensity_quality" varchar, "intensity_signal"
    varchar, "intensity_scope" varchar, "zone" varchar, "place" varchar, "mixed" boolean, "pue" double,
    "wall_factor" double, "partial" boolean, "approximate" boolean, "share_rule" varchar, "idle_policy" varchar,
    "schema" integer)
    """,
    "create table instances (instance_id integer not null, project varchar not null, instance varchar not null)",
    "create table machines (machine_id integer not null, project varchar not null, machine varchar not null)",
    "create table heads (instance_id integer not null, sequence bigint not null, seen_us bigint not null)",
    """
    create table records (instance_id integer not null, machine_id integer not null, account_id integer not
    null, provenance_id integer not null, window_start bigint, window_end bigint, intensity_observed_at bigint,
    intensity_valid_until bigint, sequence bigint, requests bigint, errors bigint, units map(varchar, double),
    duration_seconds double, cpu_seconds double, energy_joules double, energy_package_joules double,
    energy_dram_joules double, energy_psys_joules double, energy_gpu_joules double, energy_low_joules double,
    energy_high_joules double, idle_energy_joules double, emissions_g double, idle_emissions_g double,
    emissions_embodied_g double, sci_g_per_request double, intensity_g_per_kwh double, gap_seconds double,
    gap_cpu_seconds double, late_cpu_seconds double, cpu_overcount_seconds double)
    """,
    """
    create table rollup (slot bigint not null, seconds integer not null, account_id integer not null,
    provenance_id integer not null, records bigint, requests bigint, errors bigint, records_without_energy
    bigint, records_without_emissions bigint, duration_seconds double, cpu_seconds double, energy_joules double,
    energy_low_joules double, energy_high_joules double, idle_energy_joules double, emissions_g double,
    emissions_low_g double, emissions_high_g double, idle_emissions_g double, emissions_embodied_g double,
    intensity_joules double, priced_joules double, energy_package_joules double, energy_dram_joules double,
    energy_psys_joules double, energy_gpu_joules double, sci_g double, sci_requests double, gap_seconds double,
    gap_cpu_seconds double, late_cpu_seconds double, cpu_overcount_seconds double)
    """,
    """
    create table unit_rollup (slot bigint not null, seconds integer not null, account_id integer not null, unit
    varchar not null, amount double not null)
    """,
    """
    create table machine_copies (frame bigint not null, window_start bigint not null, window_end bigint not
    null, machine_id integer not null, instance_id integer not null, account_id integer not null, provenance_id
    integer not null, gap_seconds double, package double, dram double, psys double, gpu double, g_per_joule
    double, intensity_g_per_kwh double)
    """,
    """
    create table machine_rollup (slot bigint not null, seconds integer not null, machine_id integer not null,
    kind varchar not null, domain varchar not null, provenance_id integer not null, energy_joules double,
    emissions_g double, covered_seconds double, intensity_joules double, priced_joules double)
    """,
    """
    create table repricings (repricing_id integer not null, made_us bigint not null, project varchar not null,
    source varchar not null, start_slot bigint not null, end_slot bigint not null, slots bigint not null)
    """,
    """
    create table repriced (repricing_id integer not null, slot bigint not null, seconds integer not null,
    account_id integer not null, provenance_id integer not null, first_g double, new_g double)
    """,
)

_VERSION_2 = (
    "alter table records add column if not exists timeouts bigint",
    "alter table records add column if not exists cancelled bigint",
    "alter table records add column if not exists retries bigint",
)

_VERSION_3 = (
    # Where the chain of calls began that an account is part of.
    "alter table accounts add column if not exists origin_service varchar",
    "alter table accounts add column if not exists origin_endpoint varchar",
    # The roll-up without endpoints and names: what most questions ask for, in a fraction of the rows.
    """
    create table service_rollup (slot bigint not null, seconds integer not null, project varchar not null,
    service varchar not null, kind varchar not null, provenance_id integer not null,
    records bigint, requests bigint, errors bigint, records_without_energy bigint, records_without_emissions
    bigint, duration_seconds double, cpu_seconds double, energy_joules double, energy_low_joules double,
    energy_high_joules double, idle_energy_joules double, emissions_g double, emissions_low_g double,
    emissions_high_g double, idle_emissions_g double, emissions_embodied_g double, intensity_joules double,
    priced_joules double, energy_package_joules double, energy_dram_joules double, energy_psys_joules double,
    energy_gpu_joules double, sci_g double, sci_requests double, gap_seconds double, gap_cpu_seconds double,
    late_cpu_seconds double, cpu_overcount_seconds double)
    """,
    """
    insert into service_rollup select slot, seconds, project, service, kind, provenance_id,
    sum(records), sum(requests), sum(errors), sum(records_without_energy), sum(records_without_emissions),
    sum(duration_seconds), sum(cpu_seconds), sum(energy_joules), sum(energy_low_joules),
    sum(energy_high_joules), sum(idle_energy_joules), sum(emissions_g), sum(emissions_low_g),
    sum(emissions_high_g), sum(idle_emissions_g), sum(emissions_embodied_g), sum(intensity_joules),
    sum(priced_joules), sum(energy_package_joules), sum(energy_dram_joules), sum(energy_psys_joules),
    sum(energy_gpu_joules), sum(sci_g), sum(sci_requests), sum(gap_seconds), sum(gap_cpu_seconds),
    sum(late_cpu_seconds), sum(cpu_overcount_seconds)
    from rollup join accounts using (account_id) group by all
    """,
    # The newest price that each service has seen, by provenance.
    """
    create table intensities (project varchar not null, service varchar not null, provenance_id integer not null,
    window_end bigint not null, g_per_kwh double not null, observed_at bigint, valid_until bigint)
    """,
    """
    insert into intensities select project, service, provenance_id, max(window_end),
    arg_max(intensity_g_per_kwh, window_end), arg_max(intensity_observed_at, window_end),
    arg_max(intensity_valid_until, window_end)
    from records join accounts using (account_id) where intensity_g_per_kwh is not null group by all
    """,
)

_VERSION_4 = ("alter table records add column if not exists sci_g double",)

MIGRATIONS: tuple[Sequence[str], ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)
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
