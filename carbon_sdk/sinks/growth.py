"""What running totals have grown by since they were last seen: the step from totals to counters that are added to."""

from collections.abc import Iterator
from dataclasses import replace

from carbon_sdk.sinks.sink import Total, Totals


class Growth:
    """Remembers the last totals, and yields what came since; another instance's totals begin at zero."""

    def __init__(self) -> None:
        self._instance: str | None = None
        self._seen: dict[tuple[str | None, ...], Total] = {}

    def since_last(self, totals: Totals) -> Iterator[Total]:
        """One `Total` for each account that moved, holding the increments alone.

        Args:
            totals: The totals now.
        """
        if totals.instance != self._instance:
            self._instance = totals.instance
            self._seen = {}
        for now in totals.accounts:
            key = (now.kind, now.root, now.name, now.origin_service, now.origin_endpoint)
            last = self._seen.get(key)
            if last == now:
                continue
            self._seen[key] = now
            yield now if last is None else _less(now, last)


def _less(now: Total, last: Total) -> Total:
    return replace(
        now,
        requests=now.requests - last.requests,
        errors=now.errors - last.errors,
        timeouts=now.timeouts - last.timeouts,
        cancelled=now.cancelled - last.cancelled,
        retries=now.retries - last.retries,
        duration_seconds=max(now.duration_seconds - last.duration_seconds, 0.0),
        cpu_seconds=max(now.cpu_seconds - last.cpu_seconds, 0.0),
        energy_joules={
            domain: max(joules - last.energy_joules.get(domain, 0.0), 0.0)
            for domain, joules in now.energy_joules.items()
        },
        emissions_g=max(now.emissions_g - last.emissions_g, 0.0),
        units={unit: max(amount - last.units.get(unit, 0.0), 0.0) for unit, amount in now.units.items()},
    )
