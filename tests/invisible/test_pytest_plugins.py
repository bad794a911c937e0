"""pytest-asyncio and anyio's plugin, in a suite of somebody else's: each test ends as it does without us."""

import subprocess
import sys
from pathlib import Path

import pytest

from carbon_sdk.environment import environment

ROOT = Path(__file__).parents[2]
APPLICATION = """
import asyncio

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
{imports}

async def root(request: Request) -> Response:
    await asyncio.gather(asyncio.sleep(0.001), asyncio.to_thread(int))
    return Response("here")


async def fails(request: Request) -> Response:
    raise KeyError("of the application")


def client() -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/", root), Route("/fails", fails)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@{fixture}
async def served(request: pytest.FixtureRequest):
    loop = asyncio.get_running_loop()
    async with client() as http:
        assert (await http.get("/")).text == "here"
        yield http
        assert (await http.get("/")).text == "here"
    assert asyncio.get_running_loop() is loop
    assert len(asyncio.all_tasks()) {tasks}


{mark}
async def test_a_request_of_a_fixture(served) -> None:
    assert (await served.get("/")).text == "here"


{mark}
@pytest.mark.parametrize("number", [1, 2])
async def test_loops_come_and_go(served, number: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(number):
            tasks.create_task(served.get("/"))


{mark}
async def test_the_error_of_an_app(served) -> None:
    with pytest.raises(KeyError, match="of the application"):
        await served.get("/fails")


{mark}
async def test_that_fails(served) -> None:
    assert (await served.get("/")).text == "there"


{mark}
async def test_that_is_late(served) -> None:
    with anyio.fail_after(0.001):
        await anyio.sleep(10)


{mark}
@pytest.mark.xfail(strict=True)
async def test_that_is_expected_to_fail(served) -> None:
    await served.get("/fails")


{mark}
async def test_that_leaves_a_task(served) -> None:
    asyncio.create_task(asyncio.sleep(10), name="left")


{mark}
async def test_the_names_of_tasks(served) -> None:
    assert asyncio.current_task() in asyncio.all_tasks()
    assert not any("carbon" in repr(task) for task in asyncio.all_tasks())
"""
PLUGINS = {
    "pytest_asyncio.plugin": {
        "imports": "import pytest_asyncio\n",
        "fixture": "pytest_asyncio.fixture",
        "mark": "@pytest.mark.asyncio",
        "tasks": ">= 1",
    },
    "anyio.pytest_plugin": {
        "imports": "\n@pytest.fixture\ndef anyio_backend() -> str:\n    return 'asyncio'\n",
        "fixture": "pytest.fixture",
        "mark": "@pytest.mark.anyio",
        "tasks": ">= 1",
    },
}
OPTIONS = {"pytest_asyncio.plugin": "asyncio_default_fixture_loop_scope = function\n"}
CLIENT = "Using `httpx` with"
"""Of a test client that the suite does not use."""
OUTCOMES = "9 tests, 6 passed, 0 ended otherwise than without"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_suite_under_a_plugin_ends_as_without_us(plugin: str, tmp_path: Path) -> None:
    """Fixtures around a test, a loop for each, failures, time limits, a task that is left over; warnings are errors."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n" + OPTIONS.get(plugin, ""), encoding="utf-8")
    (tmp_path / "test_suite.py").write_text(APPLICATION.format(**PLUGINS[plugin]), encoding="utf-8")
    arguments = ["-p", "no:cacheprovider", "-p", plugin, "-W", "error", "-W", f"ignore:{CLIENT}"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/peers/twice.py"), str(tmp_path), *arguments],
        env={**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert OUTCOMES in done.stdout
