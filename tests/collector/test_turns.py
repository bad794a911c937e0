"""Who takes and keeps many records at once leaves room for who asks."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import Message

from carbon_sdk.collector.access import SCOPES, Caller
from carbon_sdk.collector.backlog import Backlog
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.collector.intake import Intake, IntakeLimits
from carbon_sdk.collector.store import Batch
from carbon_sdk.wire import to_json
from tests.collector.service import HOUR, emission


class Noting:
    """A store that notes the round of the event loop in which each batch came."""

    def __init__(self, loop_round: Callable[[], int]) -> None:
        self._round = loop_round
        self.came: list[int] = []

    async def ingest(self, _project: str, _batch: Batch, /) -> None:
        self.came.append(self._round())

    def now(self) -> float:
        return HOUR.timestamp()

    def oldest(self) -> float:
        return 0.0


def post(body: bytes, rest: asyncio.Event | None = None) -> Request:
    """A batch that has come as a whole, or but for its last byte, which comes with the event."""
    parts = [body] if rest is None else [body[:-1], body[-1:]]

    async def receive() -> Message:
        part = parts.pop(0)
        if rest is not None and not parts:
            await rest.wait()
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    caller = Caller(name="local", project=None, scopes=SCOPES)
    headers = [(b"content-type", b"application/json")]
    return Request(
        {"type": "http", "method": "POST", "query_string": b"", "headers": headers, "state": {"caller": caller}},
        receive,
    )


def test_between_two_bodies_that_have_come_everything_else_has_its_turn() -> None:
    """However many senders push, a question waits for one body."""

    async def rounds_of_bodies() -> list[int]:
        passed = 0

        async def count() -> None:
            nonlocal passed
            while True:
                passed += 1
                await asyncio.sleep(0)

        store = Noting(lambda: passed)
        intake = Intake(store)  # type: ignore[arg-type]
        counting = asyncio.create_task(count())
        await asyncio.gather(*(intake.take(post(f"[{to_json(emission(sequence=one))}]".encode())) for one in range(20)))
        counting.cancel()
        return store.came

    came = asyncio.run(rounds_of_bodies())

    assert came == sorted(set(came))
    assert len(came) == 20


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no weight of their own there")
def test_one_thread_loads_with_less_weight_than_those_that_answer(tmp_path: Path) -> None:
    """Acknowledgements and questions do not wait for what is loaded behind them."""
    before = set(os.listdir("/proc/self/task"))
    store = DuckDBStore(tmp_path)
    try:
        asyncio.run(store.settled())
        made = set(os.listdir("/proc/self/task")) - before
        own = os.getpriority(os.PRIO_PROCESS, 0)

        assert sorted(os.getpriority(os.PRIO_PROCESS, int(one)) > own for one in made)[-2:] == [False, True]
    finally:
        store.close()


def test_answers_are_held_back_while_more_than_three_quarters_of_the_room_are_taken() -> None:
    """Who sends faster than the engine loads is answered later before anybody is refused."""
    backlog = Backlog(100)
    backlog.admit(75, None)
    assert backlog.await_room(0)

    backlog.admit(10, None)
    assert not backlog.await_room(0)

    backlog.release(10)
    assert backlog.await_room(0)


def test_bodies_under_way_take_a_bounded_room_together() -> None:
    """Who comes beyond is asked to come again, and finds room once the others are done."""
    body = f"[{to_json(emission(sequence=1))}]".encode()

    async def statuses() -> list[int]:
        intake = Intake(Noting(lambda: 0), IntakeLimits(bodies_bytes=len(body) * 3 // 2))  # type: ignore[arg-type]
        rest = asyncio.Event()
        slow = asyncio.create_task(intake.take(post(body, rest)))
        await asyncio.sleep(0)
        refused = await intake.take(post(body))
        rest.set()
        return [refused.status_code, (await slow).status_code, (await intake.take(post(body))).status_code]

    assert asyncio.run(statuses()) == [503, 200, 200]
