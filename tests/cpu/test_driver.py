"""Driving a coroutine: everything passes through, and each step is booked once."""

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.cpu.clock import LONG_NS, STALE_NS, THREAD, Account, Clock, Tally, drive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_collection")]
JOB = Account("worker", "job", "job")


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock(on_error=lambda where, exc: pytest.fail(f"{where}: {exc!r}"))
    clock.start()
    clock.cut()
    yield clock
    clock.stop()


async def driven(clock: Clock, coro: Any) -> Any:
    clock.follow_loop()
    tally = Tally(JOB, clock.touched, THREAD.slot)
    try:
        return await drive(coro, tally)
    finally:
        tally.ended = True
        tally.touch()


def cpu(clock: Clock) -> float:
    cut = clock.cut()
    assert sum(use.cpu_seconds for use in cut.accounts.values()) <= cut.process_cpu_seconds + 0.002
    return cut.accounts[JOB].cpu_seconds if JOB in cut.accounts else 0.0


async def test_values_and_context_pass_through(clock: Clock) -> None:
    """What the coroutine returns, and the context variables it sets, are as without us."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def work() -> str:
        variable.set(5)
        await asyncio.sleep(0)
        return "done"

    assert await driven(clock, work()) == "done"
    assert variable.get() == 5


async def test_exceptions_before_and_after_a_suspension_pass_through(clock: Clock) -> None:
    """With their own traceback."""

    async def early() -> None:
        raise KeyError("early")

    async def late() -> None:
        await asyncio.sleep(0)
        raise KeyError("late")

    for work in (early, late):
        with pytest.raises(KeyError):
            await driven(clock, work())
    assert THREAD.slot.owner is None


async def test_cancellation_is_seen_inside_and_its_cleaning_up_is_booked(clock: Clock) -> None:
    """A step that is resumed by throw is a step like any other."""
    seen = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            burn(0.02)
            seen.append("cleaned up")
            raise

    task = asyncio.ensure_future(driven(clock, work()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert seen == ["cleaned up"]
    assert cpu(clock) == pytest.approx(0.02, rel=0.3)


async def test_a_caught_timeout_goes_on(clock: Clock) -> None:
    """The coroutine may survive what is thrown in."""

    async def work() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            pass
        await asyncio.sleep(0)
        return "survived"

    assert await driven(clock, work()) == "survived"


async def test_closing_reaches_the_coroutine(clock: Clock) -> None:
    """`finally` runs when a suspended coroutine is thrown away."""
    closed = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            closed.append(True)

    coro = driven(clock, work())
    coro.send(None)
    coro.close()

    assert closed == [True]


async def test_sibling_tasks_outside_are_not_charged(clock: Clock) -> None:
    """Two tasks take turns; only the driven one's steps count."""

    async def work() -> None:
        for _ in range(10):
            burn(0.002)
            await asyncio.sleep(0)

    await asyncio.gather(driven(clock, work()), work())

    assert cpu(clock) == pytest.approx(0.02, rel=0.3)


async def test_a_step_longer_than_a_window_is_cut(clock: Clock) -> None:
    """What a running step has used so far belongs to the window that closes; nothing is booked twice."""
    parts: list[float] = []
    begun = threading.Event()

    def cut_meanwhile() -> None:
        begun.wait()
        time.sleep(0.05)
        parts.append(cpu(clock))

    thread = threading.Thread(target=cut_meanwhile)
    thread.start()

    async def work() -> None:
        begun.set()
        burn(0.15)

    await driven(clock, work())
    thread.join()
    parts.append(cpu(clock))

    assert parts[0] > 0.01
    assert sum(parts) == pytest.approx(0.15, rel=0.1)


async def test_cpu_outside_spans_does_not_loosen_the_clamp(clock: Clock) -> None:
    """Work between requests is the background's."""
    for _ in range(5):

        async def work() -> None:
            burn(0.004)

        burn(0.02)
        await driven(clock, work())

    assert cpu(clock) == pytest.approx(0.02, rel=0.25)


class Hands:
    """Two clocks that a test moves: the wall's and a thread's, from where the real ones are."""

    def __init__(self) -> None:
        self.wall_ns = time.monotonic_ns()
        self.cpu_ns = time.thread_time_ns()

    def use(self, nanoseconds: int, *, waiting_ns: int = 0) -> None:
        """Use the CPU, and wait for it."""
        self.cpu_ns += nanoseconds
        self.wall_ns += nanoseconds + waiting_ns


@given(
    step_ns=st.integers(10_000, 1_000_000),
    others_ns=st.integers(0, 500_000),
    every=st.integers(1, 20),
    waiting_ns=st.integers(LONG_NS, 20_000_000),
)
def test_a_step_that_waits_for_its_core_is_charged_little_more_than_it_used(
    step_ns: int, others_ns: int, every: int, waiting_ns: int
) -> None:
    """However long it waits, and however much nobody's work was done before it: at most a reading's age."""
    count = 40

    def measured() -> int:
        hands = Hands()
        clock = Clock(on_error=lambda *_: None, monotonic_ns=lambda: hands.wall_ns, thread_time_ns=lambda: hands.cpu_ns)
        clock.start()
        tally = Tally(JOB, clock.touched, THREAD.slot)

        async def steps() -> None:
            for number in range(count):
                hands.use(step_ns, waiting_ns=waiting_ns if number % every == 0 else 0)
                await asyncio.sleep(0)

        async def nobodys() -> None:
            for _ in range(count):
                hands.use(others_ns)
                await asyncio.sleep(0)

        async def both() -> None:
            await asyncio.gather(drive(steps(), tally), nobodys())

        try:
            asyncio.run(both())
            return tally.total_ns
        finally:
            clock.stop()

    with ThreadPoolExecutor(1) as pool:  # its slot goes by these clocks, and ends with it
        booked_ns = pool.submit(measured).result()

    waits = -(-count // every)
    assert count * step_ns <= booked_ns <= count * step_ns + waits * STALE_NS


async def test_child_tasks_keep_their_names_and_their_owner(clock: Clock) -> None:
    """Also those that outlive the coroutine that made them."""
    names = []

    async def child() -> None:
        await asyncio.sleep(0.01)
        burn(0.01)

    left: list[asyncio.Task[None]] = []

    async def work() -> None:
        task = asyncio.create_task(child(), name="mine")
        names.append((task.get_name(), task.get_coro().__qualname__))  # type: ignore[union-attr]
        left.append(task)

    await driven(clock, work())
    await left[0]

    assert names[0][0] == "mine"
    assert names[0][1].endswith("child")
    assert cpu(clock) == pytest.approx(0.01, rel=0.4)


def test_accounts_of_unknown_names_are_bounded() -> None:
    """What comes after the limit is `other`; names from the app's own routes keep their place."""
    clock = Clock(maximum_accounts=10, on_error=lambda where, exc: None)
    names = {clock.account(Account("span", "x", str(number))).name for number in range(100)}

    assert len(names) == 11
    assert "other" in names
    route = Account("request", "GET /", "GET /")
    assert clock.account(route, known=True) is route


def test_finished_tallies_are_not_kept() -> None:
    """Memory after many requests is as after few."""
    clock = Clock(on_error=lambda where, exc: None)
    for _ in range(1000):
        tally = Tally(JOB, clock.touched, THREAD.slot)
        tally.ended = True
        tally.touch()
    clock.cut()

    assert clock.touched == deque()
