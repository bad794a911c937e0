"""Electricity Maps: about 350 zones, flow-traced averages.

Average, flow-traced consumption; lifecycle unless `direct` is chosen; gCO2eq/kWh, hourly (5 or 15 minutes by plan). The
newest value is nearly always an estimate; measured ones follow hours later in the history. Data under a contract with
Electricity Maps; without one for personal, academic or evaluation use, not commercial, and not to be passed on.
API reference: https://app.electricitymaps.com/docs
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from carbon_sdk.errors import IntensityError
from carbon_sdk.http import HTTP, Reply
from carbon_sdk.intensity.intensity import (
    EmissionScope,
    Intensity,
    Place,
    Quality,
    RefusedCredentialsError,
    Signal,
    UnknownZoneError,
)
from carbon_sdk_providers.answers import Record, ask, json_of, refuse, required, scope_of
from carbon_sdk_providers.series import in_order, overlapping, pages

BASE_URL = "https://api.electricitymaps.com/v4"
STEPS = {"5_minutes": timedelta(minutes=5), "15_minutes": timedelta(minutes=15), "hourly": timedelta(hours=1)}
"""`temporalGranularity`; bodies before 2025 lack it and were hourly."""
KEY_SETTING = "CARBON_SDK_ELECTRICITY_MAPS_TOKEN"
"""Where the token stands."""
CLOUDS = frozenset({"aws", "gcp", "azure"})
"""Whose regions `dataCenterProvider` and `dataCenterRegion` know."""
LONGEST_RANGE = timedelta(days=10)
"""`/past-range` takes ten days of hours at a time."""
LONGEST_HISTORY = timedelta(hours=24)
"""What `/history` holds, which every plan may read."""


class ElectricityMaps:
    """Electricity Maps, API version 4.

    Args:
        token: The `auth-token`.
        http: The client, and the clock.
        emission_scope: `lifecycle` or `direct`.
        base_url: Of the API.
    """

    name = "electricity_maps"
    signal: Signal = "average"

    def __init__(
        self,
        token: str,
        *,
        http: HTTP,
        emission_scope: EmissionScope = "lifecycle",
        base_url: str = BASE_URL,
    ) -> None:
        self._token = token
        self._http = http
        self._emission_scope: EmissionScope = emission_scope
        self._base_url = base_url.rstrip("/")
        self._utcnow = http.utcnow

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "ElectricityMaps":
        """Built from `CARBON_SDK_ELECTRICITY_MAPS_TOKEN`, `_EMISSION_SCOPE`, `_BASE_URL`.

        Raises:
            SettingsError: The token is missing, or the scope is neither lifecycle nor direct.
        """
        token = required(KEY_SETTING, options, "token", "Get one at https://app.electricitymaps.com")
        return cls(
            token,
            http=http,
            emission_scope=scope_of("CARBON_SDK_ELECTRICITY_MAPS_EMISSION_SCOPE", options),
            base_url=options.get("base_url", BASE_URL),
        )

    @property
    def emission_scope(self) -> EmissionScope:
        """As asked for."""
        return self._emission_scope

    async def intensity(self, place: Place) -> Intensity:
        """The newest hour.

        Raises:
            IntensityError: No usable answer.
        """
        record = await self._get("latest", place, {})
        return self._value(record, self._zone(record, place), _step(record))

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """The coming 24 hours.

        Raises:
            IntensityError: No usable answer.
        """
        record = await self._get("forecast", place, {"horizonHours": "24"})
        zone, step = self._zone(record, place), _step(record)
        return in_order(self._value(row, zone, step, quality="forecast") for row in record.records("forecast"))

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The hours that overlap [start, end).

        Raises:
            IntensityError: No usable answer, or the plan does not reach back so far.
        """
        if start >= self._utcnow() - LONGEST_HISTORY:
            record = await self._get("history", place, {})
            values = self._rows(record, "history", place)
        else:
            values = []
            for since, until in pages(start, end, LONGEST_RANGE):
                record = await self._get("past-range", place, {"start": _iso(since), "end": _iso(until)})
                values += self._rows(record, "data", place)
        return overlapping(values, start, end)

    async def aclose(self) -> None:
        """The client is not ours to close."""

    async def _get(self, what: str, place: Place, params: Mapping[str, str]) -> Record:
        reply = await ask(
            self.name,
            self._http,
            f"{self._base_url}/carbon-intensity/{what}",
            params={
                **_where(place),
                **params,
                "emissionFactorType": self._emission_scope,
                "disableCallerLookup": "true",
            },
            headers={"auth-token": self._token},
            secrets=(self._token,),
        )
        if reply.status != 200:
            self._refuse(reply, place)
        record = json_of(self.name, reply)
        if record.has("error"):
            self._refuse(reply, place)
        disclaimer = record.fields.get("_disclaimer")
        if isinstance(disclaimer, str) and "SANDBOX MODE" in disclaimer.upper():
            raise _made_up()
        return record

    def _refuse(self, reply: Reply, place: Place) -> None:
        text = reply.text
        if reply.status == 400 and "does not exist" in text:
            raise UnknownZoneError(self.name, f"knows no zone {place}")
        if reply.status == 401 and "Request unauthorized for zone" in text:
            raise UnknownZoneError(self.name, f"{place} is not in the plan of this token")
        if "No recent data" in text:
            raise IntensityError(self.name, f"has no recent data for {place}")
        refuse(self.name, reply, credentials=(401,), key=KEY_SETTING)

    def _zone(self, record: Record, place: Place) -> str:
        zone = record.text("zone")
        if place.zone is None or _where(place).get("zone") == zone:
            return zone
        if place.zone.split("-")[0] != zone.split("-")[0]:
            raise IntensityError(self.name, f"zone {zone[:40]!r} answered for {place}")
        return zone

    def _rows(self, record: Record, name: str, place: Place) -> list[Intensity]:
        zone, step = self._zone(record, place), _step(record)
        return [self._value(row, zone, step) for row in record.records(name) if row.has("carbonIntensity")]

    def _value(self, record: Record, zone: str, step: timedelta, *, quality: Quality | None = None) -> Intensity:
        start = record.moment("datetime")
        method = record.text("estimationMethod") if record.has("estimationMethod") else None
        if method == "SANDBOX_MODE_DATA":
            raise _made_up()
        if record.has("emissionFactorType") and record.text("emissionFactorType") != self._emission_scope:
            raise IntensityError(self.name, f"emissionFactorType is not {self._emission_scope}, as was asked for")
        if quality is None:
            quality = "estimated" if record.truth("isEstimated") else "measured"
        return Intensity(
            g_per_kwh=record.number("carbonIntensity"),
            source=self.name,
            signal="average",
            emission_scope=self._emission_scope,
            zone=zone,
            quality=quality,
            observed_at=start,
            valid_until=start + step,
            method=method,
            licence="Electricity Maps terms; non-commercial without a contract",
            attribution="Source: ElectricityMaps.com",
        )


def _made_up() -> RefusedCredentialsError:
    return RefusedCredentialsError(
        ElectricityMaps.name,
        "the token is a sandbox token, its values are made up",
        remedy=f"Put another into {KEY_SETTING}",
    )


def _where(place: Place) -> dict[str, str]:
    if place.zone == "WORLD":
        raise UnknownZoneError(ElectricityMaps.name, "has no value for the whole world")
    if place.zone and place.known_by == "setting":
        return {"zone": place.zone}
    if place.cloud_provider in CLOUDS and place.cloud_region:
        return {"dataCenterProvider": place.cloud_provider, "dataCenterRegion": place.cloud_region}
    if place.zone:
        return {"zone": place.zone}
    if place.latitude is not None and place.longitude is not None:
        return {"lat": f"{place.latitude:.4f}", "lon": f"{place.longitude:.4f}"}
    raise UnknownZoneError(ElectricityMaps.name, f"cannot tell the zone of {place}")


def _step(record: Record) -> timedelta:
    if not record.has("temporalGranularity"):
        return STEPS["hourly"]
    name = record.text("temporalGranularity")
    if name not in STEPS:
        raise IntensityError(record.source, f"temporalGranularity is {name[:40]!r}, not one of {', '.join(STEPS)}")
    return STEPS[name]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
