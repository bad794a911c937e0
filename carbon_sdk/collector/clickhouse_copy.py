"""The history of an embedded store goes to ClickHouse: single records as such, older sums as sums.

Nothing is copied twice: every row has its key there, so a copy that was cut off is begun again, and takes up the
records at the day that it had reached. The source is only read: a backup, or the file of a collector that does not run.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from carbon_sdk.collector import clickhouse_report, clickhouse_schema, clickhouse_upkeep, schema
from carbon_sdk.collector.clickhouse_rows import cell, number_of, part_of
from carbon_sdk.collector.clickhouse_schema import RECORD_COLUMNS
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from carbon_sdk.collector.columns import ACCOUNT, PROVENANCE
from carbon_sdk.collector.decode import LONGEST_MACHINE_RECORD_SECONDS, PLAIN
from carbon_sdk.collector.dimensions import Key
from carbon_sdk.collector.duckdb_load import get_meta
from carbon_sdk.collector.group import TABLE, Group
from carbon_sdk.collector.report import DAY_SECONDS, MACHINE_MEASURES, PROCESS_MEASURES, Query
from carbon_sdk.collector.store import StoreError
from carbon_sdk.emission import MACHINE_KINDS

_ROWS = 50_000
_SUMS = tuple(one.name for one in PROCESS_MEASURES if one.name != "records")
_CHOSEN = tuple(one.name for one in MACHINE_MEASURES)
_ACCOUNT = ", ".join(f"a.{name}" for name in ACCOUNT)
_PROVENANCE = ", ".join(f'p."{name}"' for name in PROVENANCE)
_SUMMED = ", ".join(f"sum({name})" for name in _SUMS)
_ACCOUNT_END = 2 + len(ACCOUNT)  # of a row's columns: project and slot come first


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What of a project stands in the file and in ClickHouse.

    Args:
        project: Its name.
        records: Records in the file, and in ClickHouse.
        energy_joules: Joules likewise.
    """

    project: str
    records: tuple[int, int]
    energy_joules: tuple[float, float]

    @property
    def same(self) -> bool:
        """Both agree."""
        in_file, in_cluster = self.energy_joules
        return self.records[0] == self.records[1] and abs(in_file - in_cluster) <= 1e-9 * max(abs(in_file), 1.0)


async def copy(file: Path, cluster: Cluster, log: Callable[..., object]) -> list[Total]:
    """Copy everything, then hold the totals against each other.

    Args:
        file: The DuckDB file.
        cluster: Where to; its tables are there.
        log: Called with an event and its fields, once a day copied.

    Raises:
        StoreError: The source cannot be read, or a shard does not answer.
    """
    shards = [Shard(cluster, number) for number in range(len(cluster.shards))]
    try:
        with duckdb.connect(str(file), read_only=True) as source:
            if schema.version_of(source) != schema.VERSION:
                raise StoreError(f"{file} has another version; open it once with `carbon-sdk collector retention`")
            for shard in shards:
                await clickhouse_upkeep.roll(shard)
            raw_from = get_meta(source, "copies_from")
            await _copy_sums(source, shards, raw_from)
            await _copy_records(source, cluster, shards, raw_from, f"copied {_name(file)}", log)
            return [await _total(source, shards, project) for project in _projects(source)]
    except duckdb.Error as exc:
        raise StoreError(f"{file}: {str(exc).splitlines()[0]}") from exc
    finally:
        for shard in shards:
            await shard.aclose()


def _name(file: Path) -> str:
    return hashlib.blake2b(str(file.absolute()).encode(), digest_size=8).hexdigest()


async def _copy_sums(source: duckdb.DuckDBPyConnection, shards: Sequence[Shard], before: int) -> None:
    """What is older than the single records: one row of a sum for each slot and key."""
    await _copy_accounts(source, shards, before)
    await _copy_services(source, shards, before)
    await _copy_units(source, shards, before)
    await _copy_machines(source, shards, before)
    for shard in shards:
        await clickhouse_upkeep.roll_days(shard, (), 0, before)
        await clickhouse_schema.note(shard, {"coarse_until": get_meta(source, "coarse_until")})


async def _copy_accounts(source: duckdb.DuckDBPyConnection, shards: Sequence[Shard], before: int) -> None:
    rows = source.execute(
        f"select a.project, slot, {_ACCOUNT}, {_PROVENANCE}, sum(records), {_SUMMED} from rollup join accounts a "
        "using (account_id) join provenances p using (provenance_id) where slot < ? group by all order by slot",
        [before],
    )
    end = _ACCOUNT_END
    await _insert(
        shards,
        "rollup",
        ("project", "slot", "account", *ACCOUNT, "provenance", *PROVENANCE, "records", *_SUMS),
        rows,
        lambda row: (
            *row[:2],
            _hash(row, 2, end),
            *row[2:end],
            _hash(row, end, end + len(PROVENANCE)),
            *row[end:],
        ),
    )


async def _copy_services(source: duckdb.DuckDBPyConnection, shards: Sequence[Shard], before: int) -> None:
    rows = source.execute(
        f"select s.project, slot, service, kind, {_PROVENANCE}, sum(records), {_SUMMED} from service_rollup s "
        "join provenances p using (provenance_id) where slot < ? group by all order by slot",
        [before],
    )
    await _insert(
        shards,
        "service_rollup",
        ("project", "slot", "service", "kind", "provenance", *PROVENANCE, "records", *_SUMS),
        rows,
        lambda row: (*row[:4], _hash(row, 4, 4 + len(PROVENANCE)), *row[4:]),
    )


async def _copy_units(source: duckdb.DuckDBPyConnection, shards: Sequence[Shard], before: int) -> None:
    rows = source.execute(
        f"select a.project, slot, {_ACCOUNT}, unit, sum(amount) from unit_rollup join accounts a using (account_id) "
        "where slot < ? group by all order by slot",
        [before],
    )
    await _insert(
        shards,
        "unit_rollup",
        ("project", "slot", "account", *ACCOUNT, "unit", "amount", "records"),
        rows,
        lambda row: (*row[:2], _hash(row, 2, _ACCOUNT_END), *row[2:], 1),
    )


async def _copy_machines(source: duckdb.DuckDBPyConnection, shards: Sequence[Shard], before: int) -> None:
    rows = source.execute(
        f"select m.project, slot, machine, kind, domain, {_PROVENANCE}, "
        f"{', '.join(f'sum({name})' for name in _CHOSEN)} from machine_rollup join machines m using (machine_id) "
        "join provenances p using (provenance_id) where slot < ? group by all order by slot",
        [before],
    )
    await _insert(
        shards,
        "machine_rollup",
        ("project", "slot", "machine", "kind", "domain", "provenance", *PROVENANCE, *_CHOSEN, "version"),
        rows,
        lambda row: (*row[:5], _hash(row, 5, 5 + len(PROVENANCE)), *row[5:], 1),
    )


def _hash(row: Sequence[Any], start: int, end: int) -> int:
    return number_of(row[0], row[start:end])


async def _insert(
    shards: Sequence[Shard],
    table: str,
    columns: Sequence[str],
    source: duckdb.DuckDBPyConnection,
    keyed: Callable[[tuple[Any, ...]], Iterable[object]],
) -> None:
    while rows := source.fetchmany(_ROWS):
        lines: dict[int, list[str]] = {}
        for row in rows:
            shard = number_of(row[0], row[2:8]) % len(shards)
            lines.setdefault(shard, []).append("\t".join(map(cell, keyed(row))))
        for shard, taken in lines.items():
            await shards[shard].insert(table, columns, ("\n".join(taken) + "\n").encode())


async def _copy_records(
    source: duckdb.DuckDBPyConnection,
    cluster: Cluster,
    shards: Sequence[Shard],
    raw_from: int,
    position: str,
    log: Callable[..., object],
) -> None:
    """Single records, day by day; of the machine book also those that reach into the first day."""
    known = {name: _texts(source, name, parts) for name, parts in _PARTS.items()}
    reached = min([(await clickhouse_schema.meta(shard)).get(position, 0) for shard in shards])
    kinds = ", ".join(f"'{kind}'" for kind in sorted(MACHINE_KINDS))
    machines_from = raw_from - LONGEST_MACHINE_RECORD_SECONDS
    ids = "instance_id, machine_id, r.account_id, provenance_id"
    days = source.execute("select distinct window_start // 86400000000 as day from records order by day").fetchall()
    for (day,) in days:
        if (day + 1) * DAY_SECONDS <= reached:
            continue
        text = f"""
            select {ids}, a.kind in ({kinds}) as machine_book, {", ".join(PLAIN.names)}
            from records r join accounts a using (account_id) where window_start // 86400000000 = {day} and
            (window_start >= {raw_from * 1_000_000} or (machine_book and window_start >= {machines_from * 1_000_000}))
        """
        table = source.cursor().sql(text).to_arrow_table().select(TABLE.names).cast(TABLE)
        for begin in range(0, len(table), _ROWS):
            taken = table.slice(begin, _ROWS)
            group = Group(
                table=taken,
                accounts=_used(known["account"], taken, "account_id"),
                provenances=_used(known["provenance"], taken, "provenance_id"),
                machines=_used(known["machine"], taken, "machine_id"),
                instances=[],
                heads=[
                    (number, 0, (project, *key))
                    for number, project, key in _used(known["instance"], taken, "instance_id")
                ],
            )
            for number, shard in enumerate(shards):
                part = part_of(group, cluster, number)
                if part is not None:
                    now = datetime.now(UTC).timestamp()
                    await clickhouse_upkeep.mark(shard, part.slots, now)
                    await shard.insert("records", RECORD_COLUMNS, part.lines)
        for shard in shards:
            await clickhouse_schema.note(shard, {position: (day + 1) * DAY_SECONDS})
        log(
            "collector_day_copied", day=f"{datetime.fromtimestamp(day * DAY_SECONDS, UTC):%Y-%m-%d}", records=len(table)
        )


_PARTS = {"account": ACCOUNT, "provenance": PROVENANCE, "machine": ("machine",), "instance": ("instance",)}


def _texts(source: duckdb.DuckDBPyConnection, what: str, parts: Sequence[str]) -> dict[int, tuple[int, str, Key]]:
    columns = ", ".join(f'"{name}"' for name in parts)
    rows = source.cursor().execute(f"select {what}_id, project, {columns} from {what}s").fetchall()
    return {row[0]: (row[0], row[1], row[2:]) for row in rows}


def _used(known: dict[int, tuple[int, str, Key]], table: Any, name: str) -> list[tuple[int, str, Key]]:
    return [known[number] for number in table[name].unique().to_pylist()]


def _projects(source: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for (name,) in source.execute("select distinct project from accounts order by project").fetchall()]


async def _total(source: duckdb.DuckDBPyConnection, shards: Sequence[Shard], project: str) -> Total:
    row = source.execute(
        "select coalesce(sum(records), 0), coalesce(sum(energy_joules), 0), coalesce(min(slot), 0), "
        "coalesce(max(slot + seconds), 0) from service_rollup where project = ?",
        [project],
    ).fetchone()
    records, joules, first, last = row or (0, 0.0, 0, 0)
    day = first // DAY_SECONDS * DAY_SECONDS, -(-last // DAY_SECONDS) * DAY_SECONDS
    query = Query(project=project, start=datetime.fromtimestamp(day[0], UTC), end=datetime.fromtimestamp(day[1], UTC))
    names = [measure.name for measure in query.measures]
    there_records, there_joules = 0, 0.0
    for shard in shards:
        for sums in await clickhouse_report.sums(shard, query):
            there_records += int(sums.values[names.index("records")] or 0)
            there_joules += sums.values[names.index("energy_joules")] or 0.0
    return Total(project=project, records=(int(records), there_records), energy_joules=(joules, there_joules))
