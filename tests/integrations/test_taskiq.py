"""taskiq: a real worker over a real Redis, each task's runs, CPU and outcomes under its own name."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from taskiq import AsyncTaskiqTask, InMemoryBroker, SendTaskError, TaskiqMessage, TaskiqMiddleware
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from carbon_sdk import Carbon, track
from carbon_sdk.integrations.taskiq import CarbonTaskiqMiddleware
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink
from tests.integrations import taskiq_app as app
from tests.integrations.worker import ROOT, Records, Worker


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def run_all(url: str) -> None:
    """Every task of the app through the queue, some of them at once, until all have ended."""
    broker = RedisStreamBroker(url, queue_name="tests").with_result_backend(RedisAsyncResultBackend(url))
    await broker.startup()
    jobs: list[AsyncTaskiqTask[None]] = [
        *[await app.overlapping.kicker().with_broker(broker).kiq(0.1) for _ in range(3)],
        *[await app.waiting.kicker().with_broker(broker).kiq() for _ in range(2)],
        await app.nested.kicker().with_broker(broker).kiq(),
        await app.in_a_thread.kicker().with_broker(broker).kiq(0.1),
        await app.failing.kicker().with_broker(broker).kiq(),
        await app.too_long.kicker().with_broker(broker).kiq(),
        await app.cancelling.kicker().with_broker(broker).kiq(),
    ]
    await asyncio.gather(*(job.wait_result(timeout=30) for job in jobs))
    await (await app.long_step.kicker().with_broker(broker).kiq(0.5)).wait_result(timeout=30)
    await broker.shutdown()


@pytest.fixture(scope="module")
def records(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    worker = Worker(
        ["taskiq", "worker", "tests.integrations.taskiq_app:broker", "--workers", "1"],
        folder=tmp_path_factory.mktemp("taskiq"),
        environment={"REDIS_URL": redis_server, "CARBON_SDK_SAMPLE_INTERVAL_SECONDS": "0.2"},
    )
    try:
        asyncio.run(run_all(redis_server))
        yield worker.stop()
    finally:
        worker.kill()


def test_jobs_that_overlap_keep_their_own_cpu(records: Records) -> None:
    """Three that compute in turns and two that only wait, all at once in one loop."""
    assert records.cpu_seconds("tests overlapping") == pytest.approx(0.3, rel=0.1)
    assert records.cpu_seconds("tests waiting") < 0.03
    assert records.ends("tests overlapping") == {"requests": 3}
    assert records.ends("tests waiting") == {"requests": 2}


def test_a_step_of_several_windows_and_a_thread_are_booked(records: Records) -> None:
    """The worker was forked by taskiq, and sends plain functions to its pool."""
    assert records.cpu_seconds("tests long step") == pytest.approx(0.5, rel=0.1)
    assert records.cpu_seconds("tests in a thread") == pytest.approx(0.1, rel=0.15)
    assert not any(record.approximate for record in records.all)


def test_a_span_in_a_job_counts_to_the_job(records: Records) -> None:
    """Each holds its own CPU; the job is the root of both."""
    assert records.cpu_seconds("inner") == pytest.approx(0.1, rel=0.1)
    assert records.cpu_seconds("tests nested") == pytest.approx(0.05, rel=0.2)
    assert {record.root for record in records["inner"]} == {"tests nested"}


def test_how_runs_ended_is_counted(records: Records) -> None:
    """A task that fails is run three times; one runs out of time; one is cancelled."""
    assert records.ends("tests failing") == {"requests": 3, "errors": 3, "retries": 2}
    assert records.ends("tests too long") == {"requests": 1, "errors": 1, "timeouts": 1}
    assert records.ends("tests cancelling") == {"requests": 1, "errors": 1, "cancelled": 1}


def test_a_worker_that_lives_for_one_task_hands_it_over(redis_server: str, tmp_path: Path) -> None:
    """Two lives, two instances, both jobs in the file."""
    worker = Worker(
        ["taskiq", "worker", "examples.taskiq_worker:broker", "--workers", "1", "--max-tasks-per-child", "1"],
        folder=tmp_path,
        environment={"REDIS_URL": redis_server},
    )
    try:
        worker.wait_for("Listening started")
        for turn in (1, 2):
            subprocess.run(
                [sys.executable, "-m", "examples.taskiq_worker"], env=worker.environment, cwd=ROOT, check=True
            )
            worker.wait_for("Executing task squares", times=turn)
        records = worker.stop()
    finally:
        worker.kill()

    assert records.ends("sums squares") == {"requests": 2}
    assert len({record.instance for record in records["sums squares"]}) == 2
    assert records.energy_joules("sums squares") > 0.0


def in_memory(carbon: Carbon, *more: TaskiqMiddleware) -> InMemoryBroker:
    broker = InMemoryBroker(await_inplace=True)
    broker.add_middlewares(CarbonTaskiqMiddleware(carbon=carbon), *more)
    return broker


def measured(sink: RecordingSink) -> Carbon:
    return Carbon(
        meters=[FakeMeter(20.0)],
        provider=FixedIntensity(100.0),
        sinks={"record": sink},
        emit_interval_seconds=3600,
        first_record_seconds=3600,
    )


@pytest.mark.anyio
async def test_a_job_run_in_place_is_a_span_of_what_runs_it() -> None:
    """The in-memory broker runs jobs where they are sent; what comes after the job is the sender's again."""
    sink = RecordingSink()
    async with measured(sink) as carbon:
        broker = in_memory(carbon)

        @broker.task("job")
        async def job() -> None:
            burn(0.05)

        async with track("sender"):
            await job.kiq()
            burn(0.02)

    by_name = {emission.name: emission for emission in sink.emissions}
    assert by_name["default job"].root == "sender"
    assert by_name["default job"].cpu_seconds == pytest.approx(0.05, rel=0.2)
    assert by_name["sender"].cpu_seconds == pytest.approx(0.02, rel=0.5)
    assert by_name["sender"].requests == 1


@pytest.mark.anyio
async def test_a_run_that_a_middleware_stops_ends_with_its_task() -> None:
    """taskiq calls no hook then; the job is counted as cancelled, and what the task's thread does next is not its."""

    class Stopping(TaskiqMiddleware):
        def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
            raise RuntimeError("no more today")

    sink = RecordingSink()
    async with measured(sink) as carbon:
        broker = in_memory(carbon, Stopping())

        @broker.task("job")
        async def job() -> None:
            """Never reached."""

        sending = asyncio.ensure_future(job.kiq())
        with pytest.raises(SendTaskError):
            await sending
        await asyncio.sleep(0)
        burn(0.02)

    (record,) = [emission for emission in sink.emissions if emission.kind == "worker"]
    assert (record.requests, record.errors, record.cancelled) == (1, 1, 1)
    assert record.cpu_seconds == pytest.approx(0.0, abs=0.01)


def test_without_taskiq_the_import_says_what_to_install() -> None:
    """The exact words for pip."""
    code = "import sys; sys.modules['taskiq'] = None; import carbon_sdk.integrations.taskiq"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr

    assert 'pip install "carbon-sdk[taskiq]"' in said
