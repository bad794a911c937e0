"""Frameworks over ASGI with the middleware as it is: their examples, under a real server."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.serving import COMMANDS, Server, free_port

EXAMPLES = {
    "litestar": "GET /squares/{count}",
    "quart": "GET /squares/<int:count>",
    "django": "GET /squares/<int:count>",
}
"""By framework, what it calls the endpoint."""


@pytest.fixture(params=EXAMPLES)
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(framework: str, tmp_path: Path) -> Iterator[Server]:
    port = free_port()
    server = Server(COMMANDS["uvicorn"](f"examples.{framework}_service:app", port), port, tmp_path)
    yield server
    server.stop()


def test_an_example_books_its_endpoint(framework: str, server: Server) -> None:
    """Two requests at once that compute in threads, one that fails to be routed: names, counts and CPU."""
    answers: list[bytes] = []
    clients = [threading.Thread(target=lambda: answers.append(server.ask("GET", "/squares/2000000"))) for _ in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    missing = server.ask("GET", "/nowhere/7")
    server.stop()
    records = {record["name"]: record for record in server.records() if record["kind"] == "request"}

    assert all(b"2666664666667000000" in answer for answer in answers)
    assert b" 404 " in missing
    assert {name: record["requests"] for name, record in records.items()} == {
        EXAMPLES[framework]: 2,
        "GET (no route)": 1,
    }
    assert records[EXAMPLES[framework]]["cpu_seconds"] > 0.05
    assert records[EXAMPLES[framework]]["cpu_seconds"] > 3 * records["GET (no route)"]["cpu_seconds"]
