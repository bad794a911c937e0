"""The records behind a figure, a page at a time, each with every field."""

from collections.abc import Mapping
from typing import Any

from carbon_sdk.collector.answers import FORMATS, UNKNOWN, packed, place_of
from carbon_sdk.collector.dashboard.quantity import G_PER_KWH, GRAMS, JOULES, SECONDS, count, quantity
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.export import objects
from carbon_sdk.collector.report import DIMENSIONS, Dimension
from carbon_sdk.collector.store import Selection, Store
from carbon_sdk.wire import utc_moment

PAGE = 50
FILTERS: tuple[Dimension, ...] = tuple(one for one in DIMENSIONS if one != "domain")
"""A record holds all of its domains."""


async def records(visit: Visit, store: Store) -> dict[str, Any]:
    """What the template `records.html` shows."""
    chosen: dict[str, str] = {name: visit.asked[name] for name in FILTERS if visit.asked.get(name)}
    selection = Selection(
        project=visit.project,
        start=visit.period.start,
        end=visit.period.end,
        filters={name: (None if chosen[name] == UNKNOWN else chosen[name],) for name in FILTERS if name in chosen},
        limit=PAGE,
        after=place_of(visit.asked.get("cursor")),
    )
    table = await store.records(selection)
    cursor = packed(table["_after"][-1].as_py()) if table.num_rows == PAGE else None
    return {
        "chosen": {name: "unknown" if value == UNKNOWN else value for name, value in chosen.items()},
        "records": [_record(visit, one) for one in objects(table)],
        "later": None if cursor is None else visit.here(cursor=cursor),
        "first": visit.here(cursor=None) if visit.asked.get("cursor") else None,
        "files": [(form, visit.api("v1/records", {"format": form, **chosen})) for form in FORMATS],
    }


def _record(visit: Visit, record: Mapping[str, Any]) -> dict[str, Any]:
    start = utc_moment(record["window_start"]).astimezone(visit.period.zone)
    return {
        "when": f"{start:%a} {start.day} {start:%b}, {start:%H:%M:%S}",
        "seconds": _seconds(record),
        "service": record["service"],
        "root": record["root"],
        "name": "" if record["name"] == record["root"] else record["name"],
        "kind": record["kind"],
        "origin": f"{record['origin_endpoint']} of {record['origin_service']}" if record["origin_service"] else "",
        "requests": count(record["requests"]),
        "cpu": quantity(record["cpu_seconds"], SECONDS),
        "energy": quantity(record["energy_joules"], JOULES),
        "grams": quantity(record["emissions_g"], GRAMS),
        "intensity": quantity(record["intensity_g_per_kwh"], G_PER_KWH),
        "method": record["energy_method"] or "unknown",
        "quality": record["intensity_quality"] or "unknown",
        "fields": [(name, value) for name, value in record.items() if value not in (None, {}, "")],
        "unknown": [name for name, value in record.items() if value is None],
    }


def _seconds(record: Mapping[str, Any]) -> str:
    start, end = (utc_moment(record[name]) for name in ("window_start", "window_end"))
    return str(quantity((end - start).total_seconds(), SECONDS))
