"""Several workers of one server, forked after the application was loaded or spawned: each books its own, once."""

from pathlib import Path

import pytest

from benchmarks.workers import SERVERS, WORKERS, measure


@pytest.mark.parametrize("server", SERVERS)
def test_what_the_workers_book_adds_up_to_their_share_of_the_machine(server: str, tmp_path: Path) -> None:
    """Every request in one worker's book; together never more than the machine used, and what their CPU was of it.

    The error of the sum is within 5 % on a quiet machine (benchmarks/RESULTS.md); one that tests share is not quiet.
    """
    got = measure(server, tmp_path, intervals=4)

    assert got.instances == WORKERS
    assert got.counted == got.sent
    assert 0.0 < got.booked_joules <= got.active_joules
    assert abs(got.error) < 0.3, got
