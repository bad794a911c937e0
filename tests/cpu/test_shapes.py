"""Every way in which a span's code can run: booked its own CPU, beside a neighbour that burns whenever it sleeps."""

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import weakref
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
import uvloop

from tests.cpu.book import Book, Loop, Shape, beside_a_neighbour, burn

pytestmark = pytest.mark.usefixtures("no_collection")
EARLIER = ThreadPoolExecutor(2)
EARLIER.submit(int).result()  # its worker was there before anybody measured


async def later(book: Book, seconds: float) -> None:
    await asyncio.sleep(0.001)
    book.burn(seconds)
    await asyncio.sleep(0)


async def a_child_that_fails(book: Book) -> None:
    async def fail() -> None:
        await later(book, 0.01)
        raise KeyError("child")

    with contextlib.suppress(KeyError):
        await asyncio.create_task(fail())
    book.burn(0.01)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            tasks.create_task(asyncio.sleep(10))
    except* KeyError:
        book.burn(0.01)


async def time_limits(book: Book) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            book.burn(0.005)
            await asyncio.sleep(0)
            book.burn(0.005)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stubborn(), 0.002)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.002):
            await stubborn()
    with anyio.move_on_after(0.002), contextlib.suppress(ZeroDivisionError):
        await anyio.sleep(10)
    book.burn(0.01)


async def shields(book: Book) -> None:
    left = asyncio.create_task(later(book, 0.01))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.shield(left)
    with anyio.CancelScope() as scope:
        scope.cancel()
        with anyio.CancelScope(shield=True):
            await later(book, 0.01)
    await left


async def cancel_scopes(book: Book) -> None:
    async def until_cancelled() -> None:
        try:
            await anyio.sleep(10)
        except anyio.get_cancelled_exc_class():
            book.burn(0.01)
            raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_cancelled)
        tasks.start_soon(until_cancelled)
        await later(book, 0.005)
        tasks.cancel_scope.cancel()


async def another_context(book: Book) -> None:
    contextvars.copy_context().run(book.burn, 0.01)
    await asyncio.to_thread(contextvars.copy_context().run, book.burn, 0.01)
    await asyncio.create_task(later(book, 0.01), context=contextvars.Context())


async def threads_of_its_own(book: Book) -> None:
    threads = [threading.Thread(target=book.burn, args=(0.01,)), threading.Timer(0.001, book.burn, (0.01,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)


async def a_pool_from_before(book: Book) -> None:
    running = asyncio.get_running_loop()
    await asyncio.gather(*(running.run_in_executor(EARLIER, book.burn, 0.01) for _ in range(3)))
    await asyncio.wrap_future(EARLIER.submit(book.burn, 0.01))


async def a_loop_in_a_thread(book: Book) -> None:
    await asyncio.to_thread(asyncio.run, later(book, 0.02))


async def a_coroutine_by_hand(book: Book) -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(0)
        except KeyError:
            book.burn(0.01)

    coro = work()
    assert coro.send(None) is None
    await asyncio.sleep(0.002)
    with pytest.raises(StopIteration):
        coro.throw(KeyError())
    book.burn(0.01)


async def a_generator_finished_by_another(book: Book) -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            book.burn(0.01)

    stream = numbers()
    assert await anext(stream) == 1
    await asyncio.create_task(stream.aclose())
    thrown = numbers()
    assert await anext(thrown) == 1
    with contextlib.suppress(KeyError):
        await thrown.athrow(KeyError())
    dropped = numbers()
    assert await anext(dropped) == 1
    del dropped, stream, thrown
    await asyncio.sleep(0.005)


SHAPES: list[Shape] = [
    a_child_that_fails,
    time_limits,
    shields,
    cancel_scopes,
    another_context,
    threads_of_its_own,
    a_pool_from_before,
    a_loop_in_a_thread,
    a_coroutine_by_hand,
    a_generator_finished_by_another,
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.__name__))
def test_a_span_is_booked_its_own_cpu(shape: Shape, book: Book, loop: Loop) -> None:
    """And nothing of the neighbour's."""

    async def main() -> None:
        await book.span(shape(book))
        await asyncio.sleep(0.002)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(beside_a_neighbour(main()))

    booked = book.seconds()["job"]
    assert book.burned_seconds > 0.015
    assert booked > book.burned_seconds * 0.85
    if shape is not a_loop_in_a_thread:  # a loop's start and end are the span's own CPU, as much as the machine needs
        assert booked < book.burned_seconds * 1.15 + 0.006


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("when", ["before us", "after us"])
def test_eager_tasks_are_not_counted_twice(book: Book, loop: Loop, when: str) -> None:
    """Four levels, each of which runs inside a step of the one above, and each in a span of its own."""
    eager: Any = asyncio.eager_task_factory  # type: ignore[attr-defined]
    if loop is uvloop.new_event_loop and sys.version_info >= (3, 13):
        pytest.skip("uvloop 0.23 hands this factory an argument that it refuses, without us too")

    async def level(number: int) -> None:
        with book.track(f"level {number}"):
            burn(0.005)
            if number:
                await asyncio.create_task(level(number - 1))
            burn(0.005)
            await asyncio.sleep(0)
            burn(0.005)

    async def main() -> None:
        if when == "before us":
            asyncio.get_running_loop().set_task_factory(eager)
        book.clock.follow_loop()
        asyncio.get_running_loop().set_task_factory(eager)
        await book.span(beside_a_neighbour(level(3)))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    seconds = book.seconds()

    for number in range(4):
        assert seconds[f"level {number}"] == pytest.approx(0.015, rel=0.15)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("when", ["before us", "after us"])
def test_an_anyio_group_of_eager_tasks_is_followed(book: Book, when: str) -> None:
    """anyio makes such tasks past the loop's factory; their names stay the application's."""
    eager: Any = asyncio.eager_task_factory  # type: ignore[attr-defined]
    names: list[str] = []

    async def child() -> None:
        task: Any = asyncio.current_task()
        names.append(task.get_coro().__qualname__ + task.get_name())
        await later(book, 0.01)

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            group.start_soon(child)

    async def main() -> None:
        if when == "before us":
            asyncio.get_running_loop().set_task_factory(eager)
        book.clock.follow_loop()
        asyncio.get_running_loop().set_task_factory(eager)
        await work()
        await book.span(work())

    with asyncio.Runner() as runner:
        runner.run(main())

    assert book.seconds()["job"] == pytest.approx(book.burned_seconds / 2, rel=0.15)
    assert names[:2] == names[2:]


def test_a_block_left_open_in_a_generator_is_not_charged_once_another_task_has_closed_it(
    book: Book, loop: Loop
) -> None:
    """What its former task does afterwards is that task's own again."""

    async def numbers() -> AsyncGenerator[int, None]:
        async with book.track("generator"):
            burn(0.01)
            yield 1

    async def work() -> None:
        stream = numbers()
        assert await anext(stream) == 1
        await asyncio.create_task(stream.aclose())
        for _ in range(4):
            burn(0.01)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(book.span(work()))
    seconds = book.seconds()

    assert seconds["generator"] == pytest.approx(0.01, rel=0.2)
    assert seconds["job"] == pytest.approx(0.04, rel=0.2)


def test_a_tracked_generator_is_booked_its_own_whoever_takes_from_it_and_ends_it(book: Book, loop: Loop) -> None:
    """Each item by another task, the end by the garbage collector."""

    @book.track("numbers")
    async def numbers() -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                burn(0.005)
                await asyncio.sleep(0)
                yield number
        finally:
            burn(0.01)

    async def main() -> None:
        stream = numbers()

        async def take(stream: AsyncGenerator[int, None]) -> None:
            await anext(stream)
            burn(0.01)

        for _ in range(3):
            await asyncio.create_task(take(stream))
        del stream
        gc.collect()
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(beside_a_neighbour(main()))

    assert book.seconds()["numbers"] == pytest.approx(0.025, rel=0.15)


def test_a_finished_thread_is_freed_at_once(book: Book) -> None:
    """As without us: it does not wait for the garbage collector."""
    threads: list[weakref.ref[threading.Thread]] = []

    async def work() -> None:
        thread = threading.Thread(target=int)
        thread.start()
        await asyncio.to_thread(thread.join)
        threads.append(weakref.ref(thread))

    asyncio.run(book.span(work()))

    assert threads[0]() is None


def test_a_loops_task_factory_looks_as_the_application_left_it(book: Book, loop: Loop) -> None:
    """Ours stands before it, unseen, through set, get, None, what is refused, and a second measuring."""
    made: list[str] = []

    def theirs(running: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=running, **options)

    async def work() -> None:
        await asyncio.create_task(later(book, 0.01))

    async def main() -> None:
        running: Any = asyncio.get_running_loop()
        for _ in range(3):
            book.clock.start()
            book.clock.follow_loop()
            assert running.get_task_factory() is None
            running.set_task_factory(theirs)
            assert running.get_task_factory() is theirs
            with pytest.raises(TypeError):
                running.set_task_factory(5)
            await book.span(work())
            running.set_task_factory(None)
            await book.span(work())
            book.cut()
            book.clock.stop()
        await asyncio.create_task(later(book, 0.01))

    book.clock.stop()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())

    assert made == ["later"] * 3
    assert book.seconds()["job"] == pytest.approx(0.06, rel=0.15)
