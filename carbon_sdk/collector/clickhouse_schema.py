"""The tables on each shard, and how an older database becomes a newer one, forward only.

Every table is a ReplacingMergeTree, so that writing the same again changes nothing:

* **records** by (project, slot, machine, instance, sequence): what two collectors both wrote is one record.
* **rollup**, **unit_rollup** by slot and account, **service_rollup** by slot and service: of several sums of one key,
  that of the most records is the whole.
* **machine_rollup** likewise, chosen anew as a whole for a machine and a slot; `version` counts the copies looked at.
* **day_rollup**, **day_service_rollup**, **day_unit_rollup**: the same by whole days of UTC, made from them.
* **repriced**: of a slot and account, what it weighs by the newest repricing; **repricings** and **prices** tell whose.
* **intensities**: the newest price that each service has seen, filled by a view as records come.
* **late**: slots that are read from the records until they are summed up anew (`done` is 1), and their day too (2).
* **meta**: numbers that only grow.

Servers before 19 know neither LowCardinality nor the flush after an insert; they are used where the server has them.
"""

from collections.abc import Sequence

from carbon_sdk.collector.clickhouse_server import Cluster, Shard, literal
from carbon_sdk.collector.columns import ACCOUNT, COUNTS, HINTS, NUMBERS, PROVENANCE, TIMES
from carbon_sdk.collector.report import MACHINE_MEASURES, PROCESS_MEASURES
from carbon_sdk.collector.store import StoreError

_LOW_CARDINALITY_SINCE = 20
_FLUSH_SINCE = 21
DAY_PARTITION = "intDiv(slot, 86400)"
_MONTH_PARTITION = "intDiv(slot, 2592000)"
_YEAR_PARTITION = "intDiv(slot, 31536000)"

KEY = ("project", "slot", "machine", "instance", "sequence")
PLAIN = (*TIMES, *(name for name in COUNTS if name != "sequence"), "unit_names", "unit_amounts", *NUMBERS)
RECORD_COLUMNS = (*KEY, "machine_book", "account", *ACCOUNT, "provenance", *PROVENANCE, *PLAIN)
"""The columns of `records`, in the order in which rows are written."""


class _Types:
    """Columns as a server of some age knows them."""

    def __init__(self, major: int) -> None:
        modern = major >= _LOW_CARDINALITY_SINCE
        self.text = "LowCardinality(String)" if modern else "String"
        self.optional_text = "LowCardinality(Nullable(String))" if modern else "Nullable(String)"

    def texts(self, names: Sequence[str]) -> str:
        """The fields of an account or a provenance."""
        return ", ".join(f"`{name}` {self._type(name)}" for name in names)

    def _type(self, name: str) -> str:
        hint = str(HINTS[name])
        if hint.startswith(("<class 'int'>", "int")):
            return "Int32"
        if "float" in hint:
            return "Nullable(Float64)"
        if "bool" in hint:
            return "Nullable(UInt8)"
        return self.optional_text if name in PROVENANCE or "None" in hint else self.text


def _numbers(names: Sequence[str], kind: str = "Nullable(Float64)") -> str:
    return ", ".join(f"`{name}` {kind}" for name in names)


def _version_1(major: int, engine: "Engines") -> tuple[str, ...]:
    types = _Types(major)
    account, provenance = types.texts(ACCOUNT), types.texts(PROVENANCE)
    project = f"project {types.text}"
    sums = _numbers([one.name for one in PROCESS_MEASURES if one.name != "records"])
    chosen = _numbers([one.name for one in MACHINE_MEASURES])
    counts = [name for name in COUNTS if name != "sequence"]
    return (
        f"""create table if not exists records ({project}, slot Int64, machine {types.text}, instance String,
        sequence Int64, machine_book UInt8, account Int64, {account}, provenance Int64, {provenance},
        {_numbers(TIMES, "Nullable(Int64)")}, {_numbers(counts, "Nullable(Int64)")},
        unit_names Array(String), unit_amounts Array(Float64), {_numbers(NUMBERS)})
        {engine("records", "")} partition by {DAY_PARTITION} order by ({", ".join(KEY)}) {engine.settings}""",
        f"""create table if not exists rollup ({project}, slot Int64, account Int64, {account}, provenance Int64,
        {provenance}, records UInt64, {sums})
        {engine("rollup", "records")} partition by {_MONTH_PARTITION}
        order by (project, slot, account, provenance) {engine.settings}""",
        f"""create table if not exists service_rollup ({project}, slot Int64, service {types.text}, kind {types.text},
        provenance Int64, {provenance}, records UInt64, {sums})
        {engine("service_rollup", "records")} partition by {_MONTH_PARTITION}
        order by (project, slot, service, kind, provenance) {engine.settings}""",
        f"""create table if not exists unit_rollup ({project}, slot Int64, account Int64, {account}, unit String,
        amount Float64, records UInt64)
        {engine("unit_rollup", "records")} partition by {_MONTH_PARTITION}
        order by (project, slot, account, unit) {engine.settings}""",
        f"""create table if not exists machine_rollup ({project}, slot Int64, machine {types.text},
        kind {types.text}, domain {types.text}, provenance Int64, {provenance}, {chosen}, version UInt64)
        {engine("machine_rollup", "version")} partition by {_MONTH_PARTITION}
        order by (project, slot, machine, kind, domain, provenance) {engine.settings}""",
        f"""create table if not exists intensities ({project}, service {types.text}, provenance Int64, {provenance},
        seen Int64, g_per_kwh Float64, observed_at Nullable(Int64), valid_until Nullable(Int64))
        {engine("intensities", "seen")} order by (project, service, provenance)""",
        f"""create materialized view if not exists intensities_of_records to intensities as
        select project, service, provenance, {", ".join(f"`{name}`" for name in PROVENANCE)},
        assumeNotNull(window_end) as seen, assumeNotNull(intensity_g_per_kwh) as g_per_kwh,
        intensity_observed_at as observed_at, intensity_valid_until as valid_until
        from records where machine_book = 0 and intensity_g_per_kwh is not null""",
        f"""create table if not exists prices (repricing_id UInt64, slot Int64, zone String, place String,
        signal String, scope String, quality String, g_per_kwh Float64)
        {engine("prices", "")} order by (repricing_id, slot, zone, place, signal, scope, quality)""",
        f"""create table if not exists repriced (repricing_id UInt64, {project}, slot Int64, account Int64, {account},
        provenance Int64, {provenance}, first_g Nullable(Float64), new_g Nullable(Float64))
        {engine("repriced", "repricing_id")} partition by {_MONTH_PARTITION}
        order by (project, slot, account, provenance)""",
        f"""create table if not exists repricings (repricing_id UInt64, made_us Int64, {project}, source String,
        start_slot Int64, end_slot Int64, slots UInt64)
        {engine("repricings", "")} order by (project, repricing_id)""",
        f"""create table if not exists late (slot Int64, mark String, marked_at Int64, done UInt8)
        {engine("late", "done")} order by (slot, mark)""",
    )


def _version_2(major: int, engine: "Engines") -> tuple[str, ...]:
    """Sums of whole days, with the columns of those of their quarters."""
    types = _Types(major)
    account, provenance = types.texts(ACCOUNT), types.texts(PROVENANCE)
    project = f"project {types.text}"
    sums = _numbers([one.name for one in PROCESS_MEASURES if one.name != "records"])
    return (
        f"""create table if not exists day_rollup ({project}, slot Int64, account Int64, {account}, provenance Int64,
        {provenance}, records UInt64, {sums})
        {engine("day_rollup", "records")} partition by {_YEAR_PARTITION}
        order by (project, slot, account, provenance) {engine.settings}""",
        f"""create table if not exists day_service_rollup ({project}, slot Int64, service {types.text},
        kind {types.text}, provenance Int64, {provenance}, records UInt64, {sums}, first_slot Int64, last_slot Int64)
        {engine("day_service_rollup", "records")} partition by {_YEAR_PARTITION}
        order by (project, slot, service, kind, provenance) {engine.settings}""",
        f"""create table if not exists day_unit_rollup ({project}, slot Int64, account Int64, {account}, unit String,
        amount Float64, records UInt64)
        {engine("day_unit_rollup", "records")} partition by {_YEAR_PARTITION}
        order by (project, slot, account, unit) {engine.settings}""",
    )


MIGRATIONS = (_version_1, _version_2)
VERSION = len(MIGRATIONS)
"""The version that this collector reads and writes."""
DAYS_SINCE = 2
"""The first version with sums of days; before it quarters are read and nothing else."""
COMPATIBLE = 1
"""A collector of this version can still write: what came after it are new columns, which it leaves empty."""


class Engines:
    """Table engines, replicated or not, on a server of some age."""

    def __init__(self, cluster: Cluster, major: int) -> None:
        self._cluster = cluster
        self.settings = "settings fsync_after_insert = 1, fsync_part_directory = 1" if major >= _FLUSH_SINCE else ""

    def __call__(self, table: str, version: str) -> str:
        """The engine of a table whose rows of one key are replaced by that of the highest version."""
        if not self._cluster.replicated:
            return f"engine = ReplacingMergeTree({version})"
        path = f"/clickhouse/tables/{{shard}}/{self._cluster.database}/{table}"
        return f"engine = ReplicatedReplacingMergeTree('{path}', '{{replica}}'{version and f', {version}'})"


async def migrate(shard: Shard, cluster: Cluster) -> int:
    """Bring a shard to `VERSION`; make its database first.

    Args:
        shard: The shard; where it has replicas, this is called for each alone.
        cluster: Of which cluster.

    Returns:
        The version that it had.

    Raises:
        StoreError: It does not answer, is newer than this collector, or belongs to a cluster of another size.
    """
    await shard.execute(f"create database if not exists {cluster.database}", database=False)
    major = int(str(await shard.value("select version()")).split(".", maxsplit=1)[0])
    engines = Engines(cluster, major)
    await shard.execute(
        f"create table if not exists meta (name String, value UInt64) {engines('meta', 'value')} order by name"
    )
    found = await meta(shard)
    check(shard, cluster, found)
    for version in range(found.get("version", 0), VERSION):
        for statement in MIGRATIONS[version](major, engines):
            await shard.execute(statement)
        await note(shard, {"version": version + 1, "compatible": COMPATIBLE, "shards": len(cluster.shards)})
    return found.get("version", 0)


def check(shard: Shard, cluster: Cluster, found: dict[str, int]) -> None:
    """See that this collector may write here.

    Raises:
        StoreError: It may not.
    """
    if found.get("compatible", 0) > VERSION:
        raise StoreError(
            f"{shard.name} has version {found['version']}, this collector knows up to {VERSION}; install the newer "
            "carbon-sdk again"
        )
    if found.get("shards", len(cluster.shards)) != len(cluster.shards):
        raise StoreError(
            f"{shard.name} belongs to a cluster of {found['shards']} shards, not {len(cluster.shards)}: records would "
            "lie where repetitions do not meet them"
        )


async def meta(shard: Shard) -> dict[str, int]:
    """The numbers that are kept."""
    return {name: int(value) for name, value in await shard.rows("select name, max(value) from meta group by name")}


async def note(shard: Shard, numbers: dict[str, int]) -> None:
    """Keep numbers; a smaller one than was kept changes nothing."""
    values = ", ".join(f"({literal(name)}, {value})" for name, value in numbers.items())
    await shard.execute(f"insert into meta (name, value) values {values}")
