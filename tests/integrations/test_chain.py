"""What a checkout costs over three services that call one another, each in its own process under a real server."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from carbon_sdk.settings import environment

CHAIN = Path(__file__).with_name("chain.py")
SECRET = "shared by the three of them"
CHECKOUTS = 20

Record = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Chain:
    """Three services that run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("shop", "cart", "price")}
        self._processes = {name: self._start(name) for name in self.ports}

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        more = {f"CHAIN_{one.upper()}": f"http://127.0.0.1:{port}" for one, port in self.ports.items()}
        more |= {
            "CARBON_SDK_SERVICE": name,
            "CARBON_SDK_ZONE": "DE",
            "CARBON_SDK_SINKS": "jsonlines",
            "CARBON_SDK_JSONLINES_PATH": str(self.folder / f"{name}.jsonl"),
            "CARBON_SDK_PROPAGATE_TO": "127.0.0.1",
            "CARBON_SDK_BAGGAGE_SECRETS": SECRET,
        }
        command = [sys.executable, str(CHAIN), name, str(self.ports[name])]
        return subprocess.Popen(command, env={**environment(), **more}, stderr=subprocess.DEVNULL)

    async def load(self) -> None:
        """So many checkouts at a time, and a stranger who says that he is one."""
        forged = {"baggage": "carbon.service=shop,carbon.endpoint=POST%20%2Fcheckout;t=1;s=AAAA"}
        async with httpx.AsyncClient(timeout=60, transport=httpx.AsyncHTTPTransport(retries=60)) as client:
            for port in self.ports.values():
                await self._up(client, port)
            shop, price = (f"http://127.0.0.1:{self.ports[name]}" for name in ("shop", "price"))
            calls = [client.post(f"{shop}/checkout") for _ in range(CHECKOUTS)]
            calls += [client.get(f"{price}/price", headers=forged) for _ in range(5)]
            for answer in await asyncio.gather(*calls):
                answer.raise_for_status()

    async def _up(self, client: httpx.AsyncClient, port: int) -> None:
        for _ in range(300):
            try:
                await client.get(f"http://127.0.0.1:{port}/")
                return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
        raise AssertionError("a service did not come up")

    def end(self) -> list[Record]:
        """Stop each once those that call it have finished, and read what they left."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        files = [self.folder / f"{name}.jsonl" for name in self.ports]
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]

    def kill(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    running = Chain(tmp_path)
    yield running
    running.kill()


def root_of(record: Record) -> tuple[str, str]:
    """Where the chain began: told and believed, else here."""
    return record["origin_service"] or record["service"], record["origin_endpoint"] or record["root"]


@pytest.mark.anyio
async def test_a_checkout_is_followed_through_three_services_and_each_joule_is_told_once(chain: Chain) -> None:
    """Fan-out, both clients, a call after the response, a chain that comes back, and a stranger who changes nothing."""
    await chain.load()
    records = [record for record in chain.end() if record["kind"] == "request"]

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
    assert requests["price", "GET /price", checkout] == 3 * CHECKOUTS
    assert requests["shop", "GET /sale", checkout] == 3 * CHECKOUTS
    assert requests["price", "GET /price", ("price", "GET /price")] == 5, "the stranger is his own root"
    assert requests["shop", "GET /sale", ("price", "GET /price")] == 5
