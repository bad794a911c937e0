"""What can be asked of the records, defined once for every store.

A question is a `Query`: a book, a stretch of time, dimensions to group by, filters. A store answers with sums; this
module turns sums into `Figure`s, which carry beside each value how it is known. The named questions of the API and the
dashboard are `REPORTS`. An engine implements one method, `figures`, by grouping its roll-up and handing the rows to
`figures_of`; the measures' expressions are SQL that DuckDB and ClickHouse both read.

Three laws hold for every figure:

* A record lies wholly in the quarter of an hour in which its window starts, so figures of parts add up to the whole.
* The machine book is never added over processes: of the copies of a machine, interval and domain one was chosen.
* Grams of different signal or scope stand side by side and are never added.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

SLOT_SECONDS = 900
"""Width of the finest roll-up. Every time zone in use today is a whole number of quarter hours from UTC, so the days of
each can be cut out exactly (India +5:30, Nepal +5:45)."""
DAY_SECONDS = 86_400
MOST_BUCKETS = 20_000
MOST_FIGURES = 100_000
"""Rows of an answer before paging; a question that gives more must be narrowed."""

Book = Literal["process", "machine"]
Bucket = Literal["quarter", "hour", "day", "week", "month"]
Dimension = Literal[
    "service",
    "kind",
    "endpoint",
    "name",
    "root_service",
    "root_endpoint",
    "release",
    "zone",
    "place",
    "intensity_source",
    "intensity_quality",
    "intensity_signal",
    "intensity_scope",
    "energy_method",
    "idle_rule",
    "idle_policy",
    "share_rule",
    "meter",
    "meter_scope",
    "machine",
    "domain",
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
HOW_KNOWN: tuple[Dimension, ...] = (
    "intensity_quality",
    "energy_method",
    "intensity_signal",
    "intensity_scope",
    "intensity_source",
    "idle_rule",
)
"""Every answer is grouped by these as well, and folded here, so that each figure knows its shares."""
PROCESS_ONLY: frozenset[Dimension] = frozenset({"service", "endpoint", "name", "root_service", "root_endpoint"})
MACHINE_ONLY: frozenset[Dimension] = frozenset({"machine", "domain"})
OF_ACCOUNT: frozenset[Dimension] = PROCESS_ONLY | {"kind"}
"""Dimensions of the account alone: functional units are kept by account, whatever priced the energy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A sum that the roll-up keeps.

    Args:
        name: Its column.
        expression: Of one record, in SQL that every engine reads; its nulls are left out of the sum.
        whole: It is a count.
        detail: Left out of an answer that asks for no detail, to be quick.
        priced: It rests on the price of a kWh, so it is not added over signals and scopes.
        once: Every record of a process's interval tells it whole: summed over those of the background alone, of which
            each interval has one. None where a question leaves these out.
    """

    name: str
    expression: str
    whole: bool = False
    detail: bool = False
    priced: bool = False
    once: bool = False


WEIGHABLE = "energy_joules > 1e-9"
"""Of a record, in SQL: it has joules to divide by. Less than a billionth of one, as rounding leaves it or a hostile
sender writes it, would make sums infinite."""
_LOW = "coalesce(energy_low_joules, energy_joules)"
_HIGH = "coalesce(energy_high_joules, energy_joules)"
PROCESS_MEASURES: tuple[Measure, ...] = (
    Measure(name="records", expression="1", whole=True),
    Measure(name="requests", expression="requests", whole=True),
    Measure(name="errors", expression="errors", whole=True),
    Measure(name="records_without_energy", expression="case when energy_joules is null then 1 else 0 end", whole=True),
    Measure(name="records_without_emissions", expression="case when emissions_g is null then 1 else 0 end", whole=True),
    Measure(name="duration_seconds", expression="duration_seconds"),
    Measure(name="cpu_seconds", expression="cpu_seconds"),
    Measure(name="energy_joules", expression="energy_joules"),
    Measure(name="energy_low_joules", expression=_LOW),
    Measure(name="energy_high_joules", expression=_HIGH),
    Measure(name="idle_energy_joules", expression="idle_energy_joules"),
    Measure(name="emissions_g", expression="emissions_g", priced=True),
    Measure(
        name="emissions_low_g",
        expression=f"case when {WEIGHABLE} then emissions_g * {_LOW} / energy_joules else emissions_g end",
        priced=True,
    ),
    Measure(
        name="emissions_high_g",
        expression=f"case when {WEIGHABLE} then emissions_g * {_HIGH} / energy_joules else emissions_g end",
        priced=True,
    ),
    Measure(name="idle_emissions_g", expression="idle_emissions_g", priced=True),
    Measure(name="emissions_embodied_g", expression="emissions_embodied_g"),
    Measure(name="intensity_joules", expression="energy_joules * intensity_g_per_kwh", priced=True),
    Measure(name="priced_joules", expression="case when intensity_g_per_kwh is null then null else energy_joules end"),
    Measure(name="energy_package_joules", expression="energy_package_joules", detail=True),
    Measure(name="energy_dram_joules", expression="energy_dram_joules", detail=True),
    Measure(name="energy_psys_joules", expression="energy_psys_joules", detail=True),
    Measure(name="energy_gpu_joules", expression="energy_gpu_joules", detail=True),
    Measure(name="sci_g", expression="coalesce(sci_g, sci_g_per_request * requests)", detail=True, priced=True),
    Measure(
        name="sci_requests",
        expression="case when coalesce(sci_g, sci_g_per_request) is null then null else requests end",
        detail=True,
    ),
    Measure(name="gap_seconds", expression="gap_seconds", detail=True, once=True),
    Measure(name="gap_cpu_seconds", expression="gap_cpu_seconds", detail=True),
    Measure(name="late_cpu_seconds", expression="late_cpu_seconds", detail=True),
    Measure(name="cpu_overcount_seconds", expression="cpu_overcount_seconds", detail=True),
)
MACHINE_MEASURES: tuple[Measure, ...] = (
    Measure(name="energy_joules", expression="energy_joules"),
    Measure(name="emissions_g", expression="emissions_g", priced=True),
    Measure(name="covered_seconds", expression="covered_seconds"),
    Measure(name="intensity_joules", expression="energy_joules * intensity_g_per_kwh", priced=True),
    Measure(name="priced_joules", expression="case when intensity_g_per_kwh is null then null else energy_joules end"),
)
PRICED: frozenset[str] = frozenset(one.name for one in (*PROCESS_MEASURES, *MACHINE_MEASURES) if one.priced)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question.

    Args:
        project: Whose records.
        start: From here, UTC, on a quarter of an hour.
        end: Up to here, UTC, on a quarter of an hour.
        book: Which of the two books.
        by: Group by these.
        edges: Ends of the time buckets: bucket i is [edges[i], edges[i+1]). Empty: one bucket.
        filters: Only what has one of these values; None stands for unknown.
        detail: Also the domains, SCI and gaps.
        only: Sum these measures alone, energy and emissions among them; all where empty. To be quick.
    """

    project: str
    start: datetime
    end: datetime
    book: Book = "process"
    by: tuple[Dimension, ...] = ()
    edges: tuple[datetime, ...] = ()
    filters: Mapping[Dimension, tuple[str | None, ...]] = field(default_factory=dict)
    detail: bool = False
    only: frozenset[str] = frozenset()

    @property
    def grouped_by(self) -> tuple[Dimension, ...]:
        """What an engine groups by: the question's dimensions, then those that say how it is known."""
        told: tuple[Dimension, ...] = ("kind",) if any(one.once for one in self.measures) else ()
        return self.by + tuple(one for one in (*HOW_KNOWN, *told) if one not in self.by)

    @property
    def knows_units(self) -> bool:
        """Functional units can be told: nothing but accounts is asked for, and not some measures alone."""
        return self.book == "process" and not self.only and {*self.by, *self.filters} <= OF_ACCOUNT

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What an engine sums."""
        offered = PROCESS_MEASURES if self.book == "process" else MACHINE_MEASURES
        if self.only:
            return tuple(one for one in offered if one.name in self.only)
        return tuple(one for one in offered if self.detail or not one.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A named question.

    Args:
        name: Its name in the API.
        title: What it shows.
        by: Its dimensions.
        book: Its book.
        order: What its rows are ordered by, greatest first; none: by key and time.
    """

    name: str
    title: str
    by: tuple[Dimension, ...] = ()
    book: Book = "process"
    order: str | None = "emissions_g"


REPORTS: Mapping[str, Report] = {
    report.name: report
    for report in (
        Report(name="totals", title="All of it"),
        Report(name="services", title="Each service", by=("service",)),
        Report(name="endpoints", title="Each endpoint or job", by=("service", "endpoint")),
        Report(name="roots", title="Where each chain of calls began", by=("root_service", "root_endpoint")),
        Report(
            name="ways",
            title="A chain of calls, service by service",
            by=("root_service", "root_endpoint", "service", "endpoint"),
        ),
        Report(name="parts", title="What an endpoint is made of", by=("service", "endpoint", "kind", "name")),
        Report(
            name="zones", title="Each zone, source and quality", by=("zone", "intensity_source", "intensity_quality")
        ),
        Report(name="releases", title="Each release", by=("service", "release", "idle_rule", "energy_method")),
        Report(name="books", title="Spans, background, SDK, other", by=("kind",), order="energy_joules"),
        Report(
            name="scopes",
            title="For the inventory: signal, scope, source",
            by=("service", "intensity_signal", "intensity_scope", "intensity_source"),
        ),
        Report(
            name="machines",
            title="Each machine once",
            by=("machine", "kind", "domain"),
            book="machine",
            order="energy_joules",
        ),
        Report(
            name="machine_books",
            title="Measured, idle, unattributed",
            by=("kind",),
            book="machine",
            order="energy_joules",
        ),
    )
}
