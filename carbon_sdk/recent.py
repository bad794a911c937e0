"""The last ten minutes of priced windows, kept small, so that a fresh record can be explained window by window.

A page of the ledger holds objects for each account. Here an account's part of a window is three numbers in one array,
and windows are forgotten, the oldest first, when they are too old, too many, or hold too many accounts together.
"""

import math
from array import array
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from carbon_sdk.cpu.accounts import Account
from carbon_sdk.emission import Emission, grams
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.meters.meter import CPU_DOMAINS, Domain, IdleRule
from carbon_sdk.spans.ledger import BACKGROUND, Page
from carbon_sdk.wire import utc_text

KEPT = timedelta(minutes=10)
MOST_WINDOWS = 1200
"""Ten minutes of half seconds; shorter windows go back less far."""
MOST_LINES = 60_000
"""Accounts over all windows: ten minutes of a hundred busy endpoints, 32 bytes each."""
_NUMBERS = 3
"""Of an account in a window: CPU seconds, joules of CPU domains, joules of GPUs; NaN where unknown."""


class WindowFigure(NamedTuple):
    """What one window held, and what one account got of it; None is a gap.

    Args:
        started_at: UTC, a label.
        seconds: Its length.
        machine_joules: Joules of the CPU domains at the meter's scope.
        idle_joules: Of them, idle.
        joules_per_cpu_second: Active joules of the CPU domains for one busy CPU second.
        idle_rule: How idle was told from active.
        own_cpu_seconds: CPU seconds of the account, as they counted.
        cpu_scale: What counted of the CPU seconds booked; below 1 where they were more than the process used.
        own_joules: Its joules of the CPU domains: its CPU seconds times those of one.
        own_gpu_joules: Its joules of GPUs; None where none were read.
        own_g: The grams of both.
        g_per_kwh: Grams CO2e per kWh that priced it.
        source: Who said so.
    """

    started_at: datetime
    seconds: float
    machine_joules: float | None
    idle_joules: float | None
    joules_per_cpu_second: float | None
    idle_rule: IdleRule
    own_cpu_seconds: float | None
    cpu_scale: float
    own_joules: float | None
    own_gpu_joules: float | None
    own_g: float | None
    g_per_kwh: float
    source: str

    def to_object(self) -> dict[str, Any]:
        """As one JSON-ready object."""
        return self._asdict() | {"started_at": utc_text(self.started_at)}


class _Window(NamedTuple):
    """One window: what is the machine's, and a line of numbers for each account."""

    started_at: datetime
    ended_at: datetime
    seconds: float
    measured: Mapping[Domain, float]
    idle: Mapping[Domain, float]
    unattributed: Mapping[Domain, float]
    rate: float | None
    cpu_scale: float
    idle_rule: IdleRule
    intensity: Intensity
    weight: float
    accounts: tuple[Account, ...]
    lines: "array[float]"


class Recent:
    """Remembers windows, and tells what a record was made of. Written by one thread, read by any.

    Args:
        instance: Whose they are, as in records.
        kept: How far back.
        most_windows: How many at most.
        most_lines: How many accounts over all of them at most.
    """

    def __init__(
        self,
        instance: str,
        *,
        kept: timedelta = KEPT,
        most_windows: int = MOST_WINDOWS,
        most_lines: int = MOST_LINES,
    ) -> None:
        self._instance = instance
        self._kept = kept
        self._most_lines = most_lines
        self._windows: deque[_Window] = deque()
        self._most_windows = most_windows
        self._lines = 0

    def add(self, page: Page, intensity: Intensity, *, pue: float, wall_factor: float | None) -> None:
        """Remember one page at its price."""
        lines = array("d")
        booked = 0.0
        for account, entry in page.entries.items():
            used, joules = entry.use.cpu_seconds, entry.joules
            own, gpu = _apart(joules) if "gpu" in joules else (sum(joules.values()) if joules else None, None)
            lines.extend((used, math.nan if own is None else own, math.nan if gpu is None else gpu))
            booked += 0.0 if account is BACKGROUND else used
        self._windows.append(
            _Window(
                page.started_at,
                page.ended_at,
                page.seconds,
                {domain: joules for domain, joules in page.measured.items() if joules is not None},
                dict(page.idle),
                dict(page.unattributed),
                page.joules_per_cpu_second,
                1.0 - page.overcount_cpu_seconds / booked if booked else 1.0,
                page.idle_rule,
                intensity,
                grams(1.0, intensity.g_per_kwh, pue) * (wall_factor or 1.0),
                tuple(page.entries),
                lines,
            )
        )
        self._lines += len(page.entries)
        self._forget(page.ended_at - self._kept)

    def of(self, record: Emission) -> list[WindowFigure]:
        """The windows of a record, oldest first; those that are forgotten, or of another process, are missing."""
        if record.instance != self._instance:
            return []
        account = Account(record.kind, record.root, record.name)  # type: ignore[arg-type]  # a book's name finds none
        return [
            _figure(window, account)
            for window in tuple(self._windows)
            if record.window_start <= window.started_at and window.ended_at <= record.window_end
        ]

    def _forget(self, before: datetime) -> None:
        while len(self._windows) > 1 and (
            self._windows[0].ended_at < before
            or len(self._windows) > self._most_windows
            or self._lines > self._most_lines
        ):
            self._lines -= len(self._windows.popleft().accounts)


def _figure(window: _Window, account: Account) -> WindowFigure:
    cpu, joules, gpu = _own(window, account)
    measured, _ = _apart(window.measured)
    idle, _ = _apart(window.idle)
    both = [part for part in (joules, gpu) if part is not None]
    return WindowFigure(
        started_at=window.started_at,
        seconds=window.seconds,
        machine_joules=measured,
        idle_joules=idle,
        joules_per_cpu_second=window.rate,
        idle_rule=window.idle_rule,
        own_cpu_seconds=None if cpu is None else cpu * window.cpu_scale,
        cpu_scale=window.cpu_scale,
        own_joules=joules,
        own_gpu_joules=gpu,
        own_g=sum(both) * window.weight if both else None,
        g_per_kwh=window.intensity.g_per_kwh,
        source=window.intensity.source,
    )


def _own(window: _Window, account: Account) -> tuple[float | None, float | None, float | None]:
    """CPU seconds, joules of CPU domains and of GPUs of one account; a machine's book has no CPU seconds of its own."""
    books = {"measured": window.measured, "idle": window.idle, "unattributed": window.unattributed}
    if account.kind in books:
        return None, *_apart(books[account.kind])
    if account not in window.accounts:
        measured, gpus = _apart(window.measured)
        return 0.0, None if measured is None else 0.0, None if gpus is None else 0.0
    place = _NUMBERS * window.accounts.index(account)
    cpu, joules, gpu = window.lines[place : place + _NUMBERS]
    return cpu, None if math.isnan(joules) else joules, None if math.isnan(gpu) else gpu


def _apart(joules: Mapping[Domain, float]) -> tuple[float | None, float | None]:
    """Joules of the CPU domains, and of GPUs; None where there are none."""
    cpu = [part for domain, part in joules.items() if domain in CPU_DOMAINS]
    return math.fsum(cpu) if cpu else None, joules.get("gpu")
