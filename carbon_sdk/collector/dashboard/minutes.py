"""Short periods minute by minute, from single records: the roll-ups know quarters of an hour at the finest."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure, pricing
from carbon_sdk.collector.report import Dimension
from carbon_sdk.collector.store import Selection, Store
from carbon_sdk.emission import PROCESS_KINDS

LONGEST = timedelta(hours=2)
"""Longer periods are shown by their roll-ups."""
MOST_RECORDS = 50_000
MINUTE = timedelta(minutes=1)
_SLACK_SECONDS = 5.0
"""By so much a record may be longer than its minute: windows are whole ones."""
_COLUMNS = ("window_start", "window_end", "energy_joules", "emissions_g", "intensity_g_per_kwh")


async def minutes(
    visit: Visit, store: Store, filters: Mapping[Dimension, tuple[str | None, ...]]
) -> Sequence[Figure] | None:
    """Joules, grams and intensity of each minute; None where the period is long, or its records are many or longer.

    Args:
        visit: Who looks, and at which period.
        store: What is asked.
        filters: Of which records.
    """
    period = visit.period
    if period.end - period.start > LONGEST:
        return None
    found = await store.records(
        Selection(
            project=visit.project,
            start=period.start,
            end=period.end,
            filters={"kind": PROCESS_KINDS, **filters},
            limit=MOST_RECORDS,
        )
    )
    rows = _rows(found)
    if len(rows) == MOST_RECORDS or any(_is_longer(row) for row in rows):
        return None
    starts: dict[datetime, list[Mapping[str, Any]]] = {}
    for row in rows:
        starts.setdefault(row["window_start"].replace(second=0, microsecond=0), []).append(row)
    return [_figure(start, own) for start, own in starts.items()]


def edges(start: datetime, end: datetime) -> tuple[datetime, ...]:
    """The ends of the minutes."""
    return tuple(start + number * MINUTE for number in range((end - start) // MINUTE + 1))


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    wanted = table.select([*_COLUMNS, "intensity_signal", "intensity_scope"]).to_pylist()
    return [
        {**row, **{name: row[name].replace(tzinfo=UTC) for name in ("window_start", "window_end")}} for row in wanted
    ]


def _is_longer(row: Mapping[str, Any]) -> bool:
    seconds: float = (row["window_end"] - row["window_start"]).total_seconds()
    return seconds > MINUTE.total_seconds() + _SLACK_SECONDS


def _figure(start: datetime, rows: Sequence[Mapping[str, Any]]) -> Figure:
    emissions: dict[str, float] = {}
    joules: list[float] = []
    weighed: list[tuple[float, float]] = []
    for row in rows:
        energy, grams, intensity = row["energy_joules"], row["emissions_g"], row["intensity_g_per_kwh"]
        if grams is not None:
            kind = pricing(row["intensity_signal"], row["intensity_scope"])
            emissions[kind] = emissions.get(kind, 0.0) + grams
        if energy is not None:
            joules.append(energy)
            if intensity is not None:
                weighed.append((energy, energy * intensity))
    one_kind = len(emissions) < 2
    return Figure(
        key={},
        start=start,
        end=start + MINUTE,
        sums={
            "energy_joules": sum(joules) if joules else None,
            "priced_joules": sum(part for part, _ in weighed) if weighed else None,
            "intensity_joules": sum(part for _, part in weighed) if weighed and one_kind else None,
        },
        emissions=emissions,
        quality={},
        method={},
        source={},
        idle_rule={},
    )
