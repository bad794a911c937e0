"""Frameworks over ASGI with the middleware as it is: their examples, under a real server."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.serving import COMMANDS, Server, free_port

EXAMPLES = {
    "service": "GET /squares/{count}",
    "litestar_service": "GET /squares/{count}",
    "quart_service": "GET /squares/<int:count>",
    "django_service": "GET /squares/<int:count>",
}
"""By example, what its framework calls the endpoint."""


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(example: str, tmp_path: Path) -> Iterator[Server]:
    port = free_port()
    server = Server(COMMANDS["uvicorn"](f"examples.{example}:app", port), port, tmp_path)
    yield server
    server.stop()


def test_an_example_books_its_endpoint(example: str, server: Server) -> None:
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
    cpu_seconds = sum(record["cpu_seconds"] for record in server.records() if record["root"] == EXAMPLES[example])

    assert all(b"2666664666667000000" in answer for answer in answers)
    assert b" 404 " in missing
    assert {name: record["requests"] for name, record in records.items()} == {
        EXAMPLES[example]: 2,
        "GET (no route)": 1,
    }
    assert cpu_seconds > 0.05
    assert cpu_seconds > 3 * records["GET (no route)"]["cpu_seconds"]
