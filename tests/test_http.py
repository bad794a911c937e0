"""The one HTTP client, against a real server: what it asks again, when it stops, and what it never shows."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.circuit import FAILURES_TO_OPEN, FIRST_PAUSE_SECONDS
from carbon_sdk.http import HTTP, HTTPError, Kind, redacted, retry_after_seconds
from carbon_sdk.testing import ManualClock
from tests.upstream import Authority, Serve, answer, blanks, bomb, hang, raw, reset, upstream

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)
SECRET = "s3cr+t/key=="


class Client:
    """A client by a manual clock, and how long it waited between attempts."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.waits: list[float] = []
        self.chance = 0.5
        self._made: list[HTTP] = []

    def make(self, **options: Any) -> HTTP:
        """With options of `HTTP`."""
        http = HTTP(
            **{"timeout_seconds": 5.0, **options},
            monotonic=self.clock.monotonic,
            utcnow=self.clock.utcnow,
            sleep=self._wait,
            chance=lambda: self.chance,
        )
        self._made.append(http)
        return http

    async def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def close(self) -> None:
        """All that were made."""
        for http in self._made:
            await http.aclose()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Its clock stands at noon."""
    one = Client(ManualClock(NOW))
    yield one
    await one.close()


def in_turn(*serves: Serve) -> Serve:
    """The first request gets the first, and so on; the last serves on."""
    left = list(serves)

    async def serve(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return serve


async def failing(http: HTTP, url: str, **asked: Any) -> HTTPError:
    """The error of a call that must not succeed."""
    with pytest.raises(HTTPError) as caught:
        await http.get(url, **asked)
    return caught.value


# What is asked again


@pytest.mark.parametrize(
    "bad", [answer(status=500), answer(status=503), reset, raw()], ids=["500", "503", "reset", "cut"]
)
async def test_what_may_pass_is_tried_again_after_growing_random_waits(bad: Serve, client: Client) -> None:
    """Twice more at most; how long is drawn from twice the span each time."""
    async with upstream(in_turn(bad, bad, answer(b"good"))) as server:
        reply = await client.make().get(server.address)

    assert reply.body == b"good"
    assert client.waits == [0.25, 0.5]
    assert len(server.asked) == 3


async def test_the_last_answer_is_given_when_all_were_bad(client: Client) -> None:
    """What it means is for the caller to say."""
    async with upstream(answer(b"oops", status=502)) as server:
        reply = await client.make().get(server.address)

    assert (reply.status, reply.text) == (502, "oops")
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 422, 429, 501])
async def test_what_will_not_pass_is_asked_once(status: int, client: Client) -> None:
    """A refusal is an answer."""
    async with upstream(answer(status=status)) as server:
        reply = await client.make().get(server.address)

    assert reply.status == status
    assert len(server.asked) == 1


@pytest.mark.parametrize("bad", [answer(status=500), reset, raw()], ids=["500", "reset", "cut"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_body_is_sent_again_only_where_the_caller_says_that_it_may(
    method: Any, bad: Serve, client: Client
) -> None:
    """Nobody knows whether the first one was taken."""
    async with upstream(bad) as server:
        for repeatable, sent in ((False, 1), (True, 4)):
            with contextlib.suppress(HTTPError):
                await client.make().send(method, server.address, content=b"{}", repeatable=repeatable)
            assert len(server.asked) == sent


# When to come back


@given(st.one_of(st.text(), st.from_regex(r"\d{1,2} Jan \d{1,5} \d\d?:\d\d:\d\d [+-]\d{1,30}", fullmatch=True)))
def test_whatever_stands_in_retry_after_it_is_a_wait_of_a_day_at_most_or_nothing(value: str) -> None:
    """No header makes an error, a negative wait or one without end."""
    wait = retry_after_seconds(value, NOW)

    assert wait is None or 0.0 <= wait <= 86_400.0


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("9" * 400, 86_400.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Sun, 29 Mar 2026 12:01:30 GMT", 90.0),
        ("Sunday, 29-Mar-26 12:01:30 GMT", 90.0),
        ("Sun Mar 29 12:01:30 2026", 90.0),
        ("Sun, 29 Mar 2026 11:00:00 GMT", 0.0),
        ("Wed, 29 Mar 2056 12:00:00 GMT", 86_400.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_in_any_of_its_three_forms(value: str | None, wait: float | None) -> None:
    """RFC 9110, section 10.2.3, and section 5.6.7 for dates."""
    assert retry_after_seconds(value, NOW) == wait


@pytest.mark.parametrize("after", ["90", format_datetime(NOW + timedelta(seconds=90), usegmt=True)])
@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_is_not_asked_before_the_time_that_it_named(status: int, after: str, client: Client) -> None:
    """Not even once more, by nobody of this process; another server is."""
    http = client.make()
    async with upstream(answer(status=status, headers={"Retry-After": after})) as server, upstream(answer()) as other:
        assert (await http.get(server.address)).retry_after_seconds == 90.0
        client.clock.advance(89)
        refused = await failing(http, f"{server.address}/else")
        await http.get(other.address)
        assert (len(server.asked), len(other.asked)) == (1, 1)
        client.clock.advance(1)
        await http.get(server.address)

    assert (refused.kind, refused.retry_after_seconds) == ("paused", 1.0)
    assert f"HTTP {status}" in refused.problem
    assert len(server.asked) == 2


async def test_too_many_without_a_time_is_half_a_minute(client: Client) -> None:
    """429 alone asks for less, too."""
    http = client.make()
    async with upstream(in_turn(answer(status=429), answer(b"good"))) as server:
        await http.get(server.address)
        client.clock.advance(29)
        assert (await failing(http, server.address)).kind == "paused"
        client.clock.advance(1)
        assert (await http.get(server.address)).body == b"good"


# The circuit


async def test_after_five_failures_a_server_is_left_alone_and_then_asked_by_one(client: Client) -> None:
    """Ten callers meet the end of the pause: one probes, and what it finds holds for all."""
    http = client.make()
    client.chance = 1.0
    async with upstream(answer(status=500)) as server:
        await http.get(server.address)
        opened = await failing(http, server.address)
        assert len(server.asked) == FAILURES_TO_OPEN
        for _ in range(10):
            await failing(http, server.address)
        client.clock.advance(FIRST_PAUSE_SECONDS)
        server.serve = hang
        probing = asyncio.create_task(http.get(server.address))
        while len(server.asked) == FAILURES_TO_OPEN:
            await asyncio.sleep(0.001)
        waiting = await asyncio.gather(*(failing(http, server.address) for _ in range(9)))
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
        assert len(server.asked) == FAILURES_TO_OPEN + 1
        server.serve = answer(b"good")
        replies = [await http.get(server.address) for _ in range(3)]

    assert (opened.kind, opened.problem) == ("paused", "left alone for 30 s more, after: HTTP 500")
    assert {error.kind for error in waiting} == {"paused"}
    assert [reply.body for reply in replies] == [b"good"] * 3


async def test_a_refused_call_says_what_the_server_was_left_alone_for(client: Client) -> None:
    """The reason, not only the pause."""
    async with upstream() as server:
        address = server.address
    http = client.make()
    await failing(http, address)

    assert "no connection" in (await failing(http, address)).problem


# Limits


@pytest.mark.parametrize("bytes_over", [0, 1])
async def test_a_body_is_taken_up_to_its_limit(bytes_over: int, client: Client) -> None:
    """One byte more is too many, and nobody asks again for the same."""
    http = client.make(max_body_bytes=1000)
    async with upstream(answer(b" " * (1000 + bytes_over))) as server:
        if bytes_over:
            assert (await failing(http, server.address)).kind == "too_large"
        else:
            assert len((await http.get(server.address)).body) == 1000

    assert len(server.asked) == 1


KINDS: dict[str, tuple[Kind, Serve]] = {
    "hang": ("timeout", hang),
    "slow drip": ("timeout", raw(b"HTTP/1.1 200 OK\r\n\r\n", *[b" "] * 100, every_seconds=0.05)),
    "reset": ("unreachable", reset),
    "half a body": ("unreachable", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")),
    "long": ("too_large", blanks(50)),
    "long, compressed": ("too_large", bomb(50)),
    "another protocol": ("protocol", raw(b"220 mail.example.org ESMTP\r\n")),
    "no gzip": ("protocol", answer(b"not packed", headers={"Content-Encoding": "gzip"})),
    "packed twice": ("protocol", bomb(200, times=2)),
    "packed as nobody asked": ("protocol", answer(b"x", headers={"Content-Encoding": "zstd"})),
}


@pytest.mark.parametrize("fault", KINDS)
async def test_each_failure_is_one_of_ours_and_says_where(fault: str, client: Client) -> None:
    """Whoever asks needs to know neither of the libraries beneath."""
    kind, serve = KINDS[fault]
    http = client.make(timeout_seconds=0.3 if kind == "timeout" else 5.0, attempts=1)
    async with upstream(serve) as server:
        error = await failing(http, f"{server.address}/path", params={"zone": "DE"})

    assert error.kind == kind
    assert str(error).startswith(f"{server.address}/path: ")
    assert str(error).isprintable()


async def test_a_name_that_does_not_resolve_is_asked_for_once(client: Client) -> None:
    """It will not in a second either."""
    error = await failing(client.make(), "http://grid.invalid/")

    assert error.kind == "name"
    assert client.waits == []


async def test_a_stranger_s_certificate_is_refused_and_a_trusted_one_taken(client: Client, tmp_path: Path) -> None:
    """The bundled authorities, or those of one file."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    async with upstream(answer(b"good"), tls=authority.context()) as server:
        error = await failing(client.make(), server.address)
        reply = await client.make(ca_file=str(tmp_path / "ca.pem")).get(server.address)

    assert error.kind == "tls"
    assert client.waits == []
    assert reply.body == b"good"


@pytest.mark.parametrize("content", [b"no authority", b""])
async def test_a_file_of_authorities_that_cannot_be_used_is_named(
    content: bytes, client: Client, tmp_path: Path
) -> None:
    """And nothing is sent to a server that nobody vouches for."""
    (tmp_path / "ca.pem").write_bytes(content)
    async with upstream(answer(b"good"), tls=Authority().context()) as server:
        error = await failing(client.make(ca_file=str(tmp_path / "ca.pem")), server.address)

    assert error.kind == "tls"
    assert "ca.pem cannot be read" in error.problem
    assert not server.asked


async def test_a_redirect_is_an_answer_and_its_target_is_not_asked(client: Client) -> None:
    """A key does not go to where a stranger points."""
    async with upstream() as target, upstream(answer(status=302, headers={"Location": target.address})) as server:
        reply = await client.make().get(server.address, headers={"auth-token": SECRET})

    assert reply.status == 302
    assert not target.asked


async def test_one_connection_serves_many_requests_and_no_cookie_is_kept(client: Client) -> None:
    """What a server wants remembered about this client is forgotten."""
    http = client.make()
    async with upstream(answer(b"good", headers={"Set-Cookie": "id=7"})) as server:
        for _ in range(10):
            await http.get(server.address)

    assert (len(server.asked), server.connections) == (10, 1)
    assert not any("cookie" in headers for headers in server.headers)


async def test_connections_are_limited(client: Client) -> None:
    """Forty callers at once share four."""
    http = client.make(max_connections=4)
    async with upstream(answer()) as server:
        await asyncio.gather(*(http.get(server.address) for _ in range(40)))

    assert len(server.asked) == 40
    assert server.connections <= 4


async def test_a_proxy_of_the_environment_is_not_used(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only settings decide where a key goes."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with upstream(answer(b"good")) as server:
        assert (await client.make().get(server.address)).body == b"good"


async def test_closing_twice_is_fine(client: Client) -> None:
    """Also before anything was asked."""
    http = client.make()
    await http.aclose()
    async with upstream(answer()) as server:
        await http.get(server.address)
        await http.aclose()
        await http.aclose()


# Secrets


@pytest.mark.parametrize(
    "serve",
    [
        answer(f"you sent {SECRET}".encode(), status=401),
        answer(f"you sent {SECRET}".encode(), status=500),
        raw(b"HTTP/1.1 banana " + SECRET.encode() + b"\r\n\r\n"),
        raw(b"220 mail.example.org ESMTP\r\n"),
        raw(),
        reset,
        blanks(50),
    ],
    ids=["401", "500", "bad status line", "no HTTP", "cut", "reset", "long"],
)
@pytest.mark.parametrize("how", ["header", "query", "basic"])
async def test_a_secret_is_sent_and_never_shown(
    how: str, serve: Serve, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in an error, its traceback, a repr, nor in any library's log at its most talkative."""
    caplog.set_level(logging.DEBUG)
    http = client.make(attempts=1)
    ways: dict[str, dict[str, Any]] = {
        "header": {"headers": {"auth-token": SECRET}, "secrets": (SECRET,)},
        "query": {"secret_params": {"api_key": SECRET}, "params": {"zone": "DE"}},
        "basic": {"auth": ("someone", SECRET)},
    }
    async with upstream(serve) as server:
        try:
            reply = await http.get(server.address, **ways[how])
            shown = [repr(reply), reply.excerpt(), reply.where]
        except HTTPError as exc:
            shown = [repr(exc), *traceback.format_exception(exc)]
            shown += [repr(exc.__cause__), repr(exc.__context__)]
    sent = server.asked[0] + repr(server.headers[0])

    everything = "".join(shown) + repr(http) + caplog.text
    for written in (SECRET, "s3cr%2Bt%2Fkey%3D%3D", "s3cr%2Bt/key%3D%3D", "s3cr+t/key%3D%3D"):
        assert written not in everything
    assert "zone=DE" not in "".join(shown)
    assert {"header": SECRET, "query": "api_key=s3cr%2Bt", "basic": "c29tZW9uZTpzM2NyK3Qva2V5PT0="}[how] in sent


@given(secret=st.text(min_size=8), before=st.text(), after=st.text())
def test_a_redacted_text_holds_no_secret(secret: str, before: str, after: str) -> None:
    """Wherever it stood."""
    assert secret not in redacted(f"{before}{secret}{after}", [secret]) or "***" in secret


async def test_an_excerpt_is_one_short_printable_line(client: Client) -> None:
    """A body may hold anything; a log line may not."""
    async with upstream(answer(b"a\x1b[2J\r\n\x00b" + "ü".encode() + b"\xff" * 500)) as server:
        excerpt = (await client.make().get(server.address)).excerpt()

    assert excerpt.startswith("a [2J bü")
    assert len(excerpt) <= 120
    assert excerpt.isprintable()
