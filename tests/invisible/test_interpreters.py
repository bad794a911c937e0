"""An interpreter that cannot be measured: that is said once, and the application runs as it would without us."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from carbon_sdk import Carbon, CarbonMiddleware
from carbon_sdk.interpreter import unsupported

Message = MutableMapping[str, Any]
REASON = "this Python is not supported yet"


def test_the_main_interpreter_with_its_global_lock_is_supported() -> None:
    """As this one is."""
    assert unsupported() is None


@pytest.mark.anyio
async def test_an_unsupported_interpreter_is_told_once_and_the_app_runs_on(caplog: pytest.LogCaptureFixture) -> None:
    """Requests, and a second start; nothing is measured, and nothing is kept."""
    asked: list[None] = []
    sent: list[str] = []

    def refuse() -> str:
        asked.append(None)
        return REASON

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    carbon = Carbon(unsupported=refuse)
    async with carbon:
        middleware = CarbonMiddleware(app, carbon=carbon)
        for _ in range(3):
            scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}
            await middleware(scope, receive, send)
        carbon.start()
    lines = [record.getMessage() for record in caplog.records if REASON in record.getMessage()]

    assert not carbon.running
    assert sent == ["http.response.start", "http.response.body"] * 3
    assert len(asked) == 1
    assert len(lines) == 1
    assert "the application runs on" in lines[0]
    assert not carbon.clock.touched


def test_a_sub_interpreter_says_so_and_runs_on() -> None:
    """A real one, beside the main interpreter that measures."""
    inner = textwrap.dedent(
        """
        import asyncio
        from carbon_sdk import track

        async def main():
            for _ in range(2):
                async with track("block") as span:
                    await asyncio.sleep(0)
            return span.cpu_seconds

        assert asyncio.run(main()) is None
        """
    )
    outer = textwrap.dedent(
        f"""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        try:
            number = interpreters.create("legacy")
        except TypeError:
            number = interpreters.create(isolated=False)
        failed = interpreters.run_string(number, {inner!r})
        assert failed is None, failed
        """
    )
    done = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [line["fault"] for line in lines if line["event"] == "carbon.fault"] == ["start"]
    assert "sub-interpreter" in lines[0]["problem"]


@pytest.mark.parametrize("before", ["pass", "with track('before'): pass"])
def test_a_block_that_runs_while_the_interpreter_ends_does_not_hold_it_up(before: str) -> None:
    """In a `__del__` of what lives until the very end, where no thread can start any more."""
    code = textwrap.dedent(
        f"""
        from carbon_sdk import track

        class Pool:
            def __del__(self):
                with track("close"):
                    print("closed")

        pool = Pool()
        pool.itself = pool
        {before}
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
    assert "Traceback" not in done.stderr
