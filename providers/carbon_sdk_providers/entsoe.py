"""ENTSO-E Transparency Platform: the generation per type of European bidding zones, weighed by fuel factors.

Average of the production, imports not counted; lifecycle or direct by the factors chosen. 15, 30 or 60 minutes, about
an hour late, types at their own pace: an instant counts only when it has as many types as the fullest of the day. Small
rooftop solar is often missing. The token travels in the query and is kept out of every message. CC BY 4.0 for the list
of freely reusable data, by its users' account. Forecasts exist for wind, solar and the total only, so none is given.
Guide: https://transparencyplatform.zendesk.com
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
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
from carbon_sdk_providers.answers import ask, moment, refuse, required, scope_of
from carbon_sdk_providers.fuels import ATTRIBUTION, complete, weigh
from carbon_sdk_providers.series import overlapping, pages, present

BASE_URL = "https://web-api.tp.entsoe.eu/api"
DOMAINS: Mapping[str, str] = {
    "AT": "10YAT-APG------L",
    "BE": "10YBE----------2",
    "BG": "10YCA-BULGARIA-R",
    "CH": "10YCH-SWISSGRIDZ",
    "CZ": "10YCZ-CEPS-----N",
    "DE": "10Y1001A1001A82H",
    "DK-DK1": "10YDK-1--------W",
    "DK-DK2": "10YDK-2--------M",
    "EE": "10Y1001A1001A39I",
    "ES": "10YES-REE------0",
    "FI": "10YFI-1--------U",
    "FR": "10YFR-RTE------C",
    "GR": "10YGR-HTSO-----Y",
    "HR": "10YHR-HEP------M",
    "HU": "10YHU-MAVIR----U",
    "IE": "10Y1001A1001A59C",
    "IT": "10YIT-GRTN-----B",
    "IT-NO": "10Y1001A1001A73I",
    "IT-CNO": "10Y1001A1001A70O",
    "IT-CSO": "10Y1001A1001A71M",
    "IT-SO": "10Y1001A1001A788",
    "IT-SIC": "10Y1001A1001A75E",
    "IT-SAR": "10Y1001A1001A74G",
    "LT": "10YLT-1001A0008Q",
    "LV": "10YLV-1001A00074",
    "NL": "10YNL----------L",
    "NO-NO1": "10YNO-1--------2",
    "NO-NO2": "10YNO-2--------T",
    "NO-NO3": "10YNO-3--------J",
    "NO-NO4": "10YNO-4--------9",
    "NO-NO5": "10Y1001A1001A48H",
    "PL": "10YPL-AREA-----S",
    "PT": "10YPT-REN------W",
    "RO": "10YRO-TEL------P",
    "RS": "10YCS-SERBIATSOV",
    "SE-SE1": "10Y1001A1001A44P",
    "SE-SE2": "10Y1001A1001A45N",
    "SE-SE3": "10Y1001A1001A46L",
    "SE-SE4": "10Y1001A1001A47J",
    "SI": "10YSI-ELES-----O",
    "SK": "10YSK-SEPS-----K",
}
"""Energy Identification Codes by zone key. DE is the bidding zone with Luxembourg."""
RESOLUTIONS = {"PT15M": timedelta(minutes=15), "PT30M": timedelta(minutes=30), "PT60M": timedelta(hours=1)}
LAG = timedelta(hours=6)
"""Regulation 543/2013 asks for an hour; in practice types arrive unevenly."""
LOOK_BACK = timedelta(hours=24)
LONGEST_RANGE = timedelta(days=3)
"""A year is allowed; three days of quarter hours stay well below the client's body limit."""
BAN_SECONDS = 600.0
"""After 400 requests in a minute: 429, then a ban of ten minutes (Guide 1.8)."""


class ENTSOE:
    """ENTSO-E, document A75 (actual generation per type).

    Args:
        token: The security token.
        http: The client, and the clock.
        emission_scope: Which factors: `lifecycle` or `direct`.
        base_url: Of the API.
    """

    name = "entsoe"
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
        self._base_url = base_url
        self._utcnow = http.utcnow

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "ENTSOE":
        """Built from `CARBON_SDK_ENTSOE_TOKEN`, and if wanted `_EMISSION_SCOPE`, `_BASE_URL`.

        Raises:
            SettingsError: The token is missing, or the scope is neither lifecycle nor direct.
        """
        return cls(
            required("CARBON_SDK_ENTSOE_TOKEN", options, "token", "Get one at https://transparency.entsoe.eu"),
            http=http,
            emission_scope=scope_of("CARBON_SDK_ENTSOE_EMISSION_SCOPE", options),
            base_url=options.get("base_url", BASE_URL),
        )

    @property
    def emission_scope(self) -> EmissionScope:
        """As the factors."""
        return self._emission_scope

    async def intensity(self, place: Place) -> Intensity:
        """The newest complete interval, carried forward while the platform is as late as usual.

        Raises:
            IntensityError: No usable answer.
        """
        now = self._utcnow()
        values = await self._values(place, now - LOOK_BACK, now)
        return present(self.name, values, now, lag=LAG)

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The complete intervals that overlap [start, end).

        Raises:
            IntensityError: No usable answer.
        """
        values: list[Intensity] = []
        for since, until in pages(start - timedelta(hours=1), end, LONGEST_RANGE):
            values += await self._values(place, since, until)
        return overlapping(values, start, end)

    async def aclose(self) -> None:
        """The client is not ours to close."""

    async def _values(self, place: Place, start: datetime, end: datetime) -> list[Intensity]:
        zone = place.zone or ""
        if zone not in DOMAINS:
            raise UnknownZoneError(self.name, f"has no bidding zone for {place}")
        reply = await ask(
            self.name,
            self._http,
            self._base_url,
            params={
                "documentType": "A75",
                "processType": "A16",
                "in_Domain": DOMAINS[zone],
                "periodStart": _minute(start),
                "periodEnd": _minute(end),
            },
            secret_params={"securityToken": self._token},
        )
        root = self._document(reply, zone)
        step, mixes = _mixes(self.name, root)
        return [self._value(zone, instant, step, mix) for instant, mix in complete("entsoe_psr", mixes).items()]

    def _document(self, reply: Reply, zone: str) -> ET.Element:
        if reply.status == 401:
            refuse(self.name, reply, key="CARBON_SDK_ENTSOE_TOKEN")
        if reply.status == 429:
            wait = reply.retry_after_seconds or BAN_SECONDS
            raise IntensityError(self.name, "too many requests", retry_after_seconds=wait)
        if reply.status not in (200, 400):
            refuse(self.name, reply, key="CARBON_SDK_ENTSOE_TOKEN")
        root = _parsed(self.name, reply)
        if _local(root) == "GL_MarketDocument" and reply.status == 200:
            return root
        reason = " ".join(element.text or "" for element in root.iter() if _local(element) == "text").strip()
        if "No matching data" in reason:
            raise IntensityError(self.name, f"has no data for {zone} now")
        if "security token" in reason:
            raise RefusedCredentialsError(self.name, reason[:120])
        raise IntensityError(self.name, f"answered {_local(root)[:60]}: {reason[:120] or 'no reason given'}")

    def _value(self, zone: str, instant: datetime, step: timedelta, megawatts: Mapping[str, float]) -> Intensity:
        mix = weigh(self.name, "entsoe_psr", self._emission_scope, megawatts)
        return Intensity(
            g_per_kwh=mix.g_per_kwh,
            source=self.name,
            signal="average",
            emission_scope=self._emission_scope,
            zone=zone,
            quality="estimated",
            observed_at=instant,
            valid_until=instant + step,
            method=mix.method,
            licence="CC BY 4.0",
            attribution=f"ENTSO-E Transparency Platform; {ATTRIBUTION}",
        )


def _parsed(source: str, reply: Reply) -> ET.Element:
    if b"<!DOCTYPE" in reply.body[:1024] or b"<!ENTITY" in reply.body:
        raise IntensityError(source, f"answered no XML document of its own: {reply.excerpt(60)}")
    try:
        return ET.fromstring(reply.body)  # noqa: S314 - entities are refused above, the body is bounded
    except ET.ParseError as exc:
        raise IntensityError(source, f"the answer is not XML: {reply.excerpt(60) or 'empty'}") from exc


def _mixes(source: str, root: ET.Element) -> tuple[timedelta, dict[datetime, dict[str, float]]]:
    """Megawatts by type for every slot of the finest resolution in the document."""
    series = [part for part in root if _local(part) == "TimeSeries" and not _is_consumption(part)]
    steps = [_step(source, period) for part in series for period in part if _local(period) == "Period"]
    if not steps:
        raise IntensityError(source, "TimeSeries is missing")
    finest = min(steps)
    mixes: dict[datetime, dict[str, float]] = {}
    for part in series:
        kind = _text(source, part, "psrType")
        unit = _text(source, part, "quantity_Measure_Unit.name")
        if unit != "MAW":
            raise IntensityError(source, f"quantity_Measure_Unit.name is {unit[:20]!r}, not MAW")
        repeats = _text(source, part, "curveType") == "A03"
        for period in part:
            if _local(period) == "Period":
                for instant, step, power in _points(source, period, repeats=repeats):
                    for slot in range(step // finest):
                        mixes.setdefault(instant + slot * finest, {}).setdefault(kind, power)
    return finest, mixes


def _points(source: str, period: ET.Element, *, repeats: bool) -> Iterator[tuple[datetime, timedelta, float]]:
    """Start, step and megawatts. An omitted position repeats the last value in curve A03, up to the end of the period;
    in A01 it is missing."""
    step = _step(source, period)
    start = moment(source, "timeInterval.start", _text(source, period, "start"))
    end = moment(source, "timeInterval.end", _text(source, period, "end"))
    told = {
        int(_number(source, point, "position")): _number(source, point, "quantity")
        for point in period
        if _local(point) == "Point"
    }
    if end - start > timedelta(days=370):
        raise IntensityError(source, f"Period spans {end - start}")
    last: float | None = None
    for position in range(1, (end - start) // step + 1):
        last = told.get(position, last if repeats else None)
        if last is not None:
            yield start + (position - 1) * step, step, last


def _is_consumption(series: ET.Element) -> bool:
    """Pumping and own use carry `outBiddingZone_Domain.mRID` where production has `inBiddingZone_Domain.mRID`."""
    return any(_local(element) == "outBiddingZone_Domain.mRID" for element in series)


def _step(source: str, period: ET.Element) -> timedelta:
    name = _text(source, period, "resolution")
    if name not in RESOLUTIONS:
        raise IntensityError(source, f"resolution is {name[:20]!r}, not one of {', '.join(RESOLUTIONS)}")
    return RESOLUTIONS[name]


def _text(source: str, element: ET.Element, name: str) -> str:
    for part in element.iter():
        if _local(part) == name and part.text:
            return part.text.strip()
    raise IntensityError(source, f"{name} is missing")


def _number(source: str, element: ET.Element, name: str) -> float:
    text = _text(source, element, name)
    try:
        return float(text)
    except ValueError as exc:
        raise IntensityError(source, f"{name} is {text[:20]!r}, not a number") from exc


def _local(element: ET.Element) -> str:
    """The tag without its namespace, whose version moves."""
    return element.tag.rpartition("}")[2]


def _minute(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y%m%d%H%M")
