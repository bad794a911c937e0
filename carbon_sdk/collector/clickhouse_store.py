"""The store of a cluster: a journal here, ClickHouse behind it, and any number of collectors side by side.

A collector acknowledges when its own journal has a batch on disk, as the embedded store does; a loader brings it to the
shards. What a collector holds in memory it knows again; what another one has taken it does not, and writes it once
more: ClickHouse keeps records by their key, and reads leave one of each. So no collector asks another, and none waits
for ClickHouse to acknowledge.

Questions go to every shard, and their sums are added. Where one does not answer, the question has no answer: the error
names the shard.
"""

import asyncio
import fcntl
import functools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import pyarrow as pa

from carbon_sdk.collector import clickhouse_report, clickhouse_repricing, clickhouse_upkeep
from carbon_sdk.collector.backlog import Backlog, Waiting
from carbon_sdk.collector.clickhouse_loader import ClickHouseLoader
from carbon_sdk.collector.clickhouse_server import Cluster, Shard
from carbon_sdk.collector.dimensions import Limits
from carbon_sdk.collector.figure import Figure, figures_of
from carbon_sdk.collector.group import Group, Index
from carbon_sdk.collector.journal import Disk, Journal
from carbon_sdk.collector.problems import Problems
from carbon_sdk.collector.report import DAY_SECONDS, Query
from carbon_sdk.collector.scribe import Scribe
from carbon_sdk.collector.store import (
    Batch,
    BusyError,
    Health,
    NewPrice,
    Project,
    QueryError,
    Repricing,
    SecondPrice,
    SeenIntensity,
    Selection,
    StoreError,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much waits, and for how long.

    Args:
        waiting_records: Acknowledged records that not every shard holds yet; more are refused for a moment.
        query_seconds: A question that takes longer is stopped.
        raw_days: Days that single records are kept. Older ones are refused.
        mark_seconds: See `clickhouse_upkeep.roll`.
    """

    waiting_records: int = 600_000
    query_seconds: float = 30.0
    raw_days: int = 30
    mark_seconds: float = clickhouse_upkeep.MARK_SECONDS


class ClickHouseStore:
    """A `Store` over the shards of a cluster.

    Args:
        folder: Where the journal lies; each collector has its own.
        cluster: Where ClickHouse is.
        limits: How many different texts are taken by this collector.
        pace: How much waits, and for how long.
        disk: How the journal writes.
        log: Called with an event and its fields.
        clock: Seconds since 1970.

    Raises:
        StoreError: Another collector runs on the folder, or the journal cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        cluster: Cluster,
        *,
        limits: Limits | None = None,
        pace: Pace | None = None,
        disk: Disk | None = None,
        log: Callable[..., object] = lambda *_args, **_fields: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = _hold(folder)
        self._pace = pace or Pace()
        self._clock = clock
        self._latest = 0.0
        self._cluster = cluster
        self._shards = [
            Shard(cluster, number, seconds=self._pace.query_seconds) for number in range(len(cluster.shards))
        ]
        self._index = Index(limits or Limits(), lambda _keys: {}, whole=True)
        self._journal = Journal(folder / "journal", disk=disk)
        self._backlog = Backlog(self._pace.waiting_records)
        self._problems, self._behind = Problems(folder, log), Problems(folder, log)
        self._recover()
        self._loader = ClickHouseLoader(
            cluster,
            self._backlog,
            self._journal,
            self._behind,
            now=self.now,
            raw_days=self._pace.raw_days,
            mark_seconds=self._pace.mark_seconds,
            log=log,
        )
        scribe = Scribe(self._backlog, self._index, self._journal, self._problems, log)
        self._threads = [
            threading.Thread(target=scribe.run, name="carbon_sdk-journal", daemon=True),
            threading.Thread(target=self._loader.run, name="carbon_sdk-load", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    async def ingest(self, project: str, batch: Batch, /) -> None:
        """Keep what is new; see `Store.ingest`."""
        if not len(batch):
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        records = len(batch)
        self._backlog.admit(records, self._problems.first or self._behind.first)
        numbered = self._index.number(project, batch)
        self._backlog.put(Waiting(numbered=numbered, records=records, done=done, loop=loop))
        await done

    async def settled(self) -> None:
        """Return when everything that this collector acknowledged can be seen by queries.

        Raises:
            StoreError: A shard does not take it.
        """
        await self._when_loaded(lambda: None)

    async def figures(self, query: Query, /) -> Sequence[Figure]:
        """Answer a question; see `Store.figures`."""
        rows, counted = await asyncio.gather(
            self._ask(lambda shard: clickhouse_report.sums(shard, query)),
            self._ask(lambda shard: clickhouse_report.counted(shard, query)),
        )
        return figures_of(query, [row for part in rows for row in part], [row for part in counted for row in part])

    async def units(self, project: str, start: datetime, end: datetime, /) -> Mapping[str, Mapping[str, float]]:
        """What the services counted; see `Store.units`."""
        query = Query(project=project, start=start, end=end, by=("service",))
        counted: dict[str, dict[str, float]] = {}
        for part in await self._ask(lambda shard: clickhouse_report.counted(shard, query)):
            for one in part:
                amounts = counted.setdefault(one.key[0] or "", {})
                amounts[one.unit] = amounts.get(one.unit, 0.0) + one.amount
        return {service: dict(sorted(counted[service].items())) for service in sorted(counted)}

    async def projects(self) -> Sequence[Project]:
        """The projects that have records."""
        found: dict[str, list[clickhouse_report.Counts]] = {}
        for part in await self._ask(clickhouse_report.services):
            for one in part:
                found.setdefault(one.project, []).append(one)
        return [
            Project(
                name=name,
                services=len({one.service for one in parts}),
                records=sum(one.records for one in parts),
                first=clickhouse_report.moment(min(one.first for one in parts)),
                last=clickhouse_report.moment(max(one.last for one in parts)),
            )
            for name, parts in sorted(found.items())
        ]

    async def records(self, selection: Selection, /) -> pa.Table:
        """Raw records; see `Store.records`."""
        rows = await self._ask(lambda shard: clickhouse_report.records(shard, selection))
        return clickhouse_report.table_of((row for part in rows for row in part), selection.limit)

    async def record(self, project: str, instance: str, sequence: int, /) -> tuple[pa.Table, SecondPrice | None]:
        """One raw record; see `Store.record`."""
        rows = await self._ask(lambda shard: clickhouse_report.record(shard, project, instance, sequence))
        table = clickhouse_report.table_of((row for part in rows for row in part), 1)
        for shard, part in zip(self._shards, rows, strict=True):
            if part:
                return table, await clickhouse_repricing.second_price(shard, project, instance, sequence)
        return table, None

    async def reprice(self, project: str, source: str, prices: Sequence[NewPrice], /) -> Repricing:
        """Price stored energy again; see `Store.reprice`."""
        if not prices:
            raise QueryError("a repricing needs at least one price")
        await self.settled()
        made = clickhouse_repricing.Made(
            repricing_id=max(await self._ask(clickhouse_repricing.newest)) + 1,
            project=project,
            source=source,
            made_us=int(self.now() * 1e6),
            prices=prices,
        )
        await self._ask(lambda shard: clickhouse_repricing.reprice(shard, made))
        return next(one for one in await self.repricings(project) if one.repricing_id == made.repricing_id)

    async def repricings(self, project: str, /) -> Sequence[Repricing]:
        """The repricings of a project, newest first."""
        return clickhouse_repricing.merged(
            await self._ask(lambda shard: clickhouse_repricing.repricings(shard, project))
        )

    async def intensities(self, project: str, /) -> Sequence[SeenIntensity]:
        """The newest intensity of each service; see `Store.intensities`."""
        newest: dict[tuple[str, str, str, str], SeenIntensity] = {}
        for part in await self._ask(lambda shard: clickhouse_report.intensities(shard, project)):
            for one in part:
                key = (one.service, one.zone or "", one.signal or "", one.scope or "")
                if key not in newest or one.seen_at > newest[key].seen_at:
                    newest[key] = one
        return [newest[key] for key in sorted(newest)]

    async def retain(self) -> None:
        """Sum up what has ended, and apply the retention, now."""
        await self._when_loaded(
            lambda: asyncio.run_coroutine_threadsafe(self._loader.retain(), self._loader.loop).result()
        )

    async def backup(self, path: Path) -> None:
        """Not here.

        Raises:
            StoreError: Always.
        """
        raise StoreError("ClickHouse makes its own backups: BACKUP DATABASE, or clickhouse-backup")

    def now(self) -> float:
        """The present; see `Store.now`."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def oldest(self) -> float:
        """The oldest window taken: a repetition of an older one could not be told from a new record."""
        return self.now() - (self._pace.raw_days - 1) * DAY_SECONDS

    def health(self) -> Health:
        """How it is. A failing shard is no problem of this collector's, until it can take no more."""
        counts = self._backlog.counts
        full = self._behind.first if self._backlog.records >= self._pace.waiting_records * 0.95 else None
        return Health(
            problem="the collector is stopping" if self._backlog.closing else self._problems.first or full,
            waiting_records=self._backlog.records,
            stored_records=counts["stored"],
            known_records=counts["known"],
            refused_records=counts["refused"],
            journal_bytes=self._journal.length_bytes,
            store_bytes=0,
            commits=counts["commits"],
            accounts=len(self._index.accounts),
            provenances=len(self._index.provenances),
            instances=len(self._index.heads),
        )

    async def aclose(self) -> None:
        """Write out what waits, then close, once; the journal keeps what a shard does not take."""
        await anyio.to_thread.run_sync(self.close)
        for shard in self._shards:
            await shard.aclose()

    def close(self) -> None:
        """The same, without an event loop."""
        if not self._backlog.close():
            return
        for thread in self._threads:
            thread.join()
        self._journal.close()
        os.close(self._held)

    def _recover(self) -> None:
        """Take over what an earlier process left in the journal: its numbers mean nothing here, but its texts do."""
        number = 0
        for frame, payload in self._journal.open(None):
            group = Group.from_bytes(payload)
            for _, sequence, key in group.heads:
                number += 1
                self._index.heads.load(key, number, sequence, frame)
            self._backlog.take_up(frame, group)

    async def _when_loaded(self, job: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def give(result: T | None, failure: Exception | None) -> None:
            if not done.done():
                if failure is not None:
                    done.set_exception(failure)
                else:
                    done.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            try:
                if self._loader.failure is not None:
                    raise self._loader.failure
                result = job()
            except Exception as exc:
                # It was asked for elsewhere, and is told there; the thread that loads goes on.
                loop.call_soon_threadsafe(functools.partial(give, None, exc))
            else:
                loop.call_soon_threadsafe(functools.partial(give, result, None))

        self._backlog.do(run)
        return await done

    async def _ask(self, question: Callable[[Shard], Awaitable[T]]) -> list[T]:
        """Ask every shard at the same time."""
        answers = await asyncio.gather(*(question(shard) for shard in self._shards), return_exceptions=True)
        given: list[T] = []
        missing: list[BaseException] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                missing.append(answer)
            else:
                given.append(answer)
        if missing:
            if len(missing) > 1 and all(isinstance(one, BusyError) for one in missing):
                raise BusyError("; ".join(map(str, missing)), retry_after_seconds=10)
            raise missing[0]
        return given


def _hold(folder: Path) -> int:
    """Keep other collectors from this one's journal, for as long as the descriptor is open."""
    held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(held)
        raise StoreError(
            f"{folder} is held by another collector. Stop that one, or name another folder with --data: each collector "
            "has one of its own"
        ) from exc
    return held
