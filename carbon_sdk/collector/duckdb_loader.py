"""Loads frames of the journal into DuckDB and does the upkeep: the one thread that writes into the file."""

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from carbon_sdk.collector import duckdb_upkeep
from carbon_sdk.collector.backlog import Backlog, Linger
from carbon_sdk.collector.duckdb_load import get_meta, load
from carbon_sdk.collector.duckdb_open import Database
from carbon_sdk.collector.duckdb_upkeep import Retention
from carbon_sdk.collector.group import Group
from carbon_sdk.collector.journal import Journal
from carbon_sdk.collector.problems import Problems, reason
from carbon_sdk.collector.report import DAY_SECONDS
from carbon_sdk.collector.store import StoreError

LOAD_RECORDS = 200_000
"""Most records of one transaction."""
CHECKPOINT_BYTES = 192 * 1024 * 1024
"""Bytes of the journal that are loaded, or of DuckDB's log, beyond which a checkpoint is made. Measured by
benchmarks/ingest.py."""
FIRST_SECONDS = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
"""No record is older than this, whatever its clock says."""
_LINGER = (Linger(from_records=1, seconds=0.25), Linger(from_records=5_000, seconds=1.0))
"""How long it waits for more, unless somebody waits for it. A thin stream is seen soon; a thick one a second later, for
a record costs 4.7 us in transactions of 15,000 and 2.7 us in such of 50,000 (checkpoint included)."""
_NICENESS = 5
_RETRY_SECONDS = 1.0
_MACHINES_SECONDS = 5.0
_UPKEEP_SECONDS = 600.0
_STEPS_SECONDS = 0.25
"""Steps of the upkeep are done for about so long after each transaction."""


class Loader:
    """Runs on a thread of its own.

    Args:
        database: Where records go.
        backlog: Where frames and jobs wait.
        journal: Forgets what the database's file holds.
        problems: Told while nothing can be loaded.
        retention: How long what is kept.
        now: Seconds since 1970.
        log: Called with an event and its fields.
    """

    def __init__(
        self,
        database: Database,
        backlog: Backlog,
        journal: Journal,
        problems: Problems,
        *,
        retention: Retention,
        now: Callable[[], float],
        log: Callable[..., object],
    ) -> None:
        self._database = database
        self._backlog = backlog
        self._journal = journal
        self._problems = problems
        self._retention = retention
        self._now = now
        self._log = log
        self._machines_at = self._upkeep_at = time.monotonic()
        self._steps: Iterator[None] = iter(())
        self.oldest = 0.0
        """Windows that start before this are refused, seconds since 1970; brought up to date by `age`."""

    def run(self) -> None:
        """Load until the backlog is closed and empty, or the disk takes nothing more: the journal keeps it then."""
        _stand_back()
        while True:
            work = self._backlog.await_work(LOAD_RECORDS, idle_seconds=_MACHINES_SECONDS, linger=_LINGER)
            jobs = deque(work.jobs)
            try:
                if work.frames:
                    self.load([group for _, group in work.frames], work.frames[-1][0])
                while jobs:
                    jobs.popleft()()
                self._keep_up(last=work.last)
                self._problems.ended("store")
            except (duckdb.Error, OSError) as exc:
                self._backlog.put_back(jobs)
                told = str(self._database.error(exc)) if isinstance(exc, duckdb.Error) else reason(exc)
                self._problems.began("store", told)
                if self._backlog.closing:
                    return
                self._reopen(exc)
                time.sleep(_RETRY_SECONDS)
                continue
            if work.last:
                return

    def load(self, groups: list[Group], frame: int) -> None:
        """Load groups in one transaction.

        Args:
            groups: In the order of their frames.
            frame: The last one's number.

        Raises:
            duckdb.Error: Nothing was loaded.
        """
        load(self._database.connection, groups, frame, int(self._now() * 1e6))
        self._backlog.drop_frames(frame)

    def checkpoint(self) -> None:
        """Bring the file up to date, then let the journal forget what it holds."""
        loaded = self._backlog.loaded
        try:
            self._database.connection.execute("checkpoint")
        except duckdb.TransactionException:  # a query of before the last change still runs: later, then
            return
        self._journal.forget(loaded)

    def age(self) -> int:
        """Find out what the present is to the store, and what is too old for it.

        Returns:
            Seconds since 1970: the clock, or the newest record where that is behind by more than a day. A clock that
            is set forward deletes and refuses nothing that is young.
        """
        connection = self._database.connection
        newest = connection.execute("select max(slot + seconds) from service_rollup").fetchone()
        now = min(int(self._now()), (newest[0] if newest and newest[0] else 0) + DAY_SECONDS)
        remembered = max(now - self._retention.instance_days * DAY_SECONDS, get_meta(connection, "forgotten_until"))
        self.oldest = float(max(remembered + DAY_SECONDS, FIRST_SECONDS))
        return now

    def retain(self) -> None:
        """Sum up, and delete, what is old enough."""
        for _ in self._upkeep():
            pass

    def backup(self, path: Path) -> None:
        """Copy the store to a new file.

        Raises:
            StoreError: There is such a file, or it cannot be written.
        """
        if path.exists():
            raise StoreError(f"{path} exists; name a new file")
        draft = path.with_name(f".{path.name}.part")
        quoted = str(draft).replace("'", "''")
        cursor = self._database.connection.cursor()
        try:
            draft.unlink(missing_ok=True)
            source = cursor.execute("select current_database()").fetchone()
            cursor.execute(f"attach '{quoted}' as backup")
            try:
                cursor.execute(f'copy from database "{source[0] if source else ""}" to backup')
            finally:
                cursor.execute("detach backup")
            os.chmod(draft, 0o600)
            os.replace(draft, path)
        except (duckdb.Error, OSError) as exc:
            raise StoreError(f"{path}: {reason(exc)}; name a file in a folder that can be written") from exc
        finally:
            cursor.close()
            draft.unlink(missing_ok=True)

    def _upkeep(self) -> Iterator[None]:
        now = self.age()
        yield from duckdb_upkeep.compact(self._database.connection, now)
        yield from duckdb_upkeep.retain(self._database.connection, now, self._retention)

    def _keep_up(self, *, last: bool) -> None:
        now = time.monotonic()
        if now - self._machines_at >= _MACHINES_SECONDS or last:
            self._machines_at = now
            duckdb_upkeep.refresh_machines(self._database.connection)
        if now - self._upkeep_at >= _UPKEEP_SECONDS:
            self._upkeep_at = now
            self._steps = self._upkeep()
        self._go_on(now + _STEPS_SECONDS)
        spared_bytes = max(self._journal.loaded_bytes(self._backlog.loaded), self._database.log_bytes)
        if last or spared_bytes > CHECKPOINT_BYTES:
            self.checkpoint()

    def _go_on(self, until: float) -> None:
        """Do steps of the upkeep, one at least, until a moment; an upkeep that fails begins anew at its next time."""
        steps, self._steps = self._steps, iter(())
        for _ in steps:
            if time.monotonic() >= until:
                self._steps = steps
                return

    def _reopen(self, exc: BaseException) -> None:
        """After an error from which DuckDB does not come back in this process, open the file anew."""
        if not isinstance(exc, duckdb.FatalException | duckdb.InternalException):
            return
        try:
            self._database.reopen()
            loaded = get_meta(self._database.connection, "frame")
        except (StoreError, duckdb.Error) as again:
            self._log("collector_store_not_reopened", problem=str(again))
            return
        self._backlog.drop_frames(loaded)


def _stand_back() -> None:
    """Give this thread a third of the weight of those that answer, where threads have a weight of their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox may forbid the call
            niceness = min(os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS, 19)
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
