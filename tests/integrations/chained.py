"""Three services that call one another, each in its own process under a real server, and who calls them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from carbon_sdk.environment import environment

ROOT = Path(__file__).parent.parent.parent
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
    """Three services that run.

    Args:
        folder: Where each leaves its records.
        collector: Address of a collector to which each delivers too.
        queue: A Redis, where a worker takes the jobs that one of them sends; no worker when None.
    """

    def __init__(self, folder: Path, *, collector: str, queue: str | None = None) -> None:
        self.folder = folder
        self._collector = collector
        self._queue = queue
        self.ports = {name: free_port() for name in ("shop", "cart", "price")}
        self._processes = {name: self._start(name) for name in self.ports}
        if queue is not None:
            self._processes["mail"] = self._start("mail")

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        more = {f"CHAIN_{one.upper()}": f"http://127.0.0.1:{port}" for one, port in self.ports.items()}
        more |= {
            "CARBON_SDK_SERVICE": name,
            "CARBON_SDK_ZONE": "DE",
            "CARBON_SDK_SINKS": "jsonlines,collector",
            "CARBON_SDK_COLLECTOR_URL": self._collector,
            "CARBON_SDK_STATE_DIR": str(self.folder),
            "CARBON_SDK_JSONLINES_PATH": str(self.folder / f"{name}.jsonl"),
            "CARBON_SDK_PROPAGATE_TO": "127.0.0.1",
            "CARBON_SDK_PROPAGATE_TO_QUEUES": "chain",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "CARBON_SDK_BAGGAGE_SECRETS": SECRET,
        }
        if self._queue is not None:
            more["CHAIN_QUEUE"] = self._queue
        worker = ["-m", "arq", "tests.integrations.chain_worker.WorkerSettings"]
        command = [sys.executable, *([str(CHAIN), name, str(self.ports[name])] if name in self.ports else worker)]
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

    async def mailed(self) -> None:
        """Wait until no job waits or runs any more."""
        assert self._queue is not None, "there is no queue"
        async with Redis.from_url(self._queue) as redis:
            while await redis.zcard("chain") or [key async for key in redis.scan_iter("arq:in-progress:*")]:
                await asyncio.sleep(0.05)

    def run(self) -> list[Record]:
        """The load, and what it left."""
        asyncio.run(self.load())
        if self._queue is not None:
            asyncio.run(self.mailed())
        return self.end()

    def stop(self) -> None:
        """End each once those that call it have finished."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def end(self) -> list[Record]:
        """Stop all, and read what they left."""
        self.stop()
        files = [self.folder / f"{name}.jsonl" for name in self._processes]
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]

    def kill(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
