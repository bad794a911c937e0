"""The one thread of ours: it builds the line and runs it on a loop of its own.

A process may fork at any moment, and a child inherits what each thread was in the middle of: a module that is half
imported, a lock that nobody will give back. So this thread is **at work** from its start to its end except where its
loop waits, and a fork waits until it is not.
"""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeVar

from carbon_sdk.cpu.clock import Clock
from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.log import Log

FORK_SECONDS = 5.0
"""How long at most a fork waits for this thread to be at rest: it builds the line in a tenth of that."""

Result = TypeVar("Result")


class Thread(threading.Thread):
    """Builds the line and runs it until `end`.

    Args:
        build: Opens the line; called on this thread.
        clock: The CPU account, already started.
        log: Takes faults.
        close_seconds: How long handing over may take.
    """

    def __init__(
        self,
        build: Callable[[], AbstractAsyncContextManager[Any]],
        *,
        clock: Clock,
        log: Log,
        close_seconds: float,
    ) -> None:
        super().__init__(name="carbon_sdk", daemon=True)
        self._build = build
        self._clock = clock
        self._log = log
        self._close_seconds = close_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._asked_to_stop = False
        self._at_work = threading.RLock()  # a sink may fork, which is this thread itself
        self.ready = threading.Event()
        self.failure: BaseException | None = None
        self.line: Any = None
        """The `Line`, once it stands."""

    def run(self) -> None:
        with self._at_work:
            try:
                self._clock.own_thread()
                with asyncio.Runner(debug=False, loop_factory=self._new_loop) as runner:  # the app debugs its own loops
                    runner.run(self._run())
            except BaseException as exc:  # a plugin may even call `sys.exit`: it is told, and nothing is measured
                self.failure = exc
                self._log.fault("carbon", exc, remedy="nothing is measured in this process")
            finally:
                self.ready.set()
                self._log.flush()

    def submit(self, ask: Callable[[Any], Coroutine[Any, Any, Result]]) -> Future[Result]:
        """Put a question about the line to the loop of this thread.

        Raises:
            CarbonSDKError: The line does not stand.
        """
        line, loop = self.line, self._loop
        if line is None or loop is None:
            raise CarbonSDKError("carbon_sdk does not run in this process, so no provider can be asked")
        question = ask(line)
        try:
            return asyncio.run_coroutine_threadsafe(question, loop)
        except RuntimeError as exc:  # the loop has just ended
            question.close()
            raise CarbonSDKError("carbon_sdk was closed before the provider could be asked") from exc

    def end(self, seconds: float) -> None:
        """Ask the line to close, and wait for it."""
        self._close_seconds = seconds
        self._asked_to_stop = True
        self.ready.wait(seconds)
        if self._loop is not None and self._stopping is not None and self.is_alive():
            with suppress(RuntimeError):  # the loop has just ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self is not threading.current_thread():
            self.join(seconds + 1.0)

    def rest(self) -> bool:
        """Before a fork: wait until this thread does nothing, and keep it so; False where it works on and on."""
        return self._at_work.acquire(timeout=FORK_SECONDS)

    def go_on(self) -> None:
        """After the fork, in the parent, where it rests."""
        self._at_work.release()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_Selector(self._at_work))

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with self._build() as line:
            self.line = line
            self.ready.set()
            if self._asked_to_stop:
                self._stopping.set()
            await line.run(self._stopping, close_seconds=lambda: self._close_seconds)
            self.line = None


class _Selector(selectors.DefaultSelector):
    """Waits like any other, and says so: while it waits, its thread is not at work.

    Args:
        at_work: Held by the thread that runs the loop.
    """

    def __init__(self, at_work: "threading.RLock") -> None:
        super().__init__()
        self._at_work = at_work

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._at_work.release()
        try:
            return super().select(timeout)
        finally:
            self._at_work.acquire()
