"""Quart: `uvicorn examples.quart_service:app`, then `curl localhost:8000/squares/1000000`."""

from quart import Quart

from carbon_sdk import CarbonMiddleware
from carbon_sdk.integrations.quart import name_endpoints

service = Quart(__name__)
name_endpoints(service)


@service.get("/squares/<int:count>")
def squares(count: int) -> dict[str, int]:
    """The sum of so many squares, in a thread."""
    return {"sum": sum(number * number for number in range(count))}


app = CarbonMiddleware(service)
