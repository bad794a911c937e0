"""A request's body, unpacked within limits: a small body must not become a large one unasked."""

import contextlib
import importlib
import zlib
from types import ModuleType

import zstandard

_inflater: ModuleType = zlib
with contextlib.suppress(
    ImportError
):  # no wheel for every processor; zlib reads the same bytes at a third of the speed
    _inflater = importlib.import_module("isal.isal_zlib")
_BROKEN: tuple[type[Exception], ...] = (zlib.error, _inflater.error)
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # a gzip header and trailer around deflate
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""RFC 8878, section 3.1.1.1.2: a decoder should support windows up to 8 MiB and may refuse larger ones."""
MOST_MEMBERS = 100
"""Of one gzip body (RFC 1952, section 2.2): what follows a member is copied to be read, so many are a bomb."""

ENCODINGS: tuple[str, ...] = ("identity", "gzip", "zstd")


class UnpackError(Exception):
    """The body is not what its Content-Encoding says."""


class TooLongError(Exception):
    """The body is longer than the limit once unpacked."""


def unpack(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """The body without its Content-Encoding.

    Args:
        body: As it came.
        encoding: One of `ENCODINGS`.
        limit_bytes: Longest result that is taken; not a byte more is ever produced than it takes to know.

    Raises:
        UnpackError: It is damaged.
        TooLongError: It is longer than the limit.
    """
    if encoding == "gzip":
        return _gunzip(body, limit_bytes)
    if encoding == "zstd":
        return _unzstd(body, limit_bytes)
    if len(body) > limit_bytes:
        raise TooLongError
    return body


def _gunzip(body: bytes, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    for _ in range(MOST_MEMBERS):
        inflating = _inflater.decompressobj(_GZIP_WINDOW)
        try:
            part = inflating.decompress(body, limit_bytes - length + 1)
        except _BROKEN as exc:
            raise UnpackError("not gzip") from exc
        length += len(part)
        if length > limit_bytes:
            raise TooLongError
        if not inflating.eof:
            raise UnpackError("the gzip data ends too early")
        parts.append(part)
        body = inflating.unused_data
        if not body:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise UnpackError(f"more than {MOST_MEMBERS} gzip members")


def _unzstd(body: bytes, limit_bytes: int) -> bytes:
    # The frame's own statement of its size is not believed: a stream is read up to the limit and no further.
    try:
        with zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(
            body, read_across_frames=True
        ) as stream:
            unpacked = stream.read(limit_bytes + 1)
    except zstandard.ZstdError as exc:
        raise UnpackError("not zstd, or it asks for a window above 8 MiB") from exc
    if len(unpacked) > limit_bytes:
        raise TooLongError
    return unpacked
