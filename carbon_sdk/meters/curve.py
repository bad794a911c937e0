"""Watts by load: one curve with its band, whatever it rests on."""

from collections.abc import Sequence
from typing import NamedTuple

STEPS = 10
"""Curves hold their watts at 0, 10, ... 100 % load."""


class Band(NamedTuple):
    """Watts at one load, and between what bounds they lie.

    Args:
        low: Lower bound, W.
        watts: The figure, W.
        high: Upper bound, W.
    """

    low: float
    watts: float
    high: float


class PowerCurve(NamedTuple):
    """Watts at 0, 10, ... 100 % load, linear in between.

    Args:
        watts: The figures, W.
        low: Lower bounds, W.
        high: Upper bounds, W.
    """

    watts: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def at(self, load: float) -> Band:
        """The watts at a load of 0 to 1; beyond is cut."""
        return Band(low=between(self.low, load), watts=between(self.watts, load), high=between(self.high, load))

    def scaled(self, factor: float) -> "PowerCurve":
        """The same curve for so many times the hardware."""
        return PowerCurve(
            watts=tuple(watts * factor for watts in self.watts),
            low=tuple(watts * factor for watts in self.low),
            high=tuple(watts * factor for watts in self.high),
        )

    def with_idle(self, idle_watts: float) -> "PowerCurve":
        """The same curve, known to draw `idle_watts` at idle: the rest of it is squeezed or stretched to that."""
        top, bottom = max(self.watts[-1], idle_watts), self.watts[0]
        span = self.watts[-1] - bottom
        watts = tuple(
            idle_watts + (top - idle_watts) * ((one - bottom) / span if span > 0 else 0.0) for one in self.watts
        )
        return PowerCurve(
            watts=watts,
            low=(idle_watts, *(min(new, low) for new, low in zip(watts[1:], self.low[1:], strict=True))),
            high=(idle_watts, *(max(new, high) for new, high in zip(watts[1:], self.high[1:], strict=True))),
        )


def between(points: Sequence[float], load: float) -> float:
    """The value at a load of 0 to 1 of points at 0, 10, ... 100 %, linear in between."""
    place = min(max(load, 0.0), 1.0) * STEPS
    step = min(int(place), STEPS - 1)
    return points[step] + (points[step + 1] - points[step]) * (place - step)
