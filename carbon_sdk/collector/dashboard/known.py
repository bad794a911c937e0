"""How a figure is known, in words: what stands beside it on hover and on focus."""

from collections.abc import Mapping
from dataclasses import dataclass

from carbon_sdk.collector.dashboard.quantity import GRAMS, JOULES, count, percent, quantity
from carbon_sdk.collector.figure import Figure

METHODS: Mapping[str, str] = {
    "counter": "read from energy counters",
    "power_integral": "power readings, summed over time",
    "model": "modelled from CPU use",
    "unknown": "unknown",
}
QUALITIES: Mapping[str, str] = {
    "measured": "measured",
    "estimated": "estimated by the source",
    "forecast": "forecast",
    "stale": "past its validity",
    "static": "yearly average",
    "unknown": "unknown",
}
"""From the best to the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """How a figure is known.

    Args:
        short: In two words: how the joules, and how the intensity.
        level: 3 where all is measured, 0 where it is not known.
        lines: What it says of it, a name and a text each.
    """

    short: str
    level: int
    lines: tuple[tuple[str, str], ...]


def known_of(figure: Figure) -> Known:
    """How the joules and the grams of a figure are known."""
    method, quality = _first(figure.method), _first(figure.quality)
    lines = [
        ("Energy", _energy(figure)),
        ("Method", _shares(figure.method, METHODS)),
        ("Emissions", _emissions(figure)),
        ("Priced again", _repriced(figure)),
        ("Intensity", _intensity(figure)),
        ("Source", _shares(figure.source, {})),
        ("Quality", _shares(figure.quality, QUALITIES)),
    ]
    records = figure.sums.get("records")
    if records is not None:
        lines.append(("Records", _records(figure, records)))
    return Known(
        short=f"{ {'power_integral': 'power'}.get(method, method) } · {quality}",
        level=_level(method, quality),
        lines=tuple((name, text) for name, text in lines if text),
    )


def _level(method: str, quality: str) -> int:
    if "unknown" in (method, quality):
        return 0
    if method == "model" or quality == "static":
        return 1
    return 3 if quality == "measured" else 2


def _first(shares: Mapping[str, float]) -> str:
    return next(iter(shares), "unknown")


def _energy(figure: Figure) -> str:
    return _between(figure, "energy", "joules", JOULES, figure.sums.get("energy_joules"))


def _emissions(figure: Figure) -> str:
    if len(figure.emissions) > 1:
        kinds = (f"{quantity(grams, GRAMS)} {kind.replace('/', ', ')}" for kind, grams in figure.emissions.items())
        return "; ".join(kinds) + "; not added, they mean different things"
    return _between(figure, "emissions", "g", GRAMS, figure.emissions_g)


def _repriced(figure: Figure) -> str:
    """Old and new; empty where nothing was priced again."""
    return "; ".join(
        f"{quantity(figure.emissions.get(kind), GRAMS)} at first, {quantity(new, GRAMS)} by newer intensities"
        for kind, new in (figure.repriced_g or {}).items()
    )


def _between(figure: Figure, what: str, unit: str, ladder: object, value: float | None) -> str:
    scale = GRAMS if ladder is GRAMS else JOULES
    low, high = figure.sums.get(f"{what}_low_{unit}"), figure.sums.get(f"{what}_high_{unit}")
    if value is None or low is None or high is None or high - low <= 1e-6 * high:
        return str(quantity(value, scale))
    return f"{quantity(value, scale)}, between {quantity(low, scale)} and {quantity(high, scale)}"


def _intensity(figure: Figure) -> str:
    value = figure.intensity_g_per_kwh
    kinds = " and ".join(kind.replace("/", ", ") for kind in figure.emissions)
    return "" if value is None else f"{value:,.0f} g/kWh; {kinds}"


def _shares(shares: Mapping[str, float], words: Mapping[str, str]) -> str:
    if len(shares) == 1:
        return words.get(_first(shares), _first(shares))
    return ", ".join(f"{words.get(name, name)} {percent(share)}" for name, share in shares.items())


def _records(figure: Figure, records: float) -> str:
    dark = figure.sums.get("records_without_energy") or 0.0
    return f"{count(records)}, {count(dark)} of them without energy" if dark else count(records)
