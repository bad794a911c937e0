"""One collector with the records of a small company, for all tests of the dashboard."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from tests.collector.dashboard.company import records
from tests.collector.service import Collector

DAYS = 9
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A running collector that holds the last nine days of the company; nobody writes to it any more."""
    folder: Path = tmp_path_factory.mktemp("company") / "data"
    collector = Collector(folder)
    made = records(END, DAYS, timedelta(hours=1))
    while batch := list(islice(made, 2_000)):
        answer = collector.send(batch)
        assert answer["stored"] == len(batch), answer
    while collector.ask("/v1/books")["measured_joules"] is None:  # the machine book follows within seconds
        time.sleep(0.1)
    yield collector
    collector.stop()
