"""Two periods, or two releases of a service, side by side; refused, with the reason, where they cannot be compared."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carbon_sdk.collector.dashboard.period import Period, period_of
from carbon_sdk.collector.dashboard.quantity import GRAMS, JOULES, SECONDS, Ladder, change, count, quantity
from carbon_sdk.collector.dashboard.sheet import SERVED, grams_of, per_request
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.report import Dimension
from carbon_sdk.collector.store import Store

RULES: Mapping[str, str] = {"idle_rule": "idle rule", "method": "method of measuring", "kinds": "kind of grams"}
ENERGY_RULES = ("idle_rule", "method")
NOTICEABLE = 0.01
"""A rule that holds for a smaller share of the joules does not bar a comparison."""
MOST_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is compared, and what must be alike for it."""

    title: str
    ladder: Ladder
    value: Callable[[Figure], float | None]
    rules: tuple[str, ...]


MEASURES = (
    Measure(title="CPU a request", ladder=SECONDS, value=per_request("cpu_seconds"), rules=()),
    Measure(title="Energy a request", ladder=JOULES, value=per_request("energy_joules"), rules=ENERGY_RULES),
    Measure(
        title="CO₂e a request", ladder=GRAMS, value=lambda one: one.emissions_g_per_request, rules=(*RULES.keys(),)
    ),
    Measure(title="Energy", ladder=JOULES, value=lambda one: one.sums.get("energy_joules"), rules=ENERGY_RULES),
    Measure(title="CO₂e", ladder=GRAMS, value=lambda one: one.emissions_g, rules=(*RULES.keys(),)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One value before and after, and how it changed; None where it may not be compared."""

    before: str
    after: str
    change: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One thing, compared.

    Args:
        name: What.
        href: Its page; None for the whole.
        refusals: Why some of it cannot be compared.
        pairs: A pair for each of `MEASURES`.
    """

    name: str
    href: str | None
    refusals: tuple[str, ...]
    pairs: tuple[Pair, ...]


def refusals_of(before: Figure, after: Figure) -> Mapping[str, str]:
    """Why two figures cannot be compared, by rule; empty where they can.

    A change of the idle rule or of the method moves joules between accounts, and grams of another signal or scope mean
    another thing: what would be seen is that, not the software.
    """
    refusals = {}
    for name, words in RULES.items():
        old, new = (_rules(figure, name) for figure in (before, after))
        if old and new and old != new:
            refusals[name] = f"another {words}: {', '.join(sorted(old))}, then {', '.join(sorted(new))}"
    return refusals


def _rules(figure: Figure, name: str) -> set[str]:
    if name == "kinds":
        return {kind.replace("/", " ") for kind in figure.emissions}
    shares: Mapping[str, float] = getattr(figure, name)
    return {rule for rule, share in shares.items() if share >= NOTICEABLE}


def contrast(name: str, href: str | None, before: Figure | None, after: Figure | None) -> Contrast:
    """One thing, compared; what is on one side only has no change."""
    refusals = refusals_of(before, after) if before is not None and after is not None else {}
    pairs = []
    for measure in MEASURES:
        if refusals.keys() & set(measure.rules):
            pairs.append(Pair(before="", after="", change=None))
            continue
        old, new = (None if figure is None else measure.value(figure) for figure in (before, after))
        pairs.append(
            Pair(
                before=str(quantity(old, measure.ladder)),
                after=str(quantity(new, measure.ladder)),
                change="" if old is None or new is None else change(old, new),
            )
        )
    return Contrast(name=name, href=href, refusals=tuple(refusals.values()), pairs=tuple(pairs))


def trends_of(before: Figure, after: Figure) -> Mapping[str, str]:
    """How the figures at the head of a page changed, by their titles; what may not be compared is left out."""
    whole = contrast("", None, before, after)
    changes = {measure.title: pair.change for measure, pair in zip(MEASURES, whole.pairs, strict=True)}
    titles = {"Emissions": "CO₂e", "Energy": "Energy", "Per request": "CO₂e a request"}
    return {title: change for title, name in titles.items() if (change := changes[name])}


async def compare(visit: Visit, store: Store) -> dict[str, Any]:
    """What the template `compare.html` shows."""
    service = visit.asked.get("service") or None
    own: dict[Dimension, tuple[str | None, ...]] = {} if service is None else {"service": (service,)}
    releases = await _releases(visit, store, service) if service else []
    names = [one.key["release"] or "unknown" for one in releases]
    sides = _sides(visit, names)
    by: tuple[Dimension, ...] = ("service",) if service is None else ("endpoint",)
    kinds: dict[Dimension, tuple[str | None, ...]] = {} if service is None else {"kind": SERVED}
    async with asyncio.TaskGroup() as tasks:
        wholes = [tasks.create_task(store.figures(side.query(visit, own))) for side in sides]
        parts = [tasks.create_task(store.figures(side.query(visit, {**own, **kinds}, *by))) for side in sides]
    before, after = (task.result()[0] if task.result() else None for task in wholes)
    return {
        "service": service,
        "services": sorted({one.key["service"] or "" for one in await store.figures(visit.query("service"))}),
        "releases": names,
        "sides": sides,
        "measures": [one.title for one in MEASURES],
        "whole": contrast("All of it" if service is None else f"All of {service}", None, before, after),
        "requests": [None if one is None else count(one.sums.get("requests")) for one in (before, after)],
        "rows": _rows(visit, service, [task.result() for task in parts]),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of the comparison: a period, and a release where releases are compared."""

    title: str
    words: str
    period: Period
    release: str | None

    def query(self, visit: Visit, filters: Mapping[Dimension, tuple[str | None, ...]], *by: Dimension) -> Any:
        """The question for this side."""
        own: dict[Dimension, tuple[str | None, ...]] = dict(filters)
        if self.release is not None:
            own["release"] = (None if self.release == "unknown" else self.release,)
        return visit.query(*by, filters=own, period=self.period)


def _sides(visit: Visit, releases: Sequence[str]) -> tuple[Side, Side]:
    old, new = visit.asked.get("old") or "", visit.asked.get("new") or ""
    if old and new:
        for name in (old, new):
            if name not in releases:
                raise ValueError(f"there is no release {name[:40]!r} of this service in this period")
        words = visit.period.words
        return tuple(Side(title=name, words=words, period=visit.period, release=name) for name in (old, new))  # type: ignore[return-value]
    if visit.asked.get("before_from"):
        given = {"from": visit.asked["before_from"], "to": visit.asked.get("before_to", "")}
        earlier = period_of(given, visit.period.zone, visit.period.end)
    else:
        earlier = visit.period.earlier(visit.now)
    return (
        Side(title="Before", words=earlier.words, period=earlier, release=None),
        Side(title="After", words=_words(visit), period=visit.period, release=None),
    )


def _words(visit: Visit) -> str:
    return f"{visit.period.words}{', so far' if visit.now < visit.period.end else ''}"


async def _releases(visit: Visit, store: Store, service: str) -> list[Figure]:
    return list(await store.figures(visit.query("release", filters={"service": (service,)})))


def _rows(visit: Visit, service: str | None, sides: Sequence[Sequence[Figure]]) -> list[Contrast]:
    name: Dimension = "service" if service is None else "endpoint"
    before, after = ({figure.key[name] or "unknown": figure for figure in side} for side in sides)

    def weight(one: str) -> float:
        return -max((grams_of(side[one]) or 0.0) for side in (before, after) if one in side)

    names = sorted(before.keys() | after.keys(), key=weight)[:MOST_ROWS]
    page = {"service": "compare", "endpoint": "endpoint"}[name]
    whose = {} if service is None else {"service": service}
    return [contrast(one, visit.link(page, **{**whose, name: one}), before.get(one), after.get(one)) for one in names]
