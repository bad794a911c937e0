"""Child tasks: a chaining task factory makes the steps of a task those of the span in which it was made."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import CoroutineType
from typing import Any

from carbon_sdk.cpu.driver import THREAD, current, drive
from carbon_sdk.cpu.owner import Owner


class TaskFactory:
    """Makes tasks as the loop would, and drives those that are made inside a span.

    A loop is given its method `task`: to call an object costs 0.2 us more than to call a method.

    Args:
        before: The factory that the loop had; None for asyncio's own.
    """

    otherwise: Owner | None = None
    """Owns what is made outside a span, so that a span may open there later; None leaves those tasks alone."""

    def __init__(self, before: Any) -> None:
        self.before = before
        self.active = True

    @classmethod
    def behind(cls, factory: Any) -> TaskFactory | None:
        """Ours whose `task` a loop's factory is; None of a foreign one."""
        ours = getattr(factory, "__self__", None)
        return ours if isinstance(ours, cls) else None

    def task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        """The loop's factory."""
        owner = THREAD.slot.owner or current() or self.otherwise
        if owner is not None and self.active and (type(coro) is CoroutineType or asyncio.iscoroutine(coro)):
            try:
                coro = followed(coro, owner)
            except Exception as exc:
                if not owner.spoil("cpu.tasks", exc):
                    raise
        if self.before is not None:
            return self.before(loop, coro, **options)
        return asyncio.Task(coro, loop=loop, **options)


def followed(coro: Coroutine[Any, Any, Any] | Generator[Any, Any, Any], owner: Owner) -> Coroutine[Any, Any, Any]:
    """A coroutine of the same name whose steps are the owner's."""
    outer: Any = _driven(_Held(coro), owner)
    if type(coro) is CoroutineType:
        outer.__name__, outer.__qualname__ = coro.__name__, coro.__qualname__
    else:
        outer.__name__ = getattr(coro, "__name__", outer.__name__)
        outer.__qualname__ = getattr(coro, "__qualname__", outer.__qualname__)
    return outer  # type: ignore[no-any-return]  # a cast costs a call


class _Held:
    """A coroutine that is closed if its first step never comes, or the interpreter would warn that nobody awaited it.

    A task that is cancelled before it has begun closes what it was given: our coroutine around the application's.
    """

    __slots__ = ("coro",)

    def __init__(self, coro: Any) -> None:
        self.coro = coro

    def __del__(self) -> None:
        self.coro.close()


async def _driven(held: _Held, owner: Owner) -> Any:
    return await drive(held.coro, owner)
