"""The page of one service: its endpoints, its course over time, its week, and where the energy of the machines went."""

import asyncio
from typing import Any

from carbon_sdk.collector.dashboard import sheet
from carbon_sdk.collector.dashboard.allowance import allowances
from carbon_sdk.collector.dashboard.books import books_picture
from carbon_sdk.collector.dashboard.chart import chart_of
from carbon_sdk.collector.dashboard.fact import total_facts
from carbon_sdk.collector.dashboard.heat import BY, Heat, heats_of
from carbon_sdk.collector.dashboard.quantity import percent
from carbon_sdk.collector.dashboard.sheet import SERVED
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.report import Dimension
from carbon_sdk.collector.store import Store

SHOWN = sheet.SHOWN | {"duration_seconds"}
MOST_ENDPOINTS = 1_000
HEAT_DAYS = 28
COLUMNS = (sheet.CO2E, sheet.ENERGY, sheet.REQUESTS, sheet.CO2E_EACH, sheet.CPU_EACH, sheet.DURATION_EACH)


async def service(visit: Visit, store: Store) -> dict[str, Any]:
    """What the template `service.html` shows."""
    name = visit.wanted("service")
    own: Any = {"service": (name,)}
    async with asyncio.TaskGroup() as tasks:
        total = tasks.create_task(store.figures(visit.query(filters=own)))
        everybody = tasks.create_task(store.figures(visit.query()))
        endpoints = tasks.create_task(
            store.figures(visit.query("endpoint", filters={**own, "kind": SERVED}, only=SHOWN))
        )
        process = tasks.create_task(store.figures(visit.query("service", "kind")))
        machine = tasks.create_task(store.figures(visit.query("kind", book="machine")))
        allowed = tasks.create_task(allowances(visit, store, name, None))
    if not total.result():
        return {"nothing": True, "subject": name}
    whole = total.result()[0]
    return {
        "service": name,
        "share": _share(whole, everybody.result()),
        "facts": total_facts(whole, visit.link("records", service=name)),
        "allowances": allowed.result(),
        "chart": chart_of(visit, {"service": name}),
        "endpoints": _endpoints(visit, name, endpoints.result(), sheet.grams_of(whole)),
        "endpoint_count": len(endpoints.result()),
        "picture": books_picture(process.result(), machine.result(), name),
        "heat_words": visit.period.hours(HEAT_DAYS).words,
        "heat_source": visit.link("heat", service=name),
        "heats": await week(visit, store) if visit.asked.get("week") else None,
    }


async def week(visit: Visit, store: Store) -> list[Heat]:
    """The week of a service, a map for each kind of grams: of the period, or of four weeks where it is shorter."""
    own: dict[Dimension, tuple[str | None, ...]] = {"service": (visit.wanted("service"),)}
    long = visit.period.hours(HEAT_DAYS)
    return heats_of(await store.figures(visit.query(*BY, filters=own, period=long, series=True)), visit.period.zone)


def _share(own: Figure, everybody: Any) -> str | None:
    part, whole = sheet.grams_of(own), sheet.grams_of(everybody[0]) if everybody else None
    return percent(part / whole) if part is not None and whole else None


def _endpoints(visit: Visit, service: str, figures: Any, whole_g: float | None) -> sheet.Sheet:
    return sheet.sheet_of(
        sheet.ranked(figures)[:MOST_ENDPOINTS],
        COLUMNS,
        names=lambda key: (key["endpoint"] or "unknown", ""),
        href=lambda key: visit.link("endpoint", service=service, endpoint=key["endpoint"]),
        records=lambda key: visit.link("records", service=service, endpoint=key["endpoint"]),
        whole_g=whole_g,
    )
