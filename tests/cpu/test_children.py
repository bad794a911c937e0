"""Child processes: what they use is booked to the span that started them, and the app sees nothing of it."""

import asyncio
import contextlib
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import uvloop

from carbon_sdk.cpu.accounts import Account, Use
from carbon_sdk.cpu.clock import THREAD, Tally
from tests.cpu.book import JOB, Book

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("no_collection"),
    pytest.mark.skipif(sys.platform != "linux", reason="children are read by Linux's own calls"),
]
OTHER_JOB = Account("worker", "other job", "other job")
BURN = """
import sys, time
end = time.process_time() + float(sys.argv[1])
while time.process_time() < end:
    pass
print(time.process_time())
"""
SECONDS = 0.1
END_SECONDS = 0.02  # what a child uses after it has told its figure, and before


def command(seconds: float = SECONDS) -> list[str]:
    """A child that burns its CPU and prints how much it has used in all."""
    return [sys.executable, "-S", "-E", "-c", BURN, str(seconds)]


def shell(seconds: float = SECONDS) -> str:
    """A shell that starts the child as its own and waits for it."""
    return f"{sys.executable} -S -E -c '{BURN}' {seconds}; true"


async def by_asyncio() -> float:
    process = await asyncio.create_subprocess_exec(*command(), stdout=subprocess.PIPE)
    shown, _ = await process.communicate()
    return float(shown)


async def by_a_shell() -> float:
    process = await asyncio.create_subprocess_shell(shell(), stdout=subprocess.PIPE)
    shown, _ = await process.communicate()
    return float(shown)


async def by_anyio() -> float:
    return float((await anyio.run_process(command())).stdout)


async def in_a_thread() -> float:
    done = await asyncio.to_thread(subprocess.run, command(), stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


async def in_an_anyio_thread() -> float:
    return float(await anyio.to_thread.run_sync(subprocess.check_output, command()))


async def inline() -> float:
    return float(subprocess.run(command(), stdout=subprocess.PIPE, check=True).stdout)


async def polled() -> float:
    with subprocess.Popen(command(), stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            await asyncio.sleep(0.005)
        assert process.stdout is not None
        return float(process.stdout.read())


async def in_a_child_task() -> float:
    return await asyncio.create_task(by_asyncio())


WAYS = [by_asyncio, by_a_shell, by_anyio, in_a_thread, in_an_anyio_thread, inline, polled, in_a_child_task]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
async def test_a_childs_cpu_is_booked_once_to_the_span_that_started_it(
    book: Book, way: Callable[[], Awaitable[float]]
) -> None:
    """However it is started and waited for; and the process's own figure holds it, or it would be the machine's too."""
    told = await book.span(way())
    accounts = book.cut()

    assert told >= SECONDS
    assert told <= book.children_seconds <= told + END_SECONDS
    assert accounts[JOB].cpu_seconds >= told
    assert not accounts[JOB].approximate


async def test_children_of_overlapping_spans_are_not_mixed(book: Book) -> None:
    """Each span is booked its own, though they end in each other's time."""

    async def run(seconds: float) -> None:
        await anyio.run_process(command(seconds))

    await asyncio.gather(book.span(run(0.05)), book.span(run(0.2), OTHER_JOB))
    accounts = book.cut()

    assert 0.05 <= accounts[JOB].cpu_seconds <= 0.05 + 2 * END_SECONDS
    assert 0.2 <= accounts[OTHER_JOB].cpu_seconds <= 0.2 + 2 * END_SECONDS


@pytest.mark.parametrize("through_a_shell", [False, True])
async def test_a_child_that_outlives_a_window_is_booked_window_by_window(book: Book, through_a_shell: bool) -> None:
    """What it and its descendants have used so far belongs to the window that closes; nothing is booked twice."""
    parts: list[float] = []

    async def run() -> float:
        argv = ["sh", "-c", shell(0.3)] if through_a_shell else command(0.3)
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        reading = asyncio.ensure_future(process.communicate())
        while not reading.done():
            await asyncio.wait([reading], timeout=0.1)
            parts.append(book.cut().get(JOB, Use()).cpu_seconds)
        shown, _ = await reading
        return float(shown)

    told = await book.span(run())
    book.cut()

    assert len(parts) >= 3
    assert sum(parts[:-1]) > 0.02
    assert told <= book.children_seconds <= told + END_SECONDS


async def test_a_child_started_outside_spans_is_nobodys(book: Book) -> None:
    """It is the rest of the machine's, as any other process."""
    await anyio.run_process(command(0.05))
    accounts = book.cut()

    assert JOB not in accounts
    assert book.children_seconds < 0.01


async def test_a_child_that_its_span_does_not_wait_for_is_still_its_own(book: Book) -> None:
    """As a task that outlives its span is."""
    process = await book.span(asyncio.create_subprocess_exec(*command(0.05), stdout=subprocess.PIPE))
    first = book.cut()[JOB].cpu_seconds
    shown, _ = await process.communicate()

    assert first + book.cut()[JOB].cpu_seconds >= float(shown)


def test_a_span_shows_its_childs_cpu_at_once() -> None:
    """Before any window has closed."""
    from carbon_sdk import Carbon, track
    from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink

    sink = RecordingSink()
    with Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks={"record": sink}):
        with track("job") as span:
            told = float(subprocess.check_output(command()))
        shown = span.cpu_seconds

    assert shown is not None
    assert shown >= told
    booked = sum(emission.cpu_seconds or 0.0 for emission in sink.emissions if emission.name == "job")
    assert booked == pytest.approx(span.cpu_seconds)


async def test_a_child_that_measures_itself_is_booked_by_itself_alone(book: Book) -> None:
    """From where its own account begins: what it used before then nobody else has."""
    code = """
import sys, time
from carbon_sdk import Carbon, track
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink
sink = RecordingSink()
before = time.process_time()
with Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks={"record": sink}), track("child"):
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
print(before)
"""
    run = asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True, capture_output=True)
    before = float((await book.span(run)).stdout)
    booked = book.cut()[JOB].cpu_seconds

    assert before <= booked < before + 0.15


async def test_a_child_reaped_behind_our_back_is_marked(book: Book) -> None:
    """What it used since the last look is not known; its account says that its figure is not exact."""

    async def run() -> None:
        process = subprocess.Popen(command(0.05))
        os.waitpid(process.pid, 0)
        assert process.wait() == 0

    await book.span(run())
    accounts = book.cut()

    assert accounts[JOB].approximate


@pytest.mark.parametrize("measured", [False, True])
async def test_the_app_sees_every_end_as_it_was(book: Book, measured: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Codes, signals, time limits, a child that somebody else reaps, a command that is not there."""

    async def seen() -> list[Any]:
        ends: list[Any] = [subprocess.run(["sh", "-c", "exit 3"], check=False).returncode]
        killed = await asyncio.create_subprocess_exec("sleep", "60")
        killed.send_signal(signal.SIGTERM)
        ends.append(await killed.wait())
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(subprocess.run, ["sleep", "60"], timeout=0.05)
        with pytest.raises(FileNotFoundError):
            subprocess.Popen(["no-such-command"])
        with pytest.raises(subprocess.CalledProcessError) as failed:
            await anyio.run_process(["false"])
        ends.append(failed.value.returncode)
        stolen = subprocess.Popen(["true"])
        ends.append(os.waitpid(stolen.pid, 0)[1])
        ends.append((stolen.poll(), stolen.wait(), stolen.returncode))
        lost = await asyncio.create_subprocess_exec("sleep", "0.1")
        await asyncio.to_thread(_steal, lost.pid)
        ends.append(await lost.wait())
        return ends

    work = seen()
    ends = await book.span(work) if measured else await work

    assert ends == [3, -signal.SIGTERM, 1, 0, (0, 0, 0), ends[-1]]
    assert ends[-1] in (0, 255)  # whoever is first
    assert (ends[-1] == 255) == any("255" in record.getMessage() for record in caplog.records)


def _steal(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("way", [by_asyncio, by_a_shell, by_anyio], ids=lambda way: str(way.__name__))
def test_a_child_of_uvloop_is_booked_up_to_the_last_look_and_marked(
    book: Book, way: Callable[[], Awaitable[float]], measured: bool
) -> None:
    """uvloop reaps it in C: what it used after the last cut is not known. The application sees its end as before."""
    parts: list[float] = []

    async def cut_meanwhile() -> None:
        while True:
            await asyncio.sleep(0.02)
            parts.append(book.cut().get(JOB, Use()).cpu_seconds)

    async def main() -> float:
        cutting = asyncio.ensure_future(cut_meanwhile())
        told = float(await (book.span(way()) if measured else way()))
        cutting.cancel()
        return told

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told = runner.run(main())
    last = book.cut().get(JOB, Use())
    booked = sum(parts) + last.cpu_seconds

    assert told >= SECONDS
    assert book.children_seconds <= told + END_SECONDS
    if measured:
        assert 0.02 <= booked <= told + END_SECONDS
        assert any(use.approximate for cut in book.cuts for use in cut.accounts.values())
    else:
        assert booked == 0.0


async def test_the_wrapped_names_look_as_they_did(book: Book) -> None:
    """Signatures, documentation and subclasses of `Popen` are those of the library."""

    class Mine(subprocess.Popen[bytes]):
        """An application's own."""

    assert "bufsize" in inspect.signature(subprocess.Popen).parameters
    assert subprocess.Popen.__init__.__doc__ == "Create new Popen instance."
    with Mine(["true"]) as process:
        assert process.wait() == 0


async def test_threads_that_wait_for_one_child_book_it_once(book: Book) -> None:
    """Each of them sees its end."""
    codes: list[int] = []

    async def run() -> None:
        process = subprocess.Popen(command(0.05), stdout=subprocess.DEVNULL)
        threads = [threading.Thread(target=lambda: codes.append(process.wait())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)

    await book.span(run())
    book.cut()

    assert codes == [0, 0, 0, 0]
    assert 0.05 <= book.children_seconds <= 0.05 + END_SECONDS


def test_a_stopped_clock_follows_no_child() -> None:
    """Nothing is kept of a child that nobody will ever ask for."""
    from carbon_sdk.cpu import children

    book = Book()
    book.clock.stop()
    tally = Tally(JOB, book.clock.touched, THREAD.slot)
    children.started(1, tally)

    assert book.clock.used_ns(tally) == 0
    assert book.cut() == {}
