"""The answer to a question of `report`: sums over records, with how each is known.

An engine hands its rows over as `Sums`; `figures_of` folds them into a `Figure` for each key and time bucket. Grams of
different signal or scope stand side by side in it and are never added.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from carbon_sdk.collector.report import HOW_KNOWN, Dimension, Measure, Query
from carbon_sdk.emission import JOULES_PER_KWH
from carbon_sdk.wire import utc_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Sums over some records, and how they are known. None is unknown, never zero.

    Args:
        key: Values of the dimensions asked for.
        start: Start of the time bucket, UTC.
        end: End of the time bucket, UTC.
        sums: Sum of each measure. A measure that no record knew is None, and so is a priced one where its records have
            more than one signal or scope: ask for each by filters, or by grouping.
        emissions: Grams by `signal/scope`, `average/lifecycle`; they are not added over these.
        quality: Share of the joules by quality of the intensity; `unknown` where there was none.
        method: Share of the joules by how they were known.
        source: Share of the joules by who said how dirty they were; `unknown` where nobody did.
        idle_rule: Share of the joules by how idle was told from active.
        repriced_g: Grams after the newest repricing, by `signal/scope`; None where nothing was repriced.
        units: Functional units that were counted, by name; empty too where a question asks for more than accounts.
    """

    key: Mapping[str, str | None]
    start: datetime
    end: datetime
    sums: Mapping[str, float | None]
    emissions: Mapping[str, float]
    quality: Mapping[str, float]
    method: Mapping[str, float]
    source: Mapping[str, float]
    idle_rule: Mapping[str, float]
    repriced_g: Mapping[str, float] | None = None
    units: Mapping[str, float] = field(default_factory=dict)

    @property
    def emissions_g(self) -> float | None:
        """Grams, where all of them have one signal and one scope; None where they may not be added, or are unknown."""
        return next(iter(self.emissions.values())) if len(self.emissions) == 1 else None

    @property
    def emissions_g_per_request(self) -> float | None:
        """Grams per request; None where no request ended or the grams are not one number."""
        requests = self.sums.get("requests")
        return self.emissions_g / requests if requests and self.emissions_g is not None else None

    @property
    def emissions_g_per_unit(self) -> dict[str, float]:
        """Grams per functional unit, by its name; empty where the grams are not one number."""
        grams = self.emissions_g
        return {} if grams is None else {unit: grams / amount for unit, amount in self.units.items() if amount > 0.0}

    @property
    def intensity_g_per_kwh(self) -> float | None:
        """What a kWh weighed on average, without PUE."""
        weighed, joules = self.sums.get("intensity_joules"), self.sums.get("priced_joules")
        return weighed / joules if joules and weighed is not None else None

    @property
    def sci_g_per_request(self) -> float | None:
        """((E x I) + M) / R over the requests for which it is known; None where it is not, or was not asked for."""
        weighed, requests = self.sums.get("sci_g"), self.sums.get("sci_requests")
        return weighed / requests if requests and weighed is not None else None

    def rank(self, measure: str) -> float:
        """What to order by: the measure's sum, or the greatest of grams that may not be added; unknown ranks last."""
        value = max(self.emissions.values(), default=None) if measure == "emissions_g" else self.sums.get(measure)
        return -1.0 if value is None else value

    @property
    def shares(self) -> dict[str, dict[str, float]]:
        """How it is known: shares of the joules by quality, method, source and idle rule."""
        return {name: dict(getattr(self, name)) for name in ("quality", "method", "source", "idle_rule")}

    def to_object(self) -> dict[str, Any]:
        """JSON-ready, with the derived values, kWh beside joules."""
        shown = {n: v for n, v in self.sums.items() if n not in _INNER}
        joules = self.sums.get("energy_joules")
        return {
            "key": dict(self.key),
            "start": utc_text(self.start),
            "end": utc_text(self.end),
            **shown,
            "energy_kwh": None if joules is None else joules / JOULES_PER_KWH,
            "emissions_g": self.emissions_g,
            "emissions": dict(self.emissions),
            "emissions_g_per_request": self.emissions_g_per_request,
            "units": dict(self.units),
            "emissions_g_per_unit": self.emissions_g_per_unit,
            "intensity_g_per_kwh": self.intensity_g_per_kwh,
            "sci_g_per_request": self.sci_g_per_request,
            "repriced_g": None if self.repriced_g is None else dict(self.repriced_g),
            **self.shares,
        }


_INNER = frozenset({"intensity_joules", "priced_joules", "sci_g", "sci_requests", "emissions_g"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """One row of an engine's answer.

    Args:
        bucket: Number of the time bucket, from 0.
        key: Values of `Query.grouped_by`, in that order.
        values: Sums of `Query.measures`, in that order.
        repriced_by_g: What the newest repricing adds to the first price; None where there was none.
    """

    bucket: int
    key: tuple[str | None, ...]
    values: tuple[float | None, ...]
    repriced_by_g: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """So many functional units in one answer's group.

    Args:
        bucket: Number of the time bucket, from 0.
        key: Values of `Query.by`, in that order.
        unit: The unit's name.
        amount: How many.
    """

    bucket: int
    key: tuple[str | None, ...]
    unit: str
    amount: float


def figures_of(query: Query, rows: Iterable[Sums], counted: Iterable[Counted] = ()) -> list[Figure]:
    """The figures of an engine's rows, by key and time, with the units that were counted."""
    units: dict[tuple[int, tuple[str | None, ...]], dict[str, float]] = {}
    for one in counted:
        units.setdefault((one.bucket, one.key), {})[one.unit] = one.amount
    groups: dict[tuple[int, tuple[str | None, ...]], list[Sums]] = {}
    for row in rows:
        groups.setdefault((row.bucket, row.key[: len(query.by)]), []).append(row)
    edges = query.edges or (query.start, query.end)
    order = sorted(groups, key=lambda group: (group[0], tuple(part or "" for part in group[1])))
    return [
        replace(
            _figure(query, edges[group[0]], edges[group[0] + 1], group[1], groups[group]), units=units.get(group, {})
        )
        for group in order
    ]


def _figure(query: Query, start: datetime, end: datetime, key: tuple[str | None, ...], rows: Sequence[Sums]) -> Figure:
    measures, grouped_by = query.measures, query.grouped_by
    names = [measure.name for measure in measures]
    joules, grams = names.index("energy_joules"), names.index("emissions_g")
    at = {name: grouped_by.index(name) for name in HOW_KNOWN}

    def shares(name: Dimension) -> dict[str, float]:
        return _shares((row.key[at[name]], row.values[joules]) for row in rows)

    def values(measure: Measure, place: int) -> list[float | None]:
        told = [row for row in rows if row.key[grouped_by.index("kind")] == "background"] if measure.once else rows
        return [row.values[place] for row in told]

    kinds = [pricing(row.key[at["intensity_signal"]], row.key[at["intensity_scope"]]) for row in rows]
    emissions: dict[str, float] = {}
    repriced: dict[str, float] = {}
    for row, kind in zip(rows, kinds, strict=True):
        first = row.values[grams]
        if first is not None:
            emissions[kind] = emissions.get(kind, 0.0) + first
        if first is not None or row.repriced_by_g is not None:
            repriced[kind] = repriced.get(kind, 0.0) + (first or 0.0) + (row.repriced_by_g or 0.0)
    return Figure(
        key=dict(zip(query.by, key, strict=True)),
        start=start,
        end=end,
        sums={
            measure.name: _sum(values(measure, place), kinds if measure.priced else None)
            for place, measure in enumerate(measures)
        },
        emissions=emissions,
        quality=shares("intensity_quality"),
        method=shares("energy_method"),
        source=shares("intensity_source"),
        idle_rule=shares("idle_rule"),
        repriced_g=repriced if any(row.repriced_by_g is not None for row in rows) else None,
    )


def pricing(signal: str | None, scope: str | None) -> str:
    """The name of what grams may be added within: `average/lifecycle`."""
    return f"{signal or 'unknown'}/{scope or 'unknown'}"


def _sum(values: Sequence[float | None], kinds: Sequence[str] | None) -> float | None:
    """The sum of what is known; None where nothing is, or where it is of several kinds."""
    if kinds is not None and len({kind for kind, value in zip(kinds, values, strict=True) if value is not None}) > 1:
        return None
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _shares(parts: Iterable[tuple[str | None, float | None]]) -> dict[str, float]:
    joules: dict[str, float] = {}
    for name, value in parts:
        if value:
            joules[name or "unknown"] = joules.get(name or "unknown", 0.0) + value
    whole = sum(joules.values())
    return {name: value / whole for name, value in sorted(joules.items(), key=lambda item: -item[1])}


def page(
    figures: Sequence[Figure], order: str | None, limit: int, cursor: str | None
) -> tuple[list[Figure], str | None]:
    """One page of figures, and the cursor of the next.

    The cursor holds the place in the order, not a row number, so that records which arrive between two pages neither
    repeat nor skip a row whose figure stands still.

    Raises:
        ValueError: The cursor is none of ours.
    """

    def place(figure: Figure) -> list[Any]:
        rank = [-figure.rank(order)] if order else []
        return [*rank, figure.start.timestamp(), *(value or "" for value in figure.key.values())]

    ordered = sorted(figures, key=place)
    if cursor is not None:
        try:
            behind = json.loads(base64.urlsafe_b64decode(cursor.encode()))
            ordered = [figure for figure in ordered if place(figure) > behind]
        except (ValueError, TypeError) as exc:
            raise ValueError("the cursor is not one that this collector gave out for this question") from exc
    shown = ordered[:limit]
    if len(ordered) <= limit:
        return shown, None
    return shown, base64.urlsafe_b64encode(json.dumps(place(shown[-1])).encode()).decode()
