"""Open Electricity (formerly OpenNEM): the Australian markets, emissions over energy of the same five minutes.

Average of the production, interconnectors not counted; direct CO2e by the factor of each unit, computed by the service,
which counts an unknown factor as 0. Five minutes, minutes late in the NEM and hours in the WEM. Data CC BY-NC 4.0:
commercial use needs an agreement with Open Electricity. No forecast.
API reference: https://docs.openelectricity.org.au
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from carbon_sdk.errors import IntensityError
from carbon_sdk.http import HTTP, Reply
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Signal, UnknownZoneError
from carbon_sdk_providers.answers import Record, ask, json_of, moment, refuse, required
from carbon_sdk_providers.series import overlapping, pages, present

BASE_URL = "https://api.openelectricity.org.au/v4"
NEM, WEM = "NEM", "WEM"
REGIONS: Mapping[str, tuple[str, str]] = {
    "AU-NSW": (NEM, "NSW1"),
    "AU-QLD": (NEM, "QLD1"),
    "AU-SA": (NEM, "SA1"),
    "AU-TAS": (NEM, "TAS1"),
    "AU-VIC": (NEM, "VIC1"),
    "AU-WA": (WEM, "WEM"),
}
NETWORK_TIME = {NEM: timezone(timedelta(hours=10)), WEM: timezone(timedelta(hours=8))}
"""Market time, without summer time; the API takes times in it, without offset."""
NO_GENERATION = frozenset(
    {"battery", "battery_charging", "battery_discharging", "pumps", "imports", "exports", "interconnector"}
)
"""Storage and trade; `battery` is moreover the net of the two others."""
STEP = timedelta(minutes=5)
LAG = timedelta(hours=3)
LOOK_BACK = timedelta(hours=4)
LONGEST_RANGE = timedelta(days=7)
"""Eight days of five minutes are allowed."""
UNITS = {"emissions": "t", "energy": "MWh"}


class OpenElectricity:
    """Open Electricity, metrics emissions and energy.

    Args:
        key: The API key.
        http: The client, and the clock.
        base_url: Of the API.
    """

    name = "openelectricity"
    signal: Signal = "average"
    emission_scope: EmissionScope = "direct"

    def __init__(
        self,
        key: str,
        *,
        http: HTTP,
        base_url: str = BASE_URL,
    ) -> None:
        self._key = key
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._utcnow = http.utcnow

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "OpenElectricity":
        """Built from `CARBON_SDK_OPENELECTRICITY_KEY`, and if wanted `_BASE_URL`.

        Raises:
            SettingsError: The key is missing.
        """
        return cls(
            required(
                "CARBON_SDK_OPENELECTRICITY_KEY", options, "key", "Get one at https://platform.openelectricity.org.au"
            ),
            http=http,
            base_url=options.get("base_url", BASE_URL),
        )

    async def intensity(self, place: Place) -> Intensity:
        """The newest complete five minutes, carried forward while the market is as late as usual.

        Raises:
            IntensityError: No usable answer.
        """
        now = self._utcnow()
        return present(self.name, await self._values(place, now - LOOK_BACK, now), now, lag=LAG)

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The complete five minutes that overlap [start, end).

        Raises:
            IntensityError: No usable answer.
        """
        values: list[Intensity] = []
        for since, until in pages(start - STEP, end, LONGEST_RANGE):
            values += await self._values(place, since, until)
        return overlapping(values, start, end)

    async def aclose(self) -> None:
        """The client is not ours to close."""

    async def _values(self, place: Place, start: datetime, end: datetime) -> list[Intensity]:
        zone = place.zone or ""
        if zone not in REGIONS:
            raise UnknownZoneError(self.name, f"covers {', '.join(REGIONS)}, not {place}")
        network, region = REGIONS[zone]
        clock = NETWORK_TIME[network]
        reply = await ask(
            self.name,
            self._http,
            f"{self._base_url}/data/network/{network}",
            params=[
                ("metrics", "emissions"),
                ("metrics", "energy"),
                ("interval", "5m"),
                ("network_region", region),
                ("primary_grouping", "network_region"),
                ("secondary_grouping", "fueltech"),
                ("date_start", _naive(start, clock)),
                ("date_end", _naive(end, clock)),
            ],
            headers={"authorization": f"Bearer {self._key}"},
            secrets=(self._key,),
        )
        answer = self._answer(reply)
        tonnes = self._by_instant(answer, "emissions", region, clock)
        megawatthours = self._by_instant(answer, "energy", region, clock)
        return [
            self._value(zone, instant, tonnes[instant], megawatthours[instant])
            for instant in _complete(tonnes, megawatthours)
        ]

    def _answer(self, reply: Reply) -> Record:
        if reply.status in (404, 416):
            raise IntensityError(self.name, f"has no data: {reply.excerpt()}")
        if reply.status != 200:
            refuse(self.name, reply, key="CARBON_SDK_OPENELECTRICITY_KEY")
        answer = json_of(self.name, reply)
        if not answer.truth("success"):
            refuse(self.name, reply, credentials=())
        return answer

    def _by_instant(
        self, answer: Record, metric: str, region: str, clock: timezone
    ) -> dict[datetime, dict[str, float]]:
        found: dict[datetime, dict[str, float]] = {}
        for series in answer.records("data"):
            if series.text("metric") != metric:
                continue
            if series.text("unit") != UNITS[metric] or series.text("interval") != "5m":
                raise IntensityError(self.name, f"{series.path}unit or interval of {metric} is not {UNITS[metric]}, 5m")
            for group in series.records("results"):
                columns = group.record("columns")
                where = columns.text("network_region" if "network_region" in columns.fields else "region")
                if where.upper() != region:
                    raise IntensityError(self.name, f"{columns.path}region {where[:20]!r} answered for {region}")
                fuel = columns.text("fueltech").lower()
                if fuel not in NO_GENERATION:
                    for instant, number in _points(group, clock):
                        found.setdefault(instant, {})[fuel] = number
        if not found:
            raise IntensityError(self.name, f"data holds no {metric}")
        return found

    def _value(
        self, zone: str, instant: datetime, tonnes: Mapping[str, float], megawatthours: Mapping[str, float]
    ) -> Intensity:
        energy = sum(max(number, 0.0) for number in megawatthours.values())
        if energy == 0:
            raise IntensityError(self.name, f"the energy at {instant.isoformat()} is 0")
        return Intensity(
            g_per_kwh=1000 * sum(max(number, 0.0) for number in tonnes.values()) / energy,  # t/MWh x 1,000 = g/kWh
            source=self.name,
            signal="average",
            emission_scope="direct",
            zone=zone,
            quality="estimated",
            observed_at=instant,
            valid_until=instant + STEP,
            method="emissions over energy of the production, unit factors",
            licence="CC BY-NC 4.0",
            attribution="Data sourced from Open Electricity (Superpower Institute), licensed under CC BY-NC 4.0",
        )


def _points(group: Record, clock: timezone) -> Iterator[tuple[datetime, float]]:
    """Start and number of each interval that has one: null is no data, 0 is ran at zero."""
    for index, point in enumerate(group.list("data")):
        name = f"{group.path}data[{index}]"
        if not isinstance(point, list) or len(point) != 2 or not isinstance(point[0], str):
            raise IntensityError(group.source, f"{name} is no pair of time and number")
        if point[1] is None:
            continue
        instant = moment(group.source, name, point[0] if _has_offset(point[0]) else f"{point[0]}{_offset(clock)}")
        yield instant, Record(source=group.source, path=f"{name}.", fields={"number": point[1]}).number("number")


def _complete(*metrics: Mapping[datetime, Mapping[str, float]]) -> list[datetime]:
    """The instants at which every fuel of the fullest one is there, in each metric: the newest may hold solar alone."""
    fullest = [max(len(fuels) for fuels in metric.values()) for metric in metrics]
    shared = set(metrics[0]).intersection(*metrics[1:])
    return sorted(
        instant
        for instant in shared
        if all(len(metric[instant]) == most for metric, most in zip(metrics, fullest, strict=True))
    )


def _has_offset(text: str) -> bool:
    return text.endswith("Z") or "+" in text[10:] or "-" in text[10:]


def _offset(clock: timezone) -> str:
    return datetime(2000, 1, 1, tzinfo=clock).isoformat()[-6:]


def _naive(value: datetime, clock: timezone) -> str:
    return value.astimezone(clock).strftime("%Y-%m-%dT%H:%M:%S")
