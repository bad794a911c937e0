"""Running totals for tests of the sinks that take them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from carbon_sdk.budgets import Standing, budgets_of
from carbon_sdk.emission import Kind
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.meters.meter import Domain
from carbon_sdk.sinks.sink import Total, Totals
from carbon_sdk.testing import FixedIntensity


def total(
    *,
    kind: Kind = "request",
    root: str = "GET /a",
    name: str | None = None,
    requests: int = 0,
    errors: int = 0,
    seconds: float = 0.0,
    cpu: float = 0.0,
    package: float | None = None,
    dram: float | None = None,
    grams: float = 0.0,
    tokens: float | None = None,
    origin: tuple[str, str] | None = None,
) -> Total:
    """One account's totals; what is None was never read or counted."""
    read: tuple[tuple[Domain, float | None], ...] = (("package", package), ("dram", dram))
    return Total(
        kind=kind,
        root=root,
        name=root if name is None else name,
        requests=requests,
        errors=errors,
        duration_seconds=seconds,
        cpu_seconds=cpu,
        energy_joules={domain: joules for domain, joules in read if joules is not None},
        emissions_g=grams,
        origin_service=None if origin is None else origin[0],
        origin_endpoint=None if origin is None else origin[1],
        units={} if tokens is None else {"tokens": tokens},
    )


def totals(
    *accounts: Total,
    instance: str = "a" * 16,
    at: datetime = datetime(2026, 3, 29, 12, tzinfo=UTC),
    intensity: Intensity | None = None,
    budgets: Sequence[Standing] = (),
) -> Totals:
    """The totals of one window."""
    return Totals(
        instance=instance,
        service="shop",
        at=at,
        intensity=FixedIntensity().answer if intensity is None else intensity,
        accounts=accounts,
        budgets=budgets,
    )


def standing(*, spent: float | None, projected: float | None, name: str = "day") -> Standing:
    """How a budget of ten grams a day stands."""
    (budget,) = budgets_of([{"name": name, "grams_per_day": 10}])
    noon = datetime(2026, 3, 29, 12, tzinfo=UTC)
    return Standing(budget=budget, started_at=noon, ends_at=noon, spent=spent, projected=projected)
