"""RQ: real workers over a real Redis, each job's runs, CPU and outcomes under its own name."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue, Retry
from rq.job import Job

from tests.integrations.worker import ROOT, Records, Worker

APP = "tests.integrations.rq_app."
ENDED = ("finished", "failed")


def worker(kind: str, queue: str, *, folder: Path, url: str) -> Worker:
    words = ["--url", url, "--worker-class", f"carbon_sdk.integrations.rq.{kind}", queue]
    return Worker(["rq.cli", "worker", *words], folder=folder, environment={"REDIS_URL": url})


def wait(jobs: list[Job]) -> None:
    end = time.monotonic() + 60
    while any(job.get_status(refresh=True) not in ENDED for job in jobs):
        assert time.monotonic() < end, [job.get_status() for job in jobs]
        time.sleep(0.05)


@pytest.fixture(scope="module", params=["CarbonWorker", "CarbonSpawnWorker", "CarbonSimpleWorker"])
def records(
    request: pytest.FixtureRequest, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Records]:
    with Redis.from_url(redis_server) as redis:
        queue = Queue("tests", connection=redis)
        one = worker(request.param, "tests", folder=tmp_path_factory.mktemp("rq"), url=redis_server)
        try:
            jobs = [queue.enqueue(f"{APP}burning", 0.1), queue.enqueue(f"{APP}waiting", 0.1)]
            jobs += [queue.enqueue(f"{APP}failing", retry=Retry(max=1)), queue.enqueue(f"{APP}burning", 0.1)]
            jobs += [queue.enqueue(f"{APP}too_long", job_timeout=1)]
            wait(jobs)
            yield one.stop()
        finally:
            one.kill()


def test_each_job_has_its_own_cpu(records: Records) -> None:
    """In a work-horse that ends past the interpreter's exit, in a process of its own, in the worker itself."""
    assert records.ends(f"tests {APP}burning") == {"requests": 2}
    assert records.cpu_seconds(f"tests {APP}burning") == pytest.approx(0.1, rel=0.2)
    assert records.cpu_seconds("inner") == pytest.approx(0.1, rel=0.1)
    assert {record.root for record in records["inner"]} == {f"tests {APP}burning"}
    assert records.cpu_seconds(f"tests {APP}waiting") == pytest.approx(0.04, rel=0.3)
    assert records.energy_joules(f"tests {APP}burning") > 0.0


def test_how_runs_ended_is_counted(records: Records) -> None:
    """Failed and run again, out of time."""
    assert records.ends(f"tests {APP}failing") == {"requests": 2, "errors": 2, "retries": 1}
    assert records.ends(f"tests {APP}too_long") == {"requests": 1, "errors": 1, "timeouts": 1}


def test_the_example_runs(redis_server: str, tmp_path: Path) -> None:
    """One job, sent by the example itself, with its joules."""
    one = worker("CarbonWorker", "sums", folder=tmp_path, url=redis_server)
    try:
        subprocess.run([sys.executable, "-m", "examples.rq_worker"], env=one.environment, cwd=ROOT, check=True)
        one.wait_for("Job OK")
        records = one.stop()
    finally:
        one.kill()

    assert records.ends("sums examples.rq_worker.squares") == {"requests": 1}
    assert records.energy_joules("sums examples.rq_worker.squares") > 0.0


def test_without_rq_the_import_says_what_to_install() -> None:
    """The exact words for pip."""
    code = "import sys; sys.modules['rq'] = None; import carbon_sdk.integrations.rq"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr

    assert 'pip install "carbon-sdk[rq]"' in said
