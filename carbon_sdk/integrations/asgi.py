"""The middleware for FastAPI, Starlette and every other ASGI application.

```python
app.add_middleware(CarbonMiddleware)
```
"""

from __future__ import annotations  # or those of an inner function are built anew at each request, 1 us

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from importlib import import_module
from types import coroutine
from typing import Any

from carbon_sdk.carbon import Carbon
from carbon_sdk.cpu.clock import LONG_NS, STALE_NS, THREAD, Clock, drive, undriven
from carbon_sdk.integrations.asgi_request import Message, RequestOwner, Scope, Send
from carbon_sdk.integrations.baggage import Reader, reader_of
from carbon_sdk.process import default

Receive = Callable[[], Awaitable[Message]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
"""Takes a `Scope`, a `Receive` and a `Send`, for which each framework has types of its own."""


class CarbonMiddleware:
    """Measures each request; nothing of a request is kept on it.

    Args:
        app: The application.
        carbon: A `Carbon` built by hand; the process default when None.
        traces: Write what a request weighed, provisionally, on the span of OpenTelemetry that is around this.

    Raises:
        ImportError: `traces` without OpenTelemetry; the message says what to install.
    """

    def __init__(self, app: ASGIApp, *, carbon: Carbon | None = None, traces: bool = False) -> None:
        self.app = import_module("carbon_sdk.integrations.opentelemetry").traced(app, carbon) if traces else app
        self.carbon = carbon
        self._reader: Reader | None = None
        self._begun = False

    async def __call__(  # noqa: PLR0912, PLR0915  # each function that it would be cut into costs a request 60 ns
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve one connection as the application does."""
        slot = THREAD.slot
        clock = slot.clock
        if (
            slot.owner is not None
            or clock is None
            or not slot.loop_runs()
            or scope["type"] != "http"
            or (self.carbon is not None and self.carbon.clock is not clock)
        ):
            await self._otherwise(scope, receive, send)
            return
        monotonic_ns = clock.monotonic_ns
        request: RequestOwner | None = None
        try:
            begun_ns = monotonic_ns()
            if begun_ns - slot.read_ns > STALE_NS:
                slot.reread(begun_ns)
            request = RequestOwner(scope, clock, slot, begun_ns)
            if self._reader is not None:
                request.origin = self._reader.origin(scope["headers"])
        except Exception as exc:
            if not clock.touched.fault("asgi.request", exc):
                raise
        if request is None:
            await self.app(scope, receive, send)
            return
        driven = slot.driven
        slot.owner = request
        slot.driven = True
        slot.start_ns = begun_ns
        whole = clocked = False
        try:
            try:
                steps: Any = self.app(scope, receive, request.watch(send)).__await__()
                for first in steps:  # the first step by hand: what never suspends needs no driver
                    waiting_for = first
                    break
                else:
                    whole = True
                    return
            finally:
                slot.driven = driven
                owner = slot.owner or request
                try:
                    now_ns = monotonic_ns()
                    stretch_ns = now_ns - slot.start_ns
                    if owner is request and stretch_ns < LONG_NS:  # as `slot.close` does, without a call
                        request.ns += stretch_ns
                        slot.booked_ns += stretch_ns
                        slot.total_ns += stretch_ns
                    else:
                        slot.close(now_ns)
                    clocked = True
                except Exception as exc:
                    whole = False
                    if not owner.spoil("asgi.request", exc):
                        raise
                slot.owner = None
            steps = steps if hasattr(steps, "send") else _resumed(steps)
            request.suspend()
            await (drive(steps, owner, waiting_for) if clocked else undriven(steps, waiting_for))
        except BaseException:
            request.failed = True
            raise
        finally:
            try:
                if whole and not slot.looked:
                    request.end_whole(slot, now_ns)
                else:
                    request.end()
            except Exception as exc:
                if not request.lose(exc):
                    raise

    async def _otherwise(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is no request, or the first on its loop, or one inside a span."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        carbon = self._begin()
        request = self._request(scope, carbon.clock)
        if request is None:
            await self.app(scope, receive, send)
            return
        try:
            await drive(_awaited(self.app, scope, receive, request.watch(send)), request)
        except BaseException:
            request.failed = True
            raise
        finally:
            try:
                request.approximate |= not _in_asyncio()
                request.end()
            except Exception as exc:
                if not request.lose(exc):
                    raise

    def _request(self, scope: Scope, clock: Clock) -> RequestOwner | None:
        """A request, its loop followed; None where it is not to be measured, or cannot be."""
        slot = THREAD.slot
        within = slot.owner
        if isinstance(within, RequestOwner) and not within.answered:
            return None
        if not clock.running or scope["type"] not in ("http", "websocket"):
            return None
        try:
            if _in_asyncio():
                clock.follow_loop()
            request = RequestOwner(scope, clock, slot, clock.monotonic_ns())
            if self._reader is not None:
                request.origin = self._reader.origin(scope["headers"])
        except Exception as exc:
            if not clock.touched.fault("asgi.request", exc):
                raise
            return None
        request.touch()
        return request

    def _begin(self) -> Carbon:
        """Start measuring, where it has not started."""
        carbon = self.carbon or default()
        carbon.start()
        if not self._begun:
            self._begun, self._reader = True, reader_of(carbon)
        return carbon

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start with the application; hand everything over when it shuts down.

        An application that does not take part (it raises or returns before it has asked for anything) is spoken for:
        servers that end by a signal leave no other moment. What it raised, it raises when the server shuts down.
        """
        carbon = self._begin()
        if carbon.clock.running and _in_asyncio():
            try:
                carbon.clock.follow_loop()
            except Exception as exc:
                if not carbon.clock.touched.fault("asgi.lifespan", exc):
                    raise
        asked = False

        async def asking() -> Message:
            nonlocal asked
            asked = True
            return await receive()

        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):  # servers do not wait for what comes after it
                await carbon.aclose()
            await send(message)

        refused: Exception | None = None
        try:
            await self.app(scope, asking, closing)
        except Exception as exc:
            if asked or not carbon.running:
                raise
            refused = exc
        if asked or not carbon.running:
            return
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        if refused is not None:
            await carbon.aclose()
            raise refused
        await closing({"type": "lifespan.shutdown.complete"})


async def _awaited(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


@coroutine
def _resumed(steps: Iterator[Any]) -> Generator[Any, Any, Any]:
    """The steps of an awaitable whose iterator is a plain one, with `send` and `throw`."""
    return (yield from steps)


def _in_asyncio() -> bool:
    """Whether asyncio, or uvloop, runs us: child tasks and threads of trio are not followed."""
    return asyncio._get_running_loop() is not None
