"""When a source is left alone: after failures for a growing while, for a place that it does not serve for hours."""

from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.freshness import UNKNOWN_ZONE_SECONDS, backoff_seconds
from carbon_sdk.intensity.intensity import Place, RefusedCredentialsError, UnknownZoneError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pause:
    problem: IntensityError
    until: float


class Pauses:
    """Failures of one source and what follows from them.

    Args:
        monotonic: Clock, seconds.
        chance: Random numbers from 0 to 1.
        places: How many unserved places are remembered.
    """

    def __init__(self, *, monotonic: Callable[[], float], chance: Callable[[], float], places: int) -> None:
        self._monotonic = monotonic
        self._chance = chance
        self._source: _Pause | None = None
        self._unserved: LRUCache[Place, _Pause] = LRUCache(places)
        self.failures = 0

    def refusal(self, place: Place) -> IntensityError | None:
        """Why the source is not asked for this place now; None: ask."""
        now = self._monotonic()
        for pause in (self._source, self._unserved.get(place)):
            if pause is not None and now < pause.until:
                problem = pause.problem
                wait = pause.until - now
                return type(problem)(problem.source, problem.problem, retry_after_seconds=wait, remedy=problem.remedy)
        return None

    def failed(self, place: Place, problem: IntensityError) -> None:
        """The source had no usable answer."""
        if isinstance(problem, UnknownZoneError):
            self._unserved[place] = _Pause(problem=problem, until=self._monotonic() + UNKNOWN_ZONE_SECONDS)
            return
        self.failures += 1
        seconds = backoff_seconds(
            self.failures,
            self._chance(),
            credentials=isinstance(problem, RefusedCredentialsError),
            asked_for=problem.retry_after_seconds,
        )
        self._source = _Pause(problem=problem, until=self._monotonic() + seconds)

    def succeeded(self) -> None:
        """The source answered well."""
        self.failures = 0
        self._source = None

    def seconds_left(self) -> float:
        """How long the source as a whole is left alone from now on."""
        return max(self._source.until - self._monotonic(), 0.0) if self._source else 0.0
