"""Standard output of a command: where it cannot be written, one line says so, and the exit code does."""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress

CANNOT_WRITE = 74  # EX_IOERR, sysexits.h
NOBODY_READS = 141  # 128 + SIGPIPE: as a shell sees a program that writes into a pipe that nobody reads


def written(command: Callable[[], int]) -> int:
    """Run a command and write out all that it printed.

    Args:
        command: Prints to standard output, and gives its exit code.

    Returns:
        The command's exit code; `CANNOT_WRITE` where standard output is full, closed or broken, `NOBODY_READS` where
        its reader has gone.
    """
    if sys.stdout is None:  # it was closed before we began: whoever prints nothing does not miss it
        sys.stdout = _unwritable()
    try:
        try:
            code = command()
        except SystemExit as exc:
            if isinstance(exc.__context__, BrokenPipeError):  # so does rich end a process
                raise exc.__context__ from None
            sys.stdout.flush()  # as after `--help`
            raise
        sys.stdout.flush()
    except OSError as exc:
        if not isinstance(exc, BrokenPipeError) and _is_writable():  # another file's trouble
            raise
        _give_up()
        say(f"standard output cannot be written: {exc.strerror or exc}")
        return NOBODY_READS if isinstance(exc, BrokenPipeError) else CANNOT_WRITE
    return code


def say(problem: str) -> None:
    """Tell a problem on standard error, in one line; where that cannot be written either, the exit code is left."""
    with suppress(OSError, AttributeError):
        sys.stderr.write(f"carbon-sdk: {problem}\n")
        sys.stderr.flush()


def _is_writable() -> bool:
    """An error does not say which file it was: one more byte does."""
    try:
        sys.stdout.flush()
        return os.write(sys.stdout.fileno(), b"\n") == 1
    except OSError:
        return False


def _give_up() -> None:
    """Let what was not written go, since the interpreter would try again at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _unwritable() -> io.TextIOWrapper:
    """A stream that fails as soon as something is written to it."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
