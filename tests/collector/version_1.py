"""A store of the first version, made with nothing of the collector's own code: what migrations must be able to read."""

from datetime import datetime, timedelta
from pathlib import Path

import duckdb

_TABLES = """
    create table meta (name varchar not null, value bigint not null);
    create table accounts (account_id integer not null, project varchar not null, service varchar not null, kind
        varchar not null, root varchar not null, name varchar not null);
    create table provenances (provenance_id integer not null, project varchar not null, "release" varchar, "meter"
        varchar, "meter_scope" varchar, "basis" varchar, "idle_rule" varchar, "energy_package_method" varchar,
        "energy_dram_method" varchar, "energy_psys_method" varchar, "energy_gpu_method" varchar, "energy_method"
        varchar, "intensity_source" varchar, "intensity_quality" varchar, "intensity_signal" varchar,
        "intensity_scope" varchar, "zone" varchar, "place" varchar, "mixed" boolean, "pue" double, "wall_factor"
        double, "partial" boolean, "approximate" boolean, "share_rule" varchar, "idle_policy" varchar, "schema"
        integer);
    create table instances (instance_id integer not null, project varchar not null, instance varchar not null);
    create table machines (machine_id integer not null, project varchar not null, machine varchar not null);
    create table heads (instance_id integer not null, sequence bigint not null, seen_us bigint not null);
    create table records (instance_id integer not null, machine_id integer not null, account_id integer not null,
        provenance_id integer not null, window_start bigint, window_end bigint, intensity_observed_at bigint,
        intensity_valid_until bigint, sequence bigint, requests bigint, errors bigint, units map(varchar, double),
        duration_seconds double, cpu_seconds double, energy_joules double, energy_package_joules double,
        energy_dram_joules double, energy_psys_joules double, energy_gpu_joules double, energy_low_joules double,
        energy_high_joules double, idle_energy_joules double, emissions_g double, idle_emissions_g double,
        emissions_embodied_g double, sci_g_per_request double, intensity_g_per_kwh double, gap_seconds double,
        gap_cpu_seconds double, late_cpu_seconds double, cpu_overcount_seconds double);
    create table rollup (slot bigint not null, seconds integer not null, account_id integer not null,
        provenance_id integer not null, records bigint, requests bigint, errors bigint, records_without_energy bigint,
        records_without_emissions bigint, duration_seconds double, cpu_seconds double, energy_joules double,
        energy_low_joules double, energy_high_joules double, idle_energy_joules double, emissions_g double,
        emissions_low_g double, emissions_high_g double, idle_emissions_g double, emissions_embodied_g double,
        intensity_joules double, priced_joules double, energy_package_joules double, energy_dram_joules double,
        energy_psys_joules double, energy_gpu_joules double, sci_g double, sci_requests double, gap_seconds double,
        gap_cpu_seconds double, late_cpu_seconds double, cpu_overcount_seconds double);
    create table unit_rollup (slot bigint not null, seconds integer not null, account_id integer not null, unit
        varchar not null, amount double not null);
    create table machine_copies (frame bigint not null, window_start bigint not null, window_end bigint not null,
        machine_id integer not null, instance_id integer not null, account_id integer not null, provenance_id integer
        not null, gap_seconds double, package double, dram double, psys double, gpu double, g_per_joule double,
        intensity_g_per_kwh double);
    create table machine_rollup (slot bigint not null, seconds integer not null, machine_id integer not null, kind
        varchar not null, domain varchar not null, provenance_id integer not null, energy_joules double, emissions_g
        double, covered_seconds double, intensity_joules double, priced_joules double);
    create table repricings (repricing_id integer not null, made_us bigint not null, project varchar not null,
        source varchar not null, start_slot bigint not null, end_slot bigint not null, slots bigint not null);
    create table repriced (repricing_id integer not null, slot bigint not null, seconds integer not null,
        account_id integer not null, provenance_id integer not null, first_g double, new_g double);
"""
_ZONES = (("DE", 300.0, "average", "lifecycle"), ("FR", 60.0, "average", "direct"))


def make(folder: Path, hour: datetime) -> None:
    """A store of one project and service, `shop`: `GET /a` in DE and `GET /b` in FR, an hour long, 1 kJ a minute each.

    Args:
        folder: The collector's folder; made.
        hour: Start of the hour, UTC.
    """
    folder.mkdir(parents=True)
    start = int(hour.timestamp())
    with duckdb.connect(str(folder / "emissions.duckdb")) as connection:
        connection.execute(_TABLES)
        connection.execute("insert into meta values ('version', 1), ('frame', 7), ('machines_frame', 7)")
        connection.execute("insert into instances values (1, 'default', 'first')")
        connection.execute("insert into machines values (1, 'default', 'machine')")
        connection.execute("insert into heads values (1, 119, ?)", [(start + 3600) * 1_000_000])
        for number, (zone, intensity, signal, scope) in enumerate(_ZONES, 1):
            root = f"GET /{'ab'[number - 1]}"
            connection.execute(
                "insert into accounts values (?, 'default', 'shop', 'request', ?, ?)", [number, root, root]
            )
            connection.execute(
                "insert into provenances (provenance_id, project, meter, meter_scope, basis, idle_rule, "
                "energy_method, intensity_source, intensity_quality, intensity_signal, intensity_scope, zone, "
                "mixed, pue, partial, approximate, share_rule, idle_policy, schema) values (?, 'default', 'powercap', "
                "'machine', '', 'none', 'counter', 'constant', 'measured', ?, ?, ?, "
                "false, 1.0, false, false, 'cpu_time', 'none', 1)",
                [number, signal, scope, zone],
            )
            for minute in range(60):
                window = int((hour + timedelta(minutes=minute)).timestamp()) * 1_000_000
                connection.execute(
                    "insert into records (instance_id, machine_id, account_id, provenance_id, window_start, "
                    "window_end, sequence, requests, errors, energy_joules, emissions_g, intensity_g_per_kwh) "
                    "values (1, 1, ?, ?, ?, ?, ?, 2, 0, 1000.0, ?, ?)",
                    [
                        *(number, number, window, window + 60_000_000, 2 * minute + number - 1),
                        *(intensity / 3600.0, intensity),
                    ],
                )
        connection.execute(
            """
            insert into rollup (slot, seconds, account_id, provenance_id, records, requests, errors, energy_joules,
                energy_low_joules, energy_high_joules, emissions_g, emissions_low_g, emissions_high_g,
                intensity_joules, priced_joules)
            select window_start // 900000000 * 900, 900, account_id, provenance_id, count(*), sum(requests),
                sum(errors), sum(energy_joules), sum(energy_joules), sum(energy_joules), sum(emissions_g),
                sum(emissions_g), sum(emissions_g), sum(energy_joules * intensity_g_per_kwh), sum(energy_joules)
            from records group by all
            """
        )
