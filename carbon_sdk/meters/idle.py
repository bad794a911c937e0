"""What the machine draws when it does nothing: set, learnt from quiet windows, or not known.

**Utilisation** is busy CPU seconds over CPUs times seconds. Power is concave in it: a straight line through windows of
higher load meets zero load too high. So only quiet windows teach, sorted into narrow **bins** of utilisation; curves
`idle + rise x utilisation^bend` of every plausible bend are laid through the bins. The idle watts are learnt once all
curves that fit agree on them. Until then they are unknown, and the usage ratio serves.
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from carbon_sdk.meters.meter import IdleRule

QUIET_UTILISATION = 0.15  # above this the intercept of a concave curve is too high, whatever is fitted
EDGES = (0.0, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, QUIET_UTILISATION)
"""Where the bins begin and end: narrow near zero, where a concave curve is steep."""
BENDS = tuple(step / 20 for step in range(9, 21))
"""0.45 to 1: big servers bend by 0.67 to 0.72 up to 30 % load, small parts by anything (data/measured_watts.csv)."""
LEAST_BIN_SECONDS = 5.0
"""A bin that was seen for less says nothing."""
LEAST_BINS = 3
"""A curve has three unknowns."""
LEAST_SECONDS = 60.0
"""Quiet time before anything is said."""
FIT_SECONDS = 30.0
"""Quiet time until the curves are laid again."""
OTHER_WORK = 0.01
"""Windows of one utilisation differ by what ran in them; the mean of a bin is not known better than this."""
AGREEMENT = 0.1
"""The curves agree when their idle watts, and what these may err by, are within this of the best one's."""
ERRORS = 1.5
"""Each curve's idle watts count as known to so many of their standard deviations."""
PLAUSIBLE = 4.0
"""A curve fits as well when its chi-square is at most this above the best one's: two standard deviations."""
MOST = 1e30
"""No sum of a machine's windows comes near it."""
WORST_CHI_SQUARE = 3.0
"""A curve that misses by more than this for each point is none of this machine's."""


@dataclass(slots=True)
class _Bin:
    """Sums over the windows of one narrow range of utilisation, each weighed by its seconds."""

    windows: float = 0.0
    seconds: float = 0.0
    utilisation: float = 0.0
    watts: float = 0.0
    squares: float = 0.0

    def add(self, watts: float, utilisation: float, seconds: float) -> None:
        self.windows += 1
        self.seconds += seconds
        self.utilisation += utilisation * seconds
        self.watts += watts * seconds
        self.squares += watts * watts * seconds

    def point(self) -> "_Point":
        mean = self.watts / self.seconds
        spread = max(self.squares / self.seconds - mean * mean, 0.0)
        return _Point(self.utilisation / self.seconds, mean, spread / self.windows + (OTHER_WORK * mean) ** 2)


class _Point(NamedTuple):
    """The mean power at one utilisation, and how uncertain it is: W, W squared."""

    utilisation: float
    watts: float
    variance: float


class _Curve(NamedTuple):
    """One curve laid through the points: where it meets zero load and its standard deviation, W; how badly it fits."""

    idle_watts: float
    idle_error: float
    chi_square: float


class IdlePower:
    """Idle power of the machine that a CPU meter reads.

    Args:
        watts: Idle watts, if set: nothing is learnt then. None to learn.
        state: What `dump` gave in an earlier life on this machine; anything else teaches nothing.
        learnt: Called when the idle power has been learnt, and at each fit after that.
    """

    def __init__(
        self, watts: float | None = None, *, state: object = None, learnt: Callable[[], None] | None = None
    ) -> None:
        self._set = watts
        self._tell: Callable[[], None] | None = None
        self._bins = [_Bin() for _ in itertools.pairwise(EDGES)]
        self._learnt: float | None = None
        self._until_fit = LEAST_SECONDS
        if watts is None and _load(state, self._bins):
            self._until_fit = LEAST_SECONDS - sum(one.seconds for one in self._bins)
            self._fit()
        self._tell = learnt

    def observe(self, *, energy_joules: float, seconds: float, utilisation: float) -> None:
        """Learn from one window of all CPU domains together.

        Args:
            energy_joules: J used in it. A window without any comes from a counter that stood still, and is left out.
            seconds: Its length.
            utilisation: Busy share of all CPUs, 0 to 1.
        """
        if self._set is not None or energy_joules <= 0.0 or seconds <= 0.0:
            return
        if not 0.0 <= utilisation < QUIET_UTILISATION:
            return
        self._bins[bisect_right(EDGES, utilisation) - 1].add(energy_joules / seconds, utilisation, seconds)
        self._until_fit -= seconds
        self._fit()

    def watts(self) -> tuple[float | None, IdleRule]:
        """Idle watts and how they are known; None where only the usage ratio is left."""
        if self._set is not None:
            return self._set, "set"
        if self._learnt is None:
            return None, "usage_ratio"
        return self._learnt, "learnt"

    def dump(self) -> dict[str, Any]:
        """What was seen, as a JSON object; empty where there is nothing yet, or idle watts are set."""
        if not any(one.windows for one in self._bins):
            return {}
        return {"bins": [[one.windows, one.seconds, one.utilisation, one.watts, one.squares] for one in self._bins]}

    def _fit(self) -> None:
        if self._until_fit > 0.0:
            return
        self._until_fit = FIT_SECONDS
        self._learnt = intercept([one.point() for one in self._bins if one.seconds >= LEAST_BIN_SECONDS])
        if self._learnt is not None and self._tell is not None:
            self._tell()


def intercept(points: Sequence[_Point]) -> float | None:
    """Watts at zero load; None where the points do not tell.

    Args:
        points: Mean power by utilisation, from the lowest up.
    """
    if len(points) < LEAST_BINS:
        return None
    curves = [_lay(points, bend) for bend in BENDS]
    best = min(curves, key=lambda curve: curve.chi_square)
    if best.idle_watts <= 0.0 or best.chi_square > WORST_CHI_SQUARE * len(points):
        return None
    fitting = [curve for curve in curves if curve.chi_square <= best.chi_square + PLAUSIBLE]
    furthest = max(abs(curve.idle_watts - best.idle_watts) + ERRORS * curve.idle_error for curve in fitting)
    return best.idle_watts if furthest <= AGREEMENT * best.idle_watts else None


def _lay(points: Sequence[_Point], bend: float) -> _Curve:
    """The curve of one bend with the least chi-square, never falling with load."""
    weights = [1.0 / point.variance for point in points]
    loads = [point.utilisation**bend for point in points]
    whole = sum(weights)
    load = sum(weight * one for weight, one in zip(weights, loads, strict=True)) / whole
    watts = sum(weight * point.watts for weight, point in zip(weights, points, strict=True)) / whole
    spread = sum(weight * (one - load) ** 2 for weight, one in zip(weights, loads, strict=True))
    along = sum(
        weight * (one - load) * (point.watts - watts) for weight, one, point in zip(weights, loads, points, strict=True)
    )
    rise = max(along / spread, 0.0)
    idle = watts - rise * load
    misses = (
        weight * (point.watts - idle - rise * one) ** 2
        for weight, one, point in zip(weights, loads, points, strict=True)
    )
    return _Curve(idle, math.sqrt(1.0 / whole + load * load / spread), sum(misses))


def _load(state: object, bins: Sequence[_Bin]) -> bool:
    """Fill the bins from a dump; False, and untouched, where it is not one."""
    rows = state.get("bins") if isinstance(state, Mapping) else None
    if not isinstance(rows, list) or len(rows) != len(bins):
        return False
    if not all(map(_is_bin, rows, EDGES, EDGES[1:])):
        return False
    for one, row in zip(bins, rows, strict=True):
        one.windows, one.seconds, one.utilisation, one.watts, one.squares = map(float, row)
    return True


def _is_bin(row: object, low: float, high: float) -> bool:
    """Whether a row holds the sums of a bin from `low` to `high` load: all zero, or sums that windows can have."""
    if not isinstance(row, list) or len(row) != 5 or not all(map(_amount, row)):
        return False
    if not any(row):
        return True
    windows, seconds, utilisation, watts, squares = row
    if not all((windows, seconds, watts, squares)):
        return False
    slack = 1e-9  # of sums in floating point
    return bool(
        low - slack <= utilisation / seconds <= high + slack and squares * seconds >= watts * watts * (1.0 - slack)
    )


def _amount(value: object) -> bool:
    """A number that sums of windows can reach; squares of the largest still are finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST
