"""Jobs of arq: `arq examples.arq_worker.WorkerSettings`, then `await pool.enqueue_job("squares", 1_000_000)`."""

import os

from arq.connections import RedisSettings

from carbon_sdk.integrations.arq import measured


async def squares(ctx: object, count: int) -> int:
    """The sum of so many squares."""
    return sum(number * number for number in range(count))


@measured
class WorkerSettings:
    """What arq's worker reads."""

    functions = [squares]
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))
