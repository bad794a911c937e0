"""Delivery: nobody waits, a slow sink delays no other, what is lost is counted."""

from collections.abc import Sequence
from datetime import UTC, datetime

import anyio
import pytest

from carbon_sdk.emission import Emission
from carbon_sdk.errors import SinkError
from carbon_sdk.sinks.delivery import Delivery
from carbon_sdk.testing import RecordingSink

START = datetime(2026, 3, 29, 18, tzinfo=UTC)


def emissions(count: int) -> list[Emission]:
    return [
        Emission(
            instance="i",
            sequence=number,
            service="shop",
            machine="m",
            kind="request",
            root="GET /",
            name="GET /",
            window_start=START,
            window_end=START,
            meter="fake",
            meter_scope="machine",
            basis="",
            idle_rule="none",
        )
        for number in range(count)
    ]


class Faults:
    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, kind: str, problem: BaseException | str) -> None:
        self.told.append(kind)


class StuckSink(RecordingSink):
    """Never ends to write."""

    async def write(self, emissions: Sequence[Emission], /) -> None:
        await anyio.sleep_forever()


class KeepingSink(RecordingSink):
    """Keeps a batch, then waits for somebody who never answers."""

    async def write(self, emissions: Sequence[Emission], /) -> None:
        await super().write(emissions)
        await anyio.sleep_forever()


class FailingSink(RecordingSink):
    """Refuses its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = 1

    async def write(self, emissions: Sequence[Emission], /) -> None:
        if self.refusals:
            self.refusals -= 1
            raise SinkError("away")
        await super().write(emissions)


async def test_every_record_reaches_every_sink_in_order() -> None:
    """Closing hands over what waits."""
    one, two = RecordingSink(), RecordingSink()
    delivery = Delivery({"one": one, "two": two}, fault=Faults())
    delivery.offer(emissions(1200))
    delivery.close()
    await delivery.run()

    assert [record.sequence for record in one.emissions] == list(range(1200))
    assert two.emissions == one.emissions
    assert one.closed


async def test_a_stuck_sink_delays_no_other_and_closing_can_be_cut_short() -> None:
    """One that never answers is cancelled, and closed."""
    stuck, well = StuckSink(), RecordingSink()
    delivery = Delivery({"stuck": stuck, "well": well}, fault=Faults())
    delivery.offer(emissions(3))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delivery.run)
        while not well.emissions:
            await anyio.sleep(0)
        tasks.cancel_scope.cancel()

    assert len(well.emissions) == 3
    assert stuck.closed


async def test_when_time_is_up_a_sink_is_offered_what_waited_behind_the_batch_that_is_under_way() -> None:
    """A spool keeps it for the next process."""
    sink = KeepingSink()
    delivery = Delivery({"spool": sink}, fault=Faults())
    delivery.offer(emissions(1200))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delivery.run)
        while not sink.emissions:
            await anyio.sleep(0)
        delivery.close()
        tasks.cancel_scope.cancel()

    assert [record.sequence for record in sink.emissions] == list(range(1200))
    assert sink.closed


async def test_a_full_queue_drops_its_oldest_and_counts_them() -> None:
    """Memory is bounded, and the loss is told."""
    faults, sink = Faults(), RecordingSink()
    delivery = Delivery({"slow": sink}, fault=faults, capacity=10)
    delivery.offer(emissions(25))
    delivery.close()
    await delivery.run()

    assert [record.sequence for record in sink.emissions] == list(range(15, 25))
    assert delivery.dropped["slow"] == 15
    assert set(faults.told) == {"delivery.slow"}


async def test_an_error_of_a_sink_is_told_and_the_next_batch_is_offered() -> None:
    """A sink that failed once is not given up."""
    faults, sink = Faults(), FailingSink()
    delivery = Delivery({"x": sink}, fault=faults)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delivery.run)
        delivery.offer(emissions(1))
        while not faults.told:
            await anyio.sleep(0)
        delivery.offer(emissions(2))
        delivery.close()

    assert faults.told == ["sink.x"]
    assert delivery.dropped["x"] == 1
    assert len(sink.emissions) == 2


@pytest.mark.parametrize("sinks", [{}])
async def test_without_sinks_delivery_ends_at_once(sinks: dict[str, RecordingSink]) -> None:
    """Totals alone are enough for some."""
    delivery = Delivery(sinks, fault=Faults())
    delivery.offer(emissions(1))
    delivery.close()
    await delivery.run()

    assert not delivery.dropped
