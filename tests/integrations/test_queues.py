"""On whose behalf a job runs: told by the message over a real Redis, believed with the signature of a shared secret."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from arq import create_pool
from arq.connections import RedisSettings
from celery import Celery
from redis import Redis
from rq import Queue
from taskiq_redis import RedisStreamBroker

from carbon_sdk import Carbon, track
from carbon_sdk.cpu.accounts import Origin
from carbon_sdk.errors import SettingsError
from carbon_sdk.integrations.baggage import QUEUE_FRESH_SECONDS, Reader, Writer, written
from carbon_sdk.settings import Settings
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink
from tests.integrations.worker import Worker

SECRET = "a secret of the tests"
STRANGE = "another one, of a stranger"
APP = "tests.integrations.rq_app."


async def by_taskiq(url: str) -> None:
    """Sent by the middleware of a broker of the sender's own."""
    from carbon_sdk.integrations.taskiq import CarbonTaskiqMiddleware

    broker = RedisStreamBroker(url, queue_name="tests")
    broker.add_middlewares(CarbonTaskiqMiddleware())
    await broker.startup()
    from tests.integrations import taskiq_app

    await taskiq_app.waiting.kicker().with_broker(broker).kiq()
    await broker.shutdown()


async def by_arq(url: str) -> None:
    """Sent by a pool that was instrumented."""
    from carbon_sdk.integrations.arq import instrument

    pool = instrument(await create_pool(RedisSettings.from_dsn(url), default_queue_name="tests"))
    assert await pool.enqueue_job("waiting") is not None
    await pool.aclose()


async def by_celery(url: str) -> None:
    """Sent by an application that is measured."""
    from carbon_sdk.integrations.celery import measured

    with measured(Celery("client", broker=url)) as app:
        app.send_task("waiting", (0.1,), queue="tests")


async def by_rq(url: str) -> None:
    """Sent by a queue that was instrumented."""
    from carbon_sdk.integrations.rq import instrument

    with Redis.from_url(url) as redis:
        instrument(Queue("tests", connection=redis)).enqueue(f"{APP}waiting", 0.1)


Sender = Callable[[str], Coroutine[Any, Any, None]]
FRAMEWORKS: dict[str, tuple[Sender, list[str], str, str]] = {
    "taskiq": (
        by_taskiq,
        ["taskiq", "worker", "tests.integrations.taskiq_app:broker", "--workers", "1"],
        "Executing task waiting",
        "tests waiting",
    ),
    "arq": (by_arq, ["arq", "tests.integrations.arq_app.WorkerSettings"], ":waiting ●", "tests waiting"),
    "celery": (
        by_celery,
        ["celery", "-A", "tests.integrations.celery_app:app", "worker", "--loglevel", "INFO", "--pool", "solo"],
        "succeeded in",
        "tests waiting",
    ),
    "rq": (
        by_rq,
        ["rq.cli", "worker", "--worker-class", "carbon_sdk.integrations.rq.CarbonWorker", "tests"],
        "Job OK",
        f"tests {APP}waiting",
    ),
}


def sent_and_run(framework: str, url: str, folder: Path, *, queues: str, secret: str) -> tuple[Any, RecordingSink]:
    """The records of a job that a checkout has sent, and those of the checkout."""
    send, command, ran, name = FRAMEWORKS[framework]
    with Redis.from_url(url) as redis:
        redis.flushdb()  # of another framework, which knows the queue's key as something else
    sink = RecordingSink()

    async def main() -> None:
        carbon = Carbon(
            service="shop",
            propagate_to_queues=queues,
            baggage_secrets=SECRET,
            meters=[FakeMeter(20.0)],
            provider=FixedIntensity(100.0),
            sinks={"record": sink},
        )
        async with carbon, track("checkout"):
            await send(url)

    words = [*command, "--url", url] if framework == "rq" else command
    worker = Worker(
        words,
        folder=folder,
        environment={"REDIS_URL": url, "BROKER_URL": url, "CARBON_SDK_BAGGAGE_SECRETS": secret},
    )
    try:
        asyncio.run(main())
        worker.wait_for(ran)
        records = worker.stop(signal.SIGTERM)
    finally:
        worker.kill()
    return records[name], sink


@pytest.mark.parametrize("framework", list(FRAMEWORKS))
def test_a_job_names_who_caused_it(framework: str, redis_server: str, tmp_path: Path) -> None:
    """Its joules are its worker's, and its record says for whom."""
    records, sink = sent_and_run(framework, f"{redis_server}/7", tmp_path, queues="tests", secret=SECRET)

    assert [(record.origin_service, record.origin_endpoint) for record in records] == [("shop", "checkout")]
    assert [record.service for record in records] == ["worker"]
    assert [emission.root for emission in sink.emissions if emission.kind == "worker"] == ["checkout"]


@pytest.mark.parametrize("framework", list(FRAMEWORKS))
def test_a_queue_that_is_not_named_is_told_nothing(framework: str, redis_server: str, tmp_path: Path) -> None:
    """Names of routes do not leave the service by themselves; the job runs, and is the first of its own chain."""
    records, _ = sent_and_run(framework, f"{redis_server}/8", tmp_path, queues="others", secret=SECRET)

    assert [(record.origin_service, record.origin_endpoint) for record in records] == [(None, None)]


@pytest.mark.parametrize("framework", ["taskiq", "arq"])
def test_a_message_that_a_stranger_has_signed_is_not_believed(
    framework: str, redis_server: str, tmp_path: Path
) -> None:
    """The job runs all the same."""
    records, _ = sent_and_run(framework, f"{redis_server}/9", tmp_path, queues="*", secret=STRANGE)

    assert [(record.origin_service, record.requests) for record in records] == [(None, 1)]


def test_a_message_may_wait_for_a_week_and_no_longer() -> None:
    """Queues delay on purpose; a signature does not hold for ever."""
    now = [1_800_000_000.0]
    text = written(Origin("shop", "POST /checkout"), secret=SECRET, now_seconds=now[0])
    assert text is not None
    reader = Reader(secrets=[SECRET], trusted=False, fresh_seconds=QUEUE_FRESH_SECONDS, now_seconds=lambda: now[0])

    now[0] += QUEUE_FRESH_SECONDS - 1
    assert reader.read(text) == Origin("shop", "POST /checkout")
    now[0] += 2
    assert reader.read(text) is None
    assert reader.dropped == {"late": 1}


def test_what_others_wrote_in_a_message_stays() -> None:
    """Also where the queue may not learn ours."""
    assert Writer(service="shop", queues=["mail"], secret=None).message("images", "user=7") == "user=7"


@pytest.mark.parametrize("value", ["mail,*images", "a\nb", "x" * 201])
def test_a_queue_that_cannot_be_one_is_refused(value: str) -> None:
    """With the setting and the remedy."""
    with pytest.raises(SettingsError, match=r"PROPAGATE_TO_QUEUES.*mail,images"):
        Settings(propagate_to_queues=value)  # type: ignore[arg-type]  # as the environment gives it
