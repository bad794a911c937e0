"""The dashboard's routes: pages, the data behind them, and the files that they load.

Nothing comes from another host: styles, scripts and the chart library (uPlot) are served from here, under a path that
changes with their content, so that a browser may keep them for ever. The content security policy allows nothing inline.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope as ASGIScope

from carbon_sdk.collector.access import Tokens
from carbon_sdk.collector.answers import Answers
from carbon_sdk.collector.dashboard import quantity
from carbon_sdk.collector.dashboard.allowance import Budgets
from carbon_sdk.collector.dashboard.chains import chain, chains
from carbon_sdk.collector.dashboard.chart import series
from carbon_sdk.collector.dashboard.compare import compare
from carbon_sdk.collector.dashboard.endpoint import endpoint
from carbon_sdk.collector.dashboard.inventory_page import report
from carbon_sdk.collector.dashboard.login import Login
from carbon_sdk.collector.dashboard.machines import machines
from carbon_sdk.collector.dashboard.overview import overview
from carbon_sdk.collector.dashboard.period import PRESETS, day_text
from carbon_sdk.collector.dashboard.records import records
from carbon_sdk.collector.dashboard.service import service, week
from carbon_sdk.collector.dashboard.session import Sessions
from carbon_sdk.collector.dashboard.visit import ROOT, Visit, visit_of
from carbon_sdk.collector.gate import problem
from carbon_sdk.collector.store import QueryError, Store, StoreError

FOLDER = Path(__file__).parent
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
}
Endpoint = Callable[[Request], Awaitable[Response]]
Page = Callable[[Visit, Store], Awaitable[dict[str, Any] | Response]]
"""Gathers what a template shows, or answers by itself."""
PAGES: Mapping[str, tuple[str, Page]] = {
    "": ("overview.html", overview),
    "service": ("service.html", service),
    "endpoint": ("endpoint.html", endpoint),
    "chains": ("chains.html", chains),
    "chain": ("chain.html", chain),
    "machines": ("machines.html", machines),
    "compare": ("compare.html", compare),
    "report": ("report.html", report),
    "records": ("records.html", records),
}
"""Each page by its path below the root: its template, and what gathers its figures."""


class _Lasting(StaticFiles):
    """Files whose path changes when they do."""

    async def get_response(self, path: str, scope: ASGIScope) -> Response:
        """The file; a browser may keep it."""
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "public, max-age=31536000, immutable"
        return answer


EXEMPT = (ROOT, ROOT.rstrip("/"))
"""Paths that look after tokens themselves: whoever has none is asked to log in."""


class Site:
    """All pages over one store.

    Args:
        store: What is asked.
        tokens: Who may log in.
        budgets: What may be spent, by project and service.
    """

    def __init__(self, store: Store, tokens: Tokens, budgets: Budgets | None = None) -> None:
        self._store = store
        self._budgets = budgets or {}
        self._login = Login(Sessions(tokens), self._html)
        self._answers = Answers(store)
        self._static = f"{ROOT}static/{_version()}"
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals.update(static=self._static, presets=PRESETS)
        self._templates.filters.update(count=quantity.count, percent=quantity.percent, day=day_text)

    def routes(self) -> list[BaseRoute]:
        """Everything that the dashboard answers."""
        pages = [
            Route(f"{ROOT}{path}", self._page(path, template, gather)) for path, (template, gather) in PAGES.items()
        ]
        return [
            Route("/", _to_root),
            Route(ROOT.rstrip("/"), _to_root),
            *pages,
            Route(f"{ROOT}login", self._login.page, methods=["GET"]),
            Route(f"{ROOT}login", self._login.begin, methods=["POST"]),
            Route(f"{ROOT}logout", self._login.end, methods=["POST"]),
            Route(f"{ROOT}series", self._data(self._series)),
            Route(f"{ROOT}heat", self._data(self._heat)),
            Route(f"{ROOT}v1/reports/{{name}}", self._data(self._answers.figures)),
            Route(f"{ROOT}v1/records", self._data(self._answers.records)),
            Mount(self._static, _Lasting(directory=FOLDER / "static")),
        ]

    def _page(self, path: str, template: str, gather: Page) -> Endpoint:
        async def answer(request: Request) -> Response:
            caller = self._login.caller(request)
            if caller is None:
                return self._login.ask(request)
            try:
                visit = replace(await visit_of(request, path, caller, self._store), budgets=self._budgets)
                held = await gather(visit, self._store) if visit.has_records else {}
            except (ValueError, QueryError) as exc:
                return self._trouble(400, "This cannot be shown", str(exc))
            except StoreError as exc:
                return self._trouble(503, "The collector cannot answer now", str(exc))
            return held if isinstance(held, Response) else self._filled(request, visit, template, held)

        return answer

    def _filled(self, request: Request, visit: Visit, template: str, held: dict[str, Any]) -> Response:
        held |= {"visit": visit, "logout": self._login.logout_value(request)}
        if not visit.has_records:
            return self._html("empty.html", address=str(request.base_url).rstrip("/"), **held)
        return self._html("nothing.html" if held.get("nothing") else template, **held)

    def _data(self, answer: Endpoint) -> Endpoint:
        """What a page's script or a download asks for; an error is told as the API tells it."""

        async def guarded(request: Request) -> Response:
            caller = self._login.caller(request)
            if caller is None:
                return problem(401, "the session has ended: load the page again to log in")
            request.state.caller = caller
            return await answer(request)

        return guarded

    async def _series(self, request: Request) -> Response:
        try:
            visit = await visit_of(request, "series", request.state.caller, self._store)
            return JSONResponse(await series(visit, self._store))
        except (ValueError, QueryError) as exc:
            return problem(400, str(exc))

    async def _heat(self, request: Request) -> Response:
        try:
            visit = await visit_of(request, "heat", request.state.caller, self._store)
            return self._html("heat.html", heats=await week(visit, self._store))
        except (ValueError, QueryError) as exc:
            return problem(400, str(exc))

    def _html(self, template: str, status: int = 200, **held: Any) -> Response:
        text = self._templates.get_template(template).render(**held)
        return HTMLResponse(text, status_code=status, headers=HEADERS)

    def _trouble(self, status: int, title: str, text: str) -> Response:
        return self._html("trouble.html", status, title=title, text=text, visit=None)


async def _to_root(_request: Request) -> Response:
    return RedirectResponse(ROOT)


def _version() -> str:
    """A short hash of all files that browsers load."""
    content = hashlib.sha256()
    for path in sorted((FOLDER / "static").rglob("*")):
        if path.is_file():
            content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()[:12]
