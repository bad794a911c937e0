"""What a span hands to its loop: timers, calls from other threads, callbacks of files."""

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.cpu.book import JOB, Book, Loop, burn

pytestmark = pytest.mark.usefixtures("no_collection")


def run(loop: Loop, main: Coroutine[Any, Any, None], *, debug: bool = False) -> None:
    with asyncio.Runner(loop_factory=loop, debug=debug) as runner:
        runner.run(main)


def test_timers_are_booked_to_the_span_that_set_them_also_after_its_end(book: Book, loop: Loop) -> None:
    """`call_later`, `call_at`, and a timer that a timer sets; what others set meanwhile is not."""

    async def work() -> None:
        running = asyncio.get_running_loop()
        running.call_later(0.005, book.burn, 0.01)
        running.call_at(running.time() + 0.005, book.burn, 0.01)
        running.call_later(0.005, running.call_later, 0.005, book.burn, 0.01)
        await asyncio.sleep(0.001)

    async def main() -> None:
        await book.span(work())
        asyncio.get_running_loop().call_later(0.005, burn, 0.01)
        await asyncio.sleep(0.06)

    run(loop, main())

    assert book.seconds()["job"] == pytest.approx(book.burned_seconds, rel=0.1)
    assert book.burned_seconds > 0.029


def test_a_connections_timer_is_not_the_spans_in_which_it_was_set(book: Book, loop: Loop) -> None:
    """A server sets its keep-alive timer while it sends the last byte of a response."""

    class Connection(asyncio.Protocol):
        def keep_alive_is_over(self) -> None:
            burn(0.01)

    async def main() -> None:
        connection = Connection()

        async def work() -> None:
            asyncio.get_running_loop().call_later(0.001, connection.keep_alive_is_over)
            await asyncio.sleep(0.02)

        await book.span(work())

    run(loop, main())

    assert book.seconds()["job"] < 0.005


def test_a_timer_can_be_cancelled_and_looks_as_it_did(book: Book, loop: Loop) -> None:
    """Its handle is the loop's own, named after the application's function."""
    shown: list[str] = []

    async def work() -> None:
        await asyncio.wait_for(asyncio.sleep(0.001), 10)
        handle = asyncio.get_running_loop().call_later(0.001, burn, 0.01)
        shown.append(repr(handle))
        handle.cancel()
        await asyncio.sleep(0.005)
        assert handle.cancelled()

    run(loop, book.span(work()))

    assert "burn" in shown[0]
    assert book.seconds()["job"] < 0.005


def test_calls_from_a_spans_thread_are_the_spans(book: Book, loop: Loop) -> None:
    """`call_soon_threadsafe`, and a coroutine that `run_coroutine_threadsafe` gives to the loop."""

    async def main() -> None:
        running = asyncio.get_running_loop()

        async def later() -> None:
            book.burn(0.01)
            await asyncio.sleep(0)
            book.burn(0.01)

        def in_thread() -> None:
            called = threading.Event()

            def call() -> None:
                book.burn(0.01)
                called.set()

            running.call_soon_threadsafe(call)
            called.wait()
            asyncio.run_coroutine_threadsafe(later(), running).result()

        await book.span(asyncio.to_thread(in_thread))

    run(loop, main())

    assert book.seconds()["job"] == pytest.approx(book.burned_seconds, rel=0.1)
    assert book.burned_seconds > 0.029


def test_a_files_callback_is_its_spans_until_the_span_ends(book: Book, loop: Loop) -> None:
    """A connection that a span opened serves others after it."""

    async def main() -> None:
        running = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        arrived: list[bytes] = []
        burning = book.burn

        def read() -> None:
            arrived.append(ours.recv(1))
            burning(0.01)

        async def work() -> None:
            running.add_reader(ours, read)
            theirs.send(b"x")
            while not arrived:
                await asyncio.sleep(0.001)

        with ours, theirs:
            ours.setblocking(False)
            await book.span(work())
            burning = burn
            theirs.send(b"x")
            while len(arrived) < 2:
                await asyncio.sleep(0.001)
            running.remove_reader(ours)

    run(loop, main())

    assert book.seconds()["job"] == pytest.approx(book.burned_seconds, rel=0.2)


@pytest.mark.parametrize("measured", [False, True])
def test_what_the_loop_refuses_it_still_refuses(book: Book, measured: bool) -> None:
    """Debug mode's check of coroutine functions, a callback that is none, one that is missing."""
    raised: list[type[BaseException]] = []

    async def coroutine() -> None:
        pass

    async def work() -> None:
        running: Any = asyncio.get_running_loop()
        for arguments in ((0.001, coroutine), (0.001, None), (0.001,)):
            try:
                running.call_later(*arguments)
            except TypeError as exc:
                raised.append(type(exc))

    run(asyncio.new_event_loop, book.span(work()) if measured else work(), debug=True)

    assert raised == [TypeError] * 3


def test_what_goes_to_call_soon_is_the_backgrounds(book: Book, loop: Loop) -> None:
    """Also a callback of a future; each step of each task goes the same way, and would pay for it."""

    async def work() -> None:
        running = asyncio.get_running_loop()
        done = running.create_future()
        done.add_done_callback(lambda _: burn(0.01))
        running.call_soon(burn, 0.01)
        done.set_result(None)
        await asyncio.sleep(0.01)

    run(loop, book.span(work()))

    assert book.seconds()["job"] < 0.005


def test_a_callback_that_cannot_be_looked_at_is_called_all_the_same(book: Book, loop: Loop) -> None:
    """Its figure is missing, which is told and marked."""

    class Shy:
        """Raises when asked for anything but a call."""

        called = False

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("do not look at me")

        def __call__(self) -> None:
            type(self).called = True

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.001, Shy())
        await asyncio.sleep(0.005)

    run(loop, book.span(work()))

    assert Shy.called
    assert [where for where, _ in book.errors] == ["cpu.callbacks"]
    book.errors.clear()
    assert book.cut()[JOB].approximate


@pytest.mark.parametrize("measured", [False, True])
def test_an_error_in_a_callback_is_told_as_before(
    book: Book, loop: Loop, measured: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop's exception handler gets the application's error, and the name of its function."""

    def fail() -> None:
        raise KeyError("in a timer")

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.001, fail)
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR, logger="asyncio"):
        run(loop, book.span(work()) if measured else work())
    (record,) = caplog.records

    assert "fail" in record.getMessage()
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "KeyError('in a timer')"
