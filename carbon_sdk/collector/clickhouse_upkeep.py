"""What is done on a shard beside taking records in: slots are summed up once they rest, single records go with age.

Any collector does it, and two at the same time do no harm: sums of a slot replace each other by the number of records
they cover. A slot is closed `REST_SECONDS` after its end. Who writes into a slot that ended `LATE_SECONDS` ago says so
before (`mark`), so that readers turn to the records until it has been summed up again. Between the two lie ten minutes
for an insert to end and for clocks to differ.
"""

import uuid
from collections.abc import Iterable

from carbon_sdk.collector import clickhouse_schema, clickhouse_sums
from carbon_sdk.collector.clickhouse_server import Shard
from carbon_sdk.collector.report import DAY_SECONDS, SLOT_SECONDS

LATE_SECONDS = 300
REST_SECONDS = 900
MARK_SECONDS = 60
"""A mark is acted on when the insert that it announces has surely ended."""
ROLL_SECONDS = 60.0
_MOST_SLOTS = 96  # of one statement
_MOST_DAYS = 32  # likewise
_MARKS = 5_000
_SPILL = 8  # slots into which the longest record of the machine book may reach


async def mark(shard: Shard, slots: Iterable[int], now: float) -> None:
    """Say which slots are being written into though they have ended."""
    late = sorted(slot for slot in slots if slot + SLOT_SECONDS < now - LATE_SECONDS)
    name = uuid.uuid4().hex
    for begin in range(0, len(late), _MARKS):
        listed = ", ".join(map(str, late[begin : begin + _MARKS]))
        await shard.execute(
            f"insert into late (slot, mark, marked_at, done) "
            f"select arrayJoin([{listed}]), '{name}', toInt64(toUnixTimestamp(now())), 0"
        )


async def roll(shard: Shard, *, mark_seconds: float = MARK_SECONDS) -> int:
    """Sum up the slots that have come to rest, and again those into which records came late.

    Args:
        shard: The shard.
        mark_seconds: How old a mark must be.

    Returns:
        How many slots.
    """
    now = int(await shard.value("select toInt64(toUnixTimestamp(now()))"))
    found = await clickhouse_schema.meta(shard)
    before = found.get("rolled_until", 0)
    until = max(before, (now - REST_SECONDS) // SLOT_SECONDS * SLOT_SECONDS)
    marked = f"done < 2 and slot < {until} and marked_at <= {int(now - mark_seconds)}"
    changed = await shard.rows(f"select slot, min(done) from late final where {marked} group by slot")
    late = {slot for slot, done in changed if not done}
    rested = await shard.rows(
        f"select distinct slot from records where slot >= {before - _SPILL * SLOT_SECONDS} and slot < {until}"
    )
    spread = {slot + SLOT_SECONDS * step for (slot,) in rested for step in range(_SPILL + 1)}
    slots = sorted(late | {slot for slot in spread if before <= slot < until})
    for begin in range(0, len(slots), _MOST_SLOTS):
        for statement in clickhouse_sums.roll(slots[begin : begin + _MOST_SLOTS]):
            await shard.execute(statement)
    if found.get("version", 0) >= clickhouse_schema.DAYS_SINCE:
        days = {slot // DAY_SECONDS * DAY_SECONDS for slot in (*slots, *(slot for slot, _ in changed))}
        days_until = until // DAY_SECONDS * DAY_SECONDS
        await roll_days(shard, days, found.get("days_until", 0), days_until)
        await clickhouse_schema.note(shard, {"days_until": days_until})
    await clickhouse_schema.note(shard, {"rolled_until": until, "rolled_at": now})
    if changed:
        await shard.execute(
            f"insert into late (slot, mark, marked_at, done) select slot, mark, marked_at, 2 from late final "
            f"where {marked}"
        )
    return len(slots)


async def roll_days(shard: Shard, changed: Iterable[int], before: int, until: int) -> None:
    """Sum whole days up from their quarters.

    Args:
        shard: The shard.
        changed: Starts of the days whose quarters have other sums now.
        before: Up to here days were summed up already, seconds since 1970.
        until: And up to here they shall be.
    """
    rows = await shard.rows(
        f"select distinct intDiv(slot, {DAY_SECONDS}) * {DAY_SECONDS} from service_rollup "
        f"where slot >= {before} and slot < {until}"
    )
    days = sorted({day for day in changed if day < until} | {day for (day,) in rows})
    for begin in range(0, len(days), _MOST_DAYS):
        for statement in clickhouse_sums.roll_days(days[begin : begin + _MOST_DAYS]):
            await shard.execute(statement)


async def is_due(shard: Shard) -> bool:
    """Whether no collector has summed up for a while."""
    at = (await clickhouse_schema.meta(shard)).get("rolled_at", 0)
    now = int(await shard.value("select toInt64(toUnixTimestamp(now()))"))
    return now - at >= ROLL_SECONDS * 0.9


async def retain(shard: Shard, database: str, now: float, raw_days: int) -> int:
    """Drop the days of single records that are old enough and summed up. No total changes.

    Returns:
        How many days were dropped.
    """
    rolled_until = (await clickhouse_schema.meta(shard)).get("rolled_until", 0)
    until = min(int(now) // DAY_SECONDS * DAY_SECONDS - raw_days * DAY_SECONDS, rolled_until)
    open_days = {
        row[0] for row in await shard.rows("select distinct intDiv(slot, 86400) from late final where done = 0")
    }
    rows = await shard.rows(
        f"select distinct partition from system.parts where active and database = '{database}' and table = 'records'"
    )
    days = [int(day) for (day,) in rows if (int(day) + 1) * DAY_SECONDS <= until and int(day) not in open_days]
    for day in days:
        await shard.execute(f"alter table records drop partition {day}")
    return len(days)
