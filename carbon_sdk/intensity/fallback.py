"""Several providers in order: the first that answers, and which one it was.

The chain reads `Fallback(Cached(A), Cached(B), YearlyAverages())`: a fresh A, a stale A, a B, and last the bundled
average, which always answers. One chain gives one kind of number: providers of another signal or emission scope are
refused, because marginal and average, lifecycle and direct must not meet in one sum. The static end is the exception:
an answer of another scope, named as such in every record, is worth more than none.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.intensity.cached import Cached, CacheState
from carbon_sdk.intensity.constant import Constant
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, IntensityProvider, Place, Signal
from carbon_sdk.intensity.plausible import checked
from carbon_sdk.intensity.remedy import Fault, remedy_of, report, to_logger
from carbon_sdk.intensity.told import told
from carbon_sdk.intensity.yearly_averages import YearlyAverages

LOG_AGAIN_SECONDS = 3600.0
"""A link that fails, recovers and fails again is worth one line an hour; the rest is counted."""
_STATIC = (Constant, YearlyAverages)
Tell = Callable[[str, str], None]
"""Takes a level, `warning` or `info`, and a text."""


def _say(level: str, text: str) -> None:
    logging.getLogger("carbon_sdk").log(logging.WARNING if level == "warning" else logging.INFO, "%s", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """One provider of a chain, seen from the chain.

    Args:
        name: The provider's name.
        signal: Average or marginal.
        emission_scope: Lifecycle or direct.
        answered: Answers that it gave.
        failed: Questions that it could not answer.
        last_problem: Why not, the last time, without secrets; None if it never failed.
        last_remedy: What to do about it.
        well: It answered the last question with a value that is not stale, and the next one is not failing.
        cache: What its cache has seen; None where it has none.
    """

    name: str
    signal: Signal
    emission_scope: EmissionScope
    answered: int
    failed: int
    last_problem: str | None
    last_remedy: str | None
    well: bool
    cache: CacheState | None


class _Link:
    def __init__(self, provider: IntensityProvider, tell: Tell, monotonic: Callable[[], float]) -> None:
        self.provider = provider
        self.believed = isinstance(provider, (Cached, *_STATIC))
        """It is ours: it has checked what it answers, and raises nothing but an `IntensityError`."""
        self.answered = 0
        self.failed = 0
        self.last_problem: str | None = None
        self.last_remedy: str | None = None
        self._tell = tell
        self._monotonic = monotonic
        self.well = True
        self.noted = "well"
        """The state that was noted last."""
        self._log_from = -math.inf

    def note(self, state: str, message: str | None = None) -> None:
        """One line when the state is another than the last one noted, and at most one an hour after the first.

        A state without a message is only noted.
        """
        if state == self.noted:
            return
        if message is None:
            self.noted = state
            return
        now = self._monotonic()
        if now < self._log_from:
            return
        self.noted = state
        self._log_from = now + LOG_AGAIN_SECONDS
        self._tell("info" if state == "well" else "warning", message)

    def state(self) -> LinkState:
        cache = self.provider.state() if isinstance(self.provider, Cached) else None
        problem, remedy = self.last_problem, self.last_remedy
        if cache is not None and cache.last_problem is not None:
            problem, remedy = cache.last_problem, cache.last_remedy
        return LinkState(
            name=self.provider.name,
            signal=self.provider.signal,
            emission_scope=self.provider.emission_scope,
            answered=self.answered,
            failed=self.failed,
            last_problem=problem,
            last_remedy=remedy,
            well=self.well and (cache is None or cache.failures == 0),
            cache=cache,
        )


class Fallback:
    """The first provider that answers.

    Args:
        providers: In order. Put `YearlyAverages()` last and there is always an answer.
        allow_mixed_scope: Take providers of different signal or emission scope; records then tell them apart.
        utcnow: Clock for checking answers.
        monotonic: Clock for telling, seconds.
        tell: Told when a provider's last value serves on, and when it answers again.
        fault: Told of each question to a provider without a cache that had no usable answer; a cache tells its own.

    Raises:
        SettingsError: No provider, or one of another signal or scope than the first.
    """

    def __init__(
        self,
        *providers: IntensityProvider,
        allow_mixed_scope: bool = False,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        tell: Tell = _say,
        fault: Fault = to_logger,
    ) -> None:
        if not providers:
            raise SettingsError("CARBON_SDK_PROVIDER", "names no provider", "Name one, such as yearly_averages")
        if not allow_mixed_scope:
            _refuse_mixture(providers)
        self._links = [_Link(provider, tell, monotonic) for provider in providers]
        self._utcnow = utcnow
        self._fault = fault

    @property
    def name(self) -> str:
        """The names in order: `electricity_maps,yearly_averages`."""
        return ",".join(link.provider.name for link in self._links)

    @property
    def signal(self) -> Signal:
        """The first provider's signal."""
        return self._links[0].provider.signal

    @property
    def emission_scope(self) -> EmissionScope:
        """The first provider's scope."""
        return self._links[0].provider.emission_scope

    def state(self) -> tuple[LinkState, ...]:
        """Each link in order."""
        return tuple(link.state() for link in self._links)

    def known(self, place: Place) -> Intensity | None:
        """The first usable value that needs no waiting and asks nobody."""
        for link in self._links:
            provider = link.provider
            value = provider.known(place) if isinstance(provider, (Cached, *_STATIC)) else None
            if value is not None:
                return value
        return None

    async def intensity(self, place: Place) -> Intensity:
        """The first provider's answer; its `source` says whose.

        Raises:
            IntensityError: Nobody answered, which cannot be where the last one is static.
        """
        problems = []
        for link in self._links:
            try:
                if link.believed:
                    value = await link.provider.intensity(place)
                else:
                    value = await told(link.provider.name, link.provider.intensity(place))
                    value = self._checked(link.provider, value, place)
            except IntensityError as exc:
                problems.append(self._failed(link, exc))
                continue
            link.answered += 1
            link.well = value.quality != "stale"
            if not link.well:
                until = value.valid_until.isoformat()
                link.note("stale", f"{link.provider.name} does not answer; its value valid until {until} serves on")
            elif link.noted != "well":
                link.note("well", f"{link.provider.name} answers again, after {link.failed} failures")
            return value
        raise IntensityError(self.name, "; ".join(problems))

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The history of the first provider that has one.

        Raises:
            IntensityError: None has.
        """
        return await self._series("history", place, start, end)

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """The forecast of the first provider that has one.

        Raises:
            IntensityError: None has, said at once.
        """
        return await self._series("forecast", place)

    async def aclose(self) -> None:
        """Close every provider; a second call does nothing that theirs do not."""
        for link in self._links:
            await link.provider.aclose()

    async def _series(self, what: str, *asked: object) -> Sequence[Intensity]:
        problems = []
        for link in self._links:
            ask = getattr(link.provider, what, None)
            if ask is None:
                problems.append(f"{link.provider.name}: has no {what}")
                continue
            try:
                series: Sequence[Intensity] = await told(link.provider.name, ask(*asked))
            except IntensityError as exc:
                problems.append(str(exc))
                continue
            return series
        raise IntensityError(self.name, "; ".join(problems))

    def _failed(self, link: _Link, exc: IntensityError) -> str:
        link.failed += 1
        link.well = False
        link.last_problem, link.last_remedy = str(exc), remedy_of(exc)
        link.note("failing")
        if not isinstance(link.provider, Cached):
            report(exc, self._fault)
        return str(exc)

    def _checked(self, provider: IntensityProvider, value: Intensity, place: Place) -> Intensity:
        return checked(
            value,
            source=provider.name,
            signal=provider.signal,
            emission_scope=provider.emission_scope,
            place=place,
            now=self._utcnow(),
            when="now",
        )


def _kind(provider: IntensityProvider) -> tuple[Signal, EmissionScope]:
    return provider.signal, provider.emission_scope


def _refuse_mixture(providers: Sequence[IntensityProvider]) -> None:
    first = providers[0]
    for other in providers[1:]:
        if isinstance(other, _STATIC) and other is providers[-1]:
            continue
        if _kind(other) != _kind(first):
            raise SettingsError(
                "CARBON_SDK_PROVIDER",
                f"{first.name} gives {'/'.join(_kind(first))} values, {other.name} {'/'.join(_kind(other))}",
                "Choose providers of one kind, or set CARBON_SDK_ALLOW_MIXED_SCOPE=1 and read the records' scope",
            )
