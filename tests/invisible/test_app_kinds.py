"""Applications that are no coroutine functions, and runtimes that are not asyncio: served and counted all the same."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

import pytest

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.emission import Emission
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BURN_SECONDS = 0.01
TIMES = 3


def burn() -> None:
    end = time.thread_time() + BURN_SECONDS
    while time.thread_time() < end:
        pass


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    burn()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"whole"})


class Endpoint:
    """An application as Starlette's class-based endpoints are: an awaitable made of its three arguments."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._arguments = scope, receive, send

    def __await__(self) -> Generator[Any, None, None]:
        return self._answer().__await__()

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        await answer(*self._arguments)


class BareIterator(Endpoint):
    """An awaitable whose iterator can do nothing but go on: no `send`, no `throw`."""

    def __await__(self) -> Any:
        return map(lambda step: step, self._answer().__await__())  # noqa: C417  # a generator could be sent to


def returning(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """A plain function that works before it hands its coroutine over."""
    burn()
    return answer(scope, receive, send)


class Refused(Exception):
    """The application's own."""


def refusing(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    burn()
    raise Refused


async def requests(app: Any, sink: RecordingSink) -> list[str | BaseException]:
    """Serve some, the first of a loop and later ones; what came of each."""
    seen: list[str | BaseException] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        seen.append(message["type"])

    async with Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(100.0), sinks={"record": sink}) as carbon:
        middleware = CarbonMiddleware(app, carbon=carbon)
        for _ in range(TIMES):
            scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}
            try:
                await middleware(scope, receive, send)
            except Refused as exc:
                seen.append(exc)
        assert not carbon.log.faults
    return seen


def record_of(sink: RecordingSink) -> Emission:
    (record,) = [emission for emission in sink.emissions if emission.kind == "request"]
    return record


@pytest.mark.anyio
@pytest.mark.parametrize("app", [answer, Endpoint, BareIterator, returning])
async def test_an_app_is_whatever_can_be_called_and_awaited(app: Any) -> None:
    """Each answer arrives whole, and the CPU of the call itself is the endpoint's too."""
    sink = RecordingSink()
    seen = await requests(app, sink)

    assert seen == ["http.response.start", "http.response.body"] * TIMES
    assert record_of(sink).requests == TIMES
    burns = 2 if app is returning else 1
    assert record_of(sink).cpu_seconds == pytest.approx(TIMES * burns * BURN_SECONDS, rel=0.35)


@pytest.mark.anyio
async def test_an_app_that_raises_when_called_is_counted_as_an_error() -> None:
    """Its exception is its own, its CPU the endpoint's."""
    sink = RecordingSink()
    seen = await requests(refusing, sink)

    assert [type(one) for one in seen] == [Refused] * TIMES
    assert (record_of(sink).requests, record_of(sink).errors) == (TIMES, TIMES)
    assert record_of(sink).cpu_seconds == pytest.approx(TIMES * BURN_SECONDS, rel=0.35)


def test_under_trio_a_request_is_served_counted_and_marked_approximate() -> None:
    """Its child tasks and threads are not followed there, and the record says so."""
    trio = pytest.importorskip("trio", reason="trio is not installed here")
    sink = RecordingSink()
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for moment in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{moment}.complete"})
            return
        await trio.sleep(0)
        await answer(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        seen.append(message["type"])

    async def main() -> None:
        carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(100.0), sinks={"record": sink})
        middleware = CarbonMiddleware(app, carbon=carbon)
        carbon.start()
        for _ in range(TIMES):
            scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}
            await middleware(scope, receive, send)
        await middleware({"type": "lifespan"}, receive, send)
        assert not carbon.running
        assert not carbon.log.faults

    trio.run(main)

    lifespan = ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert seen == ["http.response.start", "http.response.body"] * TIMES + lifespan
    assert (record_of(sink).requests, record_of(sink).approximate) == (TIMES, True)
    assert record_of(sink).cpu_seconds == pytest.approx(TIMES * BURN_SECONDS, rel=0.35)


@pytest.mark.anyio
@pytest.mark.parametrize("started", [False, True])
async def test_only_an_app_that_takes_no_part_in_the_lifespan_is_spoken_for(started: bool) -> None:
    """One that fails while it starts still fails; one that raises at once is heard when the server shuts down."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if started:
            await receive()
        raise Refused

    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(100.0), sinks={})
    middleware = CarbonMiddleware(app, carbon=carbon)
    with pytest.raises(Refused):
        await middleware({"type": "lifespan"}, receive, send)

    assert sent == ([] if started else ["lifespan.startup.complete"])
    assert carbon.running is started
    await carbon.aclose()
