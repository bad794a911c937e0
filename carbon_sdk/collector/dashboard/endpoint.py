"""The page of one endpoint or job: what it emits, why, what it is made of, and how much its intervals differ."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from carbon_sdk.collector.dashboard import sheet
from carbon_sdk.collector.dashboard.allowance import allowances
from carbon_sdk.collector.dashboard.chains import ROOT, on_behalf, over_all
from carbon_sdk.collector.dashboard.chart import chart_of
from carbon_sdk.collector.dashboard.fact import Fact, total_facts, unit_facts
from carbon_sdk.collector.dashboard.known import known_of
from carbon_sdk.collector.dashboard.quantity import SECONDS, percent, quantity, times
from carbon_sdk.collector.dashboard.sheet import SERVED
from carbon_sdk.collector.dashboard.spread import spread_of
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.folding import folded
from carbon_sdk.collector.store import Store

SPREAD = frozenset({"requests", "energy_joules", "emissions_g"})
PARTS = (sheet.CO2E, sheet.ENERGY, sheet.CPU, sheet.INTENSITY)


async def endpoint(visit: Visit, store: Store) -> dict[str, Any]:
    """What the template `endpoint.html` shows."""
    service, name = visit.wanted("service"), visit.wanted("endpoint")
    own: Any = {"service": (service,), "endpoint": (name,)}
    fine = visit.period.finely
    async with asyncio.TaskGroup() as tasks:
        accounts = tasks.create_task(store.figures(visit.query("kind", "name", *ROOT, filters=own)))
        around = tasks.create_task(store.figures(visit.query(filters={"service": (service,)})))
        began = tasks.create_task(store.figures(visit.query(filters=_began_at(service, name))))
        intervals = tasks.create_task(store.figures(visit.query(filters=own, period=fine, series=True, only=SPREAD)))
        allowed = tasks.create_task(allowances(visit, store, service, name))
    if not accounts.result():
        return {"nothing": True, "subject": name}
    (whole,), parts, callers = (folded(accounts.result(), by) for by in ((), ("kind", "name"), ROOT))
    records = visit.link("records", service=service, endpoint=name)
    return {
        "service": service,
        "endpoint": name,
        "facts": [*total_facts(whole, records), _cpu(whole, records), *unit_facts(whole, records)],
        "allowances": allowed.result(),
        "reasons": reasons(name, whole, around.result()[0], parts),
        "parts": _parts(visit, service, name, parts, sheet.grams_of(whole)),
        "callers": on_behalf(visit, service, name, callers),
        "over_all": over_all(_itself(service, name, callers), next(iter(began.result()), None)),
        "way": visit.link("chain", root_service=service, root_endpoint=name),
        "chart": chart_of(visit, {"service": service, "endpoint": name}),
        "spread": spread_of(intervals.result(), fine.bucket),
        "records": records,
    }


def _began_at(service: str, name: str) -> Any:
    return {"root_service": (service,), "root_endpoint": (name,), "kind": SERVED}


def _itself(service: str, name: str, callers: Sequence[Figure]) -> Figure | None:
    return next(
        (one for one in callers if (one.key["root_service"], one.key["root_endpoint"]) == (service, name)), None
    )


def _cpu(whole: Figure, records: str) -> Fact:
    each = sheet.per_request("duration_seconds")(whole)
    return Fact(
        title="CPU per request",
        quantity=quantity(sheet.per_request("cpu_seconds")(whole), SECONDS),
        note="no request ended" if each is None else f"in {quantity(each, SECONDS)} on average",
        known=known_of(whole),
        records=records,
    )


def reasons(name: str, whole: Figure, service: Figure, parts: Sequence[Figure]) -> list[str]:
    """Why it emits what it emits, a sentence each.

    Args:
        name: The endpoint.
        whole: All of it.
        service: All of its service.
        parts: Its accounts by kind and name.
    """
    told = []
    own_g, service_g = sheet.grams_of(whole), sheet.grams_of(service)
    if own_g is not None and service_g:
        told.append(f"It makes {percent(own_g / service_g)} of what its service emits.")
    told += _weight(whole, service)
    if own_g and len(parts) > 1:
        most = sheet.ranked(parts)[0]
        what = "its own code, outside nested spans" if most.key["name"] == name else f"the span “{most.key['name']}”"
        told.append(f"{percent((sheet.grams_of(most) or 0.0) / own_g)} of its emissions is {what}.")
    return told


def _weight(whole: Figure, service: Figure) -> list[str]:
    """Whether it is its many requests, or the weight of each."""
    each, mean = whole.emissions_g_per_request, service.emissions_g_per_request
    requests, all_requests = whole.sums.get("requests"), service.sums.get("requests")
    if not each or not mean or not requests or not all_requests:
        return []
    share = f"{percent(requests / all_requests)} of the service's requests"
    if each >= 1.5 * mean:
        return [f"A request of it emits {times(each / mean)} times the mean of the service; it gets {share}."]
    if each <= mean / 1.5:
        return [f"A request of it is light, {percent(each / mean)} of the service's mean, but it gets {share}."]
    return [f"A request of it weighs about the mean of the service; it gets {share}."]


def _parts(visit: Visit, service: str, name: str, figures: Any, whole_g: float | None) -> sheet.Sheet:
    def title(key: Mapping[str, str | None]) -> tuple[str, str]:
        if key["name"] == name:
            return "its own code", "outside nested spans"
        return key["name"] or "unknown", key["kind"] or ""

    return sheet.sheet_of(
        sheet.ranked(figures),
        PARTS,
        names=title,
        href=lambda _key: None,
        records=lambda key: visit.link("records", service=service, endpoint=name, kind=key["kind"]),
        whole_g=whole_g,
    )
