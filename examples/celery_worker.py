"""Jobs of Celery: `celery -A examples.celery_worker worker`; `python -m examples.celery_worker` sends it one."""

import os

from celery import Celery

from carbon_sdk.integrations.celery import measured

app = measured(Celery("sums", broker=os.environ.get("BROKER_URL", "amqp://127.0.0.1")))


@app.task(name="squares")
def squares(count: int) -> int:
    """The sum of so many squares."""
    return sum(number * number for number in range(count))


if __name__ == "__main__":
    squares.delay(1_000_000)
