"""Collectors that end with their test."""

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.collector.service import Collector


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Starts collectors, and ends those that still run."""
    started: list[Collector] = []

    def begin(*words: str, folder: Path = tmp_path / "data", before: Sequence[str] = ()) -> Collector:
        started.append(Collector(folder, *words, before=before))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.stop(signal.SIGKILL)
