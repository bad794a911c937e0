"""Collectors that end with their test, and the engines of the store."""

import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from carbon_sdk.collector.clickhouse_server import Cluster
from tests.collector import clickhouse
from tests.collector.clickhouse import ClickHouse
from tests.collector.engines import Engine, clickhouse_engine, cluster_of, duckdb_engine, migrated
from tests.collector.service import Collector


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Starts collectors, and ends those that still run."""
    started: list[Collector] = []

    def begin(*words: str, folder: Path = tmp_path / "data", before: Sequence[str] = ()) -> Collector:
        started.append(Collector(folder, *words, before=before))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClickHouse]]:
    """A cluster of two shards, for all tests that leave it as it is."""
    if not clickhouse.HERE:
        pytest.skip(clickhouse.MISSING)
    started: list[ClickHouse] = []
    try:
        started.append(ClickHouse(tmp_path_factory.mktemp("clickhouse") / "one"))
        started.append(ClickHouse(tmp_path_factory.mktemp("clickhouse") / "two"))
        yield started
    finally:
        for one in started:
            one.stop()


@pytest.fixture
async def cluster(shards: list[ClickHouse]) -> AsyncIterator[Cluster]:
    """A database of the test's own on the two shards."""
    cluster = await migrated(cluster_of(shards, f"t_{uuid.uuid4().hex}"))
    yield cluster
    for one in shards:
        one.query(f"drop database {cluster.database}")


@pytest.fixture(params=["duckdb", "clickhouse"], scope="session")
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Awaitable[Engine]]:
    """Each engine of the store, with nothing in it, as often as asked for."""

    async def make() -> Engine:
        folder = tmp_path_factory.mktemp("fresh")
        if request.param == "duckdb":
            return duckdb_engine(folder)
        servers = request.getfixturevalue("shards")
        return clickhouse_engine(folder, await migrated(cluster_of(servers, f"t_{uuid.uuid4().hex}")))

    if request.param == "clickhouse":
        request.getfixturevalue("shards")
    return make


@pytest.fixture(params=["duckdb", "clickhouse"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Each engine of the store."""
    if request.param == "duckdb":
        return duckdb_engine(tmp_path / "data")
    return clickhouse_engine(tmp_path / "data", request.getfixturevalue("cluster"))
