"""A process that is measured has children: each begins anew and hands over its own, and the parent goes on."""

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk.environment import environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

FAMILY = """
    import asyncio, multiprocessing, sys, time

    import carbon_sdk


    def burn(seconds):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass


    def child():
        async def jobs():
            for _ in range(10):
                async with carbon_sdk.track("child"):
                    burn(0.01)
                    await asyncio.sleep(0)

        asyncio.run(jobs())


    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        with carbon_sdk.track("before"):
            burn(0.05)
            children = [context.Process(target=child) for _ in range(4)]
            for one in children:
                one.start()
        for one in children:
            one.join(60)
        with carbon_sdk.track("after"):
            burn(0.05)
        assert [one.exitcode for one in children] == [0] * 4
"""


def run(folder: Path, code: str, *arguments: str) -> list[dict[str, Any]]:
    """The records that a program and its children have left, once all of them have ended well."""
    program, records = folder / "program.py", folder / "records"
    program.write_text(textwrap.dedent(code), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(program), *arguments],
        env={
            **environment(),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "CARBON_SDK_SINKS": "jsonlines",
            "CARBON_SDK_JSONLINES_PATH": str(records),
            "CARBON_SDK_STATE_DIR": str(folder / "state"),
            "CARBON_SDK_EMIT_INTERVAL_SECONDS": "3600",
            "CARBON_SDK_FIRST_RECORD_SECONDS": "3600",
        },
        check=True,
        timeout=120,
    )
    return [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_children_of_multiprocessing_hand_over_what_is_their_own(method: str, tmp_path: Path) -> None:
    """Forty jobs of four children arrive, each once, from four instances; the parent's own once, before and after."""
    cpu_seconds: dict[str, float] = defaultdict(float)
    requests: dict[str, int] = defaultdict(int)
    instances: dict[str, set[str]] = defaultdict(set)
    for record in run(tmp_path, FAMILY, method):
        if record["kind"] == "worker":
            requests[record["name"]] += record["requests"]
            cpu_seconds[record["name"]] += record["cpu_seconds"]
            instances[record["name"]].add(record["instance"])

    assert requests == {"before": 1, "after": 1, "child": 40}
    assert instances["before"] == instances["after"]
    assert len(instances["child"] - instances["before"]) == 4
    assert cpu_seconds["child"] == pytest.approx(0.4, rel=0.25)
    assert cpu_seconds["after"] == pytest.approx(0.05, rel=0.25)


def test_a_fork_waits_until_nothing_is_half_done(tmp_path: Path) -> None:
    """The parent has just begun and imports half the world on our thread: the child gets none of it by halves."""
    records = run(
        tmp_path,
        """
        import asyncio, os, signal

        import carbon_sdk
        from carbon_sdk.process import default


        def child():
            signal.alarm(60)
            with carbon_sdk.track("child"):
                sum(range(1000))
            default().wait_ready(30)
            import aiohttp, httpx, structlog  # what our thread imports, the application may want too
            default().close()


        async def main():
            with carbon_sdk.track("parent"):  # in a running loop the first block waits for nothing
                pass
            pid = os.fork()
            if pid == 0:
                try:
                    child()
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0


        asyncio.run(main())
        """,
    )

    assert {record["name"]: record["requests"] for record in records if record["kind"] == "worker"} == {
        "parent": 1,
        "child": 1,
    }
