"""`track`: a block or a function as a span."""

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ContextDecorator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar, cast

from carbon_sdk.cpu.clock import THREAD, Account, AccountKind, Clock, Owner
from carbon_sdk.spans.span import Estimator, Span

Function = TypeVar("Function", bound=Callable[..., Any])
Source = Callable[[], tuple[Clock, Estimator] | None]
"""Gives the CPU account of this process and who estimates; None where nothing is measured."""
Begun = Callable[[], Awaitable[None]]
"""Returns when the meters have been read, where this process is measured and was not yet."""


class Track(ContextDecorator):
    """`with`, `async with`, or a decorator of functions, coroutine functions, generators and async generators.

    Args:
        name: The span's name; the function's where it decorates without one.
        source: Where the CPU account comes from.
        begun: Awaited before an `async with` block opens outside any span.
        kind: `worker` where it is outermost; a span in a request or in another span counts there.
        gpu: It uses a GPU: it shares the GPU's joules for as long as it is open.
    """

    def __init__(
        self, name: str, *, source: Source, begun: Begun, kind: AccountKind = "worker", gpu: bool = False
    ) -> None:
        self.name = name
        self._source = source
        self._begun = begun
        self._kind: AccountKind = kind
        self._gpu = gpu
        self._open: list[_Open] = []

    def __enter__(self) -> Span:
        opened = _Open(self.name, self._source(), self._kind, gpu=self._gpu)
        self._open.append(opened)
        return opened.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.pop().close(failed=error is not None)

    async def __aenter__(self) -> Span:
        if THREAD.slot.owner is None:
            await self._begun()
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _again(self) -> "Track":
        return Track(self.name, source=self._source, begun=self._begun, kind=self._kind, gpu=self._gpu)

    def __call__(self, function: Function) -> Function:
        """The function, each call of it a span."""
        if inspect.isasyncgenfunction(function):
            wrapper: Callable[..., Any] = self._async_generator(function)
        elif inspect.iscoroutinefunction(function):
            wrapper = self._coroutine(function)
        elif inspect.isgeneratorfunction(function):
            wrapper = self._generator(function)
        else:
            wrapper = self._plain(function)
        return cast(Function, functools.wraps(function)(wrapper))

    def _plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return call

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with self._again():
                return await function(*args, **kwargs)

        return call

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            inner = function(*args, **kwargs)
            opened = _Open(self.name, self._source(), self._kind, gpu=self._gpu)
            failed, value, thrown = True, None, None
            try:
                while True:
                    opened.resume()
                    try:
                        out = inner.send(value) if thrown is None else inner.throw(thrown)
                    except StopIteration as stop:
                        failed = False
                        return stop.value
                    finally:
                        opened.pause()
                        thrown = None
                    try:
                        value = yield out
                    except GeneratorExit:
                        failed = False
                        inner.close()
                        raise
                    except BaseException as exc:  # whatever is thrown in is the inner one's to see
                        thrown = exc
            finally:
                opened.close(failed=failed)

        return call

    def _async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            inner = function(*args, **kwargs)
            opened = _Open(self.name, self._source(), self._kind, gpu=self._gpu)
            failed, value, thrown = True, None, None
            try:
                while True:
                    opened.resume()
                    try:
                        out = await (inner.asend(value) if thrown is None else inner.athrow(thrown))
                    except StopAsyncIteration:
                        failed = False
                        return
                    finally:
                        opened.pause()
                        thrown = None
                    try:
                        value = yield out
                    except GeneratorExit:
                        failed = False
                        await inner.aclose()
                        raise
                    except BaseException as exc:  # whatever is thrown in is the inner one's to see
                        thrown = exc
            finally:
                opened.close(failed=failed)

        return call


_LOOSE: ContextVar[Owner | None] = ContextVar("carbon_sdk_loose", default=None)
"""The open span of a task that cannot be driven; whoever inherits it after its end is not charged to it."""


def _loose_around() -> Owner | None:
    tally = _LOOSE.get()
    return None if tally is None or tally.ended else tally


class _Open:
    """An open span on its thread: it owns what runs until it closes."""

    def __init__(self, name: str, found: tuple[Clock, Estimator] | None, kind: AccountKind, *, gpu: bool) -> None:
        self._clock = found[0] if found is not None else None
        if found is None or self._clock is None:
            self.span = Span(None)
            return
        slot = THREAD.slot
        self._loose = not slot.driven and _in_loop()
        self._outer: Owner | None = slot.owner or (_loose_around() if self._loose else None)
        account = self._account(name, kind, self._outer)
        parent = self._outer.shown if self._outer is not None else None
        self.span = Span(
            account, clock=self._clock, estimator=found[1], parent=parent if isinstance(parent, Span) else None
        )
        self._gpu = gpu
        self._running = False
        if self._loose and self.span.tally is not None:
            self.span.tally.approximate = True
        if gpu:
            self._clock.move_gpu(self.span.tally, opened=True)
        self.resume()

    def _account(self, name: str, kind: AccountKind, outer: Owner | None) -> Account:
        assert self._clock is not None, "only an open span of a running clock has an account"
        if outer is None:
            return self._clock.account(Account(kind, name, name))
        around = outer.resolve()
        return self._clock.account(Account("span", around.root if around is not None else name, name))

    def resume(self) -> None:
        """It owns its thread from here."""
        if self._clock is None or self._running:
            return
        self._running = True
        slot = THREAD.slot
        if self._loose:
            self._slot, self._cpu_ns, self._booked_ns = slot, slot_cpu_ns(), slot.total_ns
            _LOOSE.set(self.span.tally)
            return
        self._outer = slot.switch(self.span.tally)

    def pause(self) -> None:
        """It gives its thread back."""
        if self._clock is None or not self._running:
            return
        self._running = False
        slot = THREAD.slot
        tally = self.span.tally
        if not self._loose:
            if slot.owner is tally:
                slot.switch(self._outer)
        elif slot is self._slot and tally is not None:
            others_ns = slot.total_ns - self._booked_ns
            own_ns = max(slot_cpu_ns() - self._cpu_ns - others_ns, 0)
            tally.ns += own_ns
            slot.total_ns += own_ns
            tally.touch()
        if self._loose:
            _LOOSE.set(self._outer)

    def close(self, *, failed: bool) -> None:
        """The block has ended."""
        self.pause()
        if self._clock is not None and self._gpu:
            self._clock.move_gpu(self.span.tally)
        self.span.end(failed=failed)


def slot_cpu_ns() -> int:
    """CPU nanoseconds of the calling thread, by its exact clock."""
    return time.thread_time_ns()


def _in_loop() -> bool:
    return asyncio._get_running_loop() is not None  # the public one raises, which costs ten times that
