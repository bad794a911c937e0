"""uvicorn, hypercorn and granian serve an application with carbon_sdk as without it, and its records are right."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import application
from tests.servers.application import BURN_SECONDS
from tests.servers.serving import COMMANDS, VOLATILE, Server, converse, free_port, read_to_end, steady


def twice_on_one_connection(server: Server) -> bytes:
    """A kept connection: the second request is written after the first was answered."""
    with server.connect() as connection:
        connection.sendall(b"GET /items/1 HTTP/1.1\r\nHost: test\r\n\r\n")
        first = connection.recv(65536)
        while not first.endswith(b"}"):
            first += connection.recv(65536)
        connection.sendall(b"GET /items/2 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return steady(first) + steady(read_to_end(connection))


def three_at_once(server: Server) -> bytes:
    """A client that does not wait (RFC 9112, section 9.3.2): a server begins the next where the last one has ended."""
    with server.connect() as connection:
        heads = [f"{line} HTTP/1.1\r\nHost: test\r\n" for line in ("GET /items/1", "HEAD /items/1", "GET /sync")]
        connection.sendall(("\r\n".join(heads) + "Connection: close\r\n\r\n").encode())
        lines = read_to_end(connection).split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.lower().startswith(VOLATILE))


def leave_in_mid_stream(server: Server) -> None:
    """Read the beginning of an endless answer and close."""
    with server.connect() as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
        assert b"200" in connection.recv(65536)
        assert connection.recv(65536)
    server.wait_for("the endless stream was ended")


def hand_in_background_work(server: Server) -> bytes:
    """The connection stays until the work is done: hypercorn ends it with its connection."""
    with server.connect() as connection:
        connection.sendall(b"GET /background HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = connection.recv(65536)
        while not answer.endswith(b"accepted"):
            answer += connection.recv(65536)
        server.wait_for("the background task is done")
    return steady(answer)


def fetch_a_file(server: Server) -> bytes:
    """The connection stays until the work after it is done."""
    with server.connect() as connection:
        connection.sendall(b"GET /file HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = connection.recv(65536)
        while not answer.endswith(Path(application.__file__).read_bytes()):
            answer += connection.recv(65536)
        server.wait_for("the work after the file is done")
    return steady(answer)


def leave_a_socket(server: Server) -> list[object]:
    seen = converse(server, "/echo/blue", "one", "two")
    server.wait_for("the socket of blue was closed with")  # hypercorn says 1006
    return seen


EXCHANGES: dict[str, Callable[[Server], Any]] = {
    "get": lambda server: server.ask("GET", "/items/7"),
    "head": lambda server: server.ask("HEAD", "/items/7"),
    "not found": lambda server: server.ask("GET", "/nowhere/7"),
    "method not allowed": lambda server: server.ask("DELETE", "/items/7"),
    "unprocessable": lambda server: server.ask("GET", "/items/seven"),
    "error": lambda server: server.ask("GET", "/error"),
    "error after the response has begun": lambda server: server.ask("GET", "/late-error"),
    "sync endpoint": lambda server: server.ask("GET", "/sync"),
    "upload": lambda server: server.ask("POST", "/upload", "Content-Length: 100000", body=b"u" * 100_000),
    "upload in chunks": lambda server: server.ask(
        "POST", "/upload", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    ),
    "stream": lambda server: server.ask("GET", "/stream"),
    "malformed request": lambda server: server.ask("GET", "no path at all"),
    "kept connection": twice_on_one_connection,
    "three requests at once": three_at_once,
    "disconnect in mid-stream": leave_in_mid_stream,
    "background task": hand_in_background_work,
    "file": fetch_a_file,
    "socket left by the client": leave_a_socket,
    "socket closed by the application": lambda server: converse(server, "/echo/red", "one", "leave"),
    "socket refused": lambda server: converse(server, "/closed"),
    "socket nowhere": lambda server: converse(server, "/no/socket/here"),
}


@dataclass(frozen=True)
class Visit:
    """What a client has seen of a server, and what was noted meanwhile."""

    seen: dict[str, Any]
    events: Counter[str]
    log: str
    records: list[dict[str, Any]]


def visit(name: str, app: str, folder: Path) -> Visit:
    port = free_port()
    server = Server(COMMANDS[name](f"tests.servers.application:{app}", port), port, folder)
    try:
        seen = {exchange: ask(server) for exchange, ask in EXCHANGES.items()}
    finally:
        server.stop()
    return Visit(seen, Counter(server.events()), server.log(), server.records())


@pytest.fixture(scope="module", params=COMMANDS)
def visits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Visit, Visit]:
    """The same visit without carbon_sdk and with it."""
    folder = tmp_path_factory.mktemp(request.param)
    return visit(request.param, "bare", folder / "bare"), visit(request.param, "measured", folder / "measured")


def test_a_client_sees_the_same_bytes(visits: tuple[Visit, Visit]) -> None:
    """Every status, header, chunk and frame, and how each connection ends."""
    bare, measured = visits

    for exchange in EXCHANGES:
        assert measured.seen[exchange] == bare.seen[exchange], exchange
    assert b"200" in bare.seen["get"].split(b"\r\n")[0]


def test_the_application_sees_the_same_life(visits: tuple[Visit, Visit]) -> None:
    """Start-up, shutdown, disconnects and work after the response, each once; its errors are in the server's log."""
    bare, measured = visits

    assert measured.events == bare.events
    assert measured.events["startup"] == measured.events["shutdown"] == 1
    for error in ("ValueError: the application's own", "ValueError: after the response has begun"):
        assert measured.log.count(error) == bare.log.count(error) >= 1


def test_the_records_tell_every_request_once(visits: tuple[Visit, Visit]) -> None:
    """Counted by route, errors too; what the background task used is its endpoint's."""
    bare, measured = visits
    records = {record["name"]: record for record in measured.records if record["kind"] == "request"}

    assert not bare.records
    assert {name: (record["requests"], record["errors"]) for name, record in records.items()} == {
        "GET /items/{number}": (5, 0),
        "HEAD /items/{number}": (2, 0),
        "GET (no route)": (1, 0),
        "DELETE /items/{number}": (1, 0),
        "GET /sync": (2, 0),
        "POST /upload": (2, 0),
        "GET /error": (1, 1),
        "GET /late-error": (1, 1),
        "GET /stream": (1, 0),
        "GET /endless": (1, 0),
        "GET /background": (1, 0),
        "GET /file": (1, 0),
        "WEBSOCKET /echo/{room}": (2, 0),
        "WEBSOCKET /closed": (1, 0),
        "WEBSOCKET (no route)": (1, 0),
    }
    burns = {
        "GET /items/{number}": 4,
        "HEAD /items/{number}": 2,
        "GET /sync": 2,
        "GET /stream": 1,
        "GET /background": 1,
    }
    for name, burnt in burns.items():
        assert burnt * BURN_SECONDS <= records[name]["cpu_seconds"] <= 3 * burnt * BURN_SECONDS, name
    assert records["GET /background"]["duration_seconds"] < 0.2
    assert records["GET /file"]["duration_seconds"] < 0.5
    assert "carbon.fault" not in measured.log


@pytest.mark.parametrize("name", COMMANDS)
def test_an_application_without_a_lifespan_leaves_its_records_too(name: str, tmp_path: Path) -> None:
    """The server ends by the signal it got, so nothing runs after it; the shutdown is the last moment."""
    port = free_port()
    server = Server(COMMANDS[name]("tests.servers.application:without_lifespan", port), port, tmp_path)
    try:
        answer = server.ask("GET", "/")
    finally:
        server.stop()

    assert b"here" in answer
    assert [(record["name"], record["requests"]) for record in server.records() if record["kind"] == "request"] == [
        ("GET (no route)", 1)
    ]
