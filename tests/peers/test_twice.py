"""The comparison of another project's suite, with carbon_sdk and without, sees what differs and only that."""

import subprocess
import sys
from pathlib import Path

from carbon_sdk.environment import environment

TWICE = Path(__file__).parent / "twice.py"
SERVED = """
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient


async def root(request: Request) -> Response:
    return Response("here")


client = TestClient(Starlette(routes=[Route("/", root)]))


def test_the_root() -> None:
    assert client.get("/").text == "here"


def test_that_fails_both_ways() -> None:
    assert client.get("/").text == "there"


def test_its_class() -> None:
    assert isinstance(client.app, Starlette)
"""


def compare(folder: Path, suite: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_suite.py").write_text(suite, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(TWICE), str(folder), "-p", "no:cacheprovider"],
        env={**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_a_test_that_ends_otherwise_is_named(tmp_path: Path) -> None:
    """One that asks what its application is; not one that fails both ways."""
    done = compare(tmp_path, SERVED)

    assert done.returncode == 1, done.stderr
    told = done.stdout.splitlines()[-2:]
    assert told == [
        "test_suite::test_its_class: passed without carbon_sdk, failed with it",
        "3 tests, 1 passed, 1 ended otherwise than without; 2 requests measured",
    ]


def test_a_suite_that_sees_nothing_of_carbon_sdk_ends_as_without(tmp_path: Path) -> None:
    """Exit status 0, and the requests were measured."""
    done = compare(tmp_path, SERVED.replace("isinstance(client.app, Starlette)", "client.app"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("3 tests, 2 passed, 0 ended otherwise than without; 2 requests measured\n")


def test_a_suite_without_a_request_proves_nothing(tmp_path: Path) -> None:
    """Nothing was measured, so nothing was compared."""
    done = compare(tmp_path, "def test_nothing() -> None:\n    pass\n")

    assert done.returncode == 1
    assert "0 requests measured" in done.stdout
