"""A provider in front of a provider that remembers: one question per validity, however many ask.

Fresh values come from a map. Shortly before they expire the next one is fetched in the background. When the source
fails, its last value serves up to three hours past its validity, marked `stale`; meanwhile the source is asked again
only after a growing pause. A place that it does not serve is remembered too. No answer is believed unchecked.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from cachetools import LRUCache

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.freshness import Life, life_of, rest_seconds
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, IntensityProvider, Place, Signal
from carbon_sdk.intensity.pauses import Pauses
from carbon_sdk.intensity.plausible import When, checked
from carbon_sdk.intensity.remedy import Fault, remedy_of, report, to_logger
from carbon_sdk.intensity.told import told

PLACES_REMEMBERED = 64
"""A process runs in one place; a few more are asked for a greenest window. Beyond that the least used is forgotten."""
FORECAST_SECONDS = 600.0
"""How long a forecast serves. Sources replace theirs every 5 to 60 minutes."""


Question = Literal["intensity", "forecast"]
"""What a source is asked. A plan without forecasts is no reason to leave it alone for the present."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """What a cache has seen since its start.

    Args:
        asked: Questions put to the source.
        failed: Of those, without a usable answer, also for being unbelievable.
        refused: Of those, because the answer could not be believed.
        stale: Answers given past their validity.
        failures: Failures in a row, now.
        last_problem: The last failure, in words without secrets.
        last_remedy: What to do about it.
        asks_again_in_seconds: How long the source is left alone from now on; 0 when it may be asked.
    """

    asked: int = 0
    failed: int = 0
    refused: int = 0
    stale: int = 0
    failures: int = 0
    last_problem: str | None = None
    last_remedy: str | None = None
    asks_again_in_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Entry:
    value: Intensity
    stale_value: Intensity
    life: Life
    repeats: int
    rest_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forecast:
    values: Sequence[Intensity]
    until: float


class Cached:
    """Remembers what another provider answers. It belongs to one event loop.

    Args:
        provider: Whom to ask. Its `history` and `forecast` are passed through where it has them.
        patience_seconds: How long a caller waits for an answer; then what is remembered serves, or the caller's next
            provider, while the question goes on.
        utcnow: Clock for validity.
        monotonic: Clock for pauses, seconds.
        chance: Random numbers from 0 to 1.
        fault: Told of each question without a usable answer.
    """

    def __init__(
        self,
        provider: IntensityProvider,
        *,
        patience_seconds: float = 15.0,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        fault: Fault = to_logger,
    ) -> None:
        self._provider = provider
        self._patience_seconds = patience_seconds
        self._utcnow = utcnow
        self._monotonic = monotonic
        self._chance = chance
        self._fault = fault
        self._entries: LRUCache[Place, _Entry] = LRUCache(PLACES_REMEMBERED)
        self._forecasts: LRUCache[Place, _Forecast] = LRUCache(PLACES_REMEMBERED)
        self._pauses: dict[Question, Pauses] = {
            "intensity": Pauses(monotonic=monotonic, chance=chance, places=PLACES_REMEMBERED),
            "forecast": Pauses(monotonic=monotonic, chance=chance, places=PLACES_REMEMBERED),
        }
        self._flights: dict[tuple[Question, Place], asyncio.Task[None]] = {}
        self._state = CacheState()
        self._closed = False

    @property
    def name(self) -> str:
        """The name of the provider within."""
        return self._provider.name

    @property
    def signal(self) -> Signal:
        """The signal of the provider within."""
        return self._provider.signal

    @property
    def emission_scope(self) -> EmissionScope:
        """The scope of the provider within."""
        return self._provider.emission_scope

    def state(self) -> CacheState:
        """What this cache has seen, and when it may ask next."""
        return replace(
            self._state,
            failures=self._pauses["intensity"].failures,
            asks_again_in_seconds=self._pauses["intensity"].seconds_left(),
        )

    def known(self, place: Place) -> Intensity | None:
        """What is remembered and still usable, without waiting and without asking."""
        entry = self._entries.get(place)
        if entry is None:
            return None
        now = self._utcnow()
        if now < entry.life.fresh_until:
            return entry.value
        return entry.stale_value if now < entry.life.usable_until else None

    async def intensity(self, place: Place) -> Intensity:
        """The remembered value while it lives, else the source's, else the last one marked `stale`.

        Raises:
            IntensityError: None of these; with the reason why the source has no answer.
        """
        entry = self._entries.get(place)
        if entry is not None:
            now = self._utcnow()
            if now < entry.life.refresh_from:
                return entry.value
            if now < entry.life.fresh_until:
                if self._refusal("intensity", place) is None:
                    self._flight("intensity", place, self._fetch)
                return entry.value
        refusal = self._refusal("intensity", place)
        if refusal is None:
            await self._wait_for(self._flight("intensity", place, self._fetch))
        value = self.known(place)
        if value is None:
            raise refusal or self._refusal("intensity", place) or self._impatience()
        if value.quality == "stale":
            self._count(stale=1)
        return value

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The source's history, checked. It is not remembered: whoever prices a record again asks once.

        Raises:
            IntensityError: It has none, or no usable one.
        """
        ask = getattr(self._provider, "history", None)
        if ask is None:
            raise IntensityError(self.name, "knows no history")
        values: Sequence[Intensity] = await told(self.name, ask(place, start, end))
        return [self._checked(value, place, "past") for value in values]

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """The source's forecast from now on, remembered for ten minutes.

        Raises:
            IntensityError: It has none, or no usable one now.
        """
        if getattr(self._provider, "forecast", None) is None:
            raise IntensityError(self.name, "has no forecast")
        remembered = self._forecasts.get(place)
        if remembered is None or self._monotonic() >= remembered.until:
            refusal = self._refusal("forecast", place)
            if refusal is None:
                await self._wait_for(self._flight("forecast", place, self._fetch_forecast))
            remembered = self._forecasts.get(place)
            if remembered is None:
                raise refusal or self._refusal("forecast", place) or self._impatience()
        now = self._utcnow()
        coming = [value for value in remembered.values if value.valid_until > now]
        if not coming:
            raise IntensityError(self.name, "its last forecast is over")
        return coming

    async def aclose(self) -> None:
        """End the questions in flight and close the provider; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        flights = tuple(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self._provider.aclose()

    def _refusal(self, kind: Question, place: Place) -> IntensityError | None:
        if self._closed:
            return IntensityError(self.name, "closed")
        entry = self._entries.get(place)
        if kind == "intensity" and entry is not None and self._monotonic() < entry.rest_until:
            return IntensityError(self.name, f"has published nothing after {entry.value.valid_until.isoformat()}")
        return self._pauses[kind].refusal(place)

    def _impatience(self) -> IntensityError:
        return IntensityError(self.name, f"has not answered within {self._patience_seconds:g} s")

    def _flight(self, kind: Question, place: Place, fetch: Callable[[Place], Awaitable[None]]) -> asyncio.Task[None]:
        """The one question of its kind in flight: a task of its own, so that no caller's cancellation ends it."""
        key = (kind, place)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.ensure_future(self._fly(key, fetch))
        return flight

    async def _fly(self, key: tuple[Question, Place], fetch: Callable[[Place], Awaitable[None]]) -> None:
        try:
            self._count(asked=1)
            await fetch(key[1])
            self._pauses[key[0]].succeeded()
        except IntensityError as exc:
            self._pauses[key[0]].failed(key[1], exc)
            self._count(failed=1)
            self._state = replace(self._state, last_problem=str(exc), last_remedy=remedy_of(exc))
            report(exc, self._fault)
        finally:
            del self._flights[key]

    async def _wait_for(self, flight: asyncio.Task[None]) -> None:
        await asyncio.wait((flight,), timeout=self._patience_seconds)

    async def _fetch(self, place: Place) -> None:
        value = self._checked(await told(self.name, self._provider.intensity(place)), place, "now")
        now = self._utcnow()
        before = self._entries.get(place)
        same = before is not None and before.value.observed_at == value.observed_at
        repeats = before.repeats + 1 if before is not None and same else 0
        over = value.valid_until <= now
        self._entries[place] = _Entry(
            value=value,
            stale_value=replace(value, quality="stale"),
            life=life_of(value.valid_until, now, self._chance()),
            repeats=repeats,
            rest_until=self._monotonic() + rest_seconds(repeats) if over else 0.0,
        )

    async def _fetch_forecast(self, place: Place) -> None:
        series = await told(self.name, self._provider.forecast(place))  # type: ignore[attr-defined]
        values = [self._checked(value, place, "coming") for value in series]
        self._forecasts[place] = _Forecast(values=values, until=self._monotonic() + FORECAST_SECONDS)

    def _checked(self, value: Intensity, place: Place, when: When) -> Intensity:
        try:
            return checked(
                value,
                source=self.name,
                signal=self.signal,
                emission_scope=self.emission_scope,
                place=place,
                now=self._utcnow(),
                when=when,
            )
        except IntensityError:
            self._count(refused=1)
            raise

    def _count(self, *, asked: int = 0, failed: int = 0, refused: int = 0, stale: int = 0) -> None:
        state = self._state
        self._state = replace(
            state,
            asked=state.asked + asked,
            failed=state.failed + failed,
            refused=state.refused + refused,
            stale=state.stale + stale,
        )
