"""This process measured without a `Carbon` of one's own: its default, and `track` and `run`, which start that."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast, overload

from carbon_sdk.carbon import CLAIM, Carbon
from carbon_sdk.cpu.clock import AccountKind, Clock, drive, nobody
from carbon_sdk.errors import SettingsError
from carbon_sdk.settings import from_environment
from carbon_sdk.spans.span import Estimator
from carbon_sdk.spans.track import Track

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")

FIRST_READING_SECONDS = 5.0
"""How long at most the first block of a script or worker waits for the meters' first reading; what runs before has no
joules. A request, and synchronous code in a running loop, never wait."""
KINDS: tuple[AccountKind, ...] = ("worker", "request")
"""What a block may count as where it is outermost."""

_made: list[Carbon] = []
"""The default, once it has been made: the first, should two threads make one at once."""


def default() -> Carbon:
    """The `Carbon` of this process: the one that runs, else one built from the environment. It is not started.

    A variable that cannot be used is told once and left at its default; `CARBON_SDK_STRICT=1` raises instead.

    Raises:
        SettingsError: In strict mode.
    """
    holder = CLAIM.holder
    if holder is not None:
        return holder
    if not _made:
        problems: list[SettingsError] = []
        carbon = Carbon(from_environment(on_error=problems.append))
        carbon.forgiving = True
        for problem in problems:
            carbon.forgive(problem)
        _made.append(carbon)
    return _made[0]


def _source() -> tuple[Clock, Estimator] | None:
    """The CPU account of this process, started if need be; None where nothing is measured."""
    carbon = default()
    if not carbon.running:
        carbon.start(wait_seconds=0.0 if _in_loop() else FIRST_READING_SECONDS)
    return (carbon.clock, carbon) if carbon.running else None


async def _begun() -> None:
    """The process default runs and has read its meters, before the first block of a worker opens."""
    carbon = default()
    if not carbon.running and not carbon.disabled:
        start = functools.partial(carbon.start, wait_seconds=FIRST_READING_SECONDS)
        await asyncio.get_running_loop().run_in_executor(None, start)


def _in_loop() -> bool:
    return asyncio._get_running_loop() is not None  # the public one raises, which costs ten times that


@overload
def track(name: Function, /) -> Function: ...
@overload
def track(name: str, /, *, kind: AccountKind = "worker", gpu: bool = False) -> Track: ...
def track(name: Any, /, *, kind: AccountKind = "worker", gpu: bool = False) -> Any:
    """A block or a function as a span: `async with track("resize") as span:`, `@track`, `@track("report")`.

    Args:
        name: The span's name, or the function that `@track` decorates.
        kind: What it counts as where it is outermost.
        gpu: It uses a GPU: it shares the GPU's joules for as long as it is open.

    Raises:
        TypeError: What is given is neither a name nor a function.
        ValueError: There is no such kind of span.
    """
    if callable(name) or isinstance(name, classmethod | property | functools.cached_property):
        inner = name.func if isinstance(name, functools.partial) else name
        shown: str = getattr(inner, "__qualname__", type(inner).__qualname__)
        return Track(shown, source=_source, begun=_begun)(name)
    if not isinstance(name, str):
        raise TypeError(f"track() takes a name or a function, not {type(name).__name__}: give str({name!r:.40})")
    if kind not in KINDS:
        raise ValueError(f"track() knows no kind {kind!r}: give one of {', '.join(KINDS)}")
    return Track(name, source=_source, begun=_begun, kind=kind, gpu=gpu)


def run(main: Coroutine[Any, Any, Result], *, debug: bool | None = None) -> Result:
    """`asyncio.run` with this process measured from the first task on, and everything handed over at the end.

    Args:
        main: The program.
        debug: As for `asyncio.run`.
    """
    carbon = default()
    carbon.start(wait_seconds=FIRST_READING_SECONDS)

    async def measured() -> Result:
        if not carbon.running:
            return await main
        carbon.clock.follow_loop()
        return cast(Result, await drive(main, nobody(carbon.log.fault)))

    try:
        return asyncio.run(measured(), debug=debug)
    finally:
        carbon.close()
