"""Energinet's Energi Data Service: western and eastern Denmark, every five minutes, with a forecast.

Average of the electricity consumed, exchange with neighbours counted; direct CO2 of plants, heat split off by the 125 %
method. Refreshed every 15 minutes or so. No key; one request a minute for each data set and address. Free reuse with
credit, CC BY 4.0 by its users' account.
Data sets: https://www.energidataservice.dk/tso-electricity/CO2Emis
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from carbon_sdk.http import HTTP
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Quality, Signal, UnknownZoneError
from carbon_sdk_providers.answers import Record, ask, json_of, refuse
from carbon_sdk_providers.series import coming, overlapping, pages, present

BASE_URL = "https://api.energidataservice.dk/dataset"
AREAS = {"DK-DK1": "DK1", "DK-DK2": "DK2"}
"""Zone keys and Energinet's areas, west and east of the Great Belt."""
GREAT_BELT_DEGREES_EAST = 10.9
"""Between Funen (DK1) and Zealand (DK2)."""
STEP = timedelta(minutes=5)
LAG = timedelta(hours=1)
LONGEST_RANGE = timedelta(days=14)


class Energinet:
    """Energi Data Service, data sets CO2Emis and CO2EmisProg.

    Args:
        http: The client, and the clock.
        base_url: Of the data sets.
    """

    name = "energinet"
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
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "Energinet":
        """Built from `CARBON_SDK_ENERGINET_BASE_URL`, optional."""
        return cls(http=http, base_url=options.get("base_url", BASE_URL))

    async def intensity(self, place: Place) -> Intensity:
        """The newest five minutes, carried forward while Energinet is as late as usual.

        Raises:
            IntensityError: No usable answer.
        """
        rows = await self._rows(place, "CO2Emis", {"start": "utcnow-PT2H", "sort": "Minutes5UTC DESC", "limit": "24"})
        return present(self.name, rows, self._utcnow(), lag=LAG)

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """The coming nine hours or more.

        Raises:
            IntensityError: No usable answer.
        """
        asked = {"start": "utcnow", "sort": "Minutes5UTC ASC", "limit": "0"}
        return coming(await self._rows(place, "CO2EmisProg", asked), self._utcnow())

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The five minutes that overlap [start, end).

        Raises:
            IntensityError: No usable answer.
        """
        values: list[Intensity] = []
        for since, until in pages(start, end, LONGEST_RANGE):
            asked = {
                "start": _danish(since - STEP, hours=1),
                "end": _danish(until, hours=2),
                "sort": "Minutes5UTC ASC",
                "limit": "0",
            }
            values += await self._rows(place, "CO2Emis", asked)
        return overlapping(values, start, end)

    async def aclose(self) -> None:
        """The client is not ours to close."""

    async def _rows(self, place: Place, dataset: str, asked: Mapping[str, str]) -> list[Intensity]:
        area = _area(place)
        reply = await ask(
            self.name,
            self._http,
            f"{self._base_url}/{dataset}",
            params={**asked, "filter": json.dumps({"PriceArea": [area]}, separators=(",", ":"))},
            attempts=1,
        )
        if reply.status != 200:
            refuse(self.name, reply, credentials=())
        quality: Quality = "forecast" if dataset == "CO2EmisProg" else "estimated"
        rows = json_of(self.name, reply).records("records")
        return [self._value(row, area, quality) for row in rows if row.text("PriceArea") == area]

    def _value(self, row: Record, area: str, quality: Quality) -> Intensity:
        start = row.moment("Minutes5UTC", naive_is_utc=True)
        return Intensity(
            g_per_kwh=row.number("CO2Emission"),
            source=self.name,
            signal="average",
            emission_scope="direct",
            zone=f"DK-{area}",
            quality=quality,
            observed_at=start,
            valid_until=start + STEP,
            licence="CC BY 4.0",
            attribution="Energinet, Energi Data Service",
        )


def _area(place: Place) -> str:
    if place.zone in AREAS:
        return AREAS[place.zone]
    if place.zone == "DK" and place.longitude is not None:
        return "DK1" if place.longitude < GREAT_BELT_DEGREES_EAST else "DK2"
    raise UnknownZoneError(Energinet.name, f"covers DK-DK1 and DK-DK2, not {place}")


def _danish(moment: datetime, *, hours: int) -> str:
    """Danish wall clock, which is one or two hours ahead: the caller widens by taking one at the start, two at the end,
    and trims by UTC."""
    return (moment.astimezone(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M")
