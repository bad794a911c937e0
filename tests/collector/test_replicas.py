"""Two servers of one shard hold the same rows: one may die, and nobody sees a record twice."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carbon_sdk.collector.__main__ import main
from tests.collector import clickhouse, zookeeper
from tests.collector.clickhouse import PASSWORD, ClickHouse, replica_of
from tests.collector.sender import Sender, assert_exactly_once, sending
from tests.collector.service import DAYS, Collector
from tests.collector.test_cluster import of_many
from tests.collector.test_disks import until
from tests.collector.zookeeper import ZooKeeper

NAMES = (("1", "a"), ("1", "b"), ("2", "a"))
"""Shard and replica of each server."""
KEYS = "select project, instance, sequence, energy_joules from records final order by project, instance, sequence"
SUMS = "select slot, service, kind, provenance, records, energy_joules from service_rollup final order by slot"


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[ClickHouse]]:
    """Two servers of the first shard and one of the second, which a ZooKeeper keeps equal."""
    if clickhouse.LIBRARY or not clickhouse.HERE:
        pytest.skip(clickhouse.MISSING)
    if not zookeeper.HERE:
        pytest.skip(zookeeper.MISSING)
    with contextlib.ExitStack() as started:
        keeper = ZooKeeper(tmp_path / "keeper")
        started.callback(keeper.stop)
        servers: list[ClickHouse] = []
        for shard, replica in NAMES:
            more = replica_of(shard, replica, keeper.port)
            servers.append(ClickHouse(tmp_path / f"{shard}{replica}", more=more))
            started.callback(servers[-1].stop)
        yield servers


@pytest.fixture
def words(tmp_path: Path, three: list[ClickHouse]) -> list[str]:
    """The command line of their collectors; their tables are made."""
    (tmp_path / "password").write_text(PASSWORD)
    first, second, other = (one.url for one in three)
    given = ["--clickhouse", f"{first},{second}", "--clickhouse", other, "--clickhouse-replicated"]
    given += ["--clickhouse-password-file", str(tmp_path / "password")]
    assert main(["migrate", *given]) == 0
    return given


def of(server: ClickHouse, text: str) -> str:
    """The answer to a question about the collector's tables."""
    return server.query(text.replace("from ", "from carbon_sdk.", 1))


def test_a_replica_killed_under_load_costs_nothing_and_holds_the_same_when_it_is_back(
    start: Callable[..., Collector], words: list[str], three: list[ClickHouse]
) -> None:
    """Writes and reads go on at the other one; at the end each alone gives every record once."""
    first, second, _ = three
    collector = start(*words)
    senders = [Sender(f"sender {number}") for number in range(3)]
    with sending(senders, collector):
        time.sleep(0.7)
        first.kill()
        time.sleep(0.7)
        assert collector.client.get("/v1/reports/totals", params=DAYS).json()["rows"]
        collector.stop()
    collector = start(*words)
    first.start()
    until(lambda: of(first, KEYS) == of(second, KEYS) != "")
    assert_exactly_once(collector, senders)
    second.kill()
    assert_exactly_once(collector, senders)


def test_what_two_collectors_sent_to_two_replicas_is_there_once(
    start: Callable[..., Collector], tmp_path: Path, words: list[str], three: list[ClickHouse]
) -> None:
    """The same batches by different servers: the rows meet, and none is taken for another."""
    first, second, _ = three
    turned = [words[0], ",".join(reversed(words[1].split(","))), *words[2:]]
    one, two = start(*words), start(*turned, folder=tmp_path / "other")
    for batch in (of_many("early", 20), of_many("late", 20)):
        for collector in (one, two):
            assert collector.send(batch)["stored"] == 20
            collector.ask("/v1/projects")
    until(lambda: of(first, KEYS) == of(second, KEYS))

    assert one.total("records") == two.total("records") == 40


def test_sums_and_retention_are_the_same_on_both_replicas(
    start: Callable[..., Collector], tmp_path: Path, words: list[str], three: list[ClickHouse]
) -> None:
    """Made on one, held by both."""
    first, second, _ = three
    collector = start(*words)
    collector.send(of_many("early", 20))
    assert collector.total("records") == 20
    assert main(["retention", "--data", str(collector.folder)]) == 0
    until(lambda: of(first, SUMS) == of(second, SUMS) != "")
    first.kill()

    assert collector.total("records") == 20


def test_what_a_replica_brings_back_is_summed_up_again_where_an_operator_says_so(
    start: Callable[..., Collector], words: list[str], three: list[ClickHouse]
) -> None:
    """By the statement of the documentation."""
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    found = re.search(r"insert into carbon_sdk\.late.*?\)\)\n", page, re.DOTALL)
    assert found is not None
    collector = start(*words)
    collector.send(of_many("early", 20))
    assert collector.total("records") == 20
    three[1].query(re.sub(r"'[0-9-]+ [0-9:]+'", "'2020-01-01 00:00:00'", found[0]))
    marked = of(three[1], "select count() from late final where done = 0 and mark = 'replica is back'")

    assert int(marked) >= 1
    assert collector.total("records") == 20
