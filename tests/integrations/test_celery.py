"""Celery: real workers of each pool over real brokers, each task's runs, CPU and outcomes under its own name."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.integrations.worker import ROOT, Records, Worker

POOLS = {"prefork": ["prefork", "--concurrency", "2"], "threads": ["threads", "--concurrency", "3"], "solo": ["solo"]}
Task = tuple[str, tuple[Any, ...]]
TASKS: list[Task] = [
    *[("burning", (0.2,))] * 3,
    *[("waiting", (0.2,))] * 2,
    *[(name, ()) for name in ("again", "outer", "failing", "too long")],
]


@contextmanager
def worker(name: str, *words: str, folder: Path, broker: str) -> Iterator[Worker]:
    one = Worker(
        ["celery", "-A", name, "worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle", *words],
        folder=folder,
        environment={"BROKER_URL": broker, "CARBON_SDK_SAMPLE_INTERVAL_SECONDS": "0.2"},
    )
    try:
        yield one
    finally:
        one.kill()


def send(broker: str, tasks: list[Task]) -> None:
    with Celery("client", broker=broker) as app:
        for name, arguments in tasks:
            app.send_task(name, arguments, queue="tests")


@pytest.fixture(scope="module", params=list(POOLS))
def records(request: pytest.FixtureRequest, redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Records:
    folder, broker = tmp_path_factory.mktemp("celery"), f"{redis_server}/1"
    words = ["--pool", *POOLS[request.param]]
    with worker("tests.integrations.celery_app:app", *words, folder=folder, broker=broker) as one:
        send(broker, TASKS)
        one.wait_for("succeeded in", times=8)
        one.wait_for("raised unexpected", times=2)
        return one.stop()


def test_each_task_has_its_own_cpu(records: Records) -> None:
    """In children, in threads that overlap, and in the worker itself; a span inside counts to its task."""
    inner = sum(record.cpu_seconds or 0.0 for record in records["inner"] if record.root == "tests burning")
    assert records.cpu_seconds("tests burning") == pytest.approx(0.3, rel=0.3)
    assert inner == pytest.approx(0.3, rel=0.1)
    assert records.cpu_seconds("tests waiting") < 0.05
    assert records.ends("tests burning") == {"requests": 3}
    assert not any(record.approximate for record in records.all)


def test_a_task_that_runs_another_in_place_holds_it(records: Records) -> None:
    """The inner one is a span of the outer one."""
    assert records.ends("tests outer") == {"requests": 1}
    assert {record.root for record in records["celery burning"]} == {"tests outer"}
    assert records.cpu_seconds("tests outer") == pytest.approx(0.04, rel=0.3)


def test_how_runs_ended_is_counted(records: Records) -> None:
    """Done at the third try, failed, out of time."""
    assert records.ends("tests again") == {"requests": 3, "errors": 2, "retries": 2}
    assert records.ends("tests failing") == {"requests": 1, "errors": 1}
    assert records.ends("tests too long") == {"requests": 1, "errors": 1, "timeouts": 1}


def test_a_child_that_lives_for_one_task_hands_it_over(redis_server: str, tmp_path: Path) -> None:
    """Each task in a process of its own; one that is told to end in the middle is cancelled, and handed over too."""
    broker = f"{redis_server}/2"
    words = ["--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "1"]
    with worker("tests.integrations.celery_app:app", *words, folder=tmp_path, broker=broker) as one:
        send(broker, [("burning", (0.1,)), ("told to end", ()), ("burning", (0.1,))])
        one.wait_for("succeeded in", times=2)
        records = one.stop()

    assert records.ends("tests burning") == {"requests": 2}
    assert records.cpu_seconds("tests burning") == pytest.approx(0.1, rel=0.2)
    assert records.energy_joules("tests burning") > 0.0
    assert records.ends("tests told to end") == {"requests": 1, "errors": 1, "cancelled": 1}
    assert len({record.instance for record in records.all if record.kind == "worker"}) == 3


def test_the_example_runs_over_rabbitmq(rabbitmq_server: str, tmp_path: Path) -> None:
    """One task, sent by the example itself, with its joules."""
    with worker("examples.celery_worker", "--concurrency", "1", folder=tmp_path, broker=rabbitmq_server) as one:
        subprocess.run([sys.executable, "-m", "examples.celery_worker"], env=one.environment, cwd=ROOT, check=True)
        one.wait_for("Task squares")
        one.wait_for("succeeded in")
        records = one.stop()

    assert records.ends("celery squares") == {"requests": 1}
    assert records.energy_joules("celery squares") > 0.0


def test_in_a_greenlet_nothing_is_measured_and_it_is_said() -> None:
    """Greenlets take turns in the middle of a task."""
    pytest.importorskip("greenlet", reason="greenlet is not here: pip install greenlet")
    code = (
        "import greenlet; from celery import Celery; from carbon_sdk.integrations.celery import measured\n"
        "app = measured(Celery('shop'))\n"
        "@app.task(name='three')\ndef task(): return 3\n"
        "print(greenlet.greenlet(lambda: task.apply().get()).switch())"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "3\n"
    assert "use the prefork, threads or solo pool" in done.stderr


def test_without_celery_the_import_says_what_to_install() -> None:
    """The exact words for pip."""
    code = "import sys; sys.modules['celery'] = None; import carbon_sdk.integrations.celery"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr

    assert 'pip install "carbon-sdk[celery]"' in said
