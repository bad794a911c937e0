"""Records that somebody hands over: as JSON, in a file of JSON lines, or in a log of this SDK."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from carbon_sdk.emission import Emission
from carbon_sdk.errors import WireError
from carbon_sdk.wire import from_object

STDIN = "-"


def read(words: str, *, stdin: TextIO | None = None) -> list[Emission]:
    """The records that one word of a command line names.

    Args:
        words: A record's JSON; `-` for standard input; else a file. Both hold one record, a JSON array of them, or a
            line for each; lines of a log that are other events are passed over.
        stdin: Standard input.

    Raises:
        WireError: There is no record in it, or one that cannot be read; the message says where.
    """
    if words.lstrip().startswith(("{", "[")):
        return _records(words, "the argument")
    if words == STDIN:
        return _records((stdin or sys.stdin).read(), "standard input")
    try:
        text = Path(words).read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise WireError(f"{words!r} is no file; give a file, - for standard input, or a record's JSON") from exc
    except (OSError, UnicodeError) as exc:
        raise WireError(f"{words!r} cannot be read: {getattr(exc, 'strerror', None) or 'it is not UTF-8'}") from exc
    return _records(text, words)


def _records(text: str, where: str) -> list[Emission]:
    found = []
    for place, value in _objects(text, where):
        if isinstance(value, dict) and "event" in value and "instance" not in value:
            continue
        try:
            found.append(from_object(value))
        except WireError as exc:
            raise WireError(f"{place}: {exc}") from exc
    if not found:
        raise WireError(f"{where} holds no record")
    return found


def _objects(text: str, where: str) -> Iterator[tuple[str, Any]]:
    """What is in a text, and where: one JSON value, or one a line."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                place = f"{where}, line {number}"
                try:
                    yield place, json.loads(line)
                except (ValueError, RecursionError) as exc:
                    raise WireError(f"{place}: not JSON") from exc
        return
    if isinstance(value, list):
        yield from ((f"{where}, record {number}", one) for number, one in enumerate(value))
    else:
        yield where, value
