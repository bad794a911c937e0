"""Both engines of the store behind one face: what a store must do is asked of each by the same tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from carbon_sdk.collector.clickhouse_schema import migrate
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from carbon_sdk.collector.clickhouse_store import ClickHouseStore, Pace
from carbon_sdk.collector.commands import KeptStore
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.collector.duckdb_upkeep import Retention
from tests.collector.clickhouse import PASSWORD, ClickHouse
from tests.collector.inside import Inside, over


class Engine:
    """An engine with the data of one test.

    Args:
        folder: The collector's.
        make: Opens the store: folder, days of single records, days of quarters, further arguments.
    """

    def __init__(self, folder: Path, make: Callable[..., KeptStore]) -> None:
        self.folder = folder
        self._make = make

    async def store(self, *, folder: Path | None = None, raw_days: int = 30, fine_days: int = 400, **given: Any) -> Any:
        """The store, open; the same data each time.

        Args:
            folder: Another collector's, beside the first.
            raw_days: Days that single records are kept.
            fine_days: Days that quarters are kept.
            given: Further arguments of the store.
        """
        return await asyncio.to_thread(self._make, folder or self.folder, raw_days, fine_days, **given)

    @asynccontextmanager
    async def inside(self, **given: Any) -> AsyncIterator[Inside]:
        """The application over the store; arguments as for `store`."""
        async with over(await self.store(**given), self.folder) as collector:
            yield collector


def duckdb_engine(folder: Path) -> Engine:
    """The embedded one."""

    def make(folder: Path, raw_days: int, fine_days: int, **given: Any) -> DuckDBStore:
        kept = Retention(raw_days=raw_days, fine_days=fine_days, instance_days=600)
        return DuckDBStore(folder, retention=kept, **given)

    return Engine(folder, make)


def cluster_of(servers: list[ClickHouse], database: str) -> Cluster:
    """A database over these servers, one a shard."""
    return Cluster.parse([one.url for one in servers], database=database, password=PASSWORD)


async def migrated(cluster: Cluster) -> Cluster:
    """The cluster, with its tables."""
    for number in range(len(cluster.shards)):
        shard = Shard(cluster, number)
        await migrate(shard, cluster)
        await shard.aclose()
    return cluster


def clickhouse_engine(folder: Path, cluster: Cluster) -> Engine:
    """The one of a cluster."""

    def make(folder: Path, raw_days: int, fine_days: int, **given: Any) -> ClickHouseStore:
        return ClickHouseStore(folder, cluster, pace=Pace(raw_days=raw_days, mark_seconds=-1), **given)

    return Engine(folder, make)
