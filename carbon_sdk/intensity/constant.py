"""One number, set by who runs the service: a supplier's factor, a measured site, a test."""

from datetime import UTC, datetime, timedelta

from carbon_sdk.errors import SettingsError
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Signal
from carbon_sdk.intensity.plausible import HIGHEST_G_PER_KWH, is_plausible_g_per_kwh

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER = timedelta(days=365 * 1000)


class Constant:
    """Always the same intensity, for every place and time.

    Args:
        g_per_kwh: Grams CO2e per kWh, 0 to 2,000.
        signal: What the number is: average or marginal.
        emission_scope: Lifecycle or direct.
        zone: What the record shows as the zone that answered; the zone asked for unless given.
        method: Where the number comes from, in the user's words.

    Raises:
        SettingsError: The number is not finite, or outside 0 to 2,000.
    """

    name = "constant"

    def __init__(
        self,
        g_per_kwh: float,
        *,
        signal: Signal = "average",
        emission_scope: EmissionScope = "lifecycle",
        zone: str | None = None,
        method: str | None = "set by the user",
    ) -> None:
        if not is_plausible_g_per_kwh(g_per_kwh):
            raise SettingsError(
                "CARBON_SDK_CONSTANT_G_PER_KWH",
                f"{g_per_kwh!r} is no grid intensity",
                f"Give grams CO2e per kWh between 0 and {HIGHEST_G_PER_KWH:g}",
            )
        self._g_per_kwh = float(g_per_kwh)
        self._signal: Signal = signal
        self._emission_scope: EmissionScope = emission_scope
        self._zone = zone
        self._method = method

    @property
    def signal(self) -> Signal:
        """Average or marginal."""
        return self._signal

    @property
    def emission_scope(self) -> EmissionScope:
        """Lifecycle or direct."""
        return self._emission_scope

    def known(self, place: Place) -> Intensity:
        """The number, without waiting."""
        return Intensity(
            g_per_kwh=self._g_per_kwh,
            source=self.name,
            signal=self._signal,
            emission_scope=self._emission_scope,
            zone=self._zone or place.zone or str(place),
            quality="static",
            observed_at=_BEGINNING,
            valid_until=_BEGINNING + _FOREVER,
            method=self._method,
        )

    async def intensity(self, place: Place) -> Intensity:
        """The number."""
        return self.known(place)

    async def aclose(self) -> None:
        """Nothing is held."""
