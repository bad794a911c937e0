"""arq: a real worker over a real Redis, each job's runs, CPU and outcomes under its own name."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arq import create_pool, func
from arq.connections import RedisSettings

from carbon_sdk.integrations.arq import measured
from tests.integrations import arq_app as app
from tests.integrations.worker import Records, Worker


async def run_all(url: str) -> None:
    """Every job of the app through the queue, some of them at once, until all have ended."""
    pool = await create_pool(RedisSettings.from_dsn(url), default_queue_name="tests")
    jobs = [
        *[await pool.enqueue_job("overlapping", 0.1) for _ in range(3)],
        *[await pool.enqueue_job(name) for name in ("waiting", "waiting", "children", "again", "failing", "too_long")],
    ]
    aborted = await pool.enqueue_job("endless")
    assert aborted is not None
    while await pool.get(aborted.job_id) is None:
        await asyncio.sleep(0.02)
    assert await aborted.abort()
    for job in jobs:
        assert job is not None
        await asyncio.gather(job.result(timeout=30), return_exceptions=True)
    last = await pool.enqueue_job("long_step", 0.5)
    assert last is not None
    await last.result(timeout=30)
    await pool.aclose()


@pytest.fixture(scope="module")
def worker(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(
        ["arq", "tests.integrations.arq_app.WorkerSettings"],
        folder=tmp_path_factory.mktemp("arq"),
        environment={"REDIS_URL": redis_server, "CARBON_SDK_SAMPLE_INTERVAL_SECONDS": "0.2"},
    )
    yield worker
    worker.kill()


@pytest.fixture(scope="module")
def records(worker: Worker, redis_server: str) -> Records:
    asyncio.run(run_all(redis_server))
    return worker.stop()


def test_jobs_that_overlap_keep_their_own_cpu(records: Records) -> None:
    """Three that compute in turns and two that only wait, all at once in one loop."""
    assert records.cpu_seconds("tests overlapping") == pytest.approx(0.3, rel=0.1)
    assert records.cpu_seconds("tests waiting") < 0.03
    assert records.ends("tests overlapping") == {"requests": 3}


def test_what_a_job_starts_is_the_jobs(records: Records) -> None:
    """A thread, a child task, a step of several windows; a span inside counts to it."""
    assert records.cpu_seconds("tests children") == pytest.approx(0.1, rel=0.15)
    assert records.cpu_seconds("inner") == pytest.approx(0.05, rel=0.15)
    assert {record.root for record in records["inner"]} == {"tests children"}
    assert records.cpu_seconds("tests long_step") == pytest.approx(0.5, rel=0.1)
    assert not any(record.approximate for record in records.all)


def test_how_runs_ended_is_counted(records: Records) -> None:
    """Done at the third try, failed, out of time, aborted; a cron job counts like any other."""
    assert records.ends("tests again") == {"requests": 3, "errors": 2, "retries": 2}
    assert records.ends("tests failing") == {"requests": 1, "errors": 1}
    assert records.ends("tests too_long") == {"requests": 1, "errors": 1, "timeouts": 1}
    assert records.ends("tests endless") == {"requests": 1, "errors": 1, "cancelled": 1}
    assert records.ends("tests cron:at_start") == {"requests": 1}


def test_the_applications_own_hooks_run(records: Records, worker: Worker) -> None:
    """Its start hook has greeted the cron job, and its stop hook has said goodbye."""
    assert "goodbye" in worker.output
    assert "AssertionError" not in worker.output


def test_the_example_runs(redis_server: str, tmp_path: Path) -> None:
    """One job under arq's own queue, with its joules."""
    worker = Worker(
        ["arq", "examples.arq_worker.WorkerSettings"], folder=tmp_path, environment={"REDIS_URL": redis_server}
    )

    async def send() -> int:
        pool = await create_pool(RedisSettings.from_dsn(redis_server))
        job = await pool.enqueue_job("squares", 1_000_000)
        assert job is not None
        total: int = await job.result(timeout=30)
        await pool.aclose()
        return total

    try:
        assert asyncio.run(send()) == sum(number * number for number in range(1_000_000))
        records = worker.stop()
    finally:
        worker.kill()

    assert records.ends("arq:queue squares") == {"requests": 1}
    assert records.energy_joules("arq:queue squares") > 0.0


def test_a_dictionary_of_settings_is_measured_too() -> None:
    """Names, time limits and everything else of a function stay what they were."""
    given: dict[str, Any] = {"functions": [app.waiting, func(app.endless, name="other", timeout=3)], "max_jobs": 5}

    settings = measured(given)

    plain, named = settings["functions"]
    assert (plain.name, plain.timeout_s, plain.coroutine.__qualname__) == ("waiting", None, "waiting")
    assert (named.name, named.timeout_s) == ("other", 3)
    assert settings["max_jobs"] == 5


def test_without_arq_the_import_says_what_to_install() -> None:
    """The exact words for pip."""
    code = "import sys; sys.modules['arq'] = None; import carbon_sdk.integrations.arq"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr

    assert 'pip install "carbon-sdk[arq]"' in said
