"""The middleware for FastAPI, Starlette and every other ASGI application.

```python
app.add_middleware(CarbonMiddleware)
```

An endpoint is the HTTP method and the route's template, `GET /items/{id}`, mounts and sub-applications included. A raw
path never becomes a name: what no route answers is `GET (no route)`.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from carbon_sdk.carbon import Carbon, default
from carbon_sdk.cpu.clock import THREAD, Account, Clock, Tally, drive

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
"""The standard methods, RFC 9110 section 9.3 and RFC 5789. A stranger can send any word, so others are `_OTHER`."""
NO_ROUTE = "(no route)"

monotonic_ns = time.monotonic_ns


class CarbonMiddleware:
    """Measures each request; nothing of a request is kept on it.

    Args:
        app: The application.
        carbon: A `Carbon` built by hand; the process default when None.
    """

    def __init__(self, app: ASGIApp, *, carbon: Carbon | None = None) -> None:
        self.app = app
        self.carbon = carbon

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection as the application does."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        owner = THREAD.slot.owner
        if (owner is not None and isinstance(owner, RequestTally)) or kind not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        carbon = self.carbon or default()
        if not carbon.running:
            if carbon.disabled:
                await self.app(scope, receive, send)
                return
            carbon.start()
        clock = carbon.clock
        clock.follow_loop()
        tally = RequestTally(scope, clock)
        begun_ns = monotonic_ns()
        failed = True

        async def watched(message: Message) -> None:
            kind = message["type"]
            if kind == "http.response.start":
                tally.failed = message["status"] >= 500
            await send(message)
            if kind == "http.response.body" and not message.get("more_body"):
                tally.finish(begun_ns)

        try:
            await drive(self.app(scope, receive, watched), tally)  # type: ignore[arg-type]
            failed = False
        finally:
            if failed:
                tally.failed = True
            tally.finish(begun_ns)
            tally.end()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start with the application; hand everything over when it shuts down."""
        carbon = self.carbon or default()
        carbon.start()
        if not carbon.disabled:
            carbon.clock.follow_loop()

        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):  # servers do not wait for what comes after it
                await carbon.aclose()
            await send(message)

        await self.app(scope, receive, closing)


class RequestTally(Tally):
    """The tally of one request: its endpoint is known once a route has matched."""

    __slots__ = ("clock", "failed", "finished", "scope")

    def __init__(self, scope: Scope, clock: Clock) -> None:
        super().__init__(None, clock.touched)
        self.scope: Scope | None = scope
        self.clock = clock
        self.failed = False
        self.finished = False

    def finish(self, begun_ns: int) -> None:
        """The last body byte was sent, or the connection has ended: the request counts here, once."""
        if not self.finished:
            self.finished = True
            self.duration_ns += monotonic_ns() - begun_ns
            self.errors += self.failed
            self.requests += 1
            if not self.dirty:
                self.touch()

    def end(self) -> None:
        """The application has returned: the endpoint is what is known by now."""
        if self.account is None and self.scope is not None:
            self._name(self.scope, endpoint_of(self.scope) or _unrouted(self.scope))
        self.scope = None
        self.ended = True

    def resolve(self) -> Account | None:
        """The endpoint's account; None while no route has matched."""
        if self.account is None and self.scope is not None:
            endpoint = endpoint_of(self.scope)
            if endpoint is not None:
                self._name(self.scope, endpoint)
        return self.account

    def _name(self, scope: Scope, endpoint: str) -> None:
        known = not endpoint.endswith(NO_ROUTE)
        self.account = self.clock.account(Account("request", endpoint, endpoint), known=known)


def endpoint_of(scope: Scope) -> str | None:
    """Method and route template; None while the innermost route is not known."""
    route = scope.get("route")
    if route is None or getattr(route, "routes", None):
        return None
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return None
    return f"{_method(scope)} {_prefix(scope, path)}{path}"


def _prefix(scope: Scope, path: str) -> str:
    """The templates of the mounts around the route, without what a proxy has put before the application."""
    mounted = scope.get("app_root_path", "")
    root_path = scope.get("root_path", "")
    return root_path[len(mounted) :] if root_path.startswith(mounted) else ""


def _method(scope: Scope) -> str:
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    method = scope["method"]
    return method if method in METHODS else "_OTHER"


def _unrouted(scope: Scope) -> str:
    return f"{_method(scope)} {NO_ROUTE}"
