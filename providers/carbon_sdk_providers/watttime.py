"""WattTime, API version 3: the marginal emissions of a grid, for decisions; an average for accounting.

`co2_moer` is the marginal operating emissions rate, `co2_aoer` the average one; CO2 of operation, taken here as direct.
Pricing energy with the first gives consequences, with the second an inventory: one chain holds one of them. Pounds per
MWh become g/kWh (1 lb = 453.59237 g exactly). The percentile that WattTime also serves is never read as grams. Data by
contract; the free plan covers CAISO_NORTH.
API reference: https://docs.watttime.org
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from cachetools import LRUCache

from carbon_sdk.errors import IntensityError, SettingsError
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
from carbon_sdk_providers.answers import Record, ask, json_of, refuse, required
from carbon_sdk_providers.series import coming, overlapping, pages, present

BASE_URL = "https://api.watttime.org"
LBS_PER_MWH_TO_G_PER_KWH = 0.45359237
"""1 lb = 453.59237 g exactly (international pound), over 1,000 kWh a MWh."""
KEY_SETTING = "CARBON_SDK_WATTTIME_USER and CARBON_SDK_WATTTIME_PASSWORD"
"""Where user and password stand."""
UNITS = "lbs_co2_per_mwh"
TOKEN_SECONDS = 25 * 60.0
"""A token lives 30 minutes from its issue, says the documentation; the answer says nothing."""
LONGEST_RANGE = timedelta(days=31)
LAG = timedelta(hours=3)
PLACES_REMEMBERED = 64

WattTimeSignal = Literal["co2_moer", "co2_aoer"]


class WattTime:
    """WattTime.

    Args:
        user: The account's name.
        password: Its password.
        http: The client, and the clock.
        signal_type: `co2_moer` (marginal) or `co2_aoer` (average).
        region: WattTime's own region, `CAISO_NORTH`; from the place's coordinates unless given.
        base_url: Of the API.
    """

    name = "watttime"
    emission_scope: EmissionScope = "direct"

    def __init__(
        self,
        user: str,
        password: str,
        *,
        http: HTTP,
        signal_type: WattTimeSignal = "co2_moer",
        region: str | None = None,
        base_url: str = BASE_URL,
    ) -> None:
        self._user = user
        self._password = password
        self._http = http
        self._signal_type = signal_type
        self._region = region
        self._base_url = base_url.rstrip("/")
        self._utcnow = http.utcnow
        self._monotonic = http.monotonic
        self._token: str | None = None
        self._token_until = 0.0
        self._login = asyncio.Lock()
        self._regions: LRUCache[Place, str] = LRUCache(PLACES_REMEMBERED)

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "WattTime":
        """Built from `CARBON_SDK_WATTTIME_USER`, `_PASSWORD`, and if wanted `_SIGNAL_TYPE`, `_REGION`, `_BASE_URL`.

        Raises:
            SettingsError: User or password is missing, or the signal is another one.
        """
        remedy = "Register at https://docs.watttime.org"
        signal_type = options.get("signal_type", "co2_moer")
        if signal_type not in ("co2_moer", "co2_aoer"):
            raise SettingsError(
                "CARBON_SDK_WATTTIME_SIGNAL_TYPE", f"is {signal_type[:40]!r}", "Choose co2_moer or co2_aoer"
            )
        return cls(
            required("CARBON_SDK_WATTTIME_USER", options, "user", remedy),
            required("CARBON_SDK_WATTTIME_PASSWORD", options, "password", remedy),
            http=http,
            signal_type="co2_aoer" if signal_type == "co2_aoer" else "co2_moer",
            region=options.get("region") or None,
            base_url=options.get("base_url", BASE_URL),
        )

    @property
    def signal(self) -> Signal:
        """Marginal, or average for `co2_aoer`."""
        return "marginal" if self._signal_type == "co2_moer" else "average"

    async def intensity(self, place: Place) -> Intensity:
        """The rate now: the forecast of this very interval if marginal, else the newest published average.

        Raises:
            IntensityError: No usable answer.
        """
        now = self._utcnow()
        if self._signal_type == "co2_moer":
            values = await self._series(place, "forecast", {"horizon_hours": "0"}, quality="forecast")
        else:
            values = await self._past(place, now - LAG - timedelta(hours=1), now)
        return present(self.name, values, now, lag=LAG)

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """The coming 24 hours.

        Raises:
            IntensityError: No usable answer.
        """
        values = await self._series(place, "forecast", {"horizon_hours": "24"}, quality="forecast")
        return coming(values, self._utcnow())

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The intervals that overlap [start, end).

        Raises:
            IntensityError: No usable answer.
        """
        values: list[Intensity] = []
        for since, until in pages(start - timedelta(hours=1), end, LONGEST_RANGE):
            values += await self._past(place, since, until)
        return overlapping(values, start, end)

    async def aclose(self) -> None:
        """Forget the token; the client is not ours to close."""
        self._token = None

    async def _past(self, place: Place, start: datetime, end: datetime) -> list[Intensity]:
        asked = {"start": _iso(start), "end": _iso(end), "include_imputed_marker": "true"}
        return await self._series(place, "historical", asked)

    async def _series(
        self, place: Place, what: str, asked: Mapping[str, str], *, quality: Quality | None = None
    ) -> list[Intensity]:
        region = await self._region_of(place)
        reply = await self._get(f"/v3/{what}", {"region": region, "signal_type": self._signal_type, **asked})
        if reply.status != 200:
            self._refuse(reply, region)
        answer = json_of(self.name, reply)
        meta = answer.record("meta")
        if meta.text("units") != UNITS:
            raise IntensityError(self.name, f"meta.units is {meta.text('units')[:40]!r}, not {UNITS}")
        if meta.text("region") != region or meta.text("signal_type") != self._signal_type:
            raise IntensityError(self.name, f"meta.region or meta.signal_type is not {region}, {self._signal_type}")
        step = timedelta(seconds=meta.number("data_point_period_seconds"))
        zone = place.zone or region
        return [self._value(row, zone, region, step, quality) for row in answer.records("data")]

    async def _region_of(self, place: Place) -> str:
        if self._region is not None:
            return self._region
        known = self._regions.get(place)
        if known is not None:
            return known
        if place.latitude is None or place.longitude is None:
            raise UnknownZoneError(self.name, f"needs coordinates or CARBON_SDK_WATTTIME_REGION, not {place}")
        asked = {
            "latitude": f"{place.latitude:.4f}",
            "longitude": f"{place.longitude:.4f}",
            "signal_type": self._signal_type,
        }
        reply = await self._get("/v3/region-from-loc", asked)
        if reply.status in (404, 422):
            raise UnknownZoneError(self.name, f"covers no {place}: {reply.excerpt()}")
        if reply.status != 200:
            self._refuse(reply, str(place))
        region = self._regions[place] = json_of(self.name, reply).text("region")
        return region

    async def _get(self, path: str, params: Mapping[str, str]) -> Reply:
        token = await self._fresh_token()
        reply = await self._ask(path, params, token)
        if reply.status == 401 or (reply.status == 403 and not _is_plan(reply)):
            if self._token == token:
                self._token = None
            reply = await self._ask(path, params, await self._fresh_token())
        return reply

    async def _ask(self, path: str, params: Mapping[str, str], token: str) -> Reply:
        return await ask(
            self.name,
            self._http,
            f"{self._base_url}{path}",
            params=params,
            headers={"authorization": f"Bearer {token}"},
            secrets=(token, self._password),
        )

    async def _fresh_token(self) -> str:
        async with self._login:
            if self._token is None or self._monotonic() >= self._token_until:
                reply = await ask(
                    self.name, self._http, f"{self._base_url}/login", auth=(self._user, self._password), attempts=1
                )
                if reply.status != 200:
                    refuse(self.name, reply, key=KEY_SETTING)
                self._token = json_of(self.name, reply).text("token")
                self._token_until = self._monotonic() + TOKEN_SECONDS
            return self._token

    def _refuse(self, reply: Reply, region: str) -> None:
        if _is_plan(reply):
            raise UnknownZoneError(self.name, f"{region} or {self._signal_type} is not in the plan of this account")
        if reply.status in (401, 403):
            raise RefusedCredentialsError(
                self.name, f"HTTP {reply.status} with a fresh token: {reply.excerpt()}", remedy=f"Check {KEY_SETTING}"
            )
        refuse(self.name, reply, key=KEY_SETTING)

    def _value(self, row: Record, zone: str, region: str, step: timedelta, quality: Quality | None) -> Intensity:
        start = row.moment("point_time")
        imputed = row.has("imputed_data_used") and row.truth("imputed_data_used")
        return Intensity(
            g_per_kwh=row.number("value") * LBS_PER_MWH_TO_G_PER_KWH,
            source=self.name,
            signal=self.signal,
            emission_scope="direct",
            zone=zone,
            quality=quality or ("estimated" if imputed else "measured"),
            observed_at=start,
            valid_until=start + step,
            method=f"{self._signal_type} of region {region}" + (", imputed" if imputed else ""),
            licence="WattTime terms, by plan",
            attribution=f"WattTime, {self._signal_type}",
        )


def _is_plan(reply: Reply) -> bool:
    """403 means both "log in again" and "not in your plan"; only the second speaks of scope, in JSON."""
    return reply.status == 403 and "invalid scope" in reply.text.lower().replace("_", " ")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
