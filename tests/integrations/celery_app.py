"""Tasks of a Celery worker for the tests."""

import os
import time
from typing import Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from carbon_sdk import track
from carbon_sdk.integrations.celery import measured

app = measured(Celery("tests", broker=os.environ.get("BROKER_URL")))
app.conf.task_default_queue = "tests"
app.conf.broker_connection_retry_on_startup = True


def burn(seconds: float) -> None:
    """Use the CPU of this thread for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@app.task(name="burning")
def burning(seconds: float) -> int:
    """Computes; answers which process."""
    with track("inner"):
        burn(seconds / 2)
    burn(seconds / 2)
    return os.getpid()


@app.task(name="waiting")
def waiting(seconds: float) -> None:
    """Hardly any CPU while others use it."""
    time.sleep(seconds)


@app.task(name="again", bind=True, max_retries=2, default_retry_delay=0)
def again(self: Any) -> int:
    """Is done at the third try."""
    if self.request.retries < 2:
        raise self.retry()
    return int(self.request.retries)


@app.task(name="failing")
def failing() -> None:
    """Raises."""
    raise ValueError("as told")


@app.task(name="too long")
def too_long() -> None:
    """Ends as at Celery's soft time limit; after a real one Celery's own worker hangs at its end, now and then."""
    raise SoftTimeLimitExceeded


@app.task(name="told to end")
def told_to_end() -> None:
    """Ends as one whose process is told to end."""
    raise SystemExit(1)


@app.task(name="outer")
def outer() -> None:
    """Runs another in place."""
    burn(0.02)
    burning.apply((0.04,))
    burn(0.02)
