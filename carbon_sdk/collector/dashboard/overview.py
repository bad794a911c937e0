"""The first page: how much, of what, where, and which endpoint most."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from carbon_sdk.collector.answers import UNKNOWN
from carbon_sdk.collector.dashboard import sheet
from carbon_sdk.collector.dashboard.alike import tiles_of
from carbon_sdk.collector.dashboard.chains import ROOT, STEP, followed, most_costly
from carbon_sdk.collector.dashboard.chart import chart_of
from carbon_sdk.collector.dashboard.compare import trends_of
from carbon_sdk.collector.dashboard.fact import intensity_fact, total_facts
from carbon_sdk.collector.dashboard.period import QUARTER, Period, period_of
from carbon_sdk.collector.dashboard.sheet import SERVED
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.folding import folded
from carbon_sdk.collector.report import Dimension
from carbon_sdk.collector.store import Store

MOST_ENDPOINTS = 8
MOST_CHAINS = 5
GROUND: tuple[Dimension, ...] = ("zone", "intensity_source", "intensity_quality")
COLUMNS = (sheet.CO2E, sheet.ENERGY, sheet.REQUESTS, sheet.CO2E_EACH, sheet.INTENSITY)


async def overview(visit: Visit, store: Store) -> dict[str, Any]:
    """What the template `overview.html` shows."""
    async with asyncio.TaskGroup() as tasks:
        grounds = tasks.create_task(store.figures(visit.query("service", *GROUND)))
        ways = tasks.create_task(store.figures(visit.query(*ROOT, *STEP, filters={"kind": SERVED}, only=sheet.SHOWN)))
        now = tasks.create_task(store.figures(_now(visit)))
        before = tasks.create_task(store.figures(visit.query(period=visit.period.earlier(visit.now))))
    if not grounds.result():
        return {"nothing": True}
    (whole,), services, zones = (folded(grounds.result(), by) for by in ((), ("service",), GROUND))
    endpoints, roots = (folded(ways.result(), by) for by in (STEP, ROOT))
    whole_g = sheet.grams_of(whole)
    facts = total_facts(whole, visit.link("records"))
    covered = visit.held is not None and visit.held.first <= visit.period.earlier(visit.now).start
    trends = trends_of(before.result()[0], whole) if before.result() and covered else {}
    latest = intensity_fact(now.result(), visit.period.zone, visit.link("records", period="1h"))
    return {
        "facts": [*facts, latest],
        "trends": trends,
        "compare": visit.link("compare"),
        "tiles": tiles_of(whole),
        "chart": chart_of(visit, {}),
        "services": _services(visit, services, whole_g),
        "endpoints": _endpoints(visit, endpoints, whole_g),
        "endpoint_count": len(endpoints),
        "chains": most_costly(visit, roots, whole_g, MOST_CHAINS) if followed(ways.result()) else None,
        "zones": _zones(visit, zones, whole_g),
        "qualities": list(whole.quality.items()),
    }


def _now(visit: Visit) -> Any:
    """By zone in quarters, over the last two hours: what was last heard."""
    present = period_of({"period": "1h"}, visit.period.zone, visit.now)
    recent = Period(
        start=present.end - timedelta(hours=2) - QUARTER,
        end=present.end,
        bucket="quarter",
        zone=present.zone,
        preset=None,
    )
    return visit.query(*GROUND, period=recent, series=True)


def _services(visit: Visit, figures: Any, whole_g: float | None) -> sheet.Sheet:
    return sheet.sheet_of(
        sheet.ranked(figures),
        COLUMNS,
        names=lambda key: (key["service"] or "unknown", ""),
        href=lambda key: visit.link("service", service=key["service"]),
        records=lambda key: visit.link("records", service=key["service"]),
        whole_g=whole_g,
    )


def _endpoints(visit: Visit, figures: Any, whole_g: float | None) -> sheet.Sheet:
    def link(page: str, key: Mapping[str, str | None]) -> str:
        return visit.link(page, service=key["service"], endpoint=key["endpoint"])

    shown: list[Figure] = sheet.ranked(figures)[:MOST_ENDPOINTS]
    return sheet.sheet_of(
        shown,
        (sheet.CO2E, sheet.REQUESTS, sheet.CO2E_EACH, sheet.CPU_EACH),
        names=lambda key: (key["endpoint"] or "unknown", key["service"] or "unknown"),
        href=lambda key: link("endpoint", key),
        records=lambda key: link("records", key),
        whole_g=whole_g,
    )


def _zones(visit: Visit, figures: Any, whole_g: float | None) -> sheet.Sheet:
    return sheet.sheet_of(
        sheet.ranked(figures),
        (sheet.CO2E, sheet.ENERGY, sheet.INTENSITY),
        names=lambda key: (
            key["zone"] or "unknown zone",
            f"{key['intensity_source'] or 'no source'}, {key['intensity_quality'] or 'unknown'}",
        ),
        href=lambda _key: None,
        records=lambda key: visit.link("records", **{name: value or UNKNOWN for name, value in key.items()}),
        whole_g=whole_g,
    )
