"""The U.S. Energy Information Administration, Form EIA-930: the hourly mix of balancing authorities, by factors.

Average of the production, interchange not counted; lifecycle or direct by the factors chosen. One to two hours late,
each fuel at its own pace: an hour counts only when it has as many fuels as the fullest of the day. The key travels in
the query, and the answer may repeat it: both are kept out of every message. US public domain. No forecast.
API reference: https://www.eia.gov/opendata/documentation.php
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from carbon_sdk.errors import IntensityError
from carbon_sdk.http import HTTP, Reply
from carbon_sdk.intensity.intensity import (
    EmissionScope,
    Intensity,
    Place,
    RefusedCredentialsError,
    Signal,
    UnknownZoneError,
)
from carbon_sdk_providers.answers import Record, ask, json_of, refuse, required, scope_of
from carbon_sdk_providers.fuels import ATTRIBUTION, complete, weigh
from carbon_sdk_providers.series import overlapping, pages, present

BASE_URL = "https://api.eia.gov/v2"
PATH = "/electricity/rto/fuel-type-data/data/"
STEP = timedelta(hours=1)
LAG = timedelta(hours=6)
LOOK_BACK = timedelta(hours=24)
ROWS = 5000
"""The API's largest page; a longer answer is cut."""
LONGEST_RANGE = timedelta(days=10)
"""240 hours of at most 18 fuels stay below a page."""


class EIA:
    """EIA-930, net generation by balancing authority and energy source.

    Args:
        key: The API key.
        http: The client, and the clock.
        emission_scope: Which factors: `lifecycle` or `direct`.
        base_url: Of the API.
    """

    name = "eia"
    signal: Signal = "average"

    def __init__(
        self,
        key: str,
        *,
        http: HTTP,
        emission_scope: EmissionScope = "lifecycle",
        base_url: str = BASE_URL,
    ) -> None:
        self._key = key
        self._http = http
        self._emission_scope: EmissionScope = emission_scope
        self._base_url = base_url.rstrip("/")
        self._utcnow = http.utcnow

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "EIA":
        """Built from `CARBON_SDK_EIA_KEY`, and if wanted `_EMISSION_SCOPE`, `_BASE_URL`.

        Raises:
            SettingsError: The key is missing, or the scope is neither lifecycle nor direct.
        """
        return cls(
            required("CARBON_SDK_EIA_KEY", options, "key", "Get one at https://www.eia.gov/opendata/register.php"),
            http=http,
            emission_scope=scope_of("CARBON_SDK_EIA_EMISSION_SCOPE", options),
            base_url=options.get("base_url", BASE_URL),
        )

    @property
    def emission_scope(self) -> EmissionScope:
        """As the factors."""
        return self._emission_scope

    async def intensity(self, place: Place) -> Intensity:
        """The newest complete hour, carried forward while the form is as late as usual.

        Raises:
            IntensityError: No usable answer.
        """
        now = self._utcnow()
        values = await self._values(place, now - LOOK_BACK, now)
        return present(self.name, values, now, lag=LAG)

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The complete hours that overlap [start, end).

        Raises:
            IntensityError: No usable answer.
        """
        values: list[Intensity] = []
        for since, until in pages(start, end + STEP, LONGEST_RANGE):
            values += await self._values(place, since, until)
        return overlapping(values, start, end)

    async def aclose(self) -> None:
        """The client is not ours to close."""

    async def _values(self, place: Place, start: datetime, end: datetime) -> list[Intensity]:
        respondent = _respondent(place)
        reply = await ask(
            self.name,
            self._http,
            f"{self._base_url}{PATH}",
            params={
                "frequency": "hourly",
                "data[]": "value",
                "facets[respondent][]": respondent,
                "start": _hour(start),
                "end": _hour(end),
                "sort[0][column]": "period",
                "sort[0][direction]": "desc",
                "length": str(ROWS),
            },
            secret_params={"api_key": self._key},
        )
        answer = self._answer(reply)
        mixes: dict[datetime, dict[str, float]] = {}
        for row in answer.records("data"):
            if row.text("respondent") != respondent:
                raise IntensityError(self.name, f"{row.path}respondent is not {respondent}")
            if row.has("value"):
                mixes.setdefault(_end_of_hour(row) - STEP, {})[row.text("fueltype")] = _megawatthours(row)
        if not mixes:
            raise IntensityError(self.name, f"has no rows for {respondent} now")
        zone = place.zone or respondent
        return [self._value(zone, start, mix) for start, mix in complete("eia_fueltype", mixes).items()]

    def _answer(self, reply: Reply) -> Record:
        if reply.status == 403 and "API_KEY" in reply.text:
            raise RefusedCredentialsError(self.name, "refuses the key", remedy="Check CARBON_SDK_EIA_KEY")
        if reply.status != 200:
            refuse(self.name, reply, credentials=())
        whole = json_of(self.name, reply)
        if whole.has("error"):
            refuse(self.name, reply, credentials=())
        answer = whole.record("response")
        if answer.has("warnings") or whole.has("warnings"):
            raise IntensityError(self.name, "warnings: the answer is incomplete")
        return answer

    def _value(self, zone: str, start: datetime, megawatts: Mapping[str, float]) -> Intensity:
        mix = weigh(self.name, "eia_fueltype", self._emission_scope, megawatts)
        return Intensity(
            g_per_kwh=mix.g_per_kwh,
            source=self.name,
            signal="average",
            emission_scope=self._emission_scope,
            zone=zone,
            quality="estimated",
            observed_at=start,
            valid_until=start + STEP,
            method=mix.method,
            licence="US public domain",
            attribution=f"U.S. Energy Information Administration; {ATTRIBUTION}",
        )


def _respondent(place: Place) -> str:
    """The balancing authority, which is the last part of a zone key: `US-CAL-CISO`. Region totals have two parts."""
    parts = (place.zone or "").split("-")
    if len(parts) == 3 and parts[0] == "US":
        return parts[2]
    raise UnknownZoneError(EIA.name, f"needs a balancing authority such as US-CAL-CISO, not {place}")


def _end_of_hour(row: Record) -> datetime:
    """`period` is the UTC hour at whose end the form's energy was counted."""
    text = row.text("period")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError as exc:
        raise IntensityError(row.source, f"{row.path}period is no hour: {text[:20]!r}") from exc


def _megawatthours(row: Record) -> float:
    """`value` is a text since 2024, a number before."""
    if not isinstance(row.fields["value"], str):
        return row.number("value")
    try:
        return float(row.text("value"))
    except ValueError as exc:
        raise IntensityError(row.source, f"{row.path}value is {row.text('value')[:20]!r}, not a number") from exc


def _hour(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H")
