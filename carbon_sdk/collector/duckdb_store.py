"""The embedded store: DuckDB behind a journal, in one folder, with nothing to install.

Two threads of its own. The **journal** thread takes the batches that wait, decides what is new in them, writes that as
one frame, flushes it to the disk and then lets the requests answer: acknowledged means durable. The **load** thread
writes frames into DuckDB in larger transactions, notes the last frame in each, and does the upkeep. So a checkpoint of
a second or two delays no acknowledgement. Queries run on cursors of their own and see what has been loaded.

The load thread has less weight than those that answer; so that it never falls behind for good, answers are held back
while more than three quarters of the records wait that may.

Memory: `Sizes` of the queue (records acknowledged but not loaded, about 400 B each) + `Limits` of the texts (about
600 B each) + bodies under way (`IntakeLimits`) + DuckDB's own limit.
"""

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import duckdb
import pyarrow as pa

from carbon_sdk.collector import duckdb_report, duckdb_upkeep
from carbon_sdk.collector.backlog import Backlog, Waiting
from carbon_sdk.collector.columns import ACCOUNT, PROVENANCE
from carbon_sdk.collector.cuts import check_cuts
from carbon_sdk.collector.dimensions import Key, Limits
from carbon_sdk.collector.duckdb_load import get_meta
from carbon_sdk.collector.duckdb_loader import Loader
from carbon_sdk.collector.duckdb_open import Database
from carbon_sdk.collector.duckdb_upkeep import Retention
from carbon_sdk.collector.figure import Figure, figures_of
from carbon_sdk.collector.group import Group, Index
from carbon_sdk.collector.journal import Disk, Journal
from carbon_sdk.collector.problems import Problems
from carbon_sdk.collector.report import Query
from carbon_sdk.collector.scribe import Scribe
from carbon_sdk.collector.store import (
    Batch,
    Health,
    NewPrice,
    Project,
    QueryError,
    Repricing,
    SecondPrice,
    SeenIntensity,
    Selection,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the store may grow in memory.

    Args:
        waiting_records: Acknowledged or waiting records that are not loaded yet; more are refused for a moment.
        duckdb_bytes: DuckDB's memory.
        threads: Threads of a query.
        query_seconds: A query that takes longer is stopped.
    """

    waiting_records: int = 600_000
    duckdb_bytes: int = 2 * 1024**3
    threads: int = 2
    query_seconds: float = 30.0


class DuckDBStore:
    """A `Store` in a folder: open it with `await DuckDBStore.open(...)`.

    Args:
        folder: Where everything lies.
        limits: How many different texts are taken.
        sizes: How large it may grow in memory.
        retention: How long what is kept.
        disk: How the journal writes.
        log: Called with an event and its fields.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits | None = None,
        sizes: Sizes | None = None,
        retention: Retention | None = None,
        disk: Disk | None = None,
        log: Callable[..., object] = lambda *_args, **_fields: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._sizes = sizes or Sizes()
        self._clock = clock
        self._latest = 0.0
        self._database = Database(folder, threads=self._sizes.threads, memory_bytes=self._sizes.duckdb_bytes, log=log)
        self._index = Index(limits or Limits(), self._lookup)
        self._journal = Journal(folder / "journal", disk=disk)
        self._backlog = Backlog(self._sizes.waiting_records)
        self._problems = Problems(folder, log)
        self._queries = anyio.CapacityLimiter(4)
        self._loader = Loader(
            self._database,
            self._backlog,
            self._journal,
            self._problems,
            retention=retention or Retention(),
            now=self.now,
            log=log,
        )
        self._recover(limits or Limits())
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
        self._backlog.admit(records, self._problems.first)
        numbered = self._index.number(project, batch)
        self._backlog.put(Waiting(numbered=numbered, records=records, done=done, loop=loop))
        await done

    async def settled(self) -> None:
        """Return when everything acknowledged can be seen by queries, the machine book too."""
        await self._on_load_thread(lambda: duckdb_upkeep.refresh_machines(self._database.connection))

    async def figures(self, query: Query, /) -> Sequence[Figure]:
        """Answer a question; see `Store.figures`."""

        def ask(cursor: duckdb.DuckDBPyConnection) -> list[Figure]:
            check_cuts(query, get_meta(cursor, "coarse_until"), get_meta(cursor, "day_offset"))
            return figures_of(query, duckdb_report.sums(cursor, query), duckdb_report.counted(cursor, query))

        return await self._ask(ask)

    async def units(self, project: str, start: datetime, end: datetime, /) -> Mapping[str, Mapping[str, float]]:
        """What the services counted; see `Store.units`."""

        def ask(cursor: duckdb.DuckDBPyConnection) -> Mapping[str, Mapping[str, float]]:
            query = Query(project=project, start=start, end=end)
            check_cuts(query, get_meta(cursor, "coarse_until"), get_meta(cursor, "day_offset"))
            return duckdb_report.units(cursor, query)

        return await self._ask(ask)

    async def projects(self) -> Sequence[Project]:
        """The projects that have records."""
        return await self._ask(duckdb_report.projects)

    async def records(self, selection: Selection, /) -> pa.Table:
        """Raw records; see `Store.records`."""
        return await self._ask(lambda cursor: duckdb_report.records(cursor, selection))

    async def record(self, project: str, instance: str, sequence: int, /) -> tuple[pa.Table, SecondPrice | None]:
        """One raw record; see `Store.record`."""
        return await self._ask(lambda cursor: duckdb_report.record(cursor, project, instance, sequence))

    async def reprice(self, project: str, source: str, prices: Sequence[NewPrice], /) -> Repricing:
        """Price stored energy again; see `Store.reprice`."""
        if not prices:
            raise QueryError("a repricing needs at least one price")

        def price() -> int:
            now_us = int(self.now() * 1e6)
            return duckdb_upkeep.reprice(self._database.connection, project, source, prices, now_us)

        number = await self._on_load_thread(price)
        await self._on_load_thread(self._loader.checkpoint)
        made = await self.repricings(project)
        return next(one for one in made if one.repricing_id == number)

    async def repricings(self, project: str, /) -> Sequence[Repricing]:
        """The repricings of a project, newest first."""
        return await self._ask(lambda cursor: duckdb_report.repricings(cursor, project))

    async def intensities(self, project: str, /) -> Sequence[SeenIntensity]:
        """The newest intensity of each service; see `Store.intensities`."""
        return await self._ask(lambda cursor: duckdb_report.intensities(cursor, project))

    async def retain(self) -> None:
        """Apply the retention now."""
        await self._on_load_thread(self._loader.retain)

    async def backup(self, path: Path) -> None:
        """Write a copy of the store to a new file while it runs.

        Raises:
            StoreError: There is such a file, or it cannot be written.
        """
        await self._on_load_thread(lambda: self._loader.backup(path))

    def now(self) -> float:
        """The present; see `Store.now`."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def oldest(self) -> float:
        """The oldest window taken; see `Store.oldest`."""
        return self._loader.oldest

    def health(self) -> Health:
        """How it is."""
        counts = self._backlog.counts
        return Health(
            problem="the collector is stopping" if self._backlog.closing else self._problems.first,
            waiting_records=self._backlog.records,
            stored_records=counts["stored"],
            known_records=counts["known"],
            refused_records=counts["refused"],
            journal_bytes=self._journal.length_bytes,
            store_bytes=self._database.file_bytes,
            commits=counts["commits"],
            accounts=len(self._index.accounts),
            provenances=len(self._index.provenances),
            instances=len(self._index.heads),
        )

    async def aclose(self) -> None:
        """Write out what waits, then close; a second call does nothing."""
        await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """The same, without an event loop."""
        if not self._backlog.close():
            return
        for thread in self._threads:
            thread.join()
        self._journal.close()
        self._database.close()

    def _recover(self, limits: Limits) -> None:
        rows = self._database.connection.execute
        for known, what, parts in (
            (self._index.accounts, "account", ACCOUNT),
            (self._index.provenances, "provenance", PROVENANCE),
            (self._index.machines, "machine", ("machine",)),
        ):
            columns = ", ".join(f'"{name}"' for name in (f"{what}_id", "project", *parts))
            known.load((row[0], row[1], row[2:]) for row in rows(f"select {columns} from {what}s").fetchall())
        found = rows(
            "select instance_id, project, instance, max(sequence), max(seen_us) as seen from heads "
            "join instances using (instance_id) group by all order by seen desc limit ?",
            [limits.instances + 1],
        ).fetchall()
        complete = len(found) <= limits.instances
        self._latest = max((one[4] for one in found), default=0) / 1e6
        highest = rows("select coalesce(max(instance_id), 0) + 1 from instances").fetchone()
        self._index.heads.start(next_number=int(highest[0]) if highest else 1, complete=complete)
        for number, project, instance, sequence, _ in reversed(found[: limits.instances]):
            self._index.heads.load((project, instance), number, sequence)
        self._backlog.loaded = get_meta(self._database.connection, "frame")
        for frame, payload in self._journal.open(self._backlog.loaded):
            group = Group.from_bytes(payload)
            self._index.replay(frame, group)
            self._loader.load([group], frame)
        self._loader.checkpoint()
        self._loader.age()

    def _lookup(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        wanted = pa.table({"project": [str(key[0]) for key in keys], "instance": [str(key[1]) for key in keys]})
        cursor = self._database.connection.cursor()
        try:
            cursor.register("wanted", wanted)
            rows = cursor.execute(
                "select project, instance, instance_id, max(sequence) from heads join instances using (instance_id) "
                "join wanted using (project, instance) group by all"
            ).fetchall()
        except duckdb.Error as exc:
            raise self._database.error(exc) from exc
        finally:
            cursor.close()
        return {(project, instance): (number, sequence) for project, instance, number, sequence in rows}

    async def _on_load_thread(self, job: Callable[[], T]) -> T:
        """Run a job where nothing else writes, after all that was acknowledged has been loaded."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = job()
            except Exception as exc:  # whoever waits for the job is told of it
                error = self._database.error(exc) if isinstance(exc, duckdb.Error) else exc
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(functools.partial(_give, done, result))

        self._backlog.do(run)
        return await done

    async def _ask(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run a query on a cursor of its own, and stop it when it takes too long."""

        def ask() -> T:
            cursor = self._database.connection.cursor()
            stop = threading.Timer(self._sizes.query_seconds, cursor.interrupt)
            stop.start()
            try:
                return question(cursor)
            except duckdb.InterruptException as exc:
                raise QueryError(f"it took longer than {self._sizes.query_seconds:g} s; ask for less time") from exc
            finally:
                stop.cancel()
                cursor.close()

        return await anyio.to_thread.run_sync(ask, limiter=self._queries)


def _give(done: "asyncio.Future[T]", result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
