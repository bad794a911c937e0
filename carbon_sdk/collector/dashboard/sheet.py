"""Tables of figures: one unit a column, a share of the whole, and how each row is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from carbon_sdk.collector.dashboard.known import Known, known_of
from carbon_sdk.collector.dashboard.quantity import (
    COUNT,
    G_PER_KWH,
    GRAMS,
    JOULES,
    SECONDS,
    Ladder,
    Quantity,
    column,
    quantity,
)
from carbon_sdk.collector.figure import Figure

SERVED = ("request", "worker", "span")
"""Kinds of account that an endpoint or a job is made of."""

SHOWN = frozenset(
    {
        "records",
        "requests",
        "records_without_energy",
        "cpu_seconds",
        "energy_joules",
        "energy_low_joules",
        "energy_high_joules",
        "emissions_g",
        "emissions_low_g",
        "emissions_high_g",
        "intensity_joules",
        "priced_joules",
    }
)
"""Measures that tables of many rows are made of, notes included; a store sums no others for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value of a row: as it is shown, its unit where the column has none, and the number to sort by."""

    text: str
    unit: str
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line.

    Args:
        name: What it is about.
        of: What that belongs to, or how it is told from others of its name.
        href: Its own page; None where it has none.
        records: The records behind it.
        share: Its part of the whole, 0 to 1; None where that is unknown.
        start: Where the bar of its share begins, 0 to 1.
        cells: A value for each column.
        known: How they are known.
    """

    name: str
    of: str
    href: str | None
    records: str
    share: float | None
    start: float
    cells: tuple[Cell, ...]
    known: Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table: a title and a unit for each column, and its rows."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a column shows of a figure; `each_its_own`: a unit for each value, where values are of all sizes."""

    title: str
    ladder: Ladder
    value: Callable[[Figure], float | None]
    each_its_own: bool = False

    def shown(self, values: Sequence[float | None]) -> tuple[str, list[Quantity]]:
        """The unit in its head, and each value."""
        if self.each_its_own:
            return "", [quantity(value, self.ladder) for value in values]
        unit, texts = column(values, self.ladder)
        return unit, [Quantity(text, "") for text in texts]


def grams_of(figure: Figure) -> float | None:
    """Grams to order and to compare by; of several kinds their sum, which is never shown."""
    return sum(figure.emissions.values()) if figure.emissions else None


def per_request(measure: str) -> Callable[[Figure], float | None]:
    """A measure of one request; None where no request ended."""

    def value(figure: Figure) -> float | None:
        whole, requests = figure.sums.get(measure), figure.sums.get("requests")
        return whole / requests if whole is not None and requests else None

    return value


CO2E = Column(title="CO₂e", ladder=GRAMS, value=lambda figure: figure.emissions_g)
ENERGY = Column(title="Energy", ladder=JOULES, value=lambda figure: figure.sums.get("energy_joules"))
REQUESTS = Column(title="Requests", ladder=COUNT, value=lambda figure: figure.sums.get("requests"))
CO2E_EACH = Column(
    title="CO₂e a request", ladder=GRAMS, value=lambda figure: figure.emissions_g_per_request, each_its_own=True
)
CPU_EACH = Column(title="CPU a request", ladder=SECONDS, value=per_request("cpu_seconds"), each_its_own=True)
DURATION_EACH = Column(title="Duration", ladder=SECONDS, value=per_request("duration_seconds"), each_its_own=True)
CPU = Column(title="CPU", ladder=SECONDS, value=lambda figure: figure.sums.get("cpu_seconds"))
INTENSITY = Column(title="Intensity", ladder=G_PER_KWH, value=lambda figure: figure.intensity_g_per_kwh)


def sheet_of(
    figures: Sequence[Figure],
    columns: Sequence[Column],
    *,
    names: Callable[[Mapping[str, str | None]], tuple[str, str]],
    href: Callable[[Mapping[str, str | None]], str | None],
    records: Callable[[Mapping[str, str | None]], str],
    whole_g: float | None,
    stacked: bool = False,
) -> Sheet:
    """The table of some figures, in their order.

    Args:
        figures: A row each.
        columns: What is shown of them.
        names: What a row is called, and what it belongs to, from its key.
        href: Its page, from its key.
        records: Where its records are, from its key.
        whole_g: Grams of which each row shows its share.
        stacked: The bar of a row begins where that of the row before it ends.
    """
    values = [[column.value(figure) for figure in figures] for column in columns]
    shown = [one.shown(part) for part, one in zip(values, columns, strict=True)]
    rows, start = [], 0.0
    for number, figure in enumerate(figures):
        own = grams_of(figure)
        name, of = names(figure.key)
        share = own / whole_g if own is not None and whole_g else None
        rows.append(
            Row(
                name=name,
                of=of,
                href=href(figure.key),
                records=records(figure.key),
                share=share,
                start=start,
                cells=tuple(
                    Cell(text=texts[number].number, unit=texts[number].unit, value=part[number])
                    for part, (_, texts) in zip(values, shown, strict=True)
                ),
                known=known_of(figure),
            )
        )
        start += (share or 0.0) if stacked else 0.0
    heads = tuple((one.title, unit) for one, (unit, _) in zip(columns, shown, strict=True))
    return Sheet(columns=heads, rows=tuple(rows))


def ranked(figures: Sequence[Figure]) -> list[Figure]:
    """The figures with most grams first; where none has a price, those with most joules."""
    return sorted(figures, key=lambda one: (-one.rank("emissions_g"), -one.rank("energy_joules")))
