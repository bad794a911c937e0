"""Chains of calls: what a request costs over all services that it called, on the endpoint where the chain began."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from carbon_sdk.collector.dashboard import sheet
from carbon_sdk.collector.dashboard.books import Picture, picture_of
from carbon_sdk.collector.dashboard.chart import chart_of
from carbon_sdk.collector.dashboard.fact import Fact, total_facts
from carbon_sdk.collector.dashboard.known import known_of
from carbon_sdk.collector.dashboard.quantity import COUNT, GRAMS, PERCENT, Quantity, count, percent, quantity
from carbon_sdk.collector.dashboard.sheet import SERVED
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.folding import folded
from carbon_sdk.collector.report import Dimension
from carbon_sdk.collector.store import Store

ROOT: tuple[Dimension, Dimension] = ("root_service", "root_endpoint")
STEP: tuple[Dimension, Dimension] = ("service", "endpoint")
MOST_CHAINS = 1_000
Key = tuple[str | None, ...]


async def chains(visit: Visit, store: Store) -> dict[str, Any]:
    """What the template `chains.html` shows."""
    async with asyncio.TaskGroup() as tasks:
        kinds = tasks.create_task(store.figures(visit.query("kind")))
        ways = tasks.create_task(store.figures(visit.query(*ROOT, *STEP, filters={"kind": SERVED}, only=sheet.SHOWN)))
    if not kinds.result():
        return {"nothing": True, "subject": "Chains of calls"}
    steps = ways.result()
    roots = folded(steps, ROOT)
    whole_g = sum(sheet.grams_of(one) or 0.0 for one in kinds.result())
    return {
        "sheet": _roots(visit, roots, steps, whole_g or None),
        "count": len(roots),
        "followed": followed(steps),
        "picture": _known_roots(kinds.result(), steps),
    }


async def chain(visit: Visit, store: Store) -> dict[str, Any]:
    """What the template `chain.html` shows."""
    root: dict[Any, Any] = {name: (visit.wanted(name),) for name in ROOT}
    filters = {**root, "kind": SERVED}
    async with asyncio.TaskGroup() as tasks:
        total = tasks.create_task(store.figures(visit.query(filters=filters)))
        steps = tasks.create_task(store.figures(visit.query(*ROOT, *STEP, filters=filters)))
    service, endpoint = (visit.wanted(name) for name in ROOT)
    if not total.result():
        return {"nothing": True, "subject": endpoint}
    whole, named = total.result()[0], {"root_service": service, "root_endpoint": endpoint}
    requests = requests_by_root(steps.result()).get((service, endpoint))
    return {
        "service": service,
        "endpoint": endpoint,
        "facts": _facts(whole, steps.result(), requests, visit.link("records", **named)),
        "sheet": _way(visit, steps.result(), requests, sheet.grams_of(whole)),
        "whole": (quantity(_each(whole, requests), GRAMS), quantity(whole.emissions_g, GRAMS)),
        "requests": count(requests),
        "services": len({one.key["service"] for one in steps.result()}),
        "chart": chart_of(visit, named),
        "records": visit.link("records", **named),
    }


def most_costly(visit: Visit, roots: Sequence[Figure], whole_g: float | None, most: int) -> sheet.Sheet:
    """The endpoints whose chains emit most over all services.

    Args:
        visit: Who looks.
        roots: Figures by root.
        whole_g: Grams of which each row shows its share.
        most: How many rows.
    """
    return sheet.sheet_of(
        sheet.ranked(roots)[:most],
        (sheet.CO2E, sheet.ENERGY),
        names=_names,
        href=lambda key: visit.link("chain", **key),
        records=lambda key: visit.link("records", **key),
        whole_g=whole_g,
    )


def on_behalf(visit: Visit, service: str, endpoint: str, callers: Sequence[Figure]) -> sheet.Sheet | None:
    """For whose requests an endpoint works; None where all began at itself.

    Args:
        visit: Who looks.
        service: Its service.
        endpoint: Its name.
        callers: Its figures by root.
    """
    if all(_root(one) == (service, endpoint) for one in callers):
        return None
    return sheet.sheet_of(
        sheet.ranked(callers),
        (sheet.CO2E, sheet.REQUESTS),
        names=lambda key: ("itself", "no service said for whom") if key[ROOT[1]] == endpoint else _names(key),
        href=lambda key: visit.link("chain", **key),
        records=lambda key: visit.link("records", service=service, endpoint=endpoint, **key),
        whole_g=sum(sheet.grams_of(one) or 0.0 for one in callers) or None,
    )


def over_all(own: Figure | None, chain: Figure | None) -> tuple[str, str] | None:
    """Grams of an endpoint's request in itself, and over all services; None where it called nobody who said so.

    Args:
        own: What the endpoint used for chains that began at it.
        chain: All that was used for those chains.
    """
    if own is None or chain is None or alike(own, chain):
        return None
    requests = own.sums.get("requests")
    return str(quantity(_each(own, requests), GRAMS)), str(quantity(_each(chain, requests), GRAMS))


def alike(one: Figure, other: Figure) -> bool:
    """Whether two figures hold the same joules; sums of the same rows may differ in their last digits."""
    joules = (figure.sums["energy_joules"] or 0.0 for figure in (one, other))
    return math.isclose(*joules, rel_tol=1e-6)


def begins(step: Figure) -> bool:
    """Whether it is the endpoint where its chain began."""
    return tuple(step.key[name] for name in STEP) == _root(step)


def followed(steps: Sequence[Figure]) -> bool:
    """Whether any endpoint worked for another's request: else the roots are the endpoints again."""
    return not all(map(begins, steps))


def requests_by_root(steps: Sequence[Figure]) -> Mapping[Key, float | None]:
    """How many requests began a chain, by service and endpoint; without those that sent no records here.

    Args:
        steps: The services' endpoints by the root that they worked for.
    """
    return {_root(one): one.sums.get("requests") for one in steps if begins(one)}


def _root(figure: Figure) -> Key:
    return tuple(figure.key[name] for name in ROOT)


def _names(key: Mapping[str, str | None]) -> tuple[str, str]:
    return key["root_endpoint"] or "unknown", key["root_service"] or "unknown"


def _each(figure: Figure, requests: float | None) -> float | None:
    """Grams for one request that began the chain; None where none is known."""
    grams = figure.emissions_g
    return grams / requests if grams is not None and requests else None


def _roots(visit: Visit, roots: Sequence[Figure], steps: Sequence[Figure], whole_g: float | None) -> sheet.Sheet:
    requests = requests_by_root(steps)
    own = {_root(one): sheet.grams_of(one) for one in steps if begins(one)}

    def elsewhere(figure: Figure) -> float | None:
        grams = sheet.grams_of(figure)
        return 100.0 * max(1.0 - (own.get(_root(figure)) or 0.0) / grams, 0.0) if grams else None

    columns = (
        sheet.CO2E,
        sheet.Column(title="Requests", ladder=COUNT, value=lambda one: requests.get(_root(one))),
        sheet.Column(
            title="CO₂e a request",
            ladder=GRAMS,
            value=lambda one: _each(one, requests.get(_root(one))),
            each_its_own=True,
        ),
        sheet.Column(title="In called services", ladder=PERCENT, value=elsewhere),
    )
    return sheet.sheet_of(
        sheet.ranked(roots)[:MOST_CHAINS],
        columns,
        names=_names,
        href=lambda key: visit.link("chain", **key),
        records=lambda key: visit.link("records", **key),
        whole_g=whole_g,
    )


def _way(visit: Visit, steps: Sequence[Figure], requests: float | None, whole_g: float | None) -> sheet.Sheet:
    ordered = sorted(sheet.ranked(steps), key=lambda one: not begins(one))
    columns = (
        sheet.Column(title="CO₂e a request", ladder=GRAMS, value=lambda one: _each(one, requests), each_its_own=True),
        sheet.Column(title="Calls a request", ladder=COUNT, value=lambda one: _calls(one, requests), each_its_own=True),
        sheet.CO2E,
        sheet.ENERGY,
    )
    return sheet.sheet_of(
        ordered,
        columns,
        names=lambda key: (key["endpoint"] or "unknown", key["service"] or "unknown"),
        href=lambda key: visit.link("endpoint", service=key["service"], endpoint=key["endpoint"]),
        records=lambda key: visit.link("records", **key),
        whole_g=whole_g,
        stacked=True,
    )


def _calls(step: Figure, requests: float | None) -> float | None:
    calls = step.sums.get("requests")
    return calls / requests if calls is not None and requests else None


def _facts(whole: Figure, steps: Sequence[Figure], requests: float | None, records: str) -> list[Fact]:
    grams = sheet.grams_of(whole)
    own = sum(sheet.grams_of(one) or 0.0 for one in steps if begins(one))
    called = len({one.key["service"] for one in steps if one.key["service"] != one.key["root_service"]})
    facts = [one for one in total_facts(whole, records) if one.title != "Per request"]
    each = Fact(
        title="Per request, all services",
        quantity=quantity(_each(whole, requests), GRAMS),
        note="its first service sent no request" if requests is None else f"{count(requests)} requests began it",
        known=known_of(whole),
        records=records,
    )
    number, _, unit = percent(1.0 - own / grams if grams else None).rpartition(" ")
    elsewhere = Fact(
        title="Outside its own endpoint",
        quantity=Quantity(number or unit, unit if number else ""),
        note={0: "it called no other service", 1: "in one other service"}.get(called, f"in {called} other services"),
        known=known_of(whole),
        records=records,
    )
    return [each, *facts, elsewhere]


def _known_roots(kinds: Sequence[Figure], steps: Sequence[Figure]) -> Picture | None:
    """The joules of first endpoints, those of called ones, and those that no request asked for."""

    def joules(figures: Sequence[Figure]) -> float:
        return sum(one.sums["energy_joules"] or 0.0 for one in figures)

    outside = [one for one in kinds if one.key["kind"] not in SERVED]
    pieces = [
        (
            "spans",
            "Where the chain began",
            "by the endpoint or job that was called first",
            joules([*filter(begins, steps)]),
        ),
        (
            "background",
            "In called endpoints",
            "on behalf of a request that began elsewhere",
            joules([one for one in steps if not begins(one)]),
        ),
        (
            "idle",
            "No known root",
            "background, carbon_sdk and other accounts: no request asked for it",
            joules(outside),
        ),
    ]
    return picture_of([(*piece, None) for piece in pieces], "Booked by the services", "", {})
