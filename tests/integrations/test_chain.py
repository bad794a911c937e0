"""What a checkout costs over three services that call one another and a worker, each in its own process."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.chained import CHECKOUTS, Chain, Record


@pytest.fixture
def chain(tmp_path: Path, redis_server: str) -> Iterator[Chain]:
    running = Chain(tmp_path, queue=f"{redis_server}/10")
    yield running
    running.kill()


def root_of(record: Record) -> tuple[str, str]:
    """Where the chain began: told and believed, else here."""
    return record["origin_service"] or record["service"], record["origin_endpoint"] or record["root"]


@pytest.mark.anyio
async def test_a_checkout_is_followed_through_three_services_and_each_joule_is_told_once(chain: Chain) -> None:
    """Fan-out, both clients, a call after the response, a queue, a way back, and a stranger who changes nothing."""
    await chain.load()
    await chain.mailed()
    records = [record for record in chain.end() if record["kind"] in ("request", "worker")]

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
