"""The JSON lines sink: one file that all workers of a host may share."""

import asyncio
import json
import multiprocessing
import stat
from pathlib import Path

from carbon_sdk.emission import Emission
from carbon_sdk.sinks.jsonlines import JSONLinesSink
from tests.collector.service import emission

BATCHES = 40
RECORDS = 30


def write(path: Path, number: int) -> None:
    """What one worker does."""
    batch: list[Emission] = [emission(1, name=f"GET /{number}/{'x' * 500}") for _ in range(RECORDS)]

    async def batches() -> None:
        for _ in range(BATCHES):
            await JSONLinesSink(path).write(batch)

    asyncio.run(batches())


def test_the_lines_of_several_workers_do_not_mix(tmp_path: Path) -> None:
    """Each batch is larger than any buffer; every line is one whole record, and only its owner may read the file."""
    path = tmp_path / "folder" / "records"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write, args=(path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3 * BATCHES * RECORDS
    assert {json.loads(line)["name"][:6] for line in lines} == {"GET /0", "GET /1", "GET /2"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
