"""Counters for Prometheus: `uvicorn examples.prometheus_service:app`, then `curl localhost:8000/metrics`."""

from fastapi import FastAPI, Request, Response
from prometheus_client import REGISTRY

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.sinks.prometheus import expose

app = FastAPI()
app.add_middleware(CarbonMiddleware, carbon=Carbon(sinks=["prometheus"]))


@app.get("/squares/{count}")
def squares(count: int) -> int:
    """The sum of so many squares."""
    return sum(number * number for number in range(count))


@app.get("/metrics")
def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    body, content_type = expose(REGISTRY, request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})
