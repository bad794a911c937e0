"""A store that holds a month of minutes, written straight into DuckDB's tables: millions of records in a minute.

The rows are those that the collector itself would have written: records, roll-ups of a quarter of an hour by account
and by service, newest intensities. Each stretch is written by the collector's own statements, as if its records had
come together.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from carbon_sdk.collector import duckdb_load
from carbon_sdk.collector.columns import ACCOUNT, COUNTS, NUMBERS, PROVENANCE, TIMES
from carbon_sdk.collector.duckdb_open import FILE
from carbon_sdk.collector.duckdb_store import DuckDBStore

PROJECT = "default"
MINUTE_US = 60_000_000
MINUTES_AT_ONCE = 360
KNOWN = {
    "release": "2026.3.1",
    "meter": "powercap",
    "meter_scope": "machine",
    "basis": "powercap: package-0, dram",
    "idle_rule": "learnt",
    "energy_method": "counter",
    "intensity_source": "electricity_maps",
    "intensity_quality": "measured",
    "intensity_signal": "average",
    "intensity_scope": "lifecycle",
    "zone": "DE",
    "place": "DE",
    "mixed": False,
    "pue": 1.0,
    "partial": False,
    "approximate": False,
    "share_rule": "cpu_time",
    "idle_policy": "none",
    "schema": 1,
}
"""The provenance of every record."""
GIVEN = {
    "window_start": f"$start_us + minute * {MINUTE_US}",
    "window_end": f"$start_us + (minute + 1) * {MINUTE_US}",
    "requests": "3 + endpoint % 40",
    "errors": "0",
    "duration_seconds": "joules / 9.0",
    "cpu_seconds": "joules / 17.0",
    "energy_joules": "joules",
    "emissions_g": "joules / 3.6e6 * 312.5",
    "intensity_g_per_kwh": "312.5",
    "gap_seconds": "0.0",
    "gap_cpu_seconds": "0.0",
    "late_cpu_seconds": "0.0",
    "cpu_overcount_seconds": "0.0",
}
"""What a record's fields are made of; the others are unknown."""


def fill(folder: Path, records: int, services: Mapping[str, int]) -> int:
    """Make a store of about so many records, which end with the last whole quarter of an hour.

    Args:
        folder: The collector's data; it must be empty.
        records: How many, one a minute and endpoint.
        services: Endpoints of each service. Some of the first service's work is on behalf of the second's.

    Returns:
        How many they are.
    """
    DuckDBStore(folder).close()
    endpoints = sum(services.values())
    minutes = max(records // endpoints // 15, 1) * 15
    now = datetime.now(UTC)
    end = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    start_us = int((end - timedelta(minutes=minutes)).timestamp()) * 1_000_000
    connection = duckdb.connect(str(folder / FILE))
    try:
        _keys(connection, services, minutes, int(end.timestamp()) * 1_000_000)
        for first in range(0, minutes, MINUTES_AT_ONCE):
            _rows(connection, start_us, first, min(first + MINUTES_AT_ONCE, minutes))
        connection.execute("checkpoint")
    finally:
        connection.close()
    return minutes * endpoints


def _keys(connection: duckdb.DuckDBPyConnection, services: Mapping[str, int], minutes: int, seen_us: int) -> None:
    names = list(services)
    accounts = []
    for service, endpoints in services.items():
        for endpoint in range(endpoints):
            root = f"GET /{service}/{endpoint:03d}/{{item}}"
            called = service == names[0] and endpoint % 4 == 0
            origin = (
                (names[1], f"GET /{names[1]}/{endpoint % services[names[1]]:03d}/{{item}}") if called else (None, None)
            )
            accounts.append((len(accounts) + 1, PROJECT, service, "request", root, root, *origin))
    columns = ", ".join(("account_id", "project", *ACCOUNT))
    connection.executemany(f"insert into accounts ({columns}) values ({', '.join('?' * (2 + len(ACCOUNT)))})", accounts)
    known = {name: value for name, value in KNOWN.items() if name in PROVENANCE}
    columns = ", ".join(f'"{name}"' for name in known)
    connection.execute(
        f"insert into provenances (provenance_id, project, {columns}) values (1, ?, {', '.join('?' * len(known))})",
        [PROJECT, *known.values()],
    )
    for number, (_, endpoints) in enumerate(services.items(), 1):
        connection.execute("insert into machines values (?, ?, ?)", [number, PROJECT, f"{number:016x}"])
        connection.execute("insert into instances values (?, ?, ?)", [number, PROJECT, f"{number:016x}"])
        connection.execute("insert into heads values (?, ?, ?)", [number, minutes * endpoints - 1, seen_us])
    connection.execute(
        "create temp table endpoints as select account_id, dense_rank() over (order by first) as number, "
        "account_id - first as endpoint, count(*) over (partition by service) as many from "
        "(select *, min(account_id) over (partition by service) as first from accounts)"
    )


def _rows(connection: duckdb.DuckDBPyConnection, start_us: int, first: int, end: int) -> None:
    """The records of some minutes, and what is summed up of them."""
    fields = [*TIMES, *(name for name in COUNTS if name != "sequence"), *NUMBERS]
    given = ", ".join(f"{GIVEN.get(name, 'null')} as {name}" for name in fields)
    connection.execute("begin")
    connection.execute(
        f"""
        create or replace temp table incoming as
        select number as instance_id, number as machine_id, account_id, 1 as provenance_id, minute * many + endpoint
            as sequence, null::map(varchar, double) as units, false as machine_book, {given}
        from (
            select *, (2.0 + endpoint * 37 % 101) * (0.3 + 0.7 * sin(minute % 1440 / 1440.0 * pi())) as joules
            from endpoints, (select unnest(range({first}, {end})) as minute)
        ) order by minute, number, endpoint
        """,
        {"start_us": start_us},
    )
    for statement in (
        duckdb_load.INSERT_RECORDS,
        duckdb_load.MAKE_DELTA,
        duckdb_load.INSERT_ROLLUP,
        duckdb_load.INSERT_SERVICES,
        duckdb_load.INSERT_INTENSITIES,
    ):
        connection.execute(statement)
    connection.execute("commit")
