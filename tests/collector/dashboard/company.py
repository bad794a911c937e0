"""Records of a small company, the same at each run: three services, two zones, one endpoint that stands out, and why.

`POST /invoices/{id}` of the service `billing` emits most: few requests, each heavy, nearly all of it in its span
`render pdf`, though its newest release made that lighter. The shop's endpoints are many and light. Power and intensity
follow the hour of the day. The shop's `POST /checkout` calls billing once and search three times, on its own behalf.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from carbon_sdk.emission import Emission, Kind

QUARTER = timedelta(minutes=15)
BUSINESS = 8
NEWER_DAYS = 3
"""So long ago, billing got a release whose PDFs are lighter."""


@dataclass(frozen=True, slots=True)
class Work:
    """An account: requests at noon, joules of each, and whether it works for a checkout in the shop."""

    kind: Kind
    root: str
    name: str
    requests: int
    joules: float
    for_checkout: bool = False


BILLING = (
    Work("request", "POST /invoices/{id}", "POST /invoices/{id}", 40, 1.1),
    Work("span", "POST /invoices/{id}", "render pdf", 0, 21.0),
    Work("span", "POST /invoices/{id}", "sum items", 0, 2.4),
    Work("request", "GET /invoices/{id}", "GET /invoices/{id}", 160, 0.7),
    Work("worker", "month end", "month end", 2, 60.0),
    Work("request", "POST /charges", "POST /charges", 60, 2.6, for_checkout=True),
    Work("background", "background", "background", 0, 0.0),
    Work("sdk", "sdk", "sdk", 0, 0.0),
)
SHOP = (
    Work("request", "GET /items/{id}", "GET /items/{id}", 2600, 0.12),
    Work("span", "GET /items/{id}", "load stock", 0, 0.03),
    Work("request", "GET /search", "GET /search", 700, 0.52),
    Work("request", "POST /basket", "POST /basket", 310, 0.2),
    Work("request", "GET /", "GET /", 1900, 0.05),
    Work("request", "POST /checkout", "POST /checkout", 60, 0.9),
    Work("background", "background", "background", 0, 0.0),
    Work("sdk", "sdk", "sdk", 0, 0.0),
)
SEARCH = (
    Work("worker", "rebuild index", "rebuild index", 4, 38.0),
    Work("request", "GET /suggest", "GET /suggest", 1200, 0.09),
    Work("request", "GET /stock", "GET /stock", 180, 0.4, for_checkout=True),
    Work("background", "background", "background", 0, 0.0),
    Work("sdk", "sdk", "sdk", 0, 0.0),
)


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service runs, and how its figures are known."""

    name: str
    works: tuple[Work, ...]
    machine: str
    zone: str
    known: dict[str, Any]
    base_g_per_kwh: float


COUNTER = {
    "meter": "powercap",
    "basis": "powercap: package-0, dram",
    "idle_rule": "learnt",
    "energy_package_method": "counter",
    "energy_dram_method": "counter",
    "energy_method": "counter",
    "intensity_source": "electricity_maps",
    "intensity_quality": "measured",
}
MODEL = {
    "meter": "model",
    "basis": "model: TDP of the CPU, a concave curve",
    "idle_rule": "usage_ratio",
    "energy_package_method": "model",
    "energy_dram_method": "model",
    "energy_method": "model",
    "intensity_source": "yearly_averages",
    "intensity_quality": "static",
}
SERVICES = (
    Service("billing", BILLING, "a" * 16, "DE", COUNTER, 380.0),
    Service("shop", SHOP, "a" * 16, "DE", COUNTER, 380.0),
    Service("search", SEARCH, "b" * 16, "FR", MODEL, 44.0),
)


def records(end: datetime, days: float, step: timedelta = QUARTER) -> Iterator[Emission]:
    """The records of the days before a moment, one a step, in the order in which each instance sends them."""
    start = end - timedelta(days=days)
    for number, service in enumerate(SERVICES):
        sequence = 0
        for at in range(int((end - start) / step)):
            window = start + at * step
            newer = service.name == "billing" and end - window <= timedelta(days=NEWER_DAYS)
            for made in _window(service, f"{number + 1:016x}", sequence, window, step, newer):
                yield made
                sequence += 1


def _window(
    service: Service, instance: str, sequence: int, start: datetime, step: timedelta, newer: bool
) -> Iterator[Emission]:
    hour = start.astimezone(UTC).hour + start.minute / 60
    busy = (0.25 + 0.75 * math.exp(-(((hour - 13) / 4.5) ** 2))) * (0.35 if start.weekday() >= 5 else 1.0)
    dirty = service.base_g_per_kwh * (
        1.0 if service.known is MODEL else 1.12 - 0.3 * math.exp(-(((hour - 13) / 3) ** 2))
    )
    used = 0.0
    for work in service.works:
        requests = round(work.requests * BUSINESS * busy)
        calls = requests or (service.works[0].requests * BUSINESS * busy if work.kind == "span" else 0)
        joules = calls * work.joules if calls else {"background": 340.0, "sdk": 60.0}.get(work.kind, 0.0)
        joules *= 0.8 if newer and work.name == "render pdf" else 1.0
        used += joules
        yield _record(service, instance, sequence, start, start + step, work, requests, joules, dirty, newer)
        sequence += 1
    for kind, joules in (("measured", used * 1.3 + 6500.0), ("idle", 5200.0), ("unattributed", used * 0.02)):
        work = Work(kind, kind, kind, 0, 0.0)  # type: ignore[arg-type]
        yield _record(service, instance, sequence, start, start + step, work, 0, joules * 2, dirty, newer)
        sequence += 1


def _record(
    service: Service,
    instance: str,
    sequence: int,
    start: datetime,
    end: datetime,
    work: Work,
    requests: int,
    joules: float,
    dirty: float,
    newer: bool,
) -> Emission:
    modelled = service.known is MODEL
    return Emission(
        instance=instance,
        sequence=sequence,
        service=service.name,
        machine=service.machine,
        kind=work.kind,
        root=work.root,
        name=work.name,
        origin_service="shop" if work.for_checkout else None,
        origin_endpoint="POST /checkout" if work.for_checkout else None,
        window_start=start,
        window_end=end,
        meter_scope="machine",
        requests=requests,
        errors=requests // 90,
        duration_seconds=joules / 9.0 + requests * 0.011,
        cpu_seconds=joules / 17.0,
        energy_joules=joules,
        energy_package_joules=joules * 0.88,
        energy_dram_joules=joules * 0.12,
        energy_low_joules=joules * 0.72 if modelled else None,
        energy_high_joules=joules * 1.4 if modelled else None,
        emissions_g=joules / 3.6e6 * dirty,
        emissions_embodied_g=joules / 3.6e6 * 30.0,
        intensity_g_per_kwh=dirty,
        intensity_signal="average",
        intensity_scope="lifecycle",
        intensity_observed_at=start.replace(minute=0),
        intensity_valid_until=start.replace(minute=0) + timedelta(hours=1),
        zone=service.zone,
        place=service.zone,
        release="2026.3.2" if newer else "2026.3.1",
        **service.known,
    )
