"""What has been spent of each budget in its period, and what the period will cost at this rate.

All processes of a service on one machine add to one file in the state folder, so that a budget is the service's on
that machine and outlives a restart; who finds it exceeded tells it, for all of them. Where the folder cannot be
written, each process counts for itself. Joules in gaps are unknown and not in it.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from carbon_sdk.budgets import Budget, Per, Standing
from carbon_sdk.sinks.growth import Growth
from carbon_sdk.sinks.sink import OUTERMOST, Total, Totals

SHARE_SECONDS = 10.0
"""How long a process keeps to itself what it has spent, unless that exceeds a budget."""
ENOUGH_REQUESTS = 10
"""A request's mean is judged once so many have ended in its hour, or at the hour's end."""
ENOUGH_SECONDS = 60.0
"""A rate is told after so long."""

Fault = Callable[..., None]


def period_of(per: Per, moment: datetime) -> tuple[datetime, datetime]:
    """Start and end of the period around a moment, in UTC: a request's is the hour."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if per == "request":
        return hour, hour + timedelta(hours=1)
    day = hour.replace(hour=0)
    if per == "day":
        return day, day + timedelta(days=1)
    month = day.replace(day=1)
    return month, (month + timedelta(days=32)).replace(day=1)


@dataclass(slots=True)
class _Sum:
    """What was spent on one key in one period.

    Args:
        start: Of the period, ISO 8601.
        since: When counting began, ISO 8601.
        amount: Grams or joules.
        requests: That have ended.
        told: The figure that was told last, by budget.
    """

    start: str
    since: str
    amount: float
    requests: int
    told: dict[str, float]

    def figure(self, per: Per, *, at_least: int = 1) -> float | None:
        if per != "request":
            return self.amount
        return self.amount / self.requests if self.requests >= at_least else None


class Spending:
    """Adds up what a service spends, and tells of each budget that is exceeded.

    Args:
        budgets: What may be spent.
        service: Whose spending.
        folder: Where its processes share their sums; None where each counts for itself.
        tell: Told of a budget that is exceeded: once, again each time the figure has doubled, and anew in each period.
        fault: Told of an error of ours.
    """

    def __init__(
        self,
        budgets: Sequence[Budget],
        *,
        service: str,
        folder: Path | None,
        tell: Callable[[Standing], None],
        fault: Fault,
    ) -> None:
        self._budgets = tuple(budgets)
        self._tell = tell
        self._fault = fault
        self._growth = Growth()
        self._unshared: dict[str, tuple[float, int]] = {}
        self._sums: dict[str, _Sum] = {}
        self._shared_at: datetime | None = None
        self._at: datetime | None = None
        self._file: Path | None = None
        if folder is not None:
            self._file = folder / f"budgets-{hashlib.sha256(service.encode()).hexdigest()[:16]}.json"

    def update(self, totals: Totals) -> list[Standing]:
        """Add what came since the last window; answers how each budget stands."""
        at = self._at = totals.at
        grown = list(self._growth.since_last(totals))
        for budget in {budget.key: budget for budget in self._budgets}.values():
            amount, requests = self._unshared.get(budget.key, (0.0, 0))
            more = [_of(budget, total) for total in grown if budget.endpoint in (None, total.root)]
            self._unshared[budget.key] = (
                amount + sum(one for one, _ in more),
                requests + sum(count for _, count in more),
            )
        waited = None if self._shared_at is None else (at - self._shared_at).total_seconds()
        if waited is None or not 0.0 <= waited < SHARE_SECONDS or any(map(self._may_exceed, self._budgets)):
            self._share(at, seconds=0.0)
        return [self._standing(budget, self._sum_now(budget, at), at) for budget in self._budgets]

    def close(self) -> None:
        """Leave what was not shared yet."""
        if self._at is not None:
            self._share(self._at, seconds=1.0)

    def _may_exceed(self, budget: Budget) -> bool:
        known = self._sums.get(budget.key)
        return known is not None and self._exceeds(budget, self._added(budget, known), at_least=ENOUGH_REQUESTS)

    def _sum_now(self, budget: Budget, at: datetime) -> _Sum:
        start = period_of(budget.per, at)[0].isoformat()
        known = self._sums.get(budget.key)
        if known is None or known.start != start:
            known = _Sum(start, at.isoformat(), 0.0, 0, {})
        return self._added(budget, known)

    def _added(self, budget: Budget, known: _Sum) -> _Sum:
        amount, requests = self._unshared.get(budget.key, (0.0, 0))
        return _Sum(known.start, known.since, known.amount + amount, known.requests + requests, known.told)

    def _share(self, at: datetime, *, seconds: float) -> None:
        """Add to the common sums and judge them; without the lock within these seconds, another time."""
        exceeded: list[Standing] = []
        try:
            with self._common(seconds) as sums:
                for budget in self._budgets:
                    self._turn(budget, sums, at, exceeded)
                for budget in {budget.key: budget for budget in self._budgets}.values():
                    sums[budget.key] = self._added(budget, sums[budget.key])
                for budget in self._budgets:
                    self._judge(budget, sums[budget.key], at, exceeded, at_least=ENOUGH_REQUESTS)
                self._sums = sums
        except Timeout:
            return
        self._unshared.clear()
        self._shared_at = at
        for standing in exceeded:
            self._tell(standing)

    def _turn(self, budget: Budget, sums: dict[str, _Sum], at: datetime, exceeded: list[Standing]) -> None:
        """Begin a new period where one has ended; the one that has ended is judged a last time."""
        start = period_of(budget.per, at)[0].isoformat()
        known = sums.get(budget.key)
        if known is None or known.start < start:
            if known is not None:
                self._judge(budget, known, datetime.fromisoformat(known.start), exceeded, at_least=1)
            sums[budget.key] = _Sum(start, at.isoformat(), 0.0, 0, {})

    def _judge(self, budget: Budget, known: _Sum, at: datetime, exceeded: list[Standing], *, at_least: int) -> None:
        if self._exceeds(budget, known, at_least=at_least):
            known.told[budget.name] = known.figure(budget.per) or 0.0
            exceeded.append(self._standing(budget, known, at))

    def _exceeds(self, budget: Budget, known: _Sum, *, at_least: int) -> bool:
        figure = known.figure(budget.per, at_least=at_least)
        told = known.told.get(budget.name)
        if figure is None or figure <= budget.limit:
            return False
        return told is None or figure >= 2 * told

    def _standing(self, budget: Budget, known: _Sum, at: datetime) -> Standing:
        start, end = period_of(budget.per, at)
        counted = (at - datetime.fromisoformat(known.since)).total_seconds()
        projected = None
        if budget.per != "request" and counted >= ENOUGH_SECONDS:
            projected = known.amount + known.amount / counted * (end - at).total_seconds()
        return Standing(
            budget=budget, started_at=start, ends_at=end, spent=known.figure(budget.per), projected=projected
        )

    @contextlib.contextmanager
    def _common(self, seconds: float) -> Iterator[dict[str, _Sum]]:
        """The common sums, to be changed; this process's own where there is no file."""
        if self._file is None:
            yield dict(self._sums)
            return
        lock = FileLock(self._file.with_suffix(".lock"), timeout=seconds, mode=0o600)
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire()
        except OSError as exc:
            if isinstance(exc, Timeout):
                raise
            self._alone(exc)
            yield dict(self._sums)
            return
        try:
            sums = self._read(self._file)
            yield sums
            self._write(self._file, sums)
        except OSError as exc:
            self._alone(exc)
        finally:
            lock.release()

    def _alone(self, exc: OSError) -> None:
        where = self._file.parent if self._file is not None else "the state folder"
        self._file = None
        self._fault("budgets", exc, remedy=f"each process counts for itself from now on; make {where} writable")

    def _read(self, file: Path) -> dict[str, _Sum]:
        try:
            content: Any = json.loads(file.read_text(encoding="utf-8"))
            return {key: _checked(_Sum(**one)) for key, one in content.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError, RecursionError) as exc:
            self._fault("budgets", exc, remedy=f"{file} was none of ours, so counting begins anew")
            return {}

    def _write(self, file: Path, sums: dict[str, _Sum]) -> None:
        draft = file.with_suffix(f".{os.getpid()}.part")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({key: asdict(one) for key, one in sums.items()}), encoding="utf-8")
        draft.replace(file)


def _checked(known: _Sum) -> _Sum:
    """What a file held, if it can be what was spent.

    Raises:
        ValueError: An amount cannot be, or a time has no offset.
        TypeError: Something is of another kind.
    """
    if not all(0 <= amount < math.inf for amount in (known.amount, known.requests, *dict(known.told).values())):
        raise ValueError("an amount that cannot be")
    if any(datetime.fromisoformat(moment).tzinfo is None for moment in (known.start, known.since)):
        raise ValueError("a time without an offset")
    return known


def _of(budget: Budget, total: Total) -> tuple[float, int]:
    """Grams or joules, and the requests that ended, of one account's growth."""
    amount = total.emissions_g if budget.unit == "grams" else sum(total.energy_joules.values())
    return amount, total.requests if total.kind in OUTERMOST and total.name == total.root else 0
