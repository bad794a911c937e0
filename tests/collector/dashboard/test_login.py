"""The door of the dashboard where there are tokens."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from carbon_sdk.collector.access import Tokens
from carbon_sdk.collector.dashboard.session import LIFETIME_SECONDS, Sessions
from carbon_sdk.collector.server import TOKENS
from tests.collector.service import Collector, emission

Start = Callable[..., Collector]


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """The tokens of the collector that `start` starts."""
    return Tokens(tmp_path / "data" / TOKENS)


def log_in(client: httpx.Client, token: str, **fields: str) -> httpx.Response:
    page = client.get("/dashboard/login", params={"next": "/dashboard/machines"})
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    return client.post("/dashboard/login", data={**hidden, "token": token, **fields})


def test_whoever_has_no_session_is_asked_to_log_in_and_led_back(start: Start, tokens: Tokens) -> None:
    """The page that was wanted; its own project's records and no other's; until the log-out."""
    secret = tokens.make("shop", ["read"])
    other = tokens.make("other", ["write"])
    collector = start()
    collector.send([emission(0, service="secret")], authorization=f"Bearer {other}")
    client = collector.client
    asked = client.get("/dashboard/records?period=7d")
    assert (asked.status_code, client.get("/").status_code) == (303, 401)
    assert asked.headers["location"] == "/dashboard/login?next=/dashboard/records%3Fperiod%3D7d"
    assert client.get("/dashboard/v1/records").status_code == 401

    answer = log_in(client, secret)

    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/machines")
    page = client.get("/dashboard/", params={"project": "other"})
    assert "secret" not in page.text
    value = re.search(r'name="form" value="(\w+)"', page.text)
    assert value is not None
    client.post("/dashboard/logout", data={"form": value[1]})
    assert client.get("/dashboard/").status_code == 303


def test_the_cookie_is_for_the_browser_alone(start: Start, tokens: Tokens) -> None:
    """No script reads it, no other site sends its forms, and the token stands in no answer."""
    secret = tokens.make("default", ["read"])
    collector = start()
    answer = log_in(collector.client, secret)
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("carbon_sdk_session="))

    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()
    assert secret not in str(answer.headers)
    assert secret not in collector.client.get("/dashboard/").text


def test_a_form_of_another_site_logs_nobody_in_or_out(start: Start, tokens: Tokens) -> None:
    """It cannot know the value that goes with the cookie."""
    secret = tokens.make("default", ["read"])
    collector = start()
    forged = log_in(collector.client, secret, form="0" * 64)
    assert (forged.status_code, "too old" in forged.text) == (403, True)
    log_in(collector.client, secret)
    collector.client.post("/dashboard/logout", data={"form": "0" * 64})

    assert collector.client.get("/dashboard/").status_code == 200


def test_a_token_that_may_not_read_and_a_wrong_one_open_nothing(start: Start, tokens: Tokens) -> None:
    """Both are told alike, and too many attempts have to wait."""
    writing = tokens.make("default", ["write"])
    collector = start()
    answers = [log_in(collector.client, token) for token in (writing, "cst_wrong", "again")]

    assert [answer.status_code for answer in answers] == [403, 403, 429]
    assert "needs the scope read" in answers[0].text


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example/", "/dashboard/\\evil", "/v1/projects", ""]
)
def test_nobody_is_led_elsewhere_after_the_login(start: Start, tokens: Tokens, wanted: str) -> None:
    """Only pages of the dashboard."""
    secret = tokens.make("default", ["read"])

    assert log_in(start().client, secret, next=wanted).headers["location"] == "/dashboard/"


def test_a_session_ends_with_its_token_and_with_its_time(tmp_path: Path) -> None:
    """At once, without a restart."""
    tokens, now = Tokens(tmp_path / TOKENS), [0.0]
    sessions = Sessions(tokens, monotonic=lambda: now[0])
    cookie, other = (sessions.begin(tokens.make("default", ["read"])) for _ in range(2))
    held = sessions.caller(cookie)

    assert held is not None
    tokens.revoke(held.name)
    assert sessions.caller(cookie) is None
    assert sessions.caller(other) is not None
    now[0] = LIFETIME_SECONDS
    assert sessions.caller(other) is None
    assert sessions.caller(None) is None


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=1&" * 50, b"x" * 10_000])
def test_a_body_that_is_no_form_is_refused(start: Start, tokens: Tokens, body: bytes) -> None:
    """No UTF-8, too many fields, too long."""
    tokens.make("default", ["read"])

    assert start().client.post("/dashboard/login", content=body).status_code == 403
