"""Batches that wait for their receiver, on disk, so that they outlive this process.

A process has a folder of its own below the spool's, and holds a **lock** beside it for as long as it lives. The folder
of one that has ended is adopted: whoever gets its lock moves its batches to the front of its own, once. Where nothing
can be written the batches wait in memory. At most so many bytes wait; beyond that the oldest batch is dropped and its
records are counted.
"""

import contextlib
import os
import re
import secrets
from pathlib import Path

from filelock import FileLock

SUFFIX = ".json.gz"
_BATCH = re.compile(r"[0-9a-f-]+-[0-9]+" + re.escape(SUFFIX))
GUARD = "guard"
"""Held while a folder is made or adopted, so that nobody takes a folder whose owner is about to lock it."""
GUARD_SECONDS = 2.0


class Spool:
    """Batches in the order in which they were put.

    Args:
        folder: Of all processes of this user that share it; made with mode 0700.
        maximum_bytes: What may wait.
    """

    def __init__(self, folder: Path, *, maximum_bytes: int) -> None:
        self._folder = folder
        self._maximum_bytes = maximum_bytes
        self._name = secrets.token_hex(8)
        self._own = folder / self._name
        self._lock = FileLock(folder / f"{self._name}.lock", mode=0o600)
        self._number = 0
        self._sizes: dict[str, int] = {}
        self._in_memory: dict[str, bytes] = {}
        self.dropped_records = 0
        """Records of batches that had to make room."""
        self.problem: str | None = None
        """Why batches wait in memory alone; None while the disk takes them."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(folder / GUARD, mode=0o600, timeout=GUARD_SECONDS):
                self._lock.acquire(timeout=0)
                self._own.mkdir(mode=0o700)
                self._adopt()
        except OSError as exc:
            self.problem = f"{folder} cannot be written: {exc.strerror or exc}"

    def put(self, body: bytes, records: int) -> None:
        """Let a batch wait.

        Args:
            body: As it will be sent.
            records: How many it holds.
        """
        name = f"{self._number:012d}-{records}{SUFFIX}"
        self._number += 1
        if self.problem is None:
            try:
                draft = self._own / f"{name}.part"
                draft.touch(mode=0o600)
                draft.write_bytes(body)
                draft.replace(self._own / name)
            except OSError as exc:
                self.problem = f"{self._own} cannot be written: {exc.strerror}"
        if self.problem is not None:
            self._in_memory[name] = body
        self._sizes[name] = len(body)
        while sum(self._sizes.values()) > self._maximum_bytes and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            self.dropped_records += records_of(oldest)
            self.remove(oldest)

    def oldest(self) -> tuple[str, bytes] | None:
        """Name and body of the batch that has waited longest; None where none waits."""
        while self._sizes:
            name = next(iter(self._sizes))
            if name in self._in_memory:
                return name, self._in_memory[name]
            try:
                return name, (self._own / name).read_bytes()
            except OSError:  # somebody has taken it away: it is lost, and counted
                self.dropped_records += records_of(name)
                del self._sizes[name]
        return None

    def remove(self, name: str) -> None:
        """A batch has arrived, or never will."""
        del self._sizes[name]
        if self._in_memory.pop(name, None) is None:
            (self._own / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Leave what waits to the next process; a second call does nothing."""
        if not self._lock.is_locked:
            return
        if not any(name not in self._in_memory for name in self._sizes):
            _remove(self._own, Path(self._lock.lock_file))
        self._lock.release()

    def _adopt(self) -> None:
        """Take over the batches of processes that have ended."""
        for left in sorted(self._folder.iterdir()):
            if left == self._own or not left.is_dir():
                continue
            lock = FileLock(self._folder / f"{left.name}.lock", mode=0o600)
            try:
                lock.acquire(timeout=0)
            except OSError:  # it lives, or belongs to another user
                continue
            try:
                for file in sorted(file for file in left.iterdir() if _BATCH.fullmatch(file.name)):
                    inherited = file.name.count("-") > 1  # keeps the name of who made it, or names would grow
                    name = file.name if inherited else f"{0:012d}-{left.name}-{file.name}"
                    size = file.stat().st_size
                    os.replace(file, self._own / name)
                    self._sizes[name] = size
                _remove(left, Path(lock.lock_file))
            finally:
                lock.release()


def records_of(name: str) -> int:
    """How many records a batch of this name holds."""
    return int(name.removesuffix(SUFFIX).rpartition("-")[2])


def _remove(folder: Path, lock_file: Path) -> None:
    for draft in folder.glob("*.part"):
        draft.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not there, or holds what is none of ours
        folder.rmdir()
    lock_file.unlink(missing_ok=True)
