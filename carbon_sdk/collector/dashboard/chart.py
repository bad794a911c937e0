"""Time series for the charts: what the page says at once, and what its script asks for."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from carbon_sdk.collector.dashboard.minutes import edges as minute_edges
from carbon_sdk.collector.dashboard.minutes import minutes
from carbon_sdk.collector.dashboard.period import QUARTER, Period, bucket_text
from carbon_sdk.collector.dashboard.quantity import G_PER_KWH, GRAMS, JOULES, Ladder, column, quantity
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.report import Bucket
from carbon_sdk.collector.store import Store

WORDS: Mapping[Bucket, str] = {
    "quarter": "each quarter of an hour",
    "hour": "each hour",
    "day": "each day",
    "week": "each week, from Monday",
    "month": "each month",
}
DRAWN = frozenset({"energy_joules", "emissions_g", "intensity_joules", "priced_joules"})
NARROWED = ("service", "endpoint", "root_service", "root_endpoint")
"""What a chart may be of, beside everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart that its script fills.

    Args:
        source: Where its numbers are.
        csv: Where they are as a file.
        each: What a step is, in words; of a short period, what one of the file is.
    """

    source: str
    csv: str
    each: str


def chart_of(visit: Visit, filters: Mapping[str, str]) -> Chart:
    """The chart of this period, of one service, endpoint or chain where filters say so."""
    return Chart(
        source=visit.link("series", **filters),
        csv=visit.api("v1/reports/totals", {"bucket": visit.period.bucket, "format": "csv", **filters}),
        each=WORDS[visit.period.bucket],
    )


async def series(visit: Visit, store: Store) -> dict[str, Any]:
    """The numbers of a chart: per bucket its place in time, its name, joules, grams and intensity."""
    filters: dict[Any, Any] = {name: (visit.asked[name],) for name in NARROWED if visit.asked.get(name) is not None}
    by_minute = await minutes(visit, store, filters)
    if by_minute is not None:
        return series_of(visit.period, by_minute, minute_edges(visit.period.start, visit.period.end))
    figures = await store.figures(visit.query(filters=filters, series=True, only=DRAWN))
    return series_of(visit.period, figures, visit.period.edges)


def series_of(period: Period, figures: Sequence[Figure], edges: Sequence[datetime]) -> dict[str, Any]:
    """The same from figures, one for each step between two edges, or none."""
    short = len(edges) > 1 and edges[1] - edges[0] < QUARTER
    found = {figure.start: figure for figure in figures}
    rows = [found.get(start) for start in edges[:-1]]
    names = [bucket_text(start, end, period.bucket, period.zone) for start, end in itertools.pairwise(edges)]
    return {
        "zone": period.zone.key,
        "each": "each minute" if short else WORDS[period.bucket],
        "edges": [int(edge.timestamp()) for edge in edges],
        "names": names,
        "ticks": [_tick(start, period, short=short) for start in edges[:-1]],
        "panels": [*_emissions(rows), *_others(rows)],
    }


def _emissions(rows: Sequence[Figure | None]) -> list[dict[str, Any]]:
    """One panel for each signal and scope: their grams are never added."""
    kinds = list(dict.fromkeys(kind for row in rows if row for kind in row.emissions))
    return [
        _panel(
            "Emissions" if len(kinds) < 2 else f"Emissions, {kind.replace('/', ', ')}",
            GRAMS,
            "bars",
            [row.emissions.get(kind) if row else None for row in rows],
        )
        for kind in kinds or ("",)
    ]


def _others(rows: Sequence[Figure | None]) -> list[dict[str, Any]]:
    return [
        _panel("Energy", JOULES, "bars", [row.sums.get("energy_joules") if row else None for row in rows]),
        _panel("Intensity", G_PER_KWH, "steps", [row.intensity_g_per_kwh if row else None for row in rows]),
    ]


def _panel(title: str, ladder: Ladder, form: str, values: Sequence[float | None]) -> dict[str, Any]:
    unit, _ = column(values, ladder)
    size = dict(ladder)[unit]
    return {
        "title": title,
        "unit": unit,
        "form": form,
        "values": [None if value is None else float(f"{value / size:.6g}") for value in values],
        "texts": [str(quantity(value, ladder)) for value in values],
    }


def _tick(start: datetime, period: Period, *, short: bool) -> list[Any]:
    """How an axis names the start of a bucket, and how much it weighs: a day more than an hour."""
    local = start.astimezone(period.zone)
    if short:
        return [f"{local:%H:%M}", 1 if local.minute % 15 == 0 else 0]
    if period.bucket in ("quarter", "hour") and (local.hour or local.minute):
        return [f"{local:%H:%M}", 1 if local.minute == 0 and local.hour % 6 == 0 else 0]
    if period.bucket == "month":
        return [f"{local:%b %Y}" if local.month == 1 else f"{local:%b}", 3 if local.month == 1 else 2]
    return [f"{local.day} {local:%b}", 2]
