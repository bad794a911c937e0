"""The journal: what was acknowledged, on disk before the acknowledgement, until the store has it safe.

Groups of records are appended to a segment and flushed (`fdatasync`); the store loads them behind, in larger
transactions, and notes in the same transaction the number of the last frame loaded. A segment is deleted only when the
store's own file, checkpointed, holds all of it: so whatever happens to the store's write-ahead log, the journal can
build it again.

A frame is `header, payload`; the header holds a mark, the frame's number, the payload's length and checksum, and its
own checksum. After a crash the last frame may be torn; it was never acknowledged, and is cut off. A damaged frame with
whole ones behind it is another matter: nothing is cut then, and the error says where it lies.
"""

import contextlib
import itertools
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from carbon_sdk.collector.store import StoreError

_HEADER = struct.Struct("<4sQQI")  # mark, number, length of the payload, CRC-32 of the payload
_CHECK = struct.Struct("<I")  # CRC-32 of the header
_MARK = b"CJ1\n"
HEADER_BYTES = _HEADER.size + _CHECK.size
PROBE_BYTES = 64 * 1024
SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment longer than this is closed and the next begun."""
_SUFFIX = ".journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The calls by which the journal reaches the disk; a test hands in ones that fail."""

    write: Callable[[int, bytes], int] = os.write
    flush: Callable[[int], None] = os.fdatasync
    cut: Callable[[Path, int], None] = os.truncate


class Journal:
    """Numbered frames in a folder, oldest first.

    Args:
        folder: Where the segments lie; made if missing, mode 0700.
        disk: How to write.
        segment_bytes: Length at which a segment is closed.
    """

    def __init__(self, folder: Path, *, disk: Disk | None = None, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._disk = disk or Disk()
        self._segment_bytes = segment_bytes
        self._file: int | None = None
        self._first = 0
        self._length = 0
        self._torn = False
        self._sizes: dict[int, int] = {}
        self._next = 1

    def open(self, loaded: int | None) -> Iterator[tuple[int, bytes]]:
        """Read the frames after `loaded`, cut a torn end off, and make ready to append.

        Args:
            loaded: Number of the last frame that the store holds; None where it does not say: all that are here then.

        Raises:
            StoreError: A frame is damaged that has whole ones behind it, or one is missing.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = self._segments()
        if loaded is None:
            loaded = int(paths[0].stem) - 1 if paths else 0
        last = loaded
        for path in paths:
            for number, payload in self._frames(path, final=path == paths[-1]):
                if number > last:
                    if number != last + 1:
                        raise StoreError(
                            f"{path}: the journal goes on at frame {number}, the store ends at {last}; frames between "
                            "are missing. Restore a backup, or move the journal away and lose what it holds"
                        )
                    last = number
                    yield number, payload
            self._sizes[int(path.stem)] = path.stat().st_size
        self._next = last + 1

    @property
    def length_bytes(self) -> int:
        """Bytes in all segments."""
        return sum(self._sizes.values())

    def loaded_bytes(self, loaded: int) -> int:
        """Bytes of the segments that can be forgotten once the store's own file holds the frames up to `loaded`."""
        return sum(self._sizes[first] for first in self._loaded(loaded))

    @property
    def last(self) -> int:
        """Number of the last frame written; 0 before the first."""
        return self._next - 1

    def append(self, payload: bytes) -> int:
        """Write a frame and flush it to the disk.

        Returns:
            Its number.

        Raises:
            OSError: It could not be written; what was written of it is cut off again, before anything else is written.
        """
        self._cut()
        number = self._next
        header = _HEADER.pack(_MARK, number, len(payload), zlib.crc32(payload))
        frame = b"".join((header, _CHECK.pack(zlib.crc32(header)), payload))
        file = self._segment(number)
        try:
            self._write(file, frame)
        except OSError:
            self._torn = True
            with contextlib.suppress(OSError):  # where it cannot be cut now, the next call tries again
                self._cut()
            raise
        self._length += len(frame)
        self._sizes[self._first] = self._length
        self._next = number + 1
        return number

    def probe(self) -> None:
        """Find out whether a frame could be written now, without one.

        Raises:
            OSError: It could not.
        """
        self._cut()
        path = self._folder / "probe"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._write(file, bytes(PROBE_BYTES))
        finally:
            os.close(file)
            path.unlink(missing_ok=True)

    def forget(self, loaded: int) -> None:
        """Delete the segments whose frames are all at or before `loaded`."""
        for first in self._loaded(loaded):
            if self._file is not None and first == self._first:
                self._close_segment()
            self._path(first).unlink(missing_ok=True)
            del self._sizes[first]

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        self._close_segment()

    def _loaded(self, loaded: int) -> list[int]:
        firsts = sorted(self._sizes)
        return [first for first, following in itertools.pairwise([*firsts, self._next]) if following - 1 <= loaded]

    def _segment(self, number: int) -> int:
        if self._file is not None and self._length >= self._segment_bytes:
            self._close_segment()
        if self._file is None:
            self._first = number
            self._length = 0
            self._file = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._sizes[number] = 0
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self._file

    def _close_segment(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _write(self, file: int, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self._disk.write(file, view) :]  # type: ignore[arg-type]
        self._disk.flush(file)

    def _cut(self) -> None:
        """Take back what was written of the last frame, if it was not whole: nothing may lie between two frames."""
        if not self._torn:
            return
        self._close_segment()
        path = self._path(self._first)
        if self._first == self._next:
            path.unlink(missing_ok=True)
            self._sizes.pop(self._first, None)
        else:
            self._disk.cut(path, self._length)
        self._torn = False

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:016d}{_SUFFIX}"

    def _segments(self) -> list[Path]:
        return sorted(path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())

    def _frames(self, path: Path, *, final: bool) -> Iterator[tuple[int, bytes]]:
        content = path.read_bytes()
        at = 0
        while at < len(content):
            frame = _frame(content, at)
            if frame is None:
                if not final or _whole_frame_behind(content, at + 1):
                    raise StoreError(
                        f"{path}: the journal is damaged at byte {at}, with whole frames behind it. Restore a backup, "
                        "or copy the folder and cut this file there: what stands behind it is lost then"
                    )
                self._disk.cut(path, at)
                return
            number, payload, at = frame
            yield number, payload


def _frame(content: bytes, at: int) -> tuple[int, bytes, int] | None:
    """The frame at a place and where it ends; None where there is none whole."""
    body = at + HEADER_BYTES
    header = content[at : at + _HEADER.size]
    if body > len(content) or _CHECK.unpack_from(content, at + _HEADER.size) != (zlib.crc32(header),):
        return None
    mark, number, length, check = _HEADER.unpack(header)
    payload = content[body : body + length]
    if mark != _MARK or len(payload) != length or zlib.crc32(payload) != check:
        return None
    return number, payload, body + length


def _whole_frame_behind(content: bytes, at: int) -> bool:
    while (at := content.find(_MARK, at)) >= 0:
        if _frame(content, at) is not None:
            return True
        at += 1
    return False
