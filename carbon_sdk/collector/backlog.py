"""What waits between the threads of a store: batches for the journal, then frames and jobs for the engine.

It is bounded in records, from a batch's arrival until the engine has loaded it.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from carbon_sdk.collector.group import Group, Numbered
from carbon_sdk.collector.store import BusyError, StoreError

Job = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A batch whose request waits for the journal.

    Args:
        numbered: The batch.
        records: How many records of it were admitted.
        done: Resolved when it is on disk.
        loop: On this event loop.
    """

    numbered: Numbered
    records: int
    done: "asyncio.Future[None]"
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class Linger:
    """A while that the engine waits for more, where so much waits already.

    Args:
        from_records: Records that wait.
        seconds: How long.
    """

    from_records: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the engine does next.

    Args:
        frames: Groups to load, with their frames' numbers.
        jobs: To do when they are loaded.
        last: Nothing comes after this.
    """

    frames: list[tuple[int, Group]]
    jobs: list[Job]
    last: bool


class Backlog:
    """One thread takes batches out, another frames and jobs; any may put something in.

    Args:
        records: Most records that may wait.
    """

    def __init__(self, records: int) -> None:
        self._limit = records
        self._change = threading.Condition()
        self._batches: deque[Waiting] = deque()
        self._frames: deque[tuple[int, Group]] = deque()
        self._frame_records = 0
        self._jobs: deque[Job] = deque()
        self._written = False
        self.closing = False
        """Nothing more is let in."""
        self.records = 0
        """Records that wait."""
        self.loaded = 0
        """Number of the last frame that the engine holds."""
        self.counts: Counter[str] = Counter()
        """Records stored, known, refused, and commits, since the start."""

    # -- coming in

    def admit(self, records: int, problem: str | None) -> None:
        """Make room for so many records.

        Args:
            records: How many.
            problem: Why there may be none, where that is known.

        Raises:
            BusyError: There is none now.
        """
        with self._change:
            if self.closing:
                raise BusyError("the collector is stopping", retry_after_seconds=5)
            if self.records + records > self._limit:
                raise BusyError(problem or "too many records wait to be written", retry_after_seconds=2)
            self.records += records

    def put(self, waiting: Waiting) -> None:
        """Let a batch wait for the journal."""
        with self._change:
            self._batches.append(waiting)
            self._change.notify_all()

    def do(self, job: Job) -> None:
        """Let a job wait for the engine, until it has loaded all that was acknowledged.

        Raises:
            StoreError: The store is closed.
        """
        with self._change:
            if self.closing:
                raise StoreError("the store is closed")
            self._jobs.append(job)
            self._change.notify_all()

    def close(self) -> bool:
        """Let nothing more in; false where that was so already."""
        with self._change:
            first, self.closing = not self.closing, True
            self._change.notify_all()
        return first

    # -- the journal's side

    def await_batches(self, seconds: float | None = None) -> bool | None:
        """Wait for a batch; false once none will come, None where none came within the time."""
        with self._change:
            if not self._change.wait_for(lambda: self._batches or self.closing, seconds):
                return None
            if not self._batches:
                self._written = True
                self._change.notify_all()
            return bool(self._batches)

    def take_batches(self, records: int) -> list[Waiting]:
        """Batches of at most so many records together, or one."""
        taken: list[Waiting] = []
        with self._change:
            while self._batches and (not taken or records >= self._batches[0].records):
                taken.append(self._batches.popleft())
                records -= taken[-1].records
        return taken

    def await_room(self, seconds: float) -> bool:
        """Wait until at most three quarters of the records wait that may; false where more still do after the time.

        Whoever is answered later sends later: so the engine gets its time before anybody has to be refused.
        """
        with self._change:
            return self._change.wait_for(lambda: self.closing or self.records * 4 <= self._limit * 3, seconds)

    def release(self, records: int) -> None:
        """So many records will not be loaded: they were known, refused, or not written."""
        with self._change:
            self.records -= records
            self._change.notify_all()

    def put_frame(self, frame: int, group: Group) -> None:
        """A group is on disk, and waits for the engine."""
        with self._change:
            self._frames.append((frame, group))
            self._frame_records += len(group.table)
            self._change.notify_all()

    def take_up(self, frame: int, group: Group) -> None:
        """A group that an earlier process left on disk waits for the engine."""
        with self._change:
            self.records += len(group.table)
            self.loaded = max(self.loaded, frame - 1) if not self._frames else self.loaded
        self.put_frame(frame, group)

    # -- the engine's side

    def await_work(self, records: int, *, idle_seconds: float, linger: Sequence[Linger]) -> Work:
        """Wait for frames or jobs, and a little longer for more frames.

        Args:
            records: Frames of about so many records together are enough.
            idle_seconds: Return with nothing after this.
            linger: How long to wait for more frames, where no job waits.
        """
        with self._change:
            self._change.wait_for(lambda: self._jobs or self.closing or self._frames, idle_seconds)
            for step in linger:
                if self._frame_records < step.from_records:
                    break
                self._change.wait_for(
                    lambda: self._jobs or self.closing or self._frame_records >= records, step.seconds
                )
            frames: list[tuple[int, Group]] = []
            for frame, group in self._frames:
                frames.append((frame, group))
                records -= len(group.table)
                if records <= 0:
                    break
            jobs: list[Job] = []
            everything = len(frames) == len(self._frames)
            if everything:
                jobs = list(self._jobs)
                self._jobs.clear()
            return Work(frames=frames, jobs=jobs, last=self.closing and self._written and everything)

    def put_back(self, jobs: Sequence[Job]) -> None:
        """These have not been done: they are the next."""
        with self._change:
            self._jobs.extendleft(reversed(jobs))

    def drop_frames(self, loaded: int) -> None:
        """The engine holds the frames up to this one."""
        with self._change:
            self.loaded = loaded
            while self._frames and self._frames[0][0] <= loaded:
                records = len(self._frames.popleft()[1].table)
                self._frame_records -= records
                self.records -= records
            self._change.notify_all()
