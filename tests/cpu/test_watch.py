"""A block in a task that was already running: exact where the interpreter tells, marked where it does not."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from carbon_sdk.spans.span import Span
from tests.cpu.book import Book, Loop, Shape, beside_a_neighbour, burn

pytestmark = pytest.mark.usefixtures("no_collection")
TELLS = hasattr(sys, "monitoring")


async def sleep_and_burn(burn: Callable[[float], None], seconds: float) -> None:
    await asyncio.sleep(0)
    burn(seconds)
    await asyncio.sleep(0)


async def suspending(book: Book) -> None:
    async with book.track():
        for _ in range(5):
            book.burn(0.004)
            await asyncio.sleep(0.001)


async def opened_deep_down(book: Book) -> None:
    async def inner() -> None:
        async with book.track():
            await sleep_and_burn(book.burn, 0.02)
        await sleep_and_burn(burn, 0.02)

    async def outer() -> None:
        await sleep_and_burn(burn, 0.02)
        await inner()

    await outer()


async def timed_out_and_caught(book: Book) -> None:
    async with book.track():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            book.burn(0.01)
        await sleep_and_burn(book.burn, 0.01)


async def cleaning_up_deep_down(book: Book) -> None:
    async def inner() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            book.burn(0.01)
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.002)
            book.burn(0.01)

    async with book.track():
        with anyio.move_on_after(0.01):
            await asyncio.shield(asyncio.sleep(0))
            await asyncio.wait_for(inner(), 0.005)


async def awaiting_an_error(book: Book) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, KeyError("told"))
    async with book.track():
        with contextlib.suppress(KeyError):
            await future
        book.burn(0.01)
        await asyncio.sleep(0)
        book.burn(0.01)


async def over_a_generator(book: Book) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(4):
            await asyncio.sleep(0)
            book.burn(0.002)
            yield number
            book.burn(0.002)

    async with book.track():
        async for _ in numbers():
            book.burn(0.001)


async def with_children_and_threads(book: Book) -> None:
    async with book.track():
        await asyncio.gather(sleep_and_burn(book.burn, 0.01), asyncio.to_thread(book.burn, 0.01))


async def one_after_the_other(book: Book) -> None:
    for _ in range(4):
        async with book.track():
            await sleep_and_burn(book.burn, 0.005)
        await sleep_and_burn(burn, 0.005)


async def by_a_plain_block(book: Book) -> None:
    with book.track():
        await sleep_and_burn(book.burn, 0.02)


SHAPES: list[Shape] = [
    suspending,
    opened_deep_down,
    timed_out_and_caught,
    cleaning_up_deep_down,
    awaiting_an_error,
    over_a_generator,
    with_children_and_threads,
    one_after_the_other,
    by_a_plain_block,
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.__name__))
def test_a_block_in_a_running_task_is_booked_its_own_cpu(shape: Shape, book: Book, loop: Loop) -> None:
    """Whatever else the loop runs meanwhile; where the interpreter cannot tell, the account says so."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(beside_a_neighbour(shape(book)))
    (use,) = book.cut().values()

    assert use.approximate == (not TELLS)
    if TELLS:
        assert use.cpu_seconds == pytest.approx(book.burned_seconds, rel=0.1, abs=0.002)


@pytest.mark.skipif(not TELLS, reason="sys.monitoring came with Python 3.12")
def test_tasks_of_the_same_code_are_told_apart(book: Book, loop: Loop) -> None:
    """Three tasks run one function, each in a span of its own, one of them in none."""

    async def work(name: str | None, seconds: float) -> None:
        async with contextlib.AsyncExitStack() as stack:
            if name is not None:
                await stack.enter_async_context(book.track(name))
            for _ in range(5):
                burn(seconds / 5)
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(work("one", 0.01), work("two", 0.03), work(None, 0.02))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    seconds = book.seconds()

    assert seconds["one"] == pytest.approx(0.01, rel=0.25)
    assert seconds["two"] == pytest.approx(0.03, rel=0.2)


@pytest.mark.skipif(not TELLS, reason="sys.monitoring came with Python 3.12")
def test_nested_blocks_of_a_running_task_are_exclusive(book: Book, loop: Loop) -> None:
    """The inner one takes its own out of the outer's, also where the outer ends first."""

    async def main() -> None:
        outer, inner = book.track("outer"), book.track("inner")
        await outer.__aenter__()
        await sleep_and_burn(burn, 0.01)
        await inner.__aenter__()
        await sleep_and_burn(burn, 0.02)
        await outer.__aexit__(None, None, None)
        await sleep_and_burn(burn, 0.01)
        await inner.__aexit__(None, None, None)
        await sleep_and_burn(burn, 0.05)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    seconds = book.seconds()

    assert seconds["outer"] == pytest.approx(0.01, rel=0.3)
    assert seconds["inner"] == pytest.approx(0.03, rel=0.3)


@pytest.mark.skipif(not TELLS, reason="sys.monitoring came with Python 3.12")
def test_nothing_is_left_in_the_interpreter(book: Book) -> None:
    """No event on code once its spans have ended; no tool once measuring has."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    code = suspending.__code__

    def tools() -> list[int]:
        return [number for number in range(6) if monitoring.get_tool(number) == "carbon_sdk"]

    asyncio.run(suspending(book))
    (tool,) = tools()
    assert monitoring.get_local_events(tool, code) == 0
    book.clock.stop()
    assert tools() == []


@pytest.mark.skipif(not TELLS, reason="sys.monitoring came with Python 3.12")
def test_where_the_tool_ids_are_taken_the_span_is_marked(book: Book) -> None:
    """By a profiler and a debugger, say: the figure is not exact, and nothing else changes."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    for number in (3, 4):
        monitoring.use_tool_id(number, "somebody else")
    try:
        asyncio.run(suspending(book))
    finally:
        for number in (3, 4):
            monitoring.free_tool_id(number)
    (use,) = book.cut().values()

    assert use.approximate
    assert use.cpu_seconds == pytest.approx(0.02, rel=0.3)


def test_decorated_functions_are_exact_in_a_running_task_on_every_interpreter(book: Book, loop: Loop) -> None:
    """Their coroutines can be driven, and a plain function cannot suspend."""

    @book.track("coroutine")
    async def coroutine() -> None:
        await sleep_and_burn(burn, 0.02)

    @book.track("plain")
    def plain() -> None:
        burn(0.02)

    @book.track("stream")
    async def stream() -> AsyncIterator[int]:
        for number in range(4):
            await sleep_and_burn(burn, 0.005)
            yield number

    async def shape(book: Book) -> None:
        await coroutine()
        plain()
        async for _ in stream():
            await sleep_and_burn(burn, 0.005)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(beside_a_neighbour(shape(book)))
    accounts = book.cut()

    assert {account.name for account in accounts} == {"coroutine", "plain", "stream"}
    for use in accounts.values():
        assert use.cpu_seconds == pytest.approx(0.02, rel=0.2)
        assert not use.approximate


def test_what_a_marked_block_hands_over_is_exact(book: Book) -> None:
    """Tasks, threads: only the block's own steps are not."""

    async def main() -> None:
        async with book.track():
            await asyncio.gather(sleep_and_burn(burn, 0.02), asyncio.to_thread(burn, 0.02))

    asyncio.run(main())

    assert book.seconds()["job"] == pytest.approx(0.04, rel=0.2)


def test_one_track_object_serves_overlapping_tasks(book: Book) -> None:
    """Each exit closes the block that its own task has opened, whichever of them was opened last."""
    shared = book.track()
    ended: list[list[bool]] = []

    async def main() -> None:
        spans: list[Span] = []
        leave = [asyncio.Event() for _ in range(3)]

        async def work(number: int) -> None:
            async with shared as span:
                spans.append(span)
                await leave[number].wait()

        tasks = [asyncio.create_task(work(number)) for number in range(3)]
        await asyncio.sleep(0)
        for number in (1, 0, 2):
            leave[number].set()
            await tasks[number]
            ended.append([span.duration_seconds is not None for span in spans])

    asyncio.run(main())

    assert ended == [[False, True, False], [True, True, False], [True, True, True]]
