"""Clocks that are wrong, and clocks that are put right: nobody's records are refused or deleted for it."""

from datetime import timedelta
from pathlib import Path

import pytest

from carbon_sdk.collector.duckdb_upkeep import Retention
from tests.collector.inside import inside
from tests.collector.service import HOUR, emission

YEAR = timedelta(days=365)


class Clock:
    """A clock of the test's own."""

    def __init__(self) -> None:
        self.moment = HOUR + timedelta(hours=1)

    def __call__(self) -> float:
        return self.moment.timestamp()


async def test_a_clock_that_is_set_back_refuses_no_record_of_the_present(tmp_path: Path) -> None:
    """Neither in the process that saw it, nor in the next one."""
    clock = Clock()
    async with inside(tmp_path, clock=clock) as collector:
        assert (await collector.send(emission(0)))["stored"] == 1
        clock.moment -= YEAR
        assert (await collector.send(emission(1)))["stored"] == 1
    async with inside(tmp_path, clock=clock) as collector:
        assert (await collector.send(emission(2)))["stored"] == 1
        assert (await collector.send(emission(0), emission(1), emission(2)))["known"] == 3


async def test_a_clock_that_ran_ahead_by_years_deletes_and_refuses_nothing(tmp_path: Path) -> None:
    """While it is wrong, after it is put right, and after a restart; retention is applied meanwhile."""
    clock = Clock()
    async with inside(tmp_path, clock=clock) as collector:
        await collector.send(emission(0))
        clock.moment += 3 * YEAR
        assert (await collector.send(emission(1)))["stored"] == 1
        await collector.store.retain()
        assert (await collector.send(emission(2)))["stored"] == 1
        clock.moment -= 3 * YEAR
        assert (await collector.send(emission(3)))["stored"] == 1
    async with inside(tmp_path, clock=clock) as collector:
        assert (await collector.send(emission(4)))["stored"] == 1
        assert (await collector.send(emission(0)))["known"] == 1
        assert len((await collector.ask("/v1/records")).splitlines()) == 5


async def test_a_window_that_lies_ahead_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A sender's clock that is wrong by more than a day."""
    async with inside(tmp_path) as collector:
        answer = await collector.send(emission(0, window_start=HOUR + timedelta(days=2)), emission(1))

    assert (answer["refused"], answer["stored"]) == (1, 1)
    assert "future" in answer["reasons"][0]["reason"]


async def test_a_record_whose_sender_may_be_forgotten_is_refused_and_never_stored_twice(tmp_path: Path) -> None:
    """The instance was last seen two months ago and is let go; its batch comes once more, from a spool of then."""
    clock = Clock()
    now = clock.moment
    old = emission(0, window_start=HOUR - timedelta(days=60))
    kept = Retention(raw_days=5, fine_days=5, instance_days=30)
    async with inside(tmp_path, clock=clock, retention=kept) as collector:
        clock.moment -= timedelta(days=60)
        assert (await collector.send(old))["stored"] == 1
        clock.moment = now
        assert (await collector.send(emission(0, instance="new")))["stored"] == 1
        await collector.store.retain()
    async with inside(tmp_path, clock=clock, retention=kept) as collector:
        again = await collector.send(old)
        whole = await collector.ask("/v1/reports/totals", **{"from": f"{HOUR - timedelta(days=90):%Y-%m-%dT00:00:00Z}"})

    assert again["refused"] == 1
    assert "older than what is kept" in again["reasons"][0]["reason"]
    assert whole["rows"][0]["energy_joules"] == pytest.approx(3.0)
