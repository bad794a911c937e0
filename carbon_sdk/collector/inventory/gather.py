"""Asks a store for everything that the report needs."""

import asyncio
import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from carbon_sdk.collector.dashboard.period import Period
from carbon_sdk.collector.figure import Figure, pricing
from carbon_sdk.collector.inventory.inventory import (
    SCI,
    Boundary,
    Factor,
    Gap,
    Inventory,
    Line,
    Method,
    Operator,
    Repriced,
    Supplier,
    kwh,
    rounded,
)
from carbon_sdk.collector.report import Book, Dimension, Query
from carbon_sdk.collector.store import QueryError, Store
from carbon_sdk.emission import JOULES_PER_KWH

DOMAINS = ("package", "dram", "psys", "gpu")
KIND: tuple[Dimension, ...] = ("intensity_signal", "intensity_scope")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a report is about.

    Args:
        project: Whose records.
        period: When; whole days of its time zone.
        operator: Who runs the machines; None where nobody said.
        supplier: For the market-based figure.
    """

    project: str
    period: Period
    operator: Operator | None = None
    supplier: Supplier | None = None

    def query(self, *by: Dimension, book: Book = "process", cut: Period | None = None, detail: bool = False) -> Query:
        """A question over the period; `cut` gives the buckets."""
        return Query(
            project=self.project,
            start=self.period.start,
            end=self.period.end,
            book=book,
            by=by,
            edges=cut.edges if cut is not None else (),
            detail=detail,
        )


async def gather(store: Store, asked: Asked) -> Inventory:
    """The report's values.

    Raises:
        QueryError: There is nothing in this period, or it cuts through what is kept more coarsely.
    """
    monthly, daily = replace(asked.period, bucket="month"), replace(asked.period, bucket="day")
    async with asyncio.TaskGroup() as tasks:
        lines = tasks.create_task(store.figures(asked.query("service", *KIND, cut=monthly)))
        whole = tasks.create_task(store.figures(asked.query(detail=True)))
        methods = tasks.create_task(
            store.figures(asked.query("meter", "energy_method", "idle_rule", "idle_policy", "share_rule"))
        )
        factors = tasks.create_task(store.figures(asked.query("intensity_source", "zone", "intensity_quality", *KIND)))
        services = tasks.create_task(store.figures(asked.query("service", detail=True)))
        days = tasks.create_task(store.figures(asked.query("service", cut=daily)))
        book = tasks.create_task(store.figures(asked.query("kind", book="machine")))
        machines = tasks.create_task(store.figures(asked.query("machine", book="machine")))
        units = tasks.create_task(store.units(asked.project, asked.period.start, asked.period.end))
        repriced = tasks.create_task(store.repricings(asked.project))
    if not whole.result():
        raise QueryError(f"there is no record from {asked.period.words}; see the dashboard for where there are some")
    return Inventory(
        project=asked.project,
        first_day=asked.period.first_day.isoformat(),
        last_day=asked.period.last_day.isoformat(),
        zone=asked.period.zone.key,
        version=version("carbon-sdk"),
        operator=asked.operator,
        supplier=asked.supplier,
        lines=tuple(_lines(lines.result(), asked.period)),
        quality={name: rounded(share) or 0.0 for name, share in sorted(whole.result()[0].quality.items())},
        methods=tuple(_methods(methods.result())),
        factors=tuple(_factors(factors.result())),
        sci=tuple(_sci(services.result(), units.result())),
        boundary=_boundary(whole.result()[0], book.result(), len(machines.result())),
        gaps=tuple(_gaps(services.result(), days.result(), len(daily.edges) - 1)),
        repriced=tuple(
            Repriced(made_at=_moment(one.made_at), source=one.source, start=_moment(one.start), end=_moment(one.end))
            for one in sorted(repriced.result(), key=lambda one: one.repricing_id)
            if one.start < asked.period.end and one.end > asked.period.start
        ),
    )


def _moment(value: object) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}"


def _lines(figures: Iterable[Figure], period: Period) -> list[Line]:
    made = []
    for figure in figures:
        kind = pricing(figure.key["intensity_signal"], figure.key["intensity_scope"])
        sums = figure.sums
        made.append(
            Line(
                service=figure.key["service"] or "unknown",
                month=f"{figure.start.astimezone(period.zone):%Y-%m}",
                kind=kind,
                requests=_count(sums["requests"]),
                energy_kwh=kwh(sums["energy_joules"]),
                idle_energy_kwh=kwh(sums["idle_energy_joules"]),
                emissions_g=rounded(sums["emissions_g"]),
                emissions_low_g=rounded(sums["emissions_low_g"]),
                emissions_high_g=rounded(sums["emissions_high_g"]),
                idle_emissions_g=rounded(sums["idle_emissions_g"]),
                embodied_g=rounded(sums["emissions_embodied_g"]),
                repriced_g=rounded((figure.repriced_g or {}).get(kind)),
            )
        )
    return sorted(made, key=lambda line: (line.service, line.month, line.kind))


def _count(value: float | None) -> int | None:
    return None if value is None else int(value)


def _methods(figures: Iterable[Figure]) -> list[Method]:
    known = [(figure, figure.sums["energy_joules"] or 0.0) for figure in figures]
    whole = sum(joules for _, joules in known)
    made = [
        Method(
            meter=figure.key["meter"] or "unknown",
            energy_method=figure.key["energy_method"] or "unknown",
            idle_rule=figure.key["idle_rule"] or "unknown",
            idle_policy=figure.key["idle_policy"] or "unknown",
            share_rule=figure.key["share_rule"] or "unknown",
            share=rounded(joules / whole) if whole else None,
        )
        for figure, joules in known
        if joules or not whole
    ]
    return sorted(made, key=lambda one: (-(one.share or 0.0), one.meter, one.energy_method, one.idle_rule))


@cache
def licences() -> Mapping[str, tuple[str, str]]:
    """Licence and credit of each source of intensity that this version knows."""
    text = files("carbon_sdk.collector").joinpath("data/sources.csv").read_text(encoding="utf-8")
    return {row["source"]: (row["licence"], row["credit"]) for row in csv.DictReader(text.splitlines())}


def _factors(figures: Iterable[Figure]) -> list[Factor]:
    made = []
    for figure in figures:
        source = figure.key["intensity_source"]
        if source is None:
            continue
        licence, credit = licences().get(source, ("not known to this collector", ""))
        made.append(
            Factor(
                source=source,
                zone=figure.key["zone"] or "unknown",
                quality=figure.key["intensity_quality"] or "unknown",
                kind=pricing(figure.key["intensity_signal"], figure.key["intensity_scope"]),
                energy_kwh=kwh(figure.sums["energy_joules"]),
                emissions_g=rounded(figure.sums["emissions_g"]),
                g_per_kwh=rounded(figure.intensity_g_per_kwh),
                licence=licence,
                credit=credit,
            )
        )
    return sorted(made, key=lambda one: (-(one.energy_kwh or 0.0), one.source, one.zone, one.quality, one.kind))


def _sci(services: Iterable[Figure], units: Mapping[str, Mapping[str, float]]) -> list[SCI]:
    made = []
    for figure in services:
        service = figure.key["service"] or "unknown"
        requests, known = figure.sums["requests"], figure.sums["sci_requests"]
        reason = ""
        if not requests:
            reason = "no request or job ended"
        elif not known:
            reason = "the share of the machine that is reserved for it is not known"
        elif known < requests:
            reason = f"known for {known:,.0f} of {requests:,.0f} requests"
        each = rounded(figure.sci_g_per_request)
        made.append(SCI(service=service, unit="request", amount=requests, g_per_unit=each, reason=reason))
        for unit, amount in sorted(units.get(service, {}).items()):
            weighed = figure.sums["sci_g"] if not reason else None
            each = rounded(weighed / amount) if weighed is not None and amount else None
            made.append(SCI(service=service, unit=unit, amount=rounded(amount), g_per_unit=each, reason=reason))
    return made


def _boundary(whole: Figure, book: Iterable[Figure], machines: int) -> Boundary:
    kinds = {figure.key["kind"]: figure.sums["energy_joules"] for figure in book}
    domains = {name: kwh(whole.sums[f"energy_{name}_joules"]) for name in DOMAINS}
    weighed, grams = whole.sums["intensity_joules"], whole.sums["emissions_g"]
    return Boundary(
        domains_kwh={name: value for name, value in domains.items() if value is not None},
        measured_kwh=kwh(kinds.get("measured")),
        idle_kwh=kwh(kinds.get("idle")),
        unattributed_kwh=kwh(kinds.get("unattributed")),
        machines=machines,
        factor=rounded(grams * JOULES_PER_KWH / weighed) if weighed and grams is not None else None,
    )


def _gaps(services: Iterable[Figure], days: Sequence[Figure], count: int) -> list[Gap]:
    """What is missing."""
    heard: dict[str | None, int] = {}
    for figure in days:
        heard[figure.key["service"]] = heard.get(figure.key["service"], 0) + 1
    return [
        Gap(
            service=figure.key["service"] or "unknown",
            records=_count(figure.sums["records"]) or 0,
            without_energy=_count(figure.sums["records_without_energy"]) or 0,
            without_emissions=_count(figure.sums["records_without_emissions"]) or 0,
            gap_seconds=rounded(figure.sums["gap_seconds"]),
            gap_cpu_seconds=rounded(figure.sums["gap_cpu_seconds"]),
            days=count,
            silent_days=count - heard.get(figure.key["service"], 0),
        )
        for figure in services
    ]
