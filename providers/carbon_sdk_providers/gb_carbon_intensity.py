"""NESO's Carbon Intensity API for Great Britain: the nation, its regions, its postcodes.

Average over national demand with imports, losses and embedded wind and solar; direct CO2 of combustion, so far lower
than lifecycle numbers for the same grid. Half hours. A window that is not over carries a forecast; afterwards an
estimate from metered output, revised for a day. No key. Northern Ireland is not part of it. CC BY 4.0.
API reference: https://carbon-intensity.github.io/api-definitions/
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.http import HTTP
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Quality, Signal, UnknownZoneError
from carbon_sdk_providers.answers import Record, ask, json_of, refuse
from carbon_sdk_providers.series import coming, overlapping, pages, present

BASE_URL = "https://api.carbonintensity.org.uk"
ZONE = "GB"
LONGEST_RANGE = timedelta(days=13)
"""The API takes 14 days at a time; the row before the first counts."""
WINDOW = timedelta(minutes=30)
LAG = timedelta(hours=1)
"""The window that holds now is always forecast, so an older one serves only while the service is late."""
REGIONS = range(1, 18)


class GBCarbonIntensity:
    """The Carbon Intensity API.

    Args:
        http: The client, and the clock.
        region_id: 1 to 14 a distribution region, 15 England, 16 Scotland, 17 Wales; the nation unless given.
        postcode: An outward postcode, `RG10`, instead.
        base_url: Of the API.
    """

    name = "gb_carbon_intensity"
    signal: Signal = "average"
    emission_scope: EmissionScope = "direct"

    def __init__(
        self,
        *,
        http: HTTP,
        region_id: int | None = None,
        postcode: str | None = None,
        base_url: str = BASE_URL,
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._utcnow = http.utcnow
        self._part = f"/postcode/{postcode}" if postcode else f"/regionid/{region_id}" if region_id else None

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "GBCarbonIntensity":
        """Built from `CARBON_SDK_GB_CARBON_INTENSITY_REGION_ID`, `_POSTCODE`, `_BASE_URL`, all optional.

        Raises:
            SettingsError: The region is not one of 1 to 17, or the postcode is not an outward one.
        """
        region = options.get("region_id", "").strip()
        if region and (not region.isascii() or not region.isdigit() or int(region) not in REGIONS):
            raise SettingsError(
                "CARBON_SDK_GB_CARBON_INTENSITY_REGION_ID", f"is {region[:20]!r}", "Give a number from 1 to 17"
            )
        postcode = options.get("postcode", "").strip().upper()
        if postcode and not (postcode.isascii() and postcode.isalnum() and len(postcode) <= 4):
            raise SettingsError(
                "CARBON_SDK_GB_CARBON_INTENSITY_POSTCODE",
                f"is {postcode[:20]!r}",
                "Give the outward part alone, such as RG10",
            )
        return cls(
            http=http,
            region_id=int(region) if region else None,
            postcode=postcode or None,
            base_url=options.get("base_url", BASE_URL),
        )

    async def intensity(self, place: Place) -> Intensity:
        """The half hour that holds now.

        Raises:
            IntensityError: No usable answer.
        """
        now = self._utcnow()
        values = await self._windows(place, f"{_path(now - LAG)}/{_path(now + WINDOW)}")
        return present(self.name, values, now, lag=LAG)

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """Up to 48 hours; the service often knows less.

        Raises:
            IntensityError: No usable answer.
        """
        now = self._utcnow()
        return coming(await self._windows(place, f"{_path(now)}/fw48h", quality="forecast"), now)

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The half hours that overlap [start, end).

        Raises:
            IntensityError: No usable answer.
        """
        values: list[Intensity] = []
        for since, until in pages(start, end, LONGEST_RANGE):
            values += await self._windows(place, f"{_path(since)}/{_path(until)}")
        return overlapping((value for value in values if value.quality != "forecast"), start, end)

    async def aclose(self) -> None:
        """The client is not ours to close."""

    async def _windows(self, place: Place, span: str, *, quality: Quality | None = None) -> list[Intensity]:
        if place.zone != ZONE:
            raise UnknownZoneError(self.name, f"covers {ZONE} alone, not {place}")
        path = f"/intensity/{span}" if self._part is None else f"/regional/intensity/{span}{self._part}"
        reply = await ask(self.name, self._http, f"{self._base_url}{path}")
        if reply.status == 400 and self._part is not None and "valid datetime" not in reply.text:
            raise UnknownZoneError(self.name, f"knows no {self._part.strip('/')}: {reply.excerpt()}")
        if reply.status != 200:
            refuse(self.name, reply)
        answer = json_of(self.name, reply)
        if answer.has("error"):  # an unknown path answers 200 with an error in it
            refuse(self.name, reply, credentials=())
        return [self._value(row, region, quality) for region, row in self._rows(answer)]

    def _rows(self, answer: Record) -> Iterator[tuple[str | None, Record]]:
        if isinstance(answer.fields.get("data"), Mapping):
            yield from self._region(answer.record("data"))
            return
        for row in answer.records("data"):
            if "data" in row.fields:
                yield from self._region(row)
            else:
                yield None, row

    def _region(self, region: Record) -> Iterator[tuple[str | None, Record]]:
        for row in region.records("data"):
            yield region.text("shortname"), row

    def _value(self, row: Record, region: str | None, quality: Quality | None) -> Intensity:
        intensity = row.record("intensity")
        measured = intensity.has("actual")
        start, end = row.moment("from"), row.moment("to")
        if not timedelta(0) < end - start <= WINDOW:
            raise IntensityError(self.name, f"{row.path}from and to span {end - start}, not half an hour")
        method = "from metered output" if measured else "forecast of the running window"
        return Intensity(
            g_per_kwh=intensity.number("actual" if measured else "forecast"),
            source=self.name,
            signal="average",
            emission_scope="direct",
            zone=ZONE,
            quality=quality or ("estimated" if measured else "forecast"),
            observed_at=start,
            valid_until=end,
            method=f"{method}, region {region}" if region else method,
            licence="CC BY 4.0",
            attribution="Carbon intensity data: NESO Carbon Intensity API, carbonintensity.org.uk, CC BY 4.0",
        )


def _path(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
