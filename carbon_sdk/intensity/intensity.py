"""The door of grid intensity: a place, an intensity, and who can tell it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from carbon_sdk.errors import IntensityError

Quality = Literal["measured", "estimated", "forecast", "stale", "static"]
Signal = Literal["average", "marginal"]
EmissionScope = Literal["lifecycle", "direct"]

QUALITIES: tuple[Quality, ...] = ("measured", "estimated", "forecast", "stale", "static")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the energy is used, as it was asked for.

    Args:
        zone: A zone key as Electricity Maps writes them, `DK-DK1`, `US-CAL-CISO`, `DE`.
        latitude: Degrees north, -90 to 90, with longitude.
        longitude: Degrees east, -180 to 180.
        cloud_provider: `aws`, `gcp`, `azure`.
        cloud_region: The cloud's own name of the region, `eu-west-1`.
        known_by: Where this was learnt: `setting`, `cloud_region`, `metadata`, `country`, `default`.
    """

    zone: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    cloud_provider: str | None = None
    cloud_region: str | None = None
    known_by: str = "setting"

    def __str__(self) -> str:
        if self.cloud_provider and self.cloud_region:
            return f"{self.cloud_provider}:{self.cloud_region}"
        if self.zone:
            return self.zone
        if self.latitude is not None and self.longitude is not None:
            return f"{self.latitude},{self.longitude}"
        return "WORLD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """Grams of CO2-equivalent per kilowatt-hour, and how that is known.

    Args:
        g_per_kwh: Grams CO2e per kWh, finite, 0 to 2,000.
        source: Who said so: `electricity_maps`, `yearly_averages`, `constant`.
        signal: `average` (for an inventory) or `marginal` (for a decision).
        emission_scope: `lifecycle` (fuel supply and construction included) or `direct` (the chimney only).
        zone: The zone that answered, an Electricity Maps key, or `WORLD`.
        quality: How good the value is.
        observed_at: Start of the interval that it describes, UTC.
        valid_until: End of that interval, UTC.
        method: What the source itself says about an estimate; None when it says nothing.
        licence: Licence of the data.
        attribution: What must be shown beside it.
    """

    g_per_kwh: float
    source: str
    signal: Signal
    emission_scope: EmissionScope
    zone: str
    quality: Quality
    observed_at: datetime
    valid_until: datetime
    method: str | None = None
    licence: str | None = None
    attribution: str | None = None


class UnknownZoneError(IntensityError):
    """The source does not serve this place, or not to this user: asking again soon is pointless, the next may know."""


class RefusedCredentialsError(IntensityError):
    """The source refuses the token, key or password: only a person can repair that."""


class IntensityProvider(Protocol):
    """Something that can tell the intensity of a place now."""

    @property
    def name(self) -> str:
        """The name used in settings, records and messages: `electricity_maps`."""

    @property
    def signal(self) -> Signal:
        """Average or marginal."""

    @property
    def emission_scope(self) -> EmissionScope:
        """Lifecycle or direct."""

    async def intensity(self, place: Place) -> Intensity:
        """The value that holds now.

        Raises:
            IntensityError: There is no usable answer for this place.
        """

    async def aclose(self) -> None:
        """Give back what is held; a second call does nothing."""


class HistoryProvider(IntensityProvider, Protocol):
    """A provider that also knows the past, for pricing records again."""

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """Values whose intervals overlap [start, end), oldest first."""


class ForecastProvider(IntensityProvider, Protocol):
    """A provider that also knows the coming hours."""

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """Values from now on, oldest first, each of quality `forecast`."""
