"""Budgets as the collector sees them spent: by all processes of a service, on whatever machines."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from carbon_sdk.budgets import Budget, Per, Standing, budgets_of, tables_in
from carbon_sdk.collector.access import OPEN_PROJECT
from carbon_sdk.collector.dashboard.known import Known, known_of
from carbon_sdk.collector.dashboard.period import QUARTER
from carbon_sdk.collector.dashboard.quantity import GRAMS, JOULES, Quantity, percent, quantity
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.report import Dimension, Query
from carbon_sdk.collector.store import Store

Budgets = Mapping[tuple[str, str], Sequence[Budget]]
"""By project and service."""
SUMMED = frozenset({"records", "requests", "energy_joules", "emissions_g", "intensity_joules", "priced_joules"})
WORDS: Mapping[Per, str] = {
    "request": "a request, mean of the last hour",
    "day": "this day, UTC",
    "month": "this month, UTC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """One budget and how it stands.

    Args:
        name: Its name.
        words: What the limit is for.
        limit: The limit.
        spent: What was spent of it.
        share: Spent over limit, 0 to 1; None where it is unknown.
        percent: The same in words, also beyond the limit.
        projected: What the whole period will cost at this rate, over the limit, in words; empty where none is told.
        exceeded: More was spent than it allows.
        known: How the figure is known; None where there is no record.
    """

    name: str
    words: str
    limit: Quantity
    spent: Quantity
    share: float | None
    percent: str
    projected: str
    exceeded: bool
    known: Known | None


def budgets_in(file: Path) -> Budgets:
    """The budgets of a TOML file as services read it, each with the name of its service, and of its project if any.

    Raises:
        ValueError: Something in it cannot be used; the message says what.
    """
    tables: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table in tables_in(file):
        own = dict(table)
        project, service = own.pop("project", OPEN_PROJECT), own.pop("service", None)
        if not isinstance(service, str) or not isinstance(project, str):
            raise ValueError(f"{file}: each [[budget]] names its service")
        tables.setdefault((project, service), []).append(own)
    return {key: budgets_of(own) for key, own in tables.items()}


async def allowances(visit: Visit, store: Store, service: str, endpoint: str | None) -> list[Allowance]:
    """The budgets of an endpoint, or of a whole service, and how they stand now, whatever period is looked at.

    Args:
        visit: Who looks.
        store: What is asked.
        service: The service.
        endpoint: Its endpoint or job; None: the budgets of all of it.
    """
    own = [one for one in visit.budgets.get((visit.project, service), ()) if one.endpoint == endpoint]
    filters: dict[Dimension, tuple[str | None, ...]] = {"service": (service,)}
    if endpoint is not None:
        filters["endpoint"] = (endpoint,)
    stretches = [_stretch(one.per, visit.now) for one in own]
    answers = await asyncio.gather(
        *(
            store.figures(Query(project=visit.project, start=start, end=end, filters=filters, only=SUMMED))
            for start, end in stretches
        )
    )
    return [
        _allowance(budget, start, end, next(iter(answer), None), visit.now)
        for budget, (start, end), answer in zip(own, stretches, answers, strict=True)
    ]


def _stretch(per: Per, now: datetime) -> tuple[datetime, datetime]:
    """The period of a budget that holds the present, UTC."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return today, today + timedelta(days=1)
    if per == "month":
        return today.replace(day=1), (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    end = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) + QUARTER
    return end - 5 * QUARTER, end


def _allowance(budget: Budget, start: datetime, end: datetime, figure: Figure | None, now: datetime) -> Allowance:
    ladder = GRAMS if budget.unit == "grams" else JOULES
    standing = Standing(budget=budget, started_at=start, ends_at=end, **_spent(budget, start, end, figure, now))
    return Allowance(
        name=budget.name,
        words=WORDS[budget.per],
        limit=quantity(budget.limit, ladder),
        spent=quantity(standing.spent, ladder),
        share=None if standing.ratio is None else min(standing.ratio, 1.0),
        percent=percent(standing.ratio),
        projected="" if standing.projected_ratio is None else percent(standing.projected_ratio),
        exceeded=(standing.ratio or 0.0) > 1.0,
        known=None if figure is None else known_of(figure),
    )


def _spent(
    budget: Budget, start: datetime, end: datetime, figure: Figure | None, now: datetime
) -> dict[str, float | None]:
    """What was spent, and what will have been at the period's end; None where that is unknown."""
    spent = None
    if figure is not None:
        spent = figure.emissions_g if budget.unit == "grams" else figure.sums["energy_joules"]
    if budget.per == "request":
        requests = None if figure is None else figure.sums["requests"]
        return {"spent": spent / requests if spent is not None and requests else None, "projected": None}
    passed = now - start
    known = spent is not None and passed >= QUARTER
    return {"spent": spent, "projected": (spent or 0.0) * ((end - start) / passed) if known else None}
