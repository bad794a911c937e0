"""The door of the spans: a tracked block, what it used, and what that weighed."""

from dataclasses import dataclass
from typing import Protocol

from carbon_sdk.meters.meter import Method


class GridIntensity(Protocol):
    """What a span shows of the grid intensity that priced it."""

    @property
    def g_per_kwh(self) -> float:
        """Grams CO2e per kWh."""

    @property
    def source(self) -> str:
        """Who said so."""

    @property
    def zone(self) -> str:
        """The zone that answered."""

    @property
    def quality(self) -> str:
        """How good the value is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanShare:
    """What some CPU seconds of a span weighed.

    Args:
        cpu_seconds: The CPU seconds that this share stands for.
        energy_joules: Active joules of them; None where there was no reading.
        low_joules: Lower bound, where modelled.
        high_joules: Upper bound, where modelled.
        method: How the joules were known.
        emissions_g: Grams CO2e of them; None where unknown.
        intensity: The grid intensity that priced them.
        gap_cpu_seconds: Of the CPU seconds, those without a reading of joules.
    """

    cpu_seconds: float
    energy_joules: float | None
    low_joules: float | None = None
    high_joules: float | None = None
    method: Method | None = None
    emissions_g: float | None = None
    intensity: GridIntensity | None = None
    gap_cpu_seconds: float = 0.0


class Estimator(Protocol):
    """Somebody who can say at once what CPU seconds probably weighed."""

    def estimate(self, cpu_seconds: float, *, in_request: bool) -> SpanShare | None:
        """A provisional answer: the last closed window's joules per CPU second, or a reading on demand.

        Args:
            cpu_seconds: How many.
            in_request: A request is waiting, so no reading may be taken for it.

        Returns:
            The provisional share; None before there was any window.
        """
