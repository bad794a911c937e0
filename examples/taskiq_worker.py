"""Jobs of taskiq: `taskiq worker examples.taskiq_worker:broker`; `python -m examples.taskiq_worker` sends it one."""

import asyncio
import os

from taskiq_redis import RedisStreamBroker

from carbon_sdk.integrations.taskiq import CarbonTaskiqMiddleware

broker = RedisStreamBroker(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), queue_name="sums")
broker.add_middlewares(CarbonTaskiqMiddleware())


@broker.task("squares")
async def squares(count: int) -> int:
    """The sum of so many squares."""
    return sum(number * number for number in range(count))


if __name__ == "__main__":
    asyncio.run(squares.kiq(1_000_000))
