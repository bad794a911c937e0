"""Writes batches into the journal: the thread that decides what is new, flushes it, and lets the requests answer."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from carbon_sdk.collector.backlog import Backlog, Waiting
from carbon_sdk.collector.group import Index
from carbon_sdk.collector.journal import Journal
from carbon_sdk.collector.problems import Problems, reason
from carbon_sdk.collector.store import KNOWN, REFUSED, BusyError, StoreError

GROUP_RECORDS = 25_000
"""Most records of one frame."""
_JOURNAL = "journal"
_PROBE_SECONDS = 1.0
_HOLD_SECONDS = 2.0
"""Answers are held back so long at the most: until all that senders have under way waits, and the engine has the core
to itself."""
_LINGER_SECONDS = 0.02
"""The journal waits so long for company: a flush costs the same for one batch as for fifty."""


class Scribe:
    """Runs on a thread of its own.

    Args:
        backlog: Where batches wait.
        index: What the store knows.
        journal: Where groups go.
        problems: Told while nothing can be written.
        log: Called with an event and its fields.
    """

    def __init__(
        self, backlog: Backlog, index: Index, journal: Journal, problems: Problems, log: Callable[..., object]
    ) -> None:
        self._backlog = backlog
        self._index = index
        self._journal = journal
        self._problems = problems
        self._log = log

    def run(self) -> None:
        """Write groups until the backlog is closed and empty."""
        while True:
            failing = self._problems.has(_JOURNAL)
            come = self._backlog.await_batches(_PROBE_SECONDS if failing else None)
            if come is None:
                self._probe()
            elif come:
                time.sleep(_LINGER_SECONDS)
                if self._problems.first is None:
                    self._backlog.await_room(_HOLD_SECONDS)
                self._write(self._backlog.take_batches(GROUP_RECORDS))
            else:
                return

    def _probe(self) -> None:
        """Find out whether the disk is well again, even where nobody sends because it was not."""
        with contextlib.suppress(OSError):
            self._journal.probe()
            self._problems.ended(_JOURNAL)

    def _write(self, taken: list[Waiting]) -> None:
        """Decide, write and acknowledge one group."""
        offered = sum(one.records for one in taken)
        try:
            self._index.heads.expect(
                {(one.numbered.project, name) for one in taken for name, _, _ in one.numbered.runs}
            )
            parts = [part for one in taken if (part := self._index.take(one.numbered)) is not None]
            group = self._index.group(parts) if parts else None
            frame = self._journal.append(group.to_bytes()) if group else 0
        except (OSError, StoreError) as exc:
            self._index.drop()
            self._problems.began(_JOURNAL, f"the disk takes no records: {reason(exc)}")
            self._refuse(taken, BusyError(f"the disk takes no records: {reason(exc)}", retry_after_seconds=30))
            return
        except Exception as exc:
            # A fault of ours: it must cost these batches an answer, never the thread that serves all others.
            self._index.drop()
            self._log("collector_group_failed", problem=f"{type(exc).__name__}: {exc}")
            self._refuse(taken, BusyError("the collector failed on this batch", retry_after_seconds=60))
            return
        self._problems.ended(_JOURNAL)
        stored = 0
        if group is not None:
            self._index.keep(frame, self._backlog.loaded)
            stored = len(group.table)
            self._backlog.put_frame(frame, group)
        self._backlog.release(offered - stored)
        self._count(taken, stored, written=group is not None)
        _answer(taken, None)

    def _count(self, taken: list[Waiting], stored: int, *, written: bool) -> None:
        counts = self._backlog.counts
        counts["commits"] += written
        counts["stored"] += stored
        for one in taken:
            counts["known"] += one.numbered.batch.outcomes.count(KNOWN)
            counts["refused"] += one.numbered.batch.outcomes.count(REFUSED)

    def _refuse(self, taken: list[Waiting], error: BusyError) -> None:
        self._backlog.release(sum(one.records for one in taken))
        _answer(taken, error)


def _answer(taken: list[Waiting], error: BusyError | None) -> None:
    for loop in {one.loop for one in taken}:
        with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits for the answer
            loop.call_soon_threadsafe(_resolve, [one.done for one in taken if one.loop is loop], error)


def _resolve(waiting: list["asyncio.Future[None]"], error: BusyError | None) -> None:
    for one in waiting:
        if one.done():
            continue
        if error is None:
            one.set_result(None)
        else:
            one.set_exception(BusyError(str(error), retry_after_seconds=error.retry_after_seconds))
