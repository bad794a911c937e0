"""What a stretch of time costs, and what of a window's page goes into that."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from carbon_sdk.cpu.clock import SDK, Account
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.meters.meter import CPU_DOMAINS, Domain, Method
from carbon_sdk.spans.ledger import Page, weakest


@dataclass(slots=True, kw_only=True)
class Cost:
    """What a stretch cost so far; a domain that is absent had no reading.

    Args:
        joules: By domain.
        low_joules: Lower bound of their sum.
        high_joules: Upper bound of their sum.
        grams: Grams CO2e, without PUE.
        cpu_seconds: CPU seconds, where it is the process's.
        seconds: How long.
        gap_seconds: Of them, those without a reading.
        methods: How the joules are known, by domain.
        intensity: What priced the last of them.
    """

    joules: dict[Domain, float] = field(default_factory=dict)
    low_joules: float = 0.0
    high_joules: float = 0.0
    grams: float = 0.0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    gap_seconds: float = 0.0
    methods: dict[Domain, Method] = field(default_factory=dict)
    intensity: Intensity | None = None

    @property
    def energy_joules(self) -> float | None:
        """Over all domains; None where nothing was read."""
        return sum(self.joules.values()) if self.joules else None

    @property
    def method(self) -> Method | None:
        """The weakest of the methods."""
        return weakest(self.methods.values())

    def add(self, part: "Cost") -> None:
        """Add another part of the same stretch, or a stretch of the same owner."""
        for domain, joules in part.joules.items():
            self.joules[domain] = self.joules.get(domain, 0.0) + joules
        self.methods.update(part.methods)
        self.low_joules += part.low_joules
        self.high_joules += part.high_joules
        self.grams += part.grams
        self.cpu_seconds += part.cpu_seconds
        self.seconds += part.seconds
        self.gap_seconds += part.gap_seconds
        self.intensity = part.intensity or self.intensity


def of_machine(page: Page, seconds: float) -> Cost:
    """So many seconds of a window, of all that the machine used in it."""
    share = min(seconds / page.seconds, 1.0) if page.seconds > 0.0 else 0.0
    joules = {domain: known * share for domain, known in page.measured.items() if known is not None}
    low, high = factors_of(page)
    total = sum(joules.values())
    return Cost(
        joules=joules,
        low_joules=total * low,
        high_joules=total * high,
        seconds=seconds,
        gap_seconds=seconds if not joules else 0.0,
        methods={domain: page.methods[domain] for domain in joules},
    )


def pool_of(page: Page, accounts: set[Account]) -> dict[str, float]:
    """What the process used outside these accounts, and outside carbon_sdk itself: joules by domain, bounds, CPU."""
    pool = {"cpu": 0.0, "low": 0.0, "high": 0.0}
    for account, entry in page.entries.items():
        if account in accounts or account == SDK:
            continue
        pool["cpu"] += entry.use.cpu_seconds
        pool["low"] += entry.low_joules
        pool["high"] += entry.high_joules
        for domain, joules in entry.joules.items():
            pool[domain] = pool.get(domain, 0.0) + joules
    return pool


def rates_of(page: Page) -> Iterator[tuple[Domain, float]]:
    """Active joules of one CPU second, by CPU domain."""
    if page.joules_per_cpu_second is None:
        return
    active = {
        domain: joules - page.idle.get(domain, 0.0)
        for domain, joules in page.measured.items()
        if domain in CPU_DOMAINS and joules is not None
    }
    total = sum(active.values())
    for domain, joules in active.items():
        yield domain, page.joules_per_cpu_second * joules / total if total > 0.0 else 0.0


def factors_of(page: Page) -> tuple[float, float]:
    """The bounds of a page's joules, as factors."""
    entries = page.entries.values()
    joules = sum(sum(entry.joules.values()) for entry in entries)
    if not page.bounded or joules <= 0.0:
        return 1.0, 1.0
    return sum(entry.low_joules for entry in entries) / joules, sum(entry.high_joules for entry in entries) / joules
