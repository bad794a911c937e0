"""What a checkout costs over three services that call one another and a worker, each in its own process."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from carbon_sdk.emission import MACHINE_KINDS
from tests.collector.service import Collector
from tests.integrations.chained import CHECKOUTS, Chain, Record


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory, redis_server: str) -> Iterator[tuple[list[Record], dict[str, Any]]]:
    """What the four processes left after their checkouts, and the books at the collector to which they sent it."""
    folder = tmp_path_factory.mktemp("chain")
    collector = Collector(folder / "data")
    chain = Chain(folder, collector=str(collector.client.base_url).rstrip("/"), queue=f"{redis_server}/10")
    try:
        records = chain.run()
    finally:
        chain.kill()
        collector.stop()  # which brings the machine book up to what came
    collector = Collector(folder / "data")
    yield records, collector.ask("/v1/books")
    collector.stop()


def root_of(record: Record) -> tuple[str, str]:
    """Where the chain began: told and believed, else here."""
    return record["origin_service"] or record["service"], record["origin_endpoint"] or record["root"]


def test_a_checkout_is_followed_through_three_services_and_each_joule_is_told_once(
    sold: tuple[list[Record], dict[str, Any]],
) -> None:
    """Fan-out, both clients, a call after the response, a queue, a way back, and a stranger who changes nothing."""
    records = [record for record in sold[0] if record["kind"] in ("request", "worker")]

    by_root: defaultdict[tuple[str, str], float] = defaultdict(float)
    by_service: defaultdict[str, float] = defaultdict(float)
    requests: Counter[tuple[str, str, tuple[str, str]]] = Counter()
    for record in records:
        by_root[root_of(record)] += record["energy_joules"] or 0.0
        by_service[record["service"]] += record["energy_joules"] or 0.0
        requests[record["service"], record["root"], root_of(record)] += record["requests"]

    checkout = ("shop", "POST /checkout")
    assert sum(by_root.values()) == pytest.approx(sum(by_service.values()), rel=1e-9)
    assert by_root[checkout] == pytest.approx(
        sum(record["energy_joules"] or 0.0 for record in records if root_of(record) == checkout), rel=1e-9
    )
    assert requests["shop", "POST /checkout", checkout] == CHECKOUTS
    assert requests["cart", "GET /items", checkout] == CHECKOUTS
    assert requests["cart", "GET /sold", checkout] == CHECKOUTS
    assert requests["mail", "chain mail", checkout] == CHECKOUTS
    assert requests["price", "GET /price", checkout] == 3 * CHECKOUTS
    assert requests["shop", "GET /sale", checkout] == 3 * CHECKOUTS
    assert requests["price", "GET /price", ("price", "GET /price")] == 5, "the stranger is his own root"
    assert requests["shop", "GET /sale", ("price", "GET /price")] == 5


def test_the_machines_idle_and_rest_appear_once_however_many_processes_tell_them(
    sold: tuple[list[Record], dict[str, Any]],
) -> None:
    """The worker runs longest, so its copy of the machine book covers those of the services."""
    records, books = sold
    told: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for record in records:
        told[record["kind"]][record["service"]] += record["energy_joules"] or 0.0
    processes = sum(sum(joules.values()) for kind, joules in told.items() if kind not in MACHINE_KINDS)

    for kind in ("measured", "idle"):
        assert books[f"{kind}_joules"] == pytest.approx(told[kind]["mail"], rel=0.1)
        assert len(told[kind]) == 4
        assert sum(told[kind].values()) > 2 * told[kind]["mail"], "the four copies are not to be added"
    assert sum(books["accounts_joules"].values()) == pytest.approx(processes, rel=1e-9)
    rest = books["measured_joules"] - books["idle_joules"] - books["unattributed_joules"] - processes
    assert books["rest_joules"] == pytest.approx(rest, rel=1e-9)
    assert rest >= 0.0
