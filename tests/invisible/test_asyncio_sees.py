"""What an application, its debugger and its error reporter see of asyncio: the same with our middleware as without."""

import asyncio
import gc
import inspect
import logging
import re
import subprocess
import sys
import time
import traceback
import typing
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, MutableMapping
from typing import Any

import pytest
import uvloop

from carbon_sdk import Carbon, CarbonMiddleware, track
from carbon_sdk.environment import environment
from carbon_sdk.testing import FakeMeter, FixedIntensity

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
OURS = "/carbon_sdk/"
LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]


class Unpayable(Exception):
    """An error of the application."""


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    assert message["type"].startswith("http.response.")


def scope() -> Scope:
    return {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}


def serve(app: ASGIApp, *, measured: bool, loop: LoopFactory = asyncio.new_event_loop, debug: bool = False) -> Any:
    """Run one request of the application in a loop of its own; what it raised, None if nothing."""

    async def request() -> BaseException | None:
        if not measured:
            return await outcome(app)
        async with Carbon(meters=[FakeMeter(watts=20.0)], provider=FixedIntensity(100.0), sinks={}) as carbon:
            await outcome(CarbonMiddleware(answer_nothing, carbon=carbon))  # a loop's first request goes another way
            return await outcome(CarbonMiddleware(app, carbon=carbon))

    with asyncio.Runner(loop_factory=loop, debug=debug) as runner:
        return runner.run(request())


async def outcome(app: ASGIApp) -> BaseException | None:
    try:
        await asyncio.create_task(app(scope(), receive, send), name="the request")
    except BaseException as exc:  # what a server would see
        return exc
    return None


def frames(exc: BaseException) -> list[str]:
    """The functions of the traceback that are not ours."""
    return [frame.name for frame in traceback.extract_tb(exc.__traceback__) if OURS not in frame.filename]


def our_frames(exc: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(exc.__traceback__) if OURS in frame.filename]


async def answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def raise_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise Unpayable("at once")


async def raise_later(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0)
    raise Unpayable("later")


async def raise_in_a_child(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.create_task(raise_later(scope, receive, send))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("app", "most"),
    [
        pytest.param(raise_at_once, 1, id="before it suspends"),
        pytest.param(raise_later, 2, id="after it suspends"),
        pytest.param(raise_in_a_child, 5, id="in a child task"),
    ],
)
def test_a_traceback_holds_all_frames_of_the_app_and_few_of_ours(app: ASGIApp, most: int, loop: LoopFactory) -> None:
    """The middleware's own, one of a driver after a suspension; a child adds two, and one where it is thrown in."""
    bare = serve(app, measured=False, loop=loop)
    measured = serve(app, measured=True, loop=loop)

    assert frames(measured) == frames(bare)
    assert 1 <= len(our_frames(measured)) <= most


@pytest.mark.parametrize("measured", [False, True])
def test_an_exception_keeps_its_identity_its_cause_and_its_context(measured: bool) -> None:
    """The very object that the application raised reaches the server, with nothing chained to it."""
    cause, error = KeyError("cause"), Unpayable("error")
    context = ValueError("context")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        try:
            raise context
        except ValueError:
            raise error from cause

    assert serve(app, measured=measured) is error
    assert (error.__cause__, error.__context__) == (cause, context)
    assert context.__context__ is None


@pytest.mark.parametrize("app", [raise_at_once, raise_later, raise_in_a_child])
def test_an_exception_raised_alone_gets_no_context_from_us(app: ASGIApp) -> None:
    """No error of our own driving (a StopIteration above all) stands behind the application's."""
    exc = serve(app, measured=True)

    assert isinstance(exc, Unpayable)
    assert (exc.__cause__, exc.__context__, exc.__suppress_context__) == (None, None, False)


@pytest.mark.parametrize("loop", LOOPS)
def test_tasks_their_names_and_their_coroutines_are_those_of_the_app(loop: LoopFactory) -> None:
    """Debuggers list tasks by `all_tasks()`, by name and by what `get_coro()` is called."""

    def seen_by(*, measured: bool) -> Any:
        seen: list[Any] = []

        async def child() -> None:
            await asyncio.sleep(0)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            tasks = [asyncio.create_task(child(), name="child"), asyncio.ensure_future(child())]
            current = asyncio.current_task()
            assert current is not None
            others = asyncio.all_tasks() - {current}
            seen.append((current.get_name(), len(others)))
            for task in tasks:
                coro: Any = task.get_coro()
                seen.append((coro.__name__, coro.__qualname__, task in others, asyncio.iscoroutine(coro)))
            seen.append([task.get_name() for task in tasks][:1])
            await asyncio.gather(*tasks)

        assert serve(app, measured=measured, loop=loop) is None
        return seen

    assert seen_by(measured=True) == seen_by(measured=False)


def test_an_inspector_takes_the_middleware_for_an_asgi_3_application() -> None:
    """Servers tell ASGI 2 from 3 by whether `__call__` is a coroutine function of three arguments."""
    middleware = CarbonMiddleware(raise_at_once)

    assert inspect.iscoroutinefunction(middleware.__call__)
    assert list(inspect.signature(middleware.__call__).parameters) == ["scope", "receive", "send"]


@pytest.mark.parametrize("measured", [False, True])
def test_debug_mode_still_tells_of_slow_steps_by_the_tasks_name(
    measured: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio's own warning of a step that blocks the loop names the request's task, and comes once."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.02
        await asyncio.sleep(0)
        end = asyncio.get_running_loop().time() + 0.03
        while asyncio.get_running_loop().time() < end:
            pass
        await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        assert serve(app, measured=measured, debug=True) is None

    slow = [record.getMessage() for record in caplog.records if "the request" in record.getMessage()]
    assert len(slow) == 1
    assert slow[0].startswith("Executing <Task")


def test_debug_mode_does_not_tell_of_steps_that_are_none_of_the_apps() -> None:
    """Our own thread loads and builds within steps of its loop; whoever debugs the app is not to look for them."""
    code = "import carbon_sdk\nwith carbon_sdk.track('job'): pass"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, check=True, env=environment()
    )

    assert "carbon.emission" in done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("{")] == []


def without_figures(message: str) -> str:
    """Addresses, seconds and line numbers differ from run to run."""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "N", message)


@pytest.mark.parametrize("measured", [False, True])
def test_debug_mode_still_tells_of_slow_timers_by_the_apps_function(
    measured: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by the name of what we put around it."""

    def slow() -> None:
        end = time.monotonic() + 0.03
        while time.monotonic() < end:
            pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.02
        loop.call_later(0.001, slow)
        await asyncio.sleep(0.05)

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        assert serve(app, measured=measured, debug=True) is None

    told = [record.getMessage() for record in caplog.records if "TimerHandle" in record.getMessage()]
    assert len(told) == 1
    assert "<locals>.slow()" in told[0]


def seen_of(app: ASGIApp, caplog: pytest.LogCaptureFixture, *, measured: bool) -> list[str]:
    """Warnings of the interpreter and lines of asyncio's log, in debug mode."""
    caplog.clear()
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.WARNING, logger="asyncio"):
        warnings.simplefilter("always")
        serve(app, measured=measured, debug=True)
        gc.collect()
    told = [f"{one.category.__name__} {str(one.message).splitlines()[0]}" for one in warned]
    return told + [record.getMessage().splitlines()[0] for record in caplog.records if record.name == "asyncio"]


async def nothing() -> None:
    await asyncio.sleep(0)


async def cancel_before_the_first_step(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.create_task(nothing())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def forget_a_coroutine(scope: Scope, receive: Receive, send: Send) -> None:
    nothing()  # type: ignore[unused-coroutine]  # that is the fault


async def forget_an_error(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.create_task(raise_later(scope, receive, send), name="forgotten")
    await asyncio.wait([task])


async def cancel_while_it_waits(scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(0)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task


@pytest.mark.parametrize(
    "app", [cancel_before_the_first_step, forget_a_coroutine, forget_an_error, cancel_while_it_waits]
)
def test_what_asyncio_and_the_interpreter_complain_of_is_as_without_us(
    app: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that nobody awaits, an error that nobody looks at; nothing where nothing is wrong."""
    bare = [without_figures(line) for line in seen_of(app, caplog, measured=False)]
    measured = [without_figures(line) for line in seen_of(app, caplog, measured=True)]

    assert measured == bare
    assert bool(bare) == (app in (forget_a_coroutine, forget_an_error))


async def tracked_coroutine(number: int, *, name: str = "x") -> str:
    """Of the application."""
    return name * number


def tracked_function(number: int, *, name: str = "x") -> str:
    """Of the application."""
    return name * number


def tracked_generator(number: int, *, name: str = "x") -> Iterator[str]:
    """Of the application."""
    yield name * number


async def tracked_stream(number: int, *, name: str = "x") -> AsyncIterator[str]:
    """Of the application."""
    yield name * number


@pytest.mark.parametrize("function", [tracked_coroutine, tracked_function, tracked_generator, tracked_stream])
def test_an_inspector_takes_a_tracked_function_for_what_it_is(function: Callable[..., Any]) -> None:
    """Frameworks choose how to call it, and fill its arguments, by what `inspect` says."""
    tracked = track("job")(function)

    for question in (
        inspect.isfunction,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        inspect.signature,
        inspect.getdoc,
        inspect.getsource,
        typing.get_type_hints,
    ):
        assert question(tracked) == question(function)
    assert (tracked.__name__, tracked.__qualname__, tracked.__module__) == (
        function.__name__,
        function.__qualname__,
        function.__module__,
    )
