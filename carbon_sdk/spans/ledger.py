"""The books: every measured joule of a window is booked once.

It goes to an account of this process (a span's, the background's), to the rest of the machine, to idle, or, where
nothing tells whose it was, to unattributed. A window's bookings are a **page**; on every page the sums are equal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, Protocol

from carbon_sdk.cpu.accounts import Account, Use
from carbon_sdk.meters.meter import METHODS, Domain, IdlePolicy, IdleRule, Method
from carbon_sdk.sampler import Energy, Window
from carbon_sdk.spans.shares import Shares, by_cpu_time, by_gpu_time, idle_by_usage_ratio

BACKGROUND = Account("background", "background", "background")

LATE_TOLERANCE = 1.02
"""CPU seconds above CPUs x seconds x this arrived late; boundaries of two clocks never meet exactly."""


class IdlePower(Protocol):
    """Knows the idle power of the machine, or learns it."""

    def observe(self, *, energy_joules: float, seconds: float, utilisation: float) -> None:
        """Learn from one window."""

    def watts(self) -> tuple[float | None, IdleRule]:
        """Idle watts and how they are known; None where only the usage ratio is left."""


@dataclass(slots=True)
class Entry:
    """What one account got on a page.

    Args:
        use: CPU, requests and what else was counted.
        joules: Active joules by domain; a domain in a gap is absent.
        low_joules: Lower bound of their sum.
        high_joules: Upper bound of their sum.
        idle_joules: Idle joules that the policy makes it carry; None where it cannot be known.
        reserved_share: Share of the machine that is reserved for it; None where r is unknown.
        reserved_joules: Idle joules by that share, which SCI always takes; None where r is unknown.
    """

    use: Use
    joules: dict[Domain, float] = field(default_factory=dict)
    low_joules: float = 0.0
    high_joules: float = 0.0
    idle_joules: float | None = 0.0
    reserved_share: float | None = None
    reserved_joules: float | None = None


class SpanFigure(NamedTuple):
    """What one tracked span got on a page."""

    span: object
    cpu_seconds: float
    energy_joules: float | None
    low_joules: float | None
    high_joules: float | None
    ended: bool


class Page(NamedTuple):
    """The bookings of one window.

    Args:
        started_at: UTC, a label.
        ended_at: UTC, a label.
        seconds: Length of the window.
        entries: By account, background and sdk included.
        measured: Joules by domain; None is a gap.
        idle: Idle joules by domain, whoever carries them; with the active joules they add up to the measured.
        rest: Joules by domain of others at the meter's scope.
        unattributed: Joules by domain that cannot be told apart.
        methods: By domain, how the joules were known.
        gaps: By domain, why there are no joules.
        idle_rule: How idle was told from active.
        partial: A socket, device or domain is missing from the figures.
        bounded: Some of the figures have bounds.
        gap_seconds: The window's length if no CPU domain could be read, else 0.
        overcount_cpu_seconds: CPU booked beyond what the process used.
        late_cpu_seconds: CPU that arrived later than it was used.
        joules_per_cpu_second: Active CPU joules for one CPU second; None in a gap.
        spans: What each tracked span got.
    """

    started_at: datetime
    ended_at: datetime
    seconds: float
    entries: dict[Account, Entry]
    measured: dict[Domain, float | None]
    idle: dict[Domain, float]
    rest: dict[Domain, float]
    unattributed: dict[Domain, float]
    methods: dict[Domain, Method]
    gaps: dict[Domain, str]
    idle_rule: IdleRule
    partial: bool
    bounded: bool
    gap_seconds: float
    overcount_cpu_seconds: float
    late_cpu_seconds: float
    joules_per_cpu_second: float | None
    spans: tuple[SpanFigure, ...]

    @property
    def method(self) -> Method | None:
        """The weakest of the methods."""
        return weakest(self.methods.values())


def weakest(methods: Iterable[Method]) -> Method | None:
    """The weakest of some methods; None of none."""
    found = set(methods)
    return next((method for method in reversed(METHODS) if method in found), None)


class Ledger:
    """Books windows.

    Args:
        idle_power: Idle watts of the CPU domains, set or learnt; None leaves the usage ratio, or the model's own.
        idle_policy: Who carries idle energy.
        reserved_share: Share r of the machine that this process's container reserves, 0 to 1; None where unknown.
    """

    def __init__(
        self,
        *,
        idle_power: IdlePower | None = None,
        idle_policy: IdlePolicy = "none",
        reserved_share: float | None = None,
    ) -> None:
        self._idle_power = idle_power
        self._idle_policy = idle_policy
        self._reserved_share = reserved_share

    def book(self, window: Window, *, learn: bool = True) -> Page:
        """Divide the joules of one window.

        Args:
            window: What was read.
            learn: Let the idle power learn from it; a provisional window teaches nothing.
        """
        uses, process, late = _in_time(window)
        cpu_shares = by_cpu_time(
            {account: use.cpu_seconds for account, use in uses.items()},
            process_cpu_seconds=process,
            busy_cpu_seconds=window.busy_cpu_seconds,
        )
        gpu_seconds = {account: use.gpu_seconds for account, use in uses.items()}
        entries = {account: Entry(use) for account, use in uses.items()}
        background = max(process - sum(use.cpu_seconds for use in uses.values()), 0.0)
        entries[BACKGROUND] = Entry(Use(cpu_seconds=background))
        idle, rule = self._idle(window, learn=learn)
        page = Page(
            started_at=window.started_at,
            ended_at=window.ended_at,
            seconds=window.seconds,
            entries=entries,
            measured={energy.domain: energy.joules for energy in window.energies},
            idle={},
            rest={},
            unattributed={},
            methods={energy.domain: energy.method for energy in window.energies},
            gaps={energy.domain: energy.gap or "" for energy in window.energies if energy.joules is None},
            idle_rule=rule,
            partial=any(energy.partial for energy in window.energies) or _holes(window),
            bounded=any(energy.low_joules is not None for energy in window.energies),
            gap_seconds=0.0 if _cpu_known(window) else window.seconds,
            overcount_cpu_seconds=cpu_shares.overcount_cpu_seconds,
            late_cpu_seconds=late + window.cut.late_cpu_seconds,
            joules_per_cpu_second=_rate(window, idle, process),
            spans=(),
        )
        for energy in window.energies:
            if energy.joules is not None:
                shares = cpu_shares if energy.of_cpu else by_gpu_time(gpu_seconds, process_share=energy.process_share)
                _divide(page, energy, idle.get(energy.domain, 0.0), shares)
        self._carry(page, window, cpu_shares, process)
        return page._replace(spans=_span_figures(page, window, uses, process))

    def _idle(self, window: Window, *, learn: bool) -> tuple[dict[Domain, float], IdleRule]:
        known = [energy for energy in window.energies if energy.of_cpu and energy.joules is not None]
        gpus = {
            energy.domain: min(energy.idle_joules or 0.0, energy.joules)
            for energy in window.energies
            if not energy.of_cpu and energy.joules is not None
        }
        total = sum(energy.joules or 0.0 for energy in known)
        busy = window.busy_cpu_seconds
        watts, rule = self._idle_power.watts() if self._idle_power else (None, "usage_ratio")
        if not known or busy is None or window.seconds <= 0.0:
            return gpus, "none"
        if rule != "set" and all(energy.idle_joules is not None for energy in known):
            return gpus | {
                energy.domain: min(energy.idle_joules or 0.0, energy.joules or 0.0) for energy in known
            }, "model"
        if learn and self._idle_power is not None and window.cpus > 0.0 and not _holes(window):
            self._idle_power.observe(
                energy_joules=total,
                seconds=window.seconds,
                utilisation=min(busy / (window.cpus * window.seconds), 1.0),
            )
            watts, rule = self._idle_power.watts()
        if watts is None:
            idle = idle_by_usage_ratio(total, busy_cpu_seconds=busy, cpus=window.cpus, seconds=window.seconds)
            rule = "usage_ratio"
        else:
            idle = min(total, watts * window.seconds)
        part = idle / total if total > 0.0 else 0.0
        return gpus | {energy.domain: (energy.joules or 0.0) * part for energy in known}, rule

    def _carry(self, page: Page, window: Window, shares: Shares[Account], process: float) -> None:
        """Note which part of the machine each account reserves, and the idle joules that the policy makes it carry."""
        idle = sum(joules for domain, joules in page.idle.items() if domain != "gpu")
        contained = window.container_cpu_seconds
        reserved: float | None = None
        if self._reserved_share is not None and contained is not None:
            reserved = self._reserved_share * (process / contained if contained > process else 1.0)
        by_cpu = {**shares.accounts, BACKGROUND: shares.background}
        whole = sum(by_cpu.values())
        for account, entry in page.entries.items():
            part = by_cpu.get(account, 0.0)
            if reserved is not None:
                entry.reserved_share = reserved * part / whole if whole > 0.0 else 0.0
                entry.reserved_joules = idle * entry.reserved_share
            if self._idle_policy == "by_cpu":
                entry.idle_joules = idle * part
            elif self._idle_policy == "reserved":
                entry.idle_joules = entry.reserved_joules


def _in_time(window: Window) -> tuple[Mapping[Account, Use], float, float]:
    """Accounts, the process's CPU and what arrived late: no more CPU than the window holds gets joules of it."""
    process = window.cut.process_cpu_seconds
    capacity = window.cpus * window.seconds * LATE_TOLERANCE
    if window.cpus <= 0.0 or process <= capacity:
        return window.cut.accounts, process, 0.0
    scale = capacity / process
    accounts = {
        account: replace(use, cpu_seconds=use.cpu_seconds * scale) for account, use in window.cut.accounts.items()
    }
    return accounts, capacity, process - capacity


def _cpu_known(window: Window) -> bool:
    return any(energy.of_cpu and energy.joules is not None for energy in window.energies)


def _holes(window: Window) -> bool:
    """Some domain was read and some was not: the figures are a part of the whole."""
    known = [energy.joules is not None for energy in window.energies]
    return any(known) and not all(known)


def _rate(window: Window, idle: Mapping[Domain, float], process: float) -> float | None:
    """Active CPU joules for one CPU second."""
    busy = window.busy_cpu_seconds
    if busy is None or not _cpu_known(window):
        return None
    active = sum(
        energy.joules - idle.get(energy.domain, 0.0)
        for energy in window.energies
        if energy.of_cpu and energy.joules is not None
    )
    whole = max(busy, process)
    return active / whole if whole > 0.0 else None


def _divide(page: Page, energy: Energy, idle: float, shares: Shares[Account]) -> None:
    joules = energy.joules or 0.0
    active = joules - idle
    low = joules if energy.low_joules is None else energy.low_joules
    high = joules if energy.high_joules is None else energy.high_joules
    page.idle[energy.domain] = idle
    page.rest[energy.domain] = active * shares.rest
    page.unattributed[energy.domain] = active * shares.unattributed
    for account, share in {**shares.accounts, BACKGROUND: shares.background}.items():
        entry = page.entries[account]
        own = active * share
        entry.joules[energy.domain] = own
        entry.low_joules += own * low / joules if joules > 0.0 else 0.0
        entry.high_joules += own * high / joules if joules > 0.0 else 0.0
    for entry in page.entries.values():
        if shares.unattributed < 1.0:
            entry.joules.setdefault(energy.domain, 0.0)


def _span_figures(page: Page, window: Window, uses: Mapping[Account, Use], process: float) -> tuple[SpanFigure, ...]:
    """What each tracked span got: joules for its CPU seconds, scaled as its account's, and its part of the GPU's."""
    booked = sum(use.cpu_seconds for use in window.cut.accounts.values())
    rate = (page.joules_per_cpu_second or 0.0) * (process / booked if booked > process else 1.0)
    gpu_total = sum(use.gpu_seconds for use in uses.values())
    gpu_joules = sum(entry.joules.get("gpu", 0.0) for account, entry in page.entries.items() if account != BACKGROUND)
    gpu_rate = gpu_joules / gpu_total if gpu_total > 0.0 else 0.0
    low, high = _bounds(page) or (None, None)
    figures = []
    for one in window.cut.spans:
        joules = None
        if page.joules_per_cpu_second is not None or (not page.gap_seconds and one.cpu_seconds == 0.0):
            joules = rate * one.cpu_seconds + gpu_rate * one.gpu_seconds
        figures.append(
            SpanFigure(
                one.span,
                one.cpu_seconds,
                joules,
                None if joules is None or low is None else joules * low,
                None if joules is None or high is None else joules * high,
                one.ended,
            )
        )
    return tuple(figures)


def _bounds(page: Page) -> tuple[float, float] | None:
    """Low and high of the page's active joules, as factors."""
    if not page.bounded:
        return None
    joules = sum(sum(entry.joules.values()) for entry in page.entries.values())
    if joules <= 0.0:
        return 1.0, 1.0
    return (
        sum(entry.low_joules for entry in page.entries.values()) / joules,
        sum(entry.high_joules for entry in page.entries.values()) / joules,
    )
