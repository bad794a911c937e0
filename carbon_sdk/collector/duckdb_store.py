"""The embedded store: DuckDB behind a journal, in one folder, with nothing to install.

Two threads of its own. The **journal** thread takes the batches that wait, decides what is new in them, writes that as
one frame, flushes it to the disk and then lets the requests answer: acknowledged means durable. The **load** thread
writes frames into DuckDB in larger transactions, notes the last frame in each, and does the upkeep. So a checkpoint of
a second or two delays no acknowledgement. Queries run on cursors of their own and see what has been loaded.

Memory: `Bounds` of the queue (records acknowledged but not loaded, about 400 B each) + `Limits` of the texts (about
600 B each) + DuckDB's own limit.
"""

import asyncio
import contextlib
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import duckdb
import pyarrow as pa

from carbon_sdk.collector import duckdb_report, duckdb_upkeep
from carbon_sdk.collector.columns import PROVENANCE
from carbon_sdk.collector.dimensions import Key, Limits
from carbon_sdk.collector.duckdb_load import get_meta, load
from carbon_sdk.collector.duckdb_open import FILE, connect, translated
from carbon_sdk.collector.duckdb_upkeep import Retention
from carbon_sdk.collector.group import Group, Index, Numbered
from carbon_sdk.collector.journal import Disk, Journal
from carbon_sdk.collector.report import DAY_SECONDS, Figure, Query, figures_of
from carbon_sdk.collector.store import (
    KNOWN,
    REFUSED,
    Batch,
    BusyError,
    Health,
    NewPrice,
    Project,
    QueryError,
    Repricing,
    Selection,
    StoreError,
)

T = TypeVar("T")

GROUP_RECORDS = 25_000
"""Most records of one frame."""
LOAD_RECORDS = 200_000
"""Most records of one transaction of the load thread."""
CHECKPOINT_BYTES = 192 * 1024 * 1024
"""Journal, or DuckDB's log, beyond which a checkpoint is made. Measured in benchmarks/ingest.py."""
_LINGER_SECONDS = 0.005
"""The journal waits so long for company: a flush costs the same for one batch as for fifty."""
_LOAD_LINGER_SECONDS = 0.25
"""The load thread waits so long for more, unless somebody waits for it."""
_RETRY_SECONDS = 1.0
_MACHINES_SECONDS = 5.0
_UPKEEP_SECONDS = 600.0


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


@dataclass(slots=True)
class _Waiting:
    numbered: Numbered
    records: int
    done: "asyncio.Future[None]"
    loop: asyncio.AbstractEventLoop


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
        self._retention = retention or Retention()
        self._log = log
        self._clock = clock
        self._latest = 0.0
        self._connection = connect(folder, threads=self._sizes.threads, memory_bytes=self._sizes.duckdb_bytes, log=log)
        self._reading = self._connection.cursor()
        self._index = Index(limits or Limits(), self._lookup)
        self._journal = Journal(folder / "journal", disk=disk)
        self._incoming: deque[_Waiting] = deque()
        self._unloaded: deque[tuple[int, Group]] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._change = threading.Condition()
        self._waiting_records = 0
        self._loaded = 0
        self._hurry = 0
        self._closing = False
        self._journal_done = False
        self._problems: dict[str, str] = {}
        self._counts = {"stored": 0, "known": 0, "refused": 0, "commits": 0}
        self._queries = anyio.CapacityLimiter(4)
        self._recover(limits or Limits())
        self._threads = [
            threading.Thread(target=self._run_journal, name="carbon_sdk-journal", daemon=True),
            threading.Thread(target=self._run_load, name="carbon_sdk-load", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    # -- what others call --------------------------------------------------------------------------------------------

    async def ingest(self, project: str, batch: Batch, /) -> None:
        """Keep what is new; see `Store.ingest`."""
        if not len(batch):
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        records = len(batch)
        self._admit(records)
        waiting = _Waiting(self._index.number(project, batch), records, done, loop)
        with self._change:
            self._incoming.append(waiting)
            self._change.notify_all()
        await done

    def _admit(self, records: int) -> None:
        """Take so many records into the queue.

        Raises:
            BusyError: There is no room for them now.
        """
        with self._change:
            problem = next(iter(self._problems.values()), None)
            if self._closing:
                raise BusyError("the collector is stopping", retry_after_seconds=5)
            if self._waiting_records + records > self._sizes.waiting_records:
                raise BusyError(problem or "too many records wait to be written", retry_after_seconds=2)
            self._waiting_records += records

    async def settled(self) -> None:
        """Return when everything acknowledged can be seen by queries, the machine book too."""
        await self._on_load_thread(lambda: duckdb_upkeep.refresh_machines(self._connection))

    async def figures(self, query: Query, /) -> Sequence[Figure]:
        """Answer a question; see `Store.figures`."""

        def ask(cursor: duckdb.DuckDBPyConnection) -> list[Figure]:
            duckdb_report.check_cuts(query, get_meta(cursor, "coarse_until"), get_meta(cursor, "day_offset"))
            return figures_of(query, duckdb_report.sums(cursor, query))

        return await self._ask(ask)

    async def projects(self) -> Sequence[Project]:
        """The projects that have records."""
        return await self._ask(duckdb_report.projects)

    async def records(self, selection: Selection, /) -> pa.Table:
        """Raw records; see `Store.records`."""
        return await self._ask(lambda cursor: duckdb_report.records(cursor, selection))

    async def reprice(self, project: str, source: str, prices: Sequence[NewPrice], /) -> Repricing:
        """Price stored energy again; see `Store.reprice`."""
        if not prices:
            raise QueryError("a repricing needs at least one price")

        def price() -> int:
            now_us = int(self.now() * 1e6)
            return duckdb_upkeep.reprice(self._connection, project, source, prices, now_us)

        number = await self._on_load_thread(price)
        await self._on_load_thread(self._checkpoint)
        made = await self.repricings(project)
        return next(one for one in made if one.repricing_id == number)

    async def repricings(self, project: str, /) -> Sequence[Repricing]:
        """The repricings of a project, newest first."""
        return await self._ask(lambda cursor: duckdb_report.repricings(cursor, project))

    async def retain(self) -> None:
        """Apply the retention now."""
        await self._on_load_thread(self._retain)

    async def backup(self, path: Path) -> None:
        """Write a copy of the store to a new file while it runs.

        Raises:
            StoreError: There is such a file, or it cannot be written.
        """
        await self._on_load_thread(lambda: self._backup(path))

    def now(self) -> float:
        """The present; see `Store.now`."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def health(self) -> Health:
        """How it is."""
        with self._change:
            return Health(
                problem=next(iter(self._problems.values()), None),
                waiting_records=self._waiting_records,
                stored_records=self._counts["stored"],
                known_records=self._counts["known"],
                refused_records=self._counts["refused"],
                journal_bytes=self._journal.length_bytes,
                store_bytes=_size(self.folder / FILE),
                commits=self._counts["commits"],
                accounts=len(self._index.accounts),
                provenances=len(self._index.provenances),
                instances=len(self._index.heads),
            )

    async def aclose(self) -> None:
        """Write out what waits, then close; a second call does nothing."""
        await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """The same, without an event loop."""
        with self._change:
            if self._closing:
                return
            self._closing = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
        self._journal.close()
        with contextlib.suppress(duckdb.Error):
            self._reading.close()
            self._connection.close()

    # -- opening -----------------------------------------------------------------------------------------------------

    def _recover(self, limits: Limits) -> None:
        rows = self._connection.execute
        self._index.accounts.load(_keyed(rows("select * from accounts").fetchall()))
        columns = ", ".join(f'"{name}"' for name in PROVENANCE)
        self._index.provenances.load(
            _keyed(rows(f"select provenance_id, project, {columns} from provenances").fetchall())
        )
        self._index.machines.load(_keyed(rows("select * from machines").fetchall()))
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
        self._loaded = get_meta(self._connection, "frame")
        for frame, payload in self._journal.open(self._loaded):
            group = Group.from_bytes(payload)
            self._index.replay(frame, group)
            load(self._connection, [group], frame, int(self.now() * 1e6))
            self._loaded = frame
        self._checkpoint()

    def _lookup(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        wanted = pa.table({"project": [str(key[0]) for key in keys], "instance": [str(key[1]) for key in keys]})
        self._reading.register("wanted", wanted)
        try:
            rows = self._reading.execute(
                "select project, instance, instance_id, max(sequence) from heads join instances using (instance_id) "
                "join wanted using (project, instance) group by all"
            ).fetchall()
        finally:
            self._reading.unregister("wanted")
        return {(project, instance): (number, sequence) for project, instance, number, sequence in rows}

    # -- the journal thread ------------------------------------------------------------------------------------------

    def _run_journal(self) -> None:
        while True:
            with self._change:
                while not self._incoming and not self._closing:
                    self._change.wait()
                if not self._incoming:
                    self._journal_done = True
                    self._change.notify_all()
                    return
            time.sleep(_LINGER_SECONDS)
            self._write(self._next_group())

    def _next_group(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        records = 0
        with self._change:
            while self._incoming and (not taken or records + self._incoming[0].records <= GROUP_RECORDS):
                taken.append(self._incoming.popleft())
                records += taken[-1].records
        return taken

    def _write(self, taken: list[_Waiting]) -> None:
        """Decide, write and acknowledge one group."""
        offered = sum(one.records for one in taken)
        try:
            self._index.heads.expect(
                {(one.numbered.project, name) for one in taken for name, _, _ in one.numbered.runs}
            )
            parts = [part for one in taken if (part := self._index.take(one.numbered)) is not None]
            group = self._index.group(parts) if parts else None
            frame = self._journal.append(group.to_bytes()) if group else 0
        except (OSError, duckdb.Error) as exc:
            self._index.drop()
            self._failed("journal", f"{self.folder}: {_reason(exc)}")
            self._answer(
                taken, offered, BusyError(f"the disk takes no records: {_reason(exc)}", retry_after_seconds=30)
            )
            return
        except Exception as exc:
            # A fault of ours: it must cost these batches an answer, never the thread that serves all others.
            self._index.drop()
            self._log("collector_group_failed", problem=f"{type(exc).__name__}: {exc}")
            self._answer(taken, offered, BusyError("the collector failed on this batch", retry_after_seconds=60))
            return
        self._recovered("journal")
        if group is not None:
            self._index.keep(frame, self._loaded)
        stored = len(group.table) if group else 0
        with self._change:
            self._waiting_records -= offered - stored
            if group is not None:
                self._unloaded.append((frame, group))
                self._counts["commits"] += 1
            self._counts["stored"] += stored
            for one in taken:
                self._counts["known"] += one.numbered.batch.outcomes.count(KNOWN)
                self._counts["refused"] += one.numbered.batch.outcomes.count(REFUSED)
            self._change.notify_all()
        self._answer(taken, 0, None)

    def _answer(self, taken: list[_Waiting], released: int, error: BusyError | None) -> None:
        if released:
            with self._change:
                self._waiting_records -= released
        for loop in {one.loop for one in taken}:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits for the answer
                loop.call_soon_threadsafe(_resolve, [one.done for one in taken if one.loop is loop], error)

    # -- the load thread ---------------------------------------------------------------------------------------------

    def _run_load(self) -> None:
        machines_at = upkeep_at = time.monotonic()
        while True:
            groups, jobs, finished = self._await_work()
            try:
                if groups:
                    self._load(groups)
                for job in jobs:
                    job()
                now = time.monotonic()
                if now - machines_at >= _MACHINES_SECONDS or finished:
                    machines_at = now
                    duckdb_upkeep.refresh_machines(self._connection)
                if now - upkeep_at >= _UPKEEP_SECONDS:
                    upkeep_at = now
                    self._retain()
                if self._journal.length_bytes > CHECKPOINT_BYTES or self._wal_bytes() > CHECKPOINT_BYTES:
                    self._checkpoint()
                self._recovered("store")
            except (duckdb.Error, OSError) as exc:
                self._failed(
                    "store", str(translated(exc, self.folder / FILE)) if isinstance(exc, duckdb.Error) else _reason(exc)
                )
                if self._closing:
                    return  # what is not loaded stays in the journal
                self._reopen(exc)
                time.sleep(_RETRY_SECONDS)
                continue
            if finished:
                with contextlib.suppress(duckdb.Error):
                    self._checkpoint()
                return

    def _await_work(self) -> tuple[list[tuple[int, Group]], list[Callable[[], None]], bool]:
        """Groups to load and jobs to do, and whether nothing comes after them."""
        with self._change:
            if not self._jobs and not self._closing:
                self._change.wait_for(lambda: self._jobs or self._closing or self._unloaded, _MACHINES_SECONDS)
                enough = lambda: self._jobs or self._closing or self._unloaded_records() >= LOAD_RECORDS  # noqa: E731
                if self._unloaded:
                    self._change.wait_for(enough, _LOAD_LINGER_SECONDS)
            groups: list[tuple[int, Group]] = []
            records = 0
            for frame, group in self._unloaded:
                groups.append((frame, group))
                records += len(group.table)
                if records >= LOAD_RECORDS:
                    break
            jobs: list[Callable[[], None]] = []
            if len(groups) == len(self._unloaded):
                jobs = list(self._jobs)
                self._jobs.clear()
            finished = self._closing and self._journal_done and len(groups) == len(self._unloaded)
            return groups, jobs, finished

    def _unloaded_records(self) -> int:
        return sum(len(group.table) for _, group in self._unloaded)

    def _load(self, groups: list[tuple[int, Group]]) -> None:
        load(self._connection, [group for _, group in groups], groups[-1][0], int(self.now() * 1e6))
        with self._change:
            self._loaded = groups[-1][0]
            for _, group in groups:
                self._unloaded.popleft()
                self._waiting_records -= len(group.table)

    def _retain(self) -> None:
        # Counted from the latest record where that is behind: a clock set forward must not delete what is young.
        newest = self._connection.execute("select max(slot + seconds) from rollup").fetchone()
        now = min(int(self.now()), (newest[0] if newest and newest[0] else 0) + DAY_SECONDS)
        duckdb_upkeep.compact(self._connection, now)
        duckdb_upkeep.retain(self._connection, now, self._retention)

    def _checkpoint(self) -> None:
        """Bring the file up to date, then let the journal forget what it holds."""
        loaded = self._loaded
        try:
            self._connection.execute("checkpoint")
        except duckdb.TransactionException:  # a query of before the last change still runs: later, then
            return
        self._journal.forget(loaded)

    def _backup(self, path: Path) -> None:
        if path.exists():
            raise StoreError(f"{path} exists; name a new file")
        draft = path.with_name(f".{path.name}.part")
        draft.unlink(missing_ok=True)
        quoted = str(draft).replace("'", "''")
        cursor = self._connection.cursor()
        try:
            source = cursor.execute("select current_database()").fetchone()
            cursor.execute(f"attach '{quoted}' as backup")
            try:
                cursor.execute(f'copy from database "{source[0] if source else ""}" to backup')
            finally:
                cursor.execute("detach backup")
            os.chmod(draft, 0o600)
            os.replace(draft, path)
        except (duckdb.Error, OSError) as exc:
            raise StoreError(f"{path}: {_reason(exc)}; name a file in a folder that can be written") from exc
        finally:
            cursor.close()
            draft.unlink(missing_ok=True)

    def _reopen(self, exc: BaseException) -> None:
        """After an error from which DuckDB does not come back in this process, open the file anew."""
        if not isinstance(exc, duckdb.FatalException | duckdb.InternalException):
            return
        with contextlib.suppress(duckdb.Error):
            self._reading.close()
            self._connection.close()
        try:
            self._connection = connect(
                self.folder, threads=self._sizes.threads, memory_bytes=self._sizes.duckdb_bytes, log=self._log
            )
            self._reading = self._connection.cursor()
            loaded = get_meta(self._connection, "frame")
        except (StoreError, duckdb.Error) as again:
            self._log("collector_store_not_reopened", problem=str(again))
            return
        with self._change:
            while self._unloaded and self._unloaded[0][0] <= loaded:
                self._waiting_records -= len(self._unloaded.popleft()[1].table)
            self._loaded = loaded

    def _wal_bytes(self) -> int:
        return _size(self.folder / f"{FILE}.wal")

    # -- between the threads -----------------------------------------------------------------------------------------

    async def _on_load_thread(self, job: Callable[[], T]) -> T:
        """Run a job where nothing else writes, after all that was acknowledged has been loaded."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = job()
            except (StoreError, duckdb.Error) as exc:
                error = translated(exc, self.folder / FILE) if isinstance(exc, duckdb.Error) else exc
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(functools.partial(_give, done, result))

        with self._change:
            if self._closing:
                raise StoreError("the store is closed")
            self._jobs.append(run)
            self._change.notify_all()
        return await done

    async def _ask(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run a query on a cursor of its own, and stop it when it takes too long."""

        def ask() -> T:
            cursor = self._connection.cursor()
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

    def _failed(self, what: str, problem: str) -> None:
        with self._change:
            new = what not in self._problems
            self._problems[what] = problem
        if new:
            self._log("collector_store_failing", what=what, problem=problem)

    def _recovered(self, what: str) -> None:
        with self._change:
            problem = self._problems.pop(what, None)
        if problem is not None:
            self._log("collector_store_recovered", what=what, problem=problem)


def _keyed(rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, str, Key]]:
    return [(row[0], row[1], tuple(row[2:])) for row in rows]


def _resolve(waiting: list["asyncio.Future[None]"], error: BusyError | None) -> None:
    for one in waiting:
        if one.done():
            continue
        if error is None:
            one.set_result(None)
        else:
            one.set_exception(BusyError(str(error), retry_after_seconds=error.retry_after_seconds))


def _give(done: "asyncio.Future[T]", result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: StoreError) -> None:
    if not done.done():
        done.set_exception(error)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _reason(exc: BaseException) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc).splitlines()[0][:300] if str(exc) else type(exc).__name__
