"""The door of the sinks: where records and running totals go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from carbon_sdk.budgets import Standing
from carbon_sdk.emission import Emission, Kind
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.meters.meter import Domain

OUTERMOST: tuple[Kind, ...] = ("request", "worker", "span")
"""Kinds of account in which something ends that can be counted: a response, a job, a tracked block."""


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
    """What one account has used since the process started: it only grows.

    Args:
        kind: Which kind of account.
        root: The endpoint or job in which it ran.
        name: The account itself; values are exclusive of nested spans.
        requests: Responses or jobs that ended.
        errors: Of those, the ones that failed.
        timeouts: Of the errors, the jobs that ran out of time.
        cancelled: Of the errors, the jobs that were cancelled.
        retries: Of the jobs that ended, the runs that repeated an earlier one.
        duration_seconds: Sum of their durations, s.
        cpu_seconds: CPU seconds used.
        energy_joules: By domain: package, dram, psys, gpu. A domain that was never read is absent.
        emissions_g: Grams CO2e of those joules.
        units: Functional units counted by `span.count`, by name.
        origin_service: The service where the chain of calls began that this account served; None where it began here.
        origin_endpoint: The endpoint or job there.
    """

    kind: Kind
    root: str
    name: str
    requests: int
    errors: int
    duration_seconds: float
    cpu_seconds: float
    energy_joules: Mapping[Domain, float]
    emissions_g: float
    units: Mapping[str, float] = field(default_factory=dict)
    timeouts: int = 0
    cancelled: int = 0
    retries: int = 0
    origin_service: str | None = None
    origin_endpoint: str | None = None

    def chain(self, service: str) -> tuple[str, str]:
        """The service and the endpoint where its chain of calls began; empty texts for what nobody asked for.

        Args:
            service: Who reports.
        """
        own = (service, self.root) if self.kind in OUTERMOST else ("", "")
        return self.origin_service or own[0], self.origin_endpoint or own[1]

    @property
    def begins_chains(self) -> bool:
        """Its requests are the first of their chains, each counted once, here."""
        return self.kind in OUTERMOST and self.origin_service is None and self.name == self.root


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The process's running totals at the end of one window.

    Args:
        instance: Random identity of the process's life: totals of another instance began at zero.
        service: Who reports.
        at: End of the window, UTC.
        intensity: What priced the window.
        accounts: One total for each account.
        budgets: How each budget stands.
    """

    instance: str
    service: str
    at: datetime
    intensity: Intensity
    accounts: Sequence[Total]
    budgets: Sequence[Standing] = ()


class TotalsSink(Protocol):
    """Takes the running totals as each window closes: counters that a scrape every 15 s must see moving."""

    def update(self, totals: Totals, /) -> None:
        """Take the totals, on our own thread; it must not block."""

    async def aclose(self) -> None:
        """Release what is held; a second call does nothing."""
