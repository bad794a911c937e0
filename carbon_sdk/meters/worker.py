"""One thread for calls that may hang: a driver, a file of a sick device."""

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from carbon_sdk.errors import MeterError

T = TypeVar("T")


class StuckError(MeterError):
    """A call did not come back in time. Until it does, nothing else is called."""


class Worker:
    """Makes calls in one thread of its own, one at a time, and waits for each no longer than a limit.

    A call that hangs is never joined by a second one: while it hangs, every further call fails at once. Its late
    answer is thrown away. In a forked child, which has no such thread, it begins anew.

    Args:
        name: What hangs, for the error and the thread.
        limit_seconds: How long to wait for an answer.
    """

    def __init__(self, name: str, *, limit_seconds: float) -> None:
        self._name = name
        self._limit_seconds = limit_seconds
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stuck_since: float | None = None

    def call(self, function: Callable[[], T], *, limit_seconds: float | None = None) -> T:
        """What the function returns or raises.

        Args:
            function: The call.
            limit_seconds: How long to wait for this one; as long as for all when None.

        Raises:
            StuckError: It did not answer in time, or an earlier call still has not.
            MeterError: No thread can be started any more: the interpreter ends.
        """
        if self._process != os.getpid():
            self._begin()
        if self._stuck_since is not None:
            try:
                self._answers.get_nowait()
            except queue.Empty:
                waited = time.monotonic() - self._stuck_since
                raise StuckError(f"{self._name} has not answered for {waited:.0f} s") from None
            self._stuck_since = None
        self._start()
        self._calls.put(function)
        limit_seconds = self._limit_seconds if limit_seconds is None else limit_seconds
        try:
            answer, error = self._answers.get(timeout=limit_seconds)
        except queue.Empty:
            self._stuck_since = time.monotonic() - limit_seconds
            raise StuckError(f"{self._name} did not answer within {limit_seconds:g} s") from None
        if error is not None:
            raise error
        result: T = answer
        return result

    def close(self) -> None:
        """Let the thread end once it is free; a second call does nothing."""
        if self._thread is not None and self._process == os.getpid():
            self._calls.put(None)
            self._thread = None

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(
                target=_serve, args=(self._calls, self._answers), name=f"carbon_sdk {self._name}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as exc:
                raise MeterError(f"{self._name}: no thread can be started") from exc
            self._thread = thread


def _serve(
    calls: "queue.SimpleQueue[Callable[[], Any] | None]", answers: "queue.SimpleQueue[tuple[Any, Exception | None]]"
) -> None:
    while (function := calls.get()) is not None:
        try:
            answers.put((function(), None))
        except Exception as exc:  # whatever it raises is raised again in the thread that asked
            answers.put((None, exc))
