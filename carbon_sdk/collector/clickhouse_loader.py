"""Loads frames of the journal into ClickHouse: one thread with an event loop of its own.

All shards are written at the same time. One that fails keeps its frames waiting, in the journal and in memory, while
the others go on; a frame is forgotten when every shard has its part. Frames are never held for certain that were sent
but not answered: they are sent again, and the tables keep each record once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from carbon_sdk.collector import clickhouse_upkeep
from carbon_sdk.collector.backlog import Backlog, Linger
from carbon_sdk.collector.clickhouse_rows import Part, part_of
from carbon_sdk.collector.clickhouse_schema import RECORD_COLUMNS, check, meta
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from carbon_sdk.collector.group import Group
from carbon_sdk.collector.journal import Journal
from carbon_sdk.collector.problems import Problems
from carbon_sdk.collector.store import StoreError

LOAD_BYTES = 32 * 1024 * 1024
"""About so much is sent in one insert."""
JOURNAL_BYTES = 64 * 1024 * 1024
"""Journal beyond which what the shards hold is forgotten; it is forgotten at rest too."""
_LINGER = (Linger(from_records=1, seconds=0.25),)
_RETRY_SECONDS = 1.0
_IDLE_SECONDS = 5.0
_EVER = 1 << 60


class ClickHouseLoader:
    """Runs on a thread of its own.

    Args:
        cluster: Where records go.
        backlog: Where frames and jobs wait.
        journal: Forgets what the shards hold.
        problems: Told while a shard takes nothing.
        now: Seconds since 1970.
        raw_days: Days that single records are kept.
        mark_seconds: See `clickhouse_upkeep.roll`.
        log: Called with an event and its fields.
    """

    def __init__(
        self,
        cluster: Cluster,
        backlog: Backlog,
        journal: Journal,
        problems: Problems,
        *,
        now: Callable[[], float],
        raw_days: int,
        mark_seconds: float,
        log: Callable[..., object],
    ) -> None:
        self._cluster = cluster
        self._backlog = backlog
        self._journal = journal
        self._problems = problems
        self._now = now
        self._raw_days = raw_days
        self._mark_seconds = mark_seconds
        self._log = log
        self._upkeep_at = time.monotonic()
        self._sent = [0] * len(cluster.shards)
        """The last frame that each shard holds."""
        self._checked = [False] * len(cluster.shards)
        self.failure: StoreError | None = None
        """Why the newest frames are not on every shard; None where they are."""

    def run(self) -> None:
        """Load until the backlog is closed and empty, or a shard takes nothing more: the journal keeps it then."""
        asyncio.run(self._run())

    async def retain(self) -> None:
        """Sum up and drop what is old enough, now."""
        for shard in self._shards:
            await clickhouse_upkeep.roll(shard, mark_seconds=self._mark_seconds)
            await clickhouse_upkeep.retain(shard, self._cluster.database, self._now(), self._raw_days)

    async def _run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._shards = [Shard(self._cluster, number) for number in range(len(self._cluster.shards))]
        try:
            while True:
                work = await asyncio.to_thread(
                    self._backlog.await_work, _EVER, idle_seconds=_IDLE_SECONDS, linger=_LINGER
                )
                await self._load(work.frames)
                for job in work.jobs:
                    await asyncio.to_thread(job)
                if work.last or (self.failure is not None and self._backlog.closing):
                    return
                if self.failure is None:
                    await self._keep_up()
                else:
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            for shard in self._shards:
                await shard.aclose()

    async def _load(self, frames: Sequence[tuple[int, Group]]) -> None:
        failures = await asyncio.gather(*(self._send(number, frames) for number in range(len(self._shards))))
        self.failure = next((failure for failure in failures if failure is not None), None)
        loaded = min(self._sent)
        if loaded > self._backlog.loaded:
            self._backlog.drop_frames(loaded)
        if self._journal.length_bytes > JOURNAL_BYTES or not frames:
            self._journal.forget(self._backlog.loaded)

    async def _send(self, number: int, frames: Sequence[tuple[int, Group]]) -> StoreError | None:
        """Send one shard what it does not hold of these frames; why not all of it, where that is so."""
        shard = self._shards[number]
        waiting = deque((frame, group) for frame, group in frames if frame > self._sent[number])
        try:
            if not self._checked[number]:
                check(shard, self._cluster, await meta(shard))
            self._checked[number] = True
            while waiting:
                taken: list[Part] = []
                frame = 0
                while waiting and sum(len(part.lines) for part in taken) < LOAD_BYTES:
                    frame, group = waiting.popleft()
                    part = await asyncio.to_thread(part_of, group, self._cluster, number)
                    if part is not None:
                        taken.append(part)
                if taken:
                    await clickhouse_upkeep.mark(shard, {slot for part in taken for slot in part.slots}, self._now())
                    await shard.insert("records", RECORD_COLUMNS, b"".join(part.lines for part in taken))
                self._sent[number] = frame
        except Exception as exc:
            # A fault of ours, where it is no StoreError: what waits goes on waiting, and this thread serves all others.
            self._checked[number] = False
            failure = exc if isinstance(exc, StoreError) else StoreError(f"{type(exc).__name__}: {exc}")
            self._problems.began(shard.name, str(failure))
            return failure
        self._problems.ended(shard.name)
        return None

    async def _keep_up(self) -> None:
        if time.monotonic() - self._upkeep_at < clickhouse_upkeep.ROLL_SECONDS:
            return
        self._upkeep_at = time.monotonic()
        for shard in self._shards:
            try:
                if await clickhouse_upkeep.is_due(shard):
                    await clickhouse_upkeep.roll(shard, mark_seconds=self._mark_seconds)
                    await clickhouse_upkeep.retain(shard, self._cluster.database, self._now(), self._raw_days)
            except Exception as exc:
                # As above: sums that are not made cost a quick answer, never a record.
                self._log("collector_upkeep_failed", shard=shard.name, problem=f"{type(exc).__name__}: {exc}")
