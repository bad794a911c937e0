"""A DuckDB file is opened: who holds it, whether its log is whole, and what to do where it is not."""

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from carbon_sdk.collector.problems import reason
from carbon_sdk.collector.schema import migrate
from carbon_sdk.collector.store import StoreError

FILE = "emissions.duckdb"
_NEVER = "1TB"  # checkpoints are ours to time: the journal may only forget what the file holds


class Database:
    """The open file of one process; `open` and `reopen` bring it to the present version.

    Args:
        folder: The collector's folder.
        threads: Threads that queries may use.
        memory_bytes: Memory that DuckDB may use before it writes to disk.
        log: Called with an event and its fields.

    Raises:
        StoreError: It cannot be opened; the message says why and what to do.
    """

    def __init__(self, folder: Path, *, threads: int, memory_bytes: int, log: Callable[..., object]) -> None:
        self.path = folder / FILE
        self._folder = folder
        self._threads = threads
        self._memory_bytes = memory_bytes
        self._log = log
        self.connection = self._connect()

    def reopen(self) -> None:
        """Open it anew, after an error from which DuckDB does not come back in this process."""
        self.close()
        self.connection = self._connect()

    def close(self) -> None:
        """Close it; a second call does nothing."""
        with contextlib.suppress(duckdb.Error):
            self.connection.close()

    @property
    def file_bytes(self) -> int:
        """Length of the file."""
        return _size(self.path)

    @property
    def log_bytes(self) -> int:
        """Length of DuckDB's own write-ahead log."""
        return _size(self.path.with_name(f"{FILE}.wal"))

    def error(self, exc: duckdb.Error) -> StoreError:
        """DuckDB's error as ours, with the remedy."""
        return _translated(exc, self.path)

    def _connect(self) -> duckdb.DuckDBPyConnection:
        return _connect(self._folder, threads=self._threads, memory_bytes=self._memory_bytes, log=self._log)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _connect(folder: Path, *, threads: int, memory_bytes: int, log: Callable[..., object]) -> duckdb.DuckDBPyConnection:
    """Open the file, made if missing. A log that DuckDB cannot read is set aside: the journal holds what it held."""
    path = folder / FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"{folder}: {exc.strerror}; name a folder that can be written with --data") from exc
    try:
        connection = _open(path, threads, memory_bytes)
    except duckdb.Error as exc:
        if "WAL" not in str(exc):
            raise _translated(exc, path) from exc
        aside = path.with_name(f"{FILE}.wal.damaged-{time.time_ns()}")
        os.replace(path.with_name(f"{FILE}.wal"), aside)
        log("collector_log_set_aside", file=str(aside), problem=str(exc)[:200], remedy="built again from the journal")
        connection = _open(path, threads, memory_bytes)
    try:
        found = migrate(connection)
    except StoreError:
        connection.close()
        raise
    except duckdb.Error as exc:
        connection.close()
        raise _translated(exc, path) from exc
    os.chmod(path, 0o600)
    if found:
        log("collector_store_opened", file=str(path), version=found)
    return connection


def _open(path: Path, threads: int, memory_bytes: int) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        str(path),
        config={
            "threads": threads,
            "memory_limit": f"{memory_bytes}B",
            "checkpoint_threshold": _NEVER,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )


def _translated(exc: duckdb.Error, path: Path) -> StoreError:
    text = str(exc)
    holder = re.search(r"\(PID (\d+)\)", text)
    if "lock" in text and holder:
        return StoreError(
            f"{path} is held by process {holder[1]}: another collector runs on it. Stop that one, or name another folder "  # noqa: E501
            "with --data; several collectors on one store need ClickHouse"
        )
    if isinstance(exc, duckdb.IOException) and ("Permission denied" in text or "Read-only" in text):
        return StoreError(f"{path} cannot be written; give this user the right, or name another folder with --data")
    if "No space left" in text:
        return StoreError(f"{path}: the disk is full; free some, or shorten what is kept with --raw-days")
    return StoreError(f"{path}: {reason(exc)}")
