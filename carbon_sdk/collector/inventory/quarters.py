"""Quarters of an hour that could be priced again, and the new prices.

Whether a quarter gets one is not decided here: each goes as a record of one kilowatt-hour to whoever knows the rules
and the history, and comes back with its grams, or as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from carbon_sdk.collector.dashboard.period import QUARTER, Period
from carbon_sdk.collector.report import Query
from carbon_sdk.collector.store import NewPrice, Store
from carbon_sdk.emission import JOULES_PER_KWH, Emission

AT_ONCE = timedelta(days=90)
"""So much is asked of the store at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarter:
    """A quarter of an hour in which energy was priced.

    Args:
        slot: Its start, seconds since 1970.
        zone: The zone that answered.
        place: The place that was asked for.
        signal: Of the grams.
        scope: Of the grams.
        quality: Of the intensity.
        source: Of the intensity.
        g_per_kwh: What a kWh weighed on average, without PUE.
    """

    slot: int
    zone: str
    place: str | None
    signal: str
    scope: str
    quality: str
    source: str | None
    g_per_kwh: float

    def record(self, number: int) -> Emission:
        """One kWh of this quarter."""
        start = datetime.fromtimestamp(self.slot, UTC)
        return Emission(
            instance="0",
            sequence=number,
            service="",
            machine="",
            kind="other",
            root="",
            name="",
            window_start=start,
            window_end=start + QUARTER,
            meter="",
            meter_scope="machine",
            basis="",
            idle_rule="none",
            energy_joules=JOULES_PER_KWH,
            emissions_g=self.g_per_kwh,
            intensity_g_per_kwh=self.g_per_kwh,
            intensity_source=self.source,
            intensity_quality=self.quality,  # type: ignore[arg-type]  # the store took it for one
            intensity_signal=self.signal,  # type: ignore[arg-type]
            intensity_scope=self.scope,  # type: ignore[arg-type]
            zone=self.zone,
            place=self.place,
        )


async def quarters(store: Store, project: str, period: Period) -> list[Quarter]:
    """The quarters of a period in which energy was priced."""
    found: list[Quarter] = []
    start = period.start
    while start < period.end:
        end = min(start + AT_ONCE, period.end)
        part = replace(period, start=start, end=end, bucket="quarter")
        query = Query(
            project=project,
            start=start,
            end=end,
            by=("zone", "place", "intensity_signal", "intensity_scope", "intensity_quality", "intensity_source"),
            edges=part.edges,
        )
        for figure in await store.figures(query):
            key, weight = figure.key, figure.intensity_g_per_kwh
            zone, signal, scope = key["zone"], key["intensity_signal"], key["intensity_scope"]
            quality = key["intensity_quality"]
            if zone is None or signal is None or scope is None or quality is None or weight is None:
                continue
            found.append(
                Quarter(
                    slot=int(figure.start.timestamp()),
                    zone=zone,
                    place=key["place"],
                    signal=signal,
                    scope=scope,
                    quality=quality,
                    source=key["intensity_source"],
                    g_per_kwh=weight,
                )
            )
        start = end
    return found


async def price(store: Store, project: str, source: str, prices: Sequence[Mapping[str, Any]]) -> int:
    """Give quarters new prices.

    Args:
        store: Where they are.
        project: Whose.
        source: Who knows the prices.
        prices: Quarters as `asdict` made them, with the new `g_per_kwh`.

    Returns:
        How many roll-up rows have a new price.
    """
    new = [
        NewPrice(
            zone=one["zone"],
            place=one["place"],
            signal=one["signal"],
            scope=one["scope"],
            quality=one["quality"],
            slot=datetime.fromtimestamp(one["slot"], UTC),
            g_per_kwh=one["g_per_kwh"],
        )
        for one in prices
    ]
    return (await store.reprice(project, source, new)).slots
