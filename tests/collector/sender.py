"""Senders as services have them: one batch of an instance in flight at a time, sent again until it is answered."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from carbon_sdk.wire import to_json
from tests.collector.service import Collector, emission

BATCH = 20
JOULES = 1.5


class Sender:
    """An instance that sends for as long as the collector answers.

    Args:
        instance: Its name.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self.acknowledged = 0
        """Records of batches that were answered."""
        self.wrong: list[object] = []
        """Answers that no sender should get."""

    def run(self, collector: Collector) -> None:
        """Send until the connection breaks or a 503 comes: the batch that broke is sent first the next time."""
        with httpx.Client(base_url=collector.client.base_url, trust_env=False, timeout=20.0) as client:
            while True:
                batch = [emission(self.acknowledged + number, instance=self._instance) for number in range(BATCH)]
                try:
                    answer = client.post(
                        "/v1/emissions",
                        content=f"[{','.join(map(to_json, batch))}]",
                        headers={"content-type": "application/json"},
                    )
                except httpx.TransportError:
                    return
                if answer.status_code == 503:
                    return
                done = answer.json() if answer.status_code == 200 else {}
                if done.get("stored", 0) + done.get("known", 0) != BATCH:
                    self.wrong.append((answer.status_code, answer.text))
                    return
                self.acknowledged += BATCH


@contextmanager
def sending(senders: Sequence[Sender], collector: Collector) -> Iterator[None]:
    """All of them at once, until the collector goes."""
    threads = [threading.Thread(target=one.run, args=(collector,)) for one in senders]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def heard(senders: Sequence[Sender]) -> int:
    """Records that were acknowledged."""
    return sum(one.acknowledged for one in senders)


def assert_exactly_once(collector: Collector, senders: Sequence[Sender]) -> None:
    """What was acknowledged is there; of what was not, whole batches in flight at most; records and sums agree."""
    assert not [wrong for one in senders for wrong in one.wrong]
    keys = collector.keys()
    assert len(keys) == len(set(keys)) == collector.total("records")
    unheard = len(keys) - heard(senders)
    assert 0 <= unheard <= BATCH * len(senders)
    assert unheard % BATCH == 0
    assert collector.total() == JOULES * len(keys)
