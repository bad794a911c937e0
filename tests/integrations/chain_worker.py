"""The worker behind the shop of three services: an arq process that sends the mail for each sale."""

import os
from typing import Any

from arq.connections import RedisSettings

from carbon_sdk.integrations.arq import measured


async def mail(ctx: dict[Any, Any]) -> None:
    """Some work."""
    sum(number * number for number in range(20_000))


@measured
class WorkerSettings:
    """What arq's worker reads."""

    functions = (mail,)
    redis_settings = RedisSettings.from_dsn(os.environ.get("CHAIN_QUEUE", "redis://127.0.0.1:1"))
    queue_name = "chain"
    poll_delay = 0.05
