"""Stores of earlier versions are read by this one, and a store of a later one is left alone."""

import json
from pathlib import Path

import duckdb
import pytest

from carbon_sdk.collector import schema
from carbon_sdk.collector.__main__ import main
from carbon_sdk.collector.columns import ACCOUNT, COUNTS, NUMBERS, ORDER, PROVENANCE, TIMES, UNITS
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.collector.report import MACHINE_MEASURES, PROCESS_MEASURES
from carbon_sdk.collector.store import StoreError
from tests.collector import version_1
from tests.collector.inside import inside
from tests.collector.service import HOUR, emission


async def test_a_store_of_the_first_version_answers_every_question_and_takes_more(tmp_path: Path) -> None:
    """Its totals, its records, what was summed later from them; and a repetition is still known."""
    version_1.make(tmp_path / "data", HOUR)
    async with inside(tmp_path / "data") as collector:
        (total,) = (await collector.ask("/v1/reports/totals"))["rows"]
        endpoints = (await collector.ask("/v1/reports/endpoints"))["rows"]
        intensities = (await collector.ask("/v1/intensities"))["intensities"]
        lines = (await collector.ask("/v1/records")).splitlines()
        known = await collector.send(emission(119, instance="first"))
        stored = await collector.send(emission(120, instance="first", joules=500.0))
        (more,) = (await collector.ask("/v1/reports/totals"))["rows"]

    assert (total["records"], total["requests"], total["energy_joules"]) == (120, 240, 120_000.0)
    assert total["emissions"] == pytest.approx({"average/lifecycle": 5.0, "average/direct": 1.0})
    assert {row["key"]["endpoint"]: row["energy_joules"] for row in endpoints} == {
        "GET /a": 60_000.0,
        "GET /b": 60_000.0,
    }
    assert [(one["zone"], one["g_per_kwh"]) for one in intensities] == [("DE", 300.0), ("FR", 60.0)]
    assert len(lines) == 120
    assert json.loads(lines[0])["root"] == "GET /a"
    assert (known["known"], stored["stored"]) == (1, 1)
    assert more["energy_joules"] == 120_500.0


def test_the_first_migration_still_makes_the_first_version(tmp_path: Path) -> None:
    """A migration that was released is never edited."""
    version_1.make(tmp_path / "made", HOUR)
    with duckdb.connect() as ours, duckdb.connect(str(tmp_path / "made" / "emissions.duckdb")) as first:
        for statement in schema.MIGRATIONS[0]:
            ours.execute(statement)
        assert columns(ours) == columns(first)


def test_the_newest_version_has_a_column_for_everything_that_is_written(tmp_path: Path) -> None:
    """A field or a measure that is new needs a migration of its own."""
    with duckdb.connect() as connection:
        schema.migrate(connection)
        found = columns(connection)
    sums = [one.name for one in PROCESS_MEASURES]

    assert set(ORDER) == {*ACCOUNT, *PROVENANCE, "instance", "machine", *TIMES, *COUNTS, UNITS, *NUMBERS}
    assert set(found["provenances"]) == {"provenance_id", "project", *PROVENANCE}
    ids = ["instance_id", "machine_id", "account_id", "provenance_id"]
    assert set(found["records"]) == {*ids, *TIMES, *COUNTS, UNITS, *NUMBERS}
    assert set(found["rollup"]) == {"slot", "seconds", "account_id", "provenance_id", *sums}
    assert set(found["service_rollup"]) == {"slot", "seconds", "project", "service", "kind", "provenance_id", *sums}
    assert set(found["machine_rollup"]) > {one.name for one in MACHINE_MEASURES}


def columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Types of the columns of each table."""
    rows = connection.execute(
        "select table_name, column_name, data_type from duckdb_columns() where not internal order by all"
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


def test_a_store_of_a_later_version_is_left_as_it_is_and_the_remedy_is_said(tmp_path: Path) -> None:
    """Going back to an older collector loses nothing."""
    DuckDBStore(tmp_path).close()
    with duckdb.connect(str(tmp_path / "emissions.duckdb")) as connection:
        connection.execute("update meta set value = 99 where name = 'version'")
    with pytest.raises(StoreError, match=r"version 99.*restore a backup"):
        DuckDBStore(tmp_path)
    with duckdb.connect(str(tmp_path / "emissions.duckdb")) as connection:
        assert schema.version_of(connection) == 99


def test_a_migration_that_fails_leaves_the_version_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of the third version that should not be there: nothing of that migration stays."""
    version_1.make(tmp_path / "data", HOUR)
    with duckdb.connect(str(tmp_path / "data" / "emissions.duckdb")) as connection:
        connection.execute("create table intensities (foreign_to_us integer)")
    assert main(["retention", "--data", str(tmp_path / "data")]) == 2
    with duckdb.connect(str(tmp_path / "data" / "emissions.duckdb")) as connection:
        assert schema.version_of(connection) == 2
        assert "service_rollup" not in columns(connection)
    assert "intensities" in capsys.readouterr().err


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """It is not ours to change."""
    with duckdb.connect(str(tmp_path / "emissions.duckdb")) as connection:
        connection.execute("create table theirs (value integer)")
    with pytest.raises(StoreError, match="not a collector's"):
        DuckDBStore(tmp_path)
