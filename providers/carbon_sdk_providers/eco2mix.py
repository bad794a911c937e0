"""RTE's éCO2mix for mainland France, through the ODRÉ platform.

Average of the production in mainland France without Corsica; combustion only, imports not counted: direct. Quarter
hours, published 15 to 45 minutes late, estimated by RTE and revised later. No key; 50,000 calls a month. No forecast of
carbon exists. Licence Ouverte 2.0.
Data set: https://odre.opendatasoft.com/explore/dataset/eco2mix-national-tr/
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from carbon_sdk.errors import IntensityError
from carbon_sdk.http import HTTP, Reply
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Quality, Signal, UnknownZoneError
from carbon_sdk_providers.answers import Record, ask, json_of, refuse
from carbon_sdk_providers.series import overlapping, pages, present

BASE_URL = "https://odre.opendatasoft.com/api/explore/v2.1/catalog/datasets"
ZONE = "FR"
RECENT, CONSOLIDATED = "eco2mix-national-tr", "eco2mix-national-cons-def"
STEPS = {RECENT: timedelta(minutes=15), CONSOLIDATED: timedelta(minutes=30)}
"""Steps of `taux_co2`; the consolidated set is null at the quarters."""
LAG = timedelta(hours=2)
ROWS = 100
"""The platform's largest page."""


class ECO2mix:
    """éCO2mix, field `taux_co2`.

    Args:
        http: The client, and the clock.
        base_url: Of the platform's data sets.
    """

    name = "eco2mix"
    signal: Signal = "average"
    emission_scope: EmissionScope = "direct"

    def __init__(
        self,
        *,
        http: HTTP,
        base_url: str = BASE_URL,
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._utcnow = http.utcnow

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "ECO2mix":
        """Built from `CARBON_SDK_ECO2MIX_BASE_URL`, optional."""
        return cls(http=http, base_url=options.get("base_url", BASE_URL))

    async def intensity(self, place: Place) -> Intensity:
        """The newest quarter hour, carried forward while RTE is as late as usual.

        Raises:
            IntensityError: No usable answer.
        """
        rows = await self._rows(place, RECENT, "taux_co2 is not null", order="date_heure desc", limit=1)
        return present(self.name, rows, self._utcnow(), lag=LAG)

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The quarter or half hours that overlap [start, end), consolidated where they are.

        Raises:
            IntensityError: No usable answer.
        """
        values = await self._between(place, CONSOLIDATED, start - STEPS[CONSOLIDATED], end)
        since = values[-1].valid_until if values else start - STEPS[RECENT]
        if since < end:
            recent = await self._between(place, RECENT, since, end)
            values += [value for value in recent if value.observed_at >= since]
        return overlapping(values, start, end)

    async def aclose(self) -> None:
        """The client is not ours to close."""

    async def _between(self, place: Place, dataset: str, start: datetime, end: datetime) -> list[Intensity]:
        values: list[Intensity] = []
        for since, until in pages(start, end, STEPS[dataset] * ROWS):
            where = f"taux_co2 is not null and date_heure >= '{_iso(since)}' and date_heure < '{_iso(until)}'"
            values += await self._rows(place, dataset, where, order="date_heure asc", limit=ROWS)
        return values

    async def _rows(self, place: Place, dataset: str, where: str, *, order: str, limit: int) -> list[Intensity]:
        if place.zone != ZONE:
            raise UnknownZoneError(self.name, f"covers {ZONE} alone, not {place}")
        reply = await ask(
            self.name,
            self._http,
            f"{self._base_url}/{dataset}/records",
            params={
                "select": "date_heure,taux_co2",
                "where": where,
                "order_by": order,
                "limit": str(limit),
                "timezone": "UTC",
            },
        )
        if reply.status == 429:
            raise IntensityError(self.name, "its quota is used up", retry_after_seconds=self._reset(reply))
        if reply.status != 200:
            refuse(self.name, reply)
        rows = json_of(self.name, reply).records("results")
        return [self._value(row, dataset) for row in rows if row.fields.get("taux_co2", "") is not None]

    def _reset(self, reply: Reply) -> float | None:
        if reply.retry_after_seconds is not None:
            return reply.retry_after_seconds
        until = json_of(self.name, reply).moment("reset_time")
        return max((until - self._utcnow()).total_seconds(), 0.0)

    def _value(self, row: Record, dataset: str) -> Intensity:
        start = row.moment("date_heure")
        quality: Quality = "measured" if dataset == CONSOLIDATED else "estimated"
        return Intensity(
            g_per_kwh=row.number("taux_co2"),
            source=self.name,
            signal="average",
            emission_scope="direct",
            zone=ZONE,
            quality=quality,
            observed_at=start,
            valid_until=start + STEPS[dataset],
            method="RTE consolidated" if dataset == CONSOLIDATED else "RTE real time",
            licence="Licence Ouverte 2.0",
            attribution="RTE, éCO2mix, via ODRÉ",
        )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
