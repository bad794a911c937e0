"""Litestar: `uvicorn examples.litestar_service:app`, then `curl localhost:8000/squares/1000000`."""

from litestar import Litestar, get

from carbon_sdk import CarbonMiddleware


@get("/squares/{count:int}", sync_to_thread=True)
def squares(count: int) -> dict[str, int]:
    """The sum of so many squares."""
    return {"sum": sum(number * number for number in range(count))}


app = CarbonMiddleware(Litestar([squares]))
