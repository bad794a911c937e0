"""One request of an ASGI application: who owns its steps, and which endpoint it was.

An endpoint is the HTTP method and the route's template, `GET /items/{id}`, mounts and sub-applications included. It is
read from the connection's scope: `route` as FastAPI and Starlette leave it there, or a text at `path_template`, as
Litestar does. A raw path never becomes a name: what no route answers is `GET (no route)`.
"""

from __future__ import annotations  # or those of an inner function are built anew at each request, 1 us

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from carbon_sdk.cpu.clock import LOCK, THREAD, Account, Clock, Origin, Owner, Slot, Tally

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
"""The standard methods, RFC 9110 section 9.3 and RFC 5789. A stranger can send any word, so others are `_OTHER`."""
NO_ROUTE = "(no route)"


class RequestOwner(Owner):
    """Owns the steps of one request; at its end it hands all that it was given to its endpoint's tally.

    Args:
        scope: The connection.
        clock: The CPU account.
        slot: The calling thread's.
        begun_ns: When the request began.
    """

    __slots__ = ("begun_ns", "cell", "clock", "failed", "origin", "scope", "sent_ns", "suspended")

    def __init__(self, scope: Scope, clock: Clock, slot: Slot, begun_ns: int) -> None:
        self.account = None
        self.touched = clock.touched
        self.slot = slot
        self.ns = self.other_ns = self.nested_ns = self.taken_ns = 0
        self.dirty = True  # nobody needs to look at it before it suspends for the first time, or ends
        self.ended = self.failed = self.suspended = self.approximate = False
        self.sent_ns = 0
        self.cell: Tally | None = None
        self.origin: Origin | None = None
        self.scope: Scope | None = scope
        self.clock = clock
        self.begun_ns = begun_ns

    @property
    def answered(self) -> bool:
        """Its last byte has been sent. A server begins the next request of the connection then, in this one's steps."""
        return self.sent_ns > 0 or self.ended

    def watch(self, send: Send) -> Send:
        """`send`, with the response's status and its last byte seen."""
        monotonic_ns = self.clock.monotonic_ns

        def watched(message: Message) -> Awaitable[None]:  # no coroutine of its own: that costs a message 250 ns
            try:
                kind = message.get("type")
                if kind == "http.response.body":
                    if not message.get("more_body") and not self.sent_ns:
                        self.sent_ns = monotonic_ns()
                        if self.suspended:
                            self.finish()
                elif kind == "http.response.start":
                    status = message.get("status")
                    self.failed = isinstance(status, int) and status >= 500  # what is no status, the server refuses
                elif kind == "http.response.pathsend":  # the server sends a whole file by itself
                    self.sent_ns = monotonic_ns()
                    if self.suspended:
                        self.finish()
            except Exception as exc:
                if not self.spoil("asgi.send", exc):
                    raise
            return send(message)

        return watched

    def suspend(self) -> None:
        """The first step has ended, and the application has not."""
        self.suspended = True
        try:
            if self.dirty:
                self.touch()
            if self.sent_ns:
                self.finish()
        except Exception as exc:
            if not self.spoil("asgi.request", exc):
                raise

    def finish(self) -> Tally:
        """The last body byte has gone out, or the connection has ended: the request counts here, once."""
        cell = self.cell
        if cell is None:
            cell = self.cell = self._cell()
            cell.requests += 1
            cell.errors += self.failed
            cell.duration_ns += (self.sent_ns or self.clock.monotonic_ns()) - self.begun_ns
        return cell

    def end(self) -> None:
        """The application has returned: hand over to the endpoint, which is known by now if ever."""
        cell = self.cell or self.finish()
        cell.approximate |= self.approximate
        with LOCK:
            given_ns = self.ns + self.other_ns - self.taken_ns
            self.taken_ns += given_ns
        cell.ns += given_ns
        if not cell.dirty:
            cell.touch()
        self.account = cell.account
        self.scope = None
        self.ended = True
        self.dirty = False

    def lose(self, exc: Exception) -> bool:
        """It could not be handed over: its CPU is the background's; False where the exception is the app's."""
        self.scope = None
        self.ended = True
        return self.spoil("asgi.request", exc)

    def end_whole(self, slot: Slot, now_ns: int) -> None:
        """`end` of a request that never suspended, on its thread and while no cut looks at it: no lock, no call.

        Args:
            slot: The calling thread's.
            now_ns: When the application returned.
        """
        scope: Any = self.scope
        try:
            route = scope["route"]
            same, root_path, by_method = slot.cells[id(route)]
            cell: Tally = by_method[scope["method"]]
            if same is not route or root_path != scope["root_path"] or self.origin is not None:
                cell = self._cell()
        except KeyError:
            cell = self._cell()
        cell.requests += 1
        cell.errors += self.failed
        cell.duration_ns += (self.sent_ns or now_ns) - self.begun_ns
        cell.ns += self.ns - self.taken_ns
        if not cell.dirty:
            cell.touch()
        self.taken_ns = self.ns
        self.account = cell.account
        self.scope = None
        self.ended = True
        self.dirty = False
        if self.other_ns:  # after the line above: another thread that gives from now on tells so itself
            self.touch()

    def resolve(self) -> Account | None:
        """The endpoint's account; None while no route has matched."""
        scope = self.scope
        if self.account is None and scope is not None:
            endpoint = self._endpoint(scope)
            if endpoint is not None:
                self.account = self._account(endpoint)
        return self.account

    def _cell(self) -> Tally:
        """The tally of the endpoint on this thread, found by route and method from now on."""
        scope: Any = self.scope  # still there: a request that has ended counts no more
        slot = THREAD.slot
        cells = slot.cells
        account = self._account(self._endpoint(scope) or f"{_method(scope)} {NO_ROUTE}")
        cell: Tally | None = cells.get(account)
        if cell is None:
            cell = cells[account] = Tally(account, self.touched, slot)
        route, root_path, method = scope.get("route"), scope.get("root_path"), scope.get("method")
        if route is not None and method in METHODS and self.origin is None:
            known: Any = cells.get(id(route))
            if known is None or known[0] is not route or known[1] != root_path:
                known = cells[id(route)] = (route, root_path, {})
            known[2][method] = cell
        return cell

    def _endpoint(self, scope: Scope) -> str | None:
        """The endpoint; None too where the application's own route raises when asked, which is counted."""
        try:
            return endpoint_of(scope)
        except Exception as exc:
            self.clock.on_error("asgi.route", exc)
            return None

    def _account(self, endpoint: str) -> Account:
        known = not endpoint.endswith(NO_ROUTE)
        return self.clock.account(Account("request", endpoint, endpoint, self.origin), known=known)


def endpoint_of(scope: Scope) -> str | None:
    """Method and route template; None while the innermost route is not known."""
    route = scope.get("route")
    routes = getattr(route, "routes", None)
    if routes:
        return None
    if routes is not None:  # a mount of what has no routes, as of static files: its path is in `root_path` already
        prefix = _prefix(scope, "")
        return f"{_method(scope)} {prefix}" if prefix else None
    path = scope.get("path_template") if route is None else getattr(route, "path", None)
    if not isinstance(path, str) or not path:
        return None
    return f"{_method(scope)} {_prefix(scope, path)}{path}"


def _prefix(scope: Scope, path: str) -> str:
    """The templates of the mounts around the route, without what a proxy has put before the application.

    A mount tells its path as it was asked for, and what its parameters held: their names are put back.
    """
    before = scope.get("app_root_path")  # where there is no mount, the whole of root_path is the proxy's
    root_path = scope.get("root_path", "")
    if before is None or not root_path.startswith(before):
        return ""
    parts = root_path[len(before) :].split("/")
    for name, value in scope.get("path_params", {}).items():
        if f"{{{name}}}" not in path and f"{{{name}:" not in path and (text := str(value)) in parts:
            parts[len(parts) - 1 - parts[::-1].index(text)] = f"{{{name}}}"
    return "/".join(parts)


def _method(scope: Scope) -> str:
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    method = scope["method"]
    return method if method in METHODS else "_OTHER"
