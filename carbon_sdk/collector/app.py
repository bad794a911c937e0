"""The collector's ASGI application: routes, and what stands before them."""

import time
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from carbon_sdk.collector.access import Rate, Tokens
from carbon_sdk.collector.answers import Answers
from carbon_sdk.collector.gate import Gate, problem
from carbon_sdk.collector.intake import Intake, IntakeLimits
from carbon_sdk.collector.metrics import HealthRoutes, Measured, Metrics
from carbon_sdk.collector.openapi import document, page
from carbon_sdk.collector.store import Store, StoreError

REQUESTS_PER_SECOND = 1_000.0
"""Requests of one caller, unless set."""


def create_app(
    store: Store,
    tokens: Tokens,
    *,
    limits: IntakeLimits | None = None,
    requests_per_second: float = REQUESTS_PER_SECOND,
    routes: Sequence[BaseRoute] = (),
    exempt: tuple[str, ...] = (),
    log: Callable[..., object] = lambda *_args, **_fields: None,
) -> Starlette:
    """The application over an open store.

    Args:
        store: Where records go and answers come from; closing it is the caller's business.
        tokens: Who may do what.
        limits: What one request may bring.
        requests_per_second: How often one caller may come.
        routes: Further routes, such as a dashboard's.
        exempt: Paths of those that look after tokens themselves; one with a `/` at its end stands for all below it.
        log: Called with an event and its fields.
    """
    metrics = Metrics(store)
    intake, answers, health = Intake(store, limits), Answers(store), HealthRoutes(store, metrics)
    return Starlette(
        routes=[
            Route("/v1/emissions", intake.take, methods=["POST"]),
            Route("/v1/projects", answers.projects),
            Route("/v1/reports", answers.reports),
            Route("/v1/reports/{name}", answers.figures),
            Route("/v1/books", answers.books),
            Route("/v1/heat-map", answers.heat_map),
            Route("/v1/records", answers.records),
            Route("/v1/records/{instance}/{sequence:int}", answers.record),
            Route("/v1/intensities", answers.intensities),
            Route("/v1/repricings", answers.repricings),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/metrics", health.metrics),
            *_descriptions(),
            *routes,
        ],
        middleware=[
            Middleware(Measured, metrics=metrics, monotonic=time.monotonic, log=log),
            Middleware(Gate, tokens=tokens, rate=Rate(requests_per_second), exempt=exempt),
        ],
        exception_handlers={HTTPException: _http_error, StoreError: _store_error},
    )


def _descriptions() -> list[Route]:
    """The API described, for programs and for people."""
    described = document()
    shown = page(described)
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

    async def openapi(_request: Request) -> Response:
        return JSONResponse(described)

    async def docs(_request: Request) -> Response:
        return HTMLResponse(shown, headers={"content-security-policy": policy})

    return [Route("/openapi.json", openapi), Route("/docs", docs)]


async def _http_error(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    answer = problem(exc.status_code, exc.detail)
    answer.headers.update(exc.headers or {})
    return answer


async def _store_error(_request: Request, exc: Exception) -> Response:
    return problem(503, str(exc), retry_after_seconds=5)
