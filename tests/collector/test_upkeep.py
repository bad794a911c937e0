"""Upkeep is done in short steps, between which records come in."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from carbon_sdk.collector.decode import Bounds, decode
from carbon_sdk.collector.duckdb_open import FILE
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.collector.duckdb_upkeep import Retention, compact, retain
from carbon_sdk.wire import to_json
from tests.collector.service import HOUR, emission

EVER = Bounds(records=10_000, oldest_us=0, newest_us=2**62)
ENDPOINTS, DAYS = 7, 3
NOW = int(HOUR.timestamp()) + 30 * 86_400


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A store with two deltas a key and quarter: three days, two hours of each, seven endpoints."""
    store = DuckDBStore(tmp_path)
    for number in range(2):
        made = [
            emission(
                number * 1000 + day * 100 + hour * 50 + endpoint,
                instance=f"process {number}",
                root=f"GET /{endpoint}",
                name=f"GET /{endpoint}",
                joules=1.0 + endpoint + day,
                window_start=HOUR - timedelta(days=day, hours=hour),
            )
            for day in range(DAYS)
            for hour in range(2)
            for endpoint in range(ENDPOINTS)
        ]
        await store.ingest("p", decode("\n".join(map(to_json, made)).encode(), "ndjson", EVER))
        await store.settled()
    await store.aclose()
    return tmp_path / FILE


def sums(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int, float]]:
    """Endpoint, records and joules, whatever the rows of the roll-up."""
    return connection.execute(
        "select name, sum(records)::bigint, sum(energy_joules) from rollup join accounts using (account_id) "
        "group by name order by name"
    ).fetchall()


def rows(connection: duckdb.DuckDBPyConnection) -> int:
    """Rows of the roll-up."""
    found = connection.execute("select count(*) from rollup").fetchone()
    return int(found[0]) if found else 0


def changes(steps: Iterator[None], connection: duckdb.DuckDBPyConnection) -> list[int]:
    """How many rows each step took away that took any; no step may change a sum."""
    before, found = sums(connection), []
    left = rows(connection)
    for _ in steps:
        assert sums(connection) == before
        found.append(left - rows(connection))
        left -= found[-1]
    return [taken for taken in found if taken]


async def test_quarters_are_summed_up_a_few_rows_at_a_time_and_no_step_changes_a_sum(file: Path) -> None:
    """In the end one row a key and quarter is left."""
    with duckdb.connect(str(file)) as connection:
        taken = changes(compact(connection, NOW, rows=4), connection)

        assert rows(connection) == DAYS * 2 * ENDPOINTS
    assert sum(taken) == DAYS * 2 * ENDPOINTS
    assert max(taken) < ENDPOINTS


async def test_days_are_summed_up_a_few_rows_at_a_time_and_no_step_changes_a_sum(file: Path) -> None:
    """In the end one row a key and day is left."""
    with duckdb.connect(str(file)) as connection:
        taken = changes(retain(connection, NOW, Retention(raw_days=1, fine_days=2), rows=4), connection)
        days = connection.execute("select count(distinct slot) from rollup where seconds = 86400").fetchone()

        assert days is not None
        assert rows(connection) == days[0] * ENDPOINTS
    assert max(taken) < 4 * ENDPOINTS - ENDPOINTS


async def test_what_comes_in_between_two_steps_is_kept(file: Path) -> None:
    """It is summed up the next time."""
    with duckdb.connect(str(file)) as connection:
        before = sums(connection)
        for number, _ in enumerate(compact(connection, NOW, rows=4)):
            if number == 2:
                connection.execute("insert into rollup select * from rollup limit 1")
        after = sums(connection)

    assert sum(records for _, records, _ in after) == sum(records for _, records, _ in before) + 1
