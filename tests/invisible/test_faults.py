"""A fault on our side of a request is counted and told once; the application and its server see nothing of it."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink

pytestmark = pytest.mark.anyio
Message = MutableMapping[str, Any]


class RaisingRoute:
    """A route of some framework that does not like to be asked."""

    @property
    def path(self) -> str:
        raise RuntimeError("no path outside a request")


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def scope() -> MutableMapping[str, Any]:
    return {"type": "http", "method": "GET", "path": "/secret/7", "root_path": "", "headers": []}


async def test_a_route_that_raises_when_asked_for_its_name_does_not_reach_the_app() -> None:
    """Every response is sent whole; the CPU is booked to no route, and the fault is counted each time and told once."""
    sent: list[str] = []
    sink = RecordingSink()

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        scope["route"] = RaisingRoute()
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    async with Carbon(meters=[FakeMeter(watts=20.0)], provider=FixedIntensity(100.0), sinks={"record": sink}) as carbon:
        middleware = CarbonMiddleware(app, carbon=carbon)
        for _ in range(5):
            await middleware(scope(), receive, send)
        faults = dict(carbon.log.faults)

    assert sent == ["http.response.start", "http.response.body"] * 5
    assert faults["asgi.route"] >= 5
    assert "sampler" not in carbon.log.faults
    booked = [emission for emission in sink.emissions if emission.kind == "request"]
    assert {emission.name for emission in booked} == {"GET (no route)"}
    assert sum(emission.requests for emission in booked) == 5
    assert sum(emission.cpu_seconds or 0.0 for emission in booked) >= 0.01


@pytest.mark.parametrize(
    "message", [{"type": "http.response.start"}, {"type": "http.response.start", "status": "200"}, {}]
)
async def test_a_message_that_is_none_gets_the_servers_answer_and_not_ours(message: Message) -> None:
    """What an application sends wrongly arrives at the server as it is, whose own error comes back."""

    class Refused(Exception):
        """The server's."""

    seen: list[Message] = []

    async def send(message: Message) -> None:
        seen.append(message)
        raise Refused

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        await send(message)

    async with Carbon(meters=[FakeMeter(watts=20.0)], provider=FixedIntensity(100.0), sinks={}) as carbon:
        middleware = CarbonMiddleware(app, carbon=carbon)
        for _ in range(2):  # the first request of a loop goes another way
            with pytest.raises(Refused):
                await middleware(scope(), receive, send)

    assert [one is message for one in seen] == [True, True]
