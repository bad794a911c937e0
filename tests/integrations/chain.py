"""A shop of three services that call one another: `python chain.py shop|cart|price PORT`, addresses in CHAIN_<NAME>.

With a Redis in CHAIN_QUEUE the cart sends a job for each sale, which waits there for a moment.
"""

import asyncio
import os
import sys

import aiohttp
import httpx
import uvicorn
from arq import create_pool
from arq.connections import RedisSettings
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from carbon_sdk import CarbonMiddleware
from carbon_sdk.integrations import aiohttp as carbon_aiohttp
from carbon_sdk.integrations import arq as carbon_arq
from carbon_sdk.integrations import httpx as carbon_httpx


def address(service: str) -> str:
    return os.environ[f"CHAIN_{service.upper()}"]


async def get(url: str) -> None:
    """With httpx."""
    async with carbon_httpx.instrument(httpx.AsyncClient(timeout=60)) as client:
        (await client.get(url)).raise_for_status()


async def get_too(url: str) -> None:
    """With aiohttp."""
    async with carbon_aiohttp.instrument(aiohttp.ClientSession()) as session:
        (await session.get(url)).raise_for_status()


def work() -> None:
    sum(number * number for number in range(20_000))


async def checkout(request: Request) -> Response:
    """Fans out to the cart and twice to the price, then notes the sale after the response."""
    work()
    await asyncio.gather(get(f"{address('cart')}/items"), *(get_too(f"{address('price')}/price") for _ in range(2)))
    return PlainTextResponse("sold", background=BackgroundTask(get, f"{address('cart')}/sold"))


async def items(request: Request) -> Response:
    work()
    await get_too(f"{address('price')}/price")
    return PlainTextResponse("3 items")


async def sold(request: Request) -> Response:
    """Called after the response; has a mail sent a little later."""
    work()
    if "CHAIN_QUEUE" in os.environ:
        redis = RedisSettings.from_dsn(os.environ["CHAIN_QUEUE"])
        pool = carbon_arq.instrument(await create_pool(redis, default_queue_name="chain"))
        await pool.enqueue_job("mail", _defer_by=0.2)
        await pool.aclose()
    return PlainTextResponse("noted")


async def price(request: Request) -> Response:
    """Asks the shop whether there is a sale on: the chain comes back to where it began."""
    work()
    await get(f"{address('shop')}/sale")
    return PlainTextResponse("7")


async def sale(request: Request) -> Response:
    return PlainTextResponse("no")


SERVICES = {
    "shop": [Route("/checkout", checkout, methods=["POST"]), Route("/sale", sale)],
    "cart": [Route("/items", items), Route("/sold", sold)],
    "price": [Route("/price", price)],
}


def main() -> None:
    name, port = sys.argv[1:]
    app = Starlette(routes=SERVICES[name])
    app.add_middleware(CarbonMiddleware)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
