"""The gate in front of the routes: who comes, from where, how often; and headers that every answer carries.

Without tokens the service is open, but to this machine alone: it listens on a loopback address, and answers only
requests that come from one, should the tokens be taken away while it listens on another, and that name one as their
host, so that a web page elsewhere cannot reach it through a name of its own (DNS rebinding). Once a token was made,
every request needs one, wherever it comes from.
"""

import ipaddress
import math
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carbon_sdk.collector import access
from carbon_sdk.collector.access import Caller, Rate, Tokens

FREE = frozenset({"/healthz", "/readyz"})
"""What anybody may ask, as an orchestrator does."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""Set where a route has not set its own."""


def problem(status: int, text: str, *, retry_after_seconds: float | None = None) -> JSONResponse:
    """An error as every route answers it."""
    headers = {} if retry_after_seconds is None else {"retry-after": str(max(1, math.ceil(retry_after_seconds)))}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": text}, status_code=status, headers=headers)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Gate:
    """Middleware: lets in whom it may, and says who it is in `scope["state"]["caller"]`.

    Args:
        app: What is behind.
        tokens: The tokens.
        rate: Requests of a caller.
        exempt: Paths, or their beginnings with a `/` at the end, that look after themselves: a dashboard's login.
        refused: Told the status of each request that was turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        rate: Rate,
        exempt: tuple[str, ...] = (),
        refused: Callable[[int], object] = lambda _status: None,
    ) -> None:
        self.app = app
        self._tokens = tokens
        self._rate = rate
        self._exempt = exempt
        self._refused = refused
        self._strangers = Rate(20.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = None if scope["path"] in FREE else self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send_with_headers)
        else:
            self._refused(refusal.status_code)
            await refusal(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if not self._tokens.all():
            if not (is_loopback(_host(headers.get("host", ""))) and is_loopback(_address(scope))):
                return problem(421, "without tokens this service answers to localhost only; make a token to open it")
            caller = Caller(name="local", project=None, scopes=access.SCOPES)
        elif self._is_exempt(scope["path"]):
            return None
        else:
            offered = headers.get("authorization", "")
            known = self._tokens.caller(offered[7:].strip()) if offered[:7].lower() == "bearer " else None
            if known is None:
                return self._stranger(_address(scope))
            caller = known
        if wait := self._rate.wait_seconds(caller.name):
            return problem(429, "too many requests", retry_after_seconds=wait)
        scope.setdefault("state", {})["caller"] = caller
        return None

    def _is_exempt(self, asked: str) -> bool:
        return any(asked == path or (path.endswith("/") and asked.startswith(path)) for path in self._exempt)

    def _stranger(self, address: str) -> JSONResponse:
        if wait := self._strangers.wait_seconds(address):
            return problem(429, "too many attempts without a good token", retry_after_seconds=wait)
        return problem(401, "a token is needed: Authorization: Bearer cst_...")


def _address(scope: Scope) -> str:
    """Where a request comes from."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def _host(header: str) -> str:
    """The host of a Host header, without its port."""
    if header.startswith("["):
        return header[: header.find("]") + 1]
    return header.rpartition(":")[0] or header


def project_of(request: Request, scope: access.Scope) -> str | JSONResponse:
    """The project of this request, or the answer that refuses it.

    Args:
        request: The request; without a token it may name its project in `?project=`.
        scope: What it wants to do.
    """
    caller: Caller = request.state.caller
    if scope not in caller.scopes:
        return problem(403, f"this token does not allow to {scope}")
    named = request.query_params.get("project")
    if caller.project is not None:
        if named not in (None, caller.project):
            return problem(403, "this token belongs to another project")
        return caller.project
    try:
        return access.project_name(named or access.OPEN_PROJECT)
    except ValueError as exc:
        return problem(400, str(exc))
