"""Energy-Charts of Fraunhofer ISE: European countries, measured and forecast in one answer.

Average per country, CO2 equivalents of the production mix, taken here as lifecycle; the service publishes no method
page that says so. Quarter hours or hours, told by the timestamps alone. Measured values come about two hours late, so
the present is usually the forecast of its own slot. No key, two requests a minute. CC BY 4.0 by the API's description;
its site notes restrict to personal use: ask before commercial use.
API reference: https://api.energy-charts.info
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from carbon_sdk.errors import IntensityError
from carbon_sdk.http import HTTP
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Quality, Signal, UnknownZoneError
from carbon_sdk_providers.answers import Record, ask, json_of, refuse
from carbon_sdk_providers.series import coming, overlapping, pages, present

BASE_URL = "https://api.energy-charts.info"
# fmt: off
COUNTRIES = frozenset(
    {
        "AT", "BE", "BG", "CH", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR",
        "HU", "IE", "IT", "LT", "LU", "LV", "NL", "NO", "PL", "PT", "SE", "SI", "SK",
    }
)
# fmt: on
"""Countries that answered `/co2eq` in October 2026; RO and GB answered 404."""
LAG = timedelta(hours=3)
LONGEST_RANGE = timedelta(days=7)
SHORTEST_STEP, LONGEST_STEP = timedelta(minutes=5), timedelta(hours=1)


class EnergyCharts:
    """Energy-Charts, `/co2eq`.

    Args:
        http: The client, and the clock.
        base_url: Of the API.
    """

    name = "energy_charts"
    signal: Signal = "average"
    emission_scope: EmissionScope = "lifecycle"

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
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "EnergyCharts":
        """Built from `CARBON_SDK_ENERGY_CHARTS_BASE_URL`, optional."""
        return cls(http=http, base_url=options.get("base_url", BASE_URL))

    async def intensity(self, place: Place) -> Intensity:
        """The slot that holds now: measured where it is, else forecast.

        Raises:
            IntensityError: No usable answer.
        """
        return present(self.name, await self._slots(place, {}), self._utcnow(), lag=LAG)

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """The slots of today and tomorrow that are forecast already.

        Raises:
            IntensityError: No usable answer.
        """
        slots = await self._slots(place, {})
        return coming((slot for slot in slots if slot.quality == "forecast"), self._utcnow())

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The measured slots that overlap [start, end).

        Raises:
            IntensityError: No usable answer.
        """
        slots: list[Intensity] = []
        for since, until in pages(start, end, LONGEST_RANGE):
            slots += await self._slots(place, {"start": _iso(since - LONGEST_STEP), "end": _iso(until)})
        return overlapping((slot for slot in slots if slot.quality == "measured"), start, end)

    async def aclose(self) -> None:
        """The client is not ours to close."""

    async def _slots(self, place: Place, params: Mapping[str, str]) -> list[Intensity]:
        country = (place.zone or "").split("-")[0]
        if country not in COUNTRIES:
            raise UnknownZoneError(self.name, f"does not cover {place}")
        reply = await ask(
            self.name,
            self._http,
            f"{self._base_url}/co2eq",
            params={"country": country.lower(), **params},
            attempts=1,
        )
        if reply.status in (400, 404):
            raise UnknownZoneError(self.name, f"has no data for {country}: {reply.excerpt()}")
        if reply.status != 200:
            refuse(self.name, reply)
        return self._series(json_of(self.name, reply), country)

    def _series(self, answer: Record, country: str) -> list[Intensity]:
        starts = [_moment(answer, index, value) for index, value in enumerate(answer.list("unix_seconds"))]
        measured, foreseen = answer.list("co2eq"), answer.list("co2eq_forecast")
        if not len(starts) == len(measured) == len(foreseen):
            raise IntensityError(self.name, "unix_seconds, co2eq and co2eq_forecast differ in length")
        step = _step(self.name, starts)
        slots = []
        for index, start in enumerate(starts):
            if measured[index] is not None:
                number, quality = _number(answer, f"co2eq[{index}]", measured[index]), "measured"
            elif foreseen[index] is not None:
                number, quality = _number(answer, f"co2eq_forecast[{index}]", foreseen[index]), "forecast"
            else:
                continue
            slots.append(self._value(number, "measured" if quality == "measured" else "forecast", country, start, step))
        return slots

    def _value(self, number: float, quality: Quality, country: str, start: datetime, step: timedelta) -> Intensity:
        return Intensity(
            g_per_kwh=number,
            source=self.name,
            signal="average",
            emission_scope="lifecycle",
            zone=country,
            quality=quality,
            observed_at=start,
            valid_until=start + step,
            licence="CC BY 4.0",
            attribution="Data: Energy-Charts.info (Fraunhofer ISE), CC BY 4.0",
        )


def _moment(answer: Record, index: int, value: Any) -> datetime:
    number = _number(answer, f"unix_seconds[{index}]", value)
    try:
        return datetime.fromtimestamp(number, UTC)
    except (ValueError, OverflowError, OSError) as exc:
        raise IntensityError(answer.source, f"unix_seconds[{index}] is no time") from exc


def _number(answer: Record, name: str, value: Any) -> float:
    return Record(source=answer.source, path="", fields={name: value}).number(name)


def _step(source: str, starts: Sequence[datetime]) -> timedelta:
    """The most frequent difference: the service gives no other sign, and changed some countries from 60 to 15 min."""
    gaps = Counter(later - earlier for earlier, later in pairwise(starts))
    if not gaps:
        raise IntensityError(source, "unix_seconds holds fewer than two slots")
    step = gaps.most_common(1)[0][0]
    if not SHORTEST_STEP <= step <= LONGEST_STEP:
        raise IntensityError(source, f"unix_seconds steps by {step}")
    return step


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
