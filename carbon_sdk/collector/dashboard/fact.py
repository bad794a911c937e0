"""The few figures at the head of a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from carbon_sdk.collector.dashboard.known import Known, known_of
from carbon_sdk.collector.dashboard.quantity import GRAMS, JOULES, Quantity, count, quantity
from carbon_sdk.collector.figure import Figure

MOST_UNITS = 4
"""Functional units that are shown at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One figure, large.

    Args:
        title: What it is.
        quantity: Its number and unit.
        note: One line under it.
        known: How it is known.
        records: The records behind it.
    """

    title: str
    quantity: Quantity
    note: str
    known: Known
    records: str


def total_facts(figure: Figure, records: str) -> list[Fact]:
    """Grams, joules and grams a request; grams of each signal and scope on their own."""
    known = known_of(figure)
    requests, errors = figure.sums.get("requests"), figure.sums.get("errors")
    emissions: Mapping[str, float | None] = figure.emissions or {"unknown": None}
    facts = [
        Fact(
            title="Emissions" if len(figure.emissions) < 2 else f"Emissions, {kind.replace('/', ', ')}",
            quantity=quantity(grams, GRAMS),
            note=_repriced(figure, kind) or "CO₂e of the active energy",
            known=known,
            records=records,
        )
        for kind, grams in emissions.items()
    ]
    return [
        *facts,
        Fact(
            title="Energy",
            quantity=quantity(figure.sums.get("energy_joules"), JOULES),
            note="active, in CPU, memory and GPU",
            known=known,
            records=records,
        ),
        Fact(
            title="Per request",
            quantity=quantity(figure.emissions_g_per_request, GRAMS),
            note=f"{count(requests)} requests" + (f", {count(errors)} failed" if errors else ""),
            known=known,
            records=records,
        ),
    ]


def unit_facts(figure: Figure, records: str) -> list[Fact]:
    """Grams for one of each functional unit that was counted, the most counted first."""
    each = figure.emissions_g_per_unit
    most = sorted(figure.units, key=lambda unit: (-figure.units[unit], unit))[:MOST_UNITS]
    return [
        Fact(
            title=f"Per unit: {unit}",
            quantity=quantity(each.get(unit), GRAMS),
            note=f"{count(figure.units[unit])} {unit} counted",
            known=known_of(figure),
            records=records,
        )
        for unit in most
    ]


def _repriced(figure: Figure, kind: str) -> str:
    """The grams by newer intensities, where there are such; the first price stays."""
    new = (figure.repriced_g or {}).get(kind)
    return "" if new is None else f"{quantity(new, GRAMS)} when priced again"


def intensity_fact(zones: Sequence[Figure], zone: ZoneInfo, records: str) -> Fact:
    """What a kilowatt-hour weighs now, where most of the latest energy was used.

    Args:
        zones: Figures by zone, source and quality in buckets of the last hours, the oldest first.
        zone: In whose time the moment is told.
        records: Where its records are.
    """
    priced = [one for one in zones if one.intensity_g_per_kwh is not None]
    latest = max((one.start for one in priced), default=None)
    newest = [one for one in priced if one.start == latest]
    if not newest:
        return Fact(
            title="Intensity now",
            quantity=quantity(None, GRAMS),
            note="no record in the last hours",
            known=Known(short="unknown", level=0, lines=()),
            records=records,
        )
    most = max(newest, key=lambda one: one.rank("energy_joules"))
    known = known_of(most)
    until = (most.end - timedelta(microseconds=1)).astimezone(zone)
    others = len({one.key["zone"] for one in newest}) - 1
    return Fact(
        title="Intensity now",
        quantity=Quantity(f"{most.intensity_g_per_kwh:,.0f}", "g/kWh"),
        note=f"{most.key['zone'] or 'no zone'}, {most.key['intensity_quality'] or 'unknown'}"
        + {0: "", 1: ", and one more zone"}.get(others, f", and {others} more zones"),
        known=Known(
            short=known.short,
            level=known.level,
            lines=(
                ("Zone", most.key["zone"] or "unknown"),
                ("Source", most.key["intensity_source"] or "unknown"),
                *(line for line in known.lines if line[0] in ("Intensity", "Quality")),
                ("In the quarter until", f"{until:%H:%M}"),
            ),
        ),
        records=records,
    )
