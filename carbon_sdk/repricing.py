"""Pricing stored records again, when measured history replaces what was an estimate at the time.

Energy is kept beside grams in every record, with its time and zone. A record is never changed: a `Repriced` stands
beside it, with the old grams and the reason, so that a closed month that moves says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from carbon_sdk.emission import Emission, grams
from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import HistoryProvider, Intensity, Place, Quality

LONGEST_SPAN = timedelta(days=31)
"""Records of one zone are asked for in spans of at most this, so that a year does not become one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """One record with new grams, beside the old ones.

    Args:
        emission: The record as it would be written today; the same key, the same joules. Equal to the old one where
            nothing better is known.
        before: The record as it was.
        reason: Why it was priced again, or why not.
    """

    emission: Emission
    before: Emission
    reason: str

    @property
    def changed(self) -> bool:
        """Whether the grams are new."""
        return self.emission is not self.before

    @property
    def difference_g(self) -> float | None:
        """New grams less old ones; None where either is unknown."""
        if self.emission.emissions_g is None or self.before.emissions_g is None:
            return None
        return self.emission.emissions_g - self.before.emissions_g


async def reprice(records: Sequence[Emission], provider: HistoryProvider) -> list[Repriced]:
    """Price records by what a provider knows today of their time and zone.

    A record keeps its price where its energy or zone is unknown, where the provider has no measured value for all of
    its time, where signal or emission scope would change, or where it was measured already by the same source.

    Args:
        records: In any order.
        provider: Whose history replaces what was there.

    Returns:
        One result for each record, in their order.

    Raises:
        IntensityError: The provider failed for every zone.
    """
    history, problems = await _history(records, provider)
    if problems and not history:
        raise IntensityError(provider.name, "; ".join(problems.values()))
    return [_repriced(record, history.get(_zone(record) or "", ()), problems) for record in records]


def _zone(record: Emission) -> str | None:
    """The zone to ask for: the place that was asked for, where a parent of it answered; None for the world."""
    if record.zone is None or record.zone == "WORLD":
        return None
    asked = record.place or ""
    return asked if asked.startswith(f"{record.zone}-") else record.zone


async def _history(
    records: Sequence[Emission], provider: HistoryProvider
) -> tuple[dict[str, list[Intensity]], dict[str, str]]:
    spans: dict[str, tuple[datetime, datetime]] = {}
    for record in records:
        zone = _zone(record)
        if zone is None or record.energy_joules is None:
            continue
        start, end = spans.get(zone, (record.window_start, record.window_end))
        spans[zone] = (min(start, record.window_start), max(end, record.window_end))
    history: dict[str, list[Intensity]] = {}
    problems: dict[str, str] = {}
    for zone, (start, end) in spans.items():
        values: dict[datetime, Intensity] = {}
        try:
            since = start
            while since < end:
                until = min(since + LONGEST_SPAN, end)
                for value in await provider.history(Place(zone=zone), since, until):
                    values.setdefault(value.observed_at, value)
                since = until
        except IntensityError as exc:
            problems[zone] = str(exc)
            continue
        history[zone] = [values[moment] for moment in sorted(values)]
    return history, problems


def _repriced(record: Emission, values: Sequence[Intensity], problems: dict[str, str]) -> Repriced:
    refusal = _refusal(record, problems)
    if refusal is None:
        measured = [value for value in values if value.quality in ("measured", "estimated")]
        overlapping = _of(record, measured)
        mean = _mean(record, overlapping)
        if mean is None:
            refusal = "its time is not covered by history"
        elif {(value.signal, value.emission_scope) for value in overlapping} != {
            (record.intensity_signal, record.intensity_scope)
        }:
            refusal = "history has another signal or emission scope"
        elif record.intensity_quality == "estimated" and all(value.quality != "measured" for value in overlapping):
            refusal = "history is an estimate still"
        else:
            return _priced(record, overlapping, mean)
    return Repriced(emission=record, before=record, reason=f"kept: {refusal}")


def _refusal(record: Emission, problems: dict[str, str]) -> str | None:
    if record.energy_joules is None:
        return "its energy is unknown"
    zone = _zone(record)
    if zone is None:
        return "its zone is unknown"
    if zone in problems:
        return problems[zone]
    if record.intensity_quality == "measured" and not record.mixed:
        return "it was measured already"
    return None


def _of(record: Emission, values: Sequence[Intensity]) -> list[Intensity]:
    return [
        value for value in values if value.valid_until > record.window_start and value.observed_at < record.window_end
    ]


def _mean(record: Emission, values: Sequence[Intensity]) -> float | None:
    """g/kWh over the record's time: its joules are taken as evenly spread, which a record of a minute allows."""
    span = (record.window_end - record.window_start).total_seconds()
    covered = weighted = 0.0
    for value in values:
        shared = min(value.valid_until, record.window_end) - max(value.observed_at, record.window_start)
        covered += shared.total_seconds()
        weighted += shared.total_seconds() * value.g_per_kwh
    return weighted / span if span > 0 and covered >= span - 1e-6 else None


def _priced(record: Emission, values: Sequence[Intensity], mean: float) -> Repriced:
    last = values[-1]
    quality: Quality = "measured" if all(value.quality == "measured" for value in values) else "estimated"
    weight = grams(1.0, mean, record.pue) * (record.wall_factor or 1.0)
    sci_g = _sci_g(record, weight)
    emission = replace(
        record,
        emissions_g=None if record.energy_joules is None else record.energy_joules * weight,
        idle_emissions_g=None if record.idle_energy_joules is None else record.idle_energy_joules * weight,
        sci_g=sci_g,
        sci_g_per_request=sci_g / record.requests if sci_g is not None and record.requests else None,
        intensity_g_per_kwh=mean,
        intensity_source=last.source,
        intensity_quality=quality,
        intensity_observed_at=values[0].observed_at,
        intensity_valid_until=last.valid_until,
        zone=last.zone,
        mixed=len({(value.source, value.quality, value.zone) for value in values}) > 1,
    )
    old = f"{record.intensity_quality} {record.intensity_g_per_kwh} g/kWh of {record.intensity_source}"
    return Repriced(emission=emission, before=record, reason=f"{quality} by {last.source} replaces {old}")


def _sci_g(record: Emission, weight: float) -> float | None:
    """SCI is ((E x I) + M) per R, and only I changes: its part of the old figure grows as the grams do."""
    sci_g, embodied = record.sci_g, record.emissions_embodied_g
    if sci_g is None and record.sci_g_per_request is not None:
        sci_g = record.sci_g_per_request * record.requests
    if sci_g is None or embodied is None or not record.energy_joules or not record.emissions_g:
        return None
    return (sci_g - embodied) * weight / (record.emissions_g / record.energy_joules) + embodied
