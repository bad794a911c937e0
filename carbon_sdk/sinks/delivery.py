"""Carries records to the sinks without ever making anybody wait.

Each sink has a bounded queue and a task of its own, so a slow one delays no other. A full queue drops its oldest
records and counts them; an error of a sink is logged once and counted.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import anyio

from carbon_sdk.emission import Emission
from carbon_sdk.sinks.sink import Sink

CAPACITY = 10_000
"""Records that wait for one sink at most."""
BATCH = 500
CLOSE_SECONDS = 1.0
"""What a sink may take to close once its time to hand over is spent."""


class Delivery:
    """Runs on carbon_sdk's own thread.

    Args:
        sinks: By name.
        fault: Told what went wrong, as `Log.fault`.
        capacity: Records that wait for one sink at most.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sink],
        *,
        fault: Callable[[str, BaseException | str], None],
        capacity: int = CAPACITY,
    ) -> None:
        self._sinks = dict(sinks)
        self._fault = fault
        self._capacity = capacity
        self._queues: dict[str, deque[Emission]] = {name: deque() for name in sinks}
        self._wake = {name: anyio.Event() for name in sinks}
        self._closing = False
        self.dropped: Counter[str] = Counter()
        """Records dropped, by sink."""

    def offer(self, emissions: Sequence[Emission]) -> None:
        """Queue records for every sink."""
        for name, queue in self._queues.items():
            queue.extend(emissions)
            while len(queue) > self._capacity:
                queue.popleft()
                self.dropped[name] += 1
                self._fault(f"delivery.{name}", f"the sink is slower than the records: {self._capacity} wait")
            self._wake[name].set()

    async def run(self) -> None:
        """Hand over records until `close` was called and the queues are empty."""
        async with anyio.create_task_group() as tasks:
            for name, sink in self._sinks.items():
                tasks.start_soon(self._carry, name, sink)

    def close(self) -> None:
        """Let `run` end once the queues are empty."""
        self._closing = True
        for event in self._wake.values():
            event.set()

    async def _carry(self, name: str, sink: Sink) -> None:
        queue = self._queues[name]
        try:
            while queue or not self._closing:
                if not queue:
                    await self._wake[name].wait()
                    self._wake[name] = anyio.Event()
                    continue
                await self._write(name, sink, _batch(queue))
        finally:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                while queue:  # time is up: a sink that keeps a batch before it waits for anybody has the rest too
                    with anyio.move_on_after(0):
                        await self._write(name, sink, _batch(queue))
                try:
                    await sink.aclose()
                except Exception as exc:
                    self._fault(f"sink.{name}", exc)

    async def _write(self, name: str, sink: Sink, batch: Sequence[Emission]) -> None:
        try:
            await sink.write(batch)
        except Exception as exc:
            self.dropped[name] += len(batch)
            self._fault(f"sink.{name}", exc)


def _batch(queue: deque[Emission]) -> list[Emission]:
    return [queue.popleft() for _ in range(min(BATCH, len(queue)))]
