"""Jobs of RQ: `rq worker --worker-class carbon_sdk.integrations.rq.CarbonWorker sums`.

`python -m examples.rq_worker` sends it one.
"""

import os

from redis import Redis
from rq import Queue


def squares(count: int) -> int:
    """The sum of so many squares."""
    return sum(number * number for number in range(count))


if __name__ == "__main__":
    redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))
    Queue("sums", connection=redis).enqueue("examples.rq_worker.squares", 1_000_000)
