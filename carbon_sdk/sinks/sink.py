"""The door of the sinks: where records and running totals go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from carbon_sdk.emission import Emission, Kind


class Sink(Protocol):
    """Takes finished records, a batch at a time, on our own thread; never from the app's request path."""

    async def write(self, emissions: Sequence[Emission], /) -> None:
        """Hand over a batch.

        Raises:
            SinkError: The batch could not be handed over; it is counted, logged once, and not offered again.
        """

    async def aclose(self) -> None:
        """Hand over what is still held; a second call does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What one account has used since the process started: it only grows."""

    kind: Kind
    root: str
    name: str
    requests: int
    errors: int
    duration_seconds: float
    cpu_seconds: float
    energy_joules: dict[str, float]
    """By domain: package, dram, psys, gpu. A domain that was never read is absent."""
    emissions_g: float


class TotalsSink(Protocol):
    """Takes the running totals as each window closes: counters that a scrape every 15 s must see moving."""

    def update(self, totals: Sequence[Total], /) -> None:
        """Take the totals; it must not block."""
