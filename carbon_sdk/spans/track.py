"""`track`: a block or a function as a span."""

import asyncio
import functools
import inspect
import sys
import threading
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ContextDecorator
from types import FrameType, TracebackType
from typing import Any, TypeVar, cast

from carbon_sdk.cpu.clock import THREAD, AccountKind, Clock, Outcome, in_loop
from carbon_sdk.spans.opening import Opening, outcome_of
from carbon_sdk.spans.span import Estimator, Span

Function = TypeVar("Function", bound=Callable[..., Any])
Source = Callable[[], tuple[Clock, Estimator] | None]
"""Gives the CPU account of this process and who estimates; None where nothing is measured."""
Begun = Callable[[], Awaitable[None]]
"""Returns when the meters have been read, where this process is measured and was not yet."""


DONE: Outcome = "done"


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
        self._open: list[tuple[object, Opening]] = []

    def __enter__(self) -> Span:
        return self._enter(sys._getframe(1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        whose = _who_runs()
        opened = next((one for one in reversed(self._open) if one[0] is whose), self._open[-1])
        self._open.remove(opened)
        opened[1].close(outcome_of(error))

    async def __aenter__(self) -> Span:
        if THREAD.slot.owner is None:
            await self._begun()
        return self._enter(sys._getframe(1))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _enter(self, frame: FrameType) -> Span:
        opening = self._opening()
        self._open.append((_who_runs(), opening))
        opening.resume(frame)
        return opening.span

    def _opening(self) -> Opening:
        return Opening(self.name, self._source(), self._kind, gpu=self._gpu)

    def __call__(self, function: Function) -> Function:
        """The function, each call of it a span.

        Raises:
            TypeError: It is no function: a class, a property, a `classmethod`.
        """
        _refuse_what_is_no_function(function)
        if inspect.isasyncgenfunction(function):
            wrapper: Callable[..., Any] = self._async_generator(function)
        elif inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            wrapper = self._coroutine(function)
        elif inspect.isgeneratorfunction(function):
            wrapper = self._generator(function)
            if _is_awaited(function):
                wrapper = types.coroutine(wrapper)
        else:
            wrapper = self._plain(function)
        return cast(Function, functools.wraps(function)(wrapper))

    def _plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            opened, outcome = self._opening(), DONE
            opened.resume(None)
            try:
                return function(*args, **kwargs)
            except BaseException as exc:
                outcome = outcome_of(exc)
                raise
            finally:
                opened.close(outcome)

        return call

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if THREAD.slot.owner is None:
                await self._begun()
            opened, outcome = self._opening(), DONE
            try:
                return await opened.run(function(*args, **kwargs))
            except BaseException as exc:
                outcome = outcome_of(exc)
                raise
            finally:
                opened.close(outcome)

        return call

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            inner = function(*args, **kwargs)
            opened = self._opening()
            failed, value, thrown = True, None, None
            try:
                while True:
                    opened.resume(None)
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
                opened.close("failed" if failed else "done")

        return call

    def _async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            inner = function(*args, **kwargs)
            opened = self._opening()
            failed, value, thrown = True, None, None
            try:
                while True:
                    try:
                        out = await opened.run(inner.asend(value) if thrown is None else inner.athrow(thrown))
                    except StopAsyncIteration:
                        failed = False
                        return
                    finally:
                        thrown = None
                    try:
                        value = yield out
                    except GeneratorExit:
                        failed = False
                        await opened.run(inner.aclose())
                        raise
                    except BaseException as exc:  # whatever is thrown in is the inner one's to see
                        thrown = exc
            finally:
                opened.close("failed" if failed else "done")

        return call


def _refuse_what_is_no_function(given: Any) -> None:
    if isinstance(given, classmethod | staticmethod | property | functools.cached_property):
        kind = type(given).__name__
        raise TypeError(f"track() is given a {kind}: write @{kind} above @track")
    if isinstance(given, type):
        raise TypeError(f"track() is given the class {given.__name__}: put @track on its methods")
    if not callable(given):
        raise TypeError(f"track() decorates functions, not {type(given).__name__}")


def _is_awaited(generator_function: Any) -> bool:
    """By the decorator `types.coroutine`."""
    code = getattr(inspect.unwrap(generator_function), "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _who_runs() -> object:
    """The task, or outside of one the thread, that may have a block open: one `Track` can be entered by several."""
    task = asyncio.current_task() if in_loop() else None
    return threading.current_thread() if task is None else task
