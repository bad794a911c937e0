"""A clock that fails anywhere in the hot path costs us a figure, and the application nothing."""

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, MutableMapping
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.cpu.clock import LONG_NS, STALE_NS, THREAD, Account, Owner
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink
from carbon_sdk.timing import Timing
from tests.cpu.book import JOB, Book, burn

Seen = list[Any]
Shape = Callable[[Book, Seen], Coroutine[Any, Any, Any]]
LONG_SECONDS = 1.2 * LONG_NS / 1e9
STALE_SECONDS = 1.2 * STALE_NS / 1e9
CALLS = 30
"""About as often as the longest of the shapes reads a clock."""


class Refused(OSError):
    """No reading can be had."""


Refused.__module__ = "builtins"  # as those of the system's own clocks are


def refuse() -> None:
    raise Refused("no clock today")


class Failing:
    """A clock whose n-th reading from now on fails.

    Args:
        read: The clock.
        fail: How.
    """

    def __init__(self, read: Callable[[], int], fail: Callable[[], None] = refuse) -> None:
        self._read = read
        self._fail = fail
        self._left = 0
        self._for_good = False

    def fail_at(self, nth: int, *, for_good: bool = False) -> None:
        """Fail then; and ever after, if for good. Never, if at the 0th."""
        self._left, self._for_good = nth, for_good

    def __call__(self) -> int:
        if self._left > 1:
            self._left -= 1
        elif self._left == 1:
            self._left = int(self._for_good)
            self._fail()
        return self._read()


async def steps(book: Book, seen: Seen) -> str:
    for number in range(3):
        burn(LONG_SECONDS if number == 1 else 0.0)
        await asyncio.sleep(0)
        seen.append(number)
    await asyncio.sleep(STALE_SECONDS)
    return "done"


async def children(book: Book, seen: Seen) -> None:
    async def child(number: int) -> int:
        await asyncio.sleep(0)
        burn(LONG_SECONDS)
        seen.append(number)
        return number

    seen.append(await asyncio.gather(child(1), asyncio.create_task(child(2), name="named")))


async def hops(book: Book, seen: Seen) -> None:
    seen.append(await asyncio.to_thread(sum, (1, 2)))
    thread = threading.Thread(target=lambda: burn(LONG_SECONDS) or seen.append("thread"))  # type: ignore[func-returns-value]
    thread.start()
    await asyncio.to_thread(thread.join)


async def generators(book: Book, seen: Seen) -> None:
    @book.track("plain")
    def plain() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            seen.append("closed")

    @book.track("stream")
    async def stream() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            burn(LONG_SECONDS)
            yield number

    for number in plain():
        seen.append(number)
        break
    async for number in stream():
        seen.append(number)


async def callbacks(book: Book, seen: Seen) -> None:
    running = asyncio.get_running_loop()
    called = running.create_future()

    def call(*args: int) -> None:
        burn(LONG_SECONDS)
        seen.append(args)
        called.set_result(None)

    running.call_later(0.0, call, 1, 2)
    await called


async def blocks(book: Book, seen: Seen) -> None:
    async with book.track("outer"):
        await asyncio.sleep(0)
        with book.track("inner") as span:
            burn(LONG_SECONDS)
        seen.append(span.duration_seconds is None)
        await asyncio.sleep(0)
    seen.pop()  # whether it could be timed is ours to know


async def until_cancelled(seen: Seen) -> None:
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        seen.append("cleaned up")
        raise


async def cancelled(book: Book, seen: Seen) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(until_cancelled(seen), 0.001)
    async with asyncio.timeout(0.001):
        await until_cancelled(seen)


async def failing(book: Book, seen: Seen) -> None:
    await asyncio.sleep(0)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(until_cancelled(seen))
            await asyncio.sleep(0)
            raise KeyError("in the group")
    except* KeyError as group:
        seen.append(len(group.exceptions))
    raise ValueError("of the application")


SHAPES = [steps, children, hops, generators, callbacks, blocks, cancelled, failing]


async def driven(book: Book, work: Coroutine[Any, Any, Any]) -> Any:
    return await book.span(work)


async def in_a_block(book: Book, work: Coroutine[Any, Any, Any]) -> Any:
    async with book.track():
        return await work


async def decorated(book: Book, work: Coroutine[Any, Any, Any]) -> Any:
    @book.track("job")
    async def call() -> Any:
        return await work

    return await call()


WAYS = [driven, in_a_block, decorated]
Way = Callable[[Book, Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]


def told_by(shape: Shape, way: Way, book: Book, loop: Callable[[], asyncio.AbstractEventLoop]) -> Seen:
    """What the application saw: its own values, what came of it, and what its loop complained of."""
    seen: Seen = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        try:
            seen.append(await way(book, shape(book, seen)))
        except BaseException as exc:
            seen.append((type(exc), str(exc), type(exc.__cause__), type(exc.__context__)))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    return sorted(seen, key=repr)


async def alone(_book: Book, work: Coroutine[Any, Any, Any]) -> Any:
    return await work


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.__name__))
@settings(max_examples=12)
@given(nth=st.integers(1, CALLS), for_good=st.booleans(), which=st.sampled_from(["monotonic", "thread", "both"]))
def test_no_failure_of_a_clock_reaches_the_app(
    shape: Shape, way: Way, loop: Callable[[], asyncio.AbstractEventLoop], nth: int, for_good: bool, which: str
) -> None:
    """At whatever reading and for however long: told as ours, the figure marked, and the next span is measured."""
    monotonic, thread_time = Failing(time.monotonic_ns), Failing(time.thread_time_ns)
    book = Book(monotonic_ns=monotonic, thread_time_ns=thread_time)
    try:
        bare = told_by(shape, alone, book, loop)
        book.cut()
        for name, clock in (("monotonic", monotonic), ("thread", thread_time)):
            if which in (name, "both"):
                clock.fail_at(nth, for_good=for_good)
        measured = told_by(shape, way, book, loop)
        for clock in (monotonic, thread_time):
            clock.fail_at(0)
        faults, book.errors = book.errors, []
        used = book.cut()

        assert measured == bare
        assert THREAD.slot.owner is None
        assert not THREAD.slot.driven
        assert {type(exc) for _, exc in faults} <= {Refused}
        if any(where == "cpu.clock" for where, _ in faults):
            assert any(use.approximate for use in used.values())
        assert told_by(shape, way, book, loop) == bare
        assert book.cut()
    finally:
        book.clock.stop()


@pytest.mark.parametrize("nth", range(1, 7))
def test_what_a_signals_handler_raises_in_the_midst_of_ours_is_the_apps(nth: int) -> None:
    """A time limit by alarm, as of Celery and RQ: the application gets it wherever it strikes, and it is no fault."""

    def handler(number: int, frame: object) -> None:
        raise TimeoutError("time limit")

    monotonic = Failing(time.monotonic_ns, fail=lambda: signal.raise_signal(signal.SIGUSR1))
    book = Book(monotonic_ns=monotonic)

    async def work() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    before = signal.signal(signal.SIGUSR1, handler)
    monotonic.fail_at(nth)
    try:
        with pytest.raises(TimeoutError, match="time limit"):
            asyncio.run(book.span(work()))
    finally:
        signal.signal(signal.SIGUSR1, before)
        monotonic.fail_at(0)

    assert not book.errors
    assert THREAD.slot.owner is None
    book.clock.stop()


class Unresolved(Owner):
    """Cannot tell where it counts."""

    def resolve(self) -> Account | None:
        raise LookupError("no account")


def test_what_cannot_be_booked_does_not_keep_others_from_it() -> None:
    """A window closes with all accounts but that one, which is told."""
    book = Book()
    lost = Unresolved(None, book.clock.touched, THREAD.slot)
    lost.touch()
    asyncio.run(book.span(cpu_bound()))
    cut = book.clock.cut()

    assert cut.accounts[JOB].cpu_seconds > LONG_SECONDS / 2
    assert [where for where, _ in book.errors] == ["cpu.cut"]
    book.clock.stop()


async def cpu_bound() -> None:
    burn(LONG_SECONDS)


Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


@pytest.mark.anyio
@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("suspends", [False, True])
async def test_no_failure_of_a_clock_reaches_a_request(suspends: bool, for_good: bool) -> None:
    """At each of its readings in turn: the response is whole, the fault is counted and told in one line."""
    monotonic, thread_time = Failing(time.monotonic_ns), Failing(time.thread_time_ns)
    sink = RecordingSink()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def app(scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        for _ in range(2 * suspends):
            await asyncio.sleep(0)
            burn(LONG_SECONDS)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})
        if suspends:
            await asyncio.sleep(0)
        burn(LONG_SECONDS)

    carbon = Carbon(
        meters=[FakeMeter(watts=20.0)],
        provider=FixedIntensity(100.0),
        sinks={"record": sink},
        timing=Timing(monotonic_ns=monotonic, thread_time_ns=thread_time),
        sample_interval_seconds=60.0,
    )
    served = 0
    async with carbon:
        middleware = CarbonMiddleware(app, carbon=carbon)
        for clock in (monotonic, thread_time):
            for nth in range(15):
                clock.fail_at(nth, for_good=for_good)
                scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}
                await middleware(scope, receive, send)
                served += 1
                clock.fail_at(0)
                assert THREAD.slot.owner is None
        faults = dict(carbon.log.faults)

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"] * served
    assert sum(faults.values()) >= 2
    assert all(kind.startswith(("asgi.", "cpu.")) for kind in faults)
    (record,) = [emission for emission in sink.emissions if emission.kind == "request"]
    assert record.approximate
    assert served / 2 < record.requests <= served


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
def test_a_tool_of_the_interpreter_that_is_taken_from_us_does_not_reach_the_app() -> None:
    """Somebody gives our id away while a block is open: the fault is told, and the next block is exact again."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    book = Book()

    async def main() -> list[bool]:
        marked = []
        for robbed in (True, False):
            async with book.track() as span:
                (ours,) = [number for number in range(6) if monitoring.get_tool(number) == "carbon_sdk"]
                if robbed:
                    monitoring.free_tool_id(ours)
                await asyncio.sleep(0)
                burn(LONG_SECONDS)
            marked.append(span.approximate)
        return marked

    assert not asyncio.run(main())[1]
    assert {where for where, _ in book.errors} == {"cpu.watch"}
    book.clock.stop()
    assert THREAD.slot.owner is None
