"""Figures of a finer question added up to those of a coarser one, so that a store is asked once for both."""

from collections.abc import Mapping, Sequence

from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.report import PRICED, Dimension


def folded(figures: Sequence[Figure], by: Sequence[Dimension]) -> list[Figure]:
    """What a store would have answered to a question with fewer dimensions.

    Args:
        figures: By more dimensions, each time bucket the same stretch.
        by: Those that are kept.
    """
    groups: dict[tuple[object, ...], list[Figure]] = {}
    for one in figures:
        groups.setdefault((one.start, *(one.key[name] for name in by)), []).append(one)
    return [_sum(own, by) for own in groups.values()]


def _sum(figures: Sequence[Figure], by: Sequence[Dimension]) -> Figure:
    first = figures[0]
    emissions = _added([one.emissions for one in figures])
    mixed = len(emissions) > 1
    repriced = any(one.repriced_g is not None for one in figures)
    return Figure(
        key={name: first.key[name] for name in by},
        start=first.start,
        end=first.end,
        sums={
            name: None if mixed and name in PRICED else _known([one.sums[name] for one in figures])
            for name in first.sums
        },
        emissions=emissions,
        quality=_weighed([(one.quality, one) for one in figures]),
        method=_weighed([(one.method, one) for one in figures]),
        source=_weighed([(one.source, one) for one in figures]),
        idle_rule=_weighed([(one.idle_rule, one) for one in figures]),
        repriced_g=_added([one.repriced_g or one.emissions for one in figures]) if repriced else None,
        units=_added([one.units for one in figures]),
    )


def _known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _added(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    whole: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            whole[name] = whole.get(name, 0.0) + value
    return whole


def _weighed(parts: Sequence[tuple[Mapping[str, float], Figure]]) -> dict[str, float]:
    joules = _added(
        [{name: share * (one.sums["energy_joules"] or 0.0) for name, share in shares.items()} for shares, one in parts]
    )
    whole = sum(joules.values())
    return {name: value / whole for name, value in sorted(joules.items(), key=lambda item: -item[1])} if whole else {}
