"""The cache: one question per validity, stale but marked, patient with a source that fails."""

import asyncio
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import Place, RefusedCredentialsError, UnknownZoneError
from carbon_sdk.testing import ManualClock
from tests.intensity.sources import DE, HOUR, Source, cached, value


async def test_ten_thousand_callers_on_a_cold_cache_ask_once(source: Source) -> None:
    """One question is in flight, however many wait for it."""
    cache = cached(source)

    answers = await asyncio.gather(*(cache.intensity(DE) for _ in range(10_000)))

    assert len(source.asked) == 1
    assert {answer.g_per_kwh for answer in answers} == {100.0}


async def test_a_thousand_records_in_an_hour_ask_once(source: Source, clock: ManualClock) -> None:
    """A value is asked for when it changes, not when it is used."""
    cache = cached(source)
    for _ in range(1000):
        await cache.intensity(DE)
        clock.advance(3.5)

    assert len(source.asked) == 1


async def test_the_question_survives_its_first_caller(source: Source) -> None:
    """Who comes second still gets the answer when the first is cancelled."""
    source.gate = asyncio.Event()
    cache = cached(source)
    first = asyncio.create_task(cache.intensity(DE))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.intensity(DE))
    await asyncio.sleep(0)

    first.cancel()
    source.gate.set()

    assert (await second).g_per_kwh == 100
    assert first.cancelled() or first.cancelling()
    assert len(source.asked) == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_next_value_is_fetched_before_this_one_ends(source: Source, clock: ManualClock) -> None:
    """Once the interval is over and the source can know more, the old value serves while the new one comes."""
    cache = cached(source, chance=1.0)
    await cache.intensity(DE)
    clock.advance(3600 + 31)  # refreshed from 30 s on, fresh until 60 s
    source.gate = asyncio.Event()

    served = await cache.intensity(DE)

    assert served.observed_at == clock.utcnow() - timedelta(seconds=3631)
    assert served.quality == "measured"
    assert len(source.asked) == 1  # the task has not run yet: nobody waited for it
    source.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await cache.intensity(DE)).observed_at == clock.utcnow() - timedelta(seconds=31)
    assert len(source.asked) == 2


async def test_nothing_is_asked_before_the_interval_is_over(source: Source, clock: ManualClock) -> None:
    """The source would only repeat itself."""
    cache = cached(source)
    await cache.intensity(DE)
    clock.advance(3599)

    await cache.intensity(DE)
    await asyncio.sleep(0)

    assert len(source.asked) == 1


async def test_a_failing_source_leaves_its_last_value_marked_stale_for_three_hours(
    source: Source, clock: ManualClock
) -> None:
    """Then there is none, with the reason."""
    cache = cached(source)
    await cache.intensity(DE)
    source.fails(IntensityError("live", "HTTP 503"))

    clock.advance(3600 + 61)
    assert (await cache.intensity(DE)).quality == "stale"
    clock.advance(3 * 3600 - 62)
    assert (await cache.intensity(DE)).quality == "stale"
    assert cache.known(DE) == await cache.intensity(DE)
    clock.advance(2)
    with pytest.raises(IntensityError, match="HTTP 503"):
        await cache.intensity(DE)
    assert cache.known(DE) is None
    assert cache.state().stale == 3


async def test_a_source_that_recovers_is_fresh_again(source: Source, clock: ManualClock) -> None:
    """The first question after the pause ends it."""
    cache = cached(source)
    await cache.intensity(DE)
    source.fails(IntensityError("live", "down"))
    clock.advance(2 * 3600)
    assert (await cache.intensity(DE)).quality == "stale"

    source.answer = source.hourly
    clock.advance(40)

    assert (await cache.intensity(DE)).quality == "measured"
    assert cache.state().failures == 0


@pytest.mark.parametrize(
    ("error", "most"),
    [
        (IntensityError("live", "HTTP 500"), 9),
        (RefusedCredentialsError("live", "HTTP 401"), 4),
        (IntensityError("live", "HTTP 429", retry_after_seconds=1800), 2),
        (UnknownZoneError("live", "no such zone"), 1),
        (ValueError("a bug in a plugin, with secret-of-the-user in it"), 9),
    ],
)
async def test_a_failing_source_is_asked_a_few_times_in_an_hour(
    source: Source, clock: ManualClock, error: Exception, most: int
) -> None:
    """Not once a second: pauses grow, a wait that was asked for is kept, an unknown zone is remembered."""
    cache = cached(source)
    source.fails(error)
    for _ in range(3600):
        with pytest.raises(IntensityError) as caught:
            await cache.intensity(DE)
        assert "secret-of-the-user" not in str(caught.value)
        clock.advance(1)

    assert 1 <= len(source.asked) <= most


async def test_an_unknown_zone_does_not_stop_questions_for_others(source: Source) -> None:
    """The pause is the place's, not the source's."""

    def answer(place: Place) -> Any:
        if place.zone == "XX":
            raise UnknownZoneError("live", "no such zone")
        return source.hourly(place)

    source.answer = answer
    cache = cached(source)
    with pytest.raises(UnknownZoneError):
        await cache.intensity(Place(zone="XX"))

    assert (await cache.intensity(DE)).g_per_kwh == 100


async def test_a_source_that_is_always_late_is_not_hammered(source: Source, clock: ManualClock) -> None:
    """Its newest interval is over when it comes: it serves, marked, and is asked for again ever more slowly."""
    source.says(value(start=clock.utcnow() - 2 * HOUR))
    cache = cached(source)
    for _ in range(1800):
        assert (await cache.intensity(DE)).quality == "stale"
        clock.advance(1)

    assert len(source.asked) <= 6


async def test_patience_ends_before_a_hanging_source_does(source: Source) -> None:
    """The caller goes on to the next provider; the question stays the only one in flight."""
    source.gate = asyncio.Event()
    cache = cached(source, patience_seconds=0.01)

    for _ in range(3):
        with pytest.raises(IntensityError, match="has not answered within"):
            await cache.intensity(DE)

    assert len(source.asked) == 1
    source.gate.set()
    await asyncio.sleep(0.01)
    assert (await cache.intensity(DE)).g_per_kwh == 100


async def test_closing_ends_what_is_in_flight_and_may_be_done_twice(source: Source) -> None:
    """A hanging source does not hold the process."""
    source.gate = asyncio.Event()
    cache = cached(source)
    waiting = asyncio.create_task(cache.intensity(DE))
    await asyncio.sleep(0)

    await cache.aclose()
    await cache.aclose()

    with pytest.raises(IntensityError):
        await waiting
    assert source.closed == 1
    with pytest.raises(IntensityError, match="closed"):
        await cache.intensity(DE)


async def test_memory_is_bounded_by_places(source: Source) -> None:
    """Ten thousand places leave no more behind than a hundred."""
    cache = cached(source)
    for number in range(1000):
        await cache.intensity(Place(zone="DE", latitude=number / 100, longitude=0.0))

    kept = sum(
        cache.known(Place(zone="DE", latitude=number / 100, longitude=0.0)) is not None for number in range(1000)
    )
    assert kept == 64
    assert not cache._flights


@given(
    g_per_kwh=st.one_of(
        st.floats(),
        st.integers(),
        st.sampled_from([math.nan, math.inf, -math.inf, -0.1, 2000.1, 1e6, True, None, "100"]),
    ),
    early=st.integers(-40_000, 40_000),
    minutes=st.integers(-600, 600_000),
    zone=st.sampled_from(["DE", "DE-X", "FR", "", "DEU"]),
    signal=st.sampled_from(["average", "marginal"]),
)
def test_a_value_outside_its_bounds_never_comes_through(
    g_per_kwh: Any, early: int, minutes: int, zone: str, signal: Any
) -> None:
    """Finite, 0 to 2,000, of the zone asked for, of a time that can be, of the signal promised; else refused."""
    clock = ManualClock()
    source = Source(clock)
    start = clock.utcnow() + timedelta(minutes=early)
    source.says(value(g_per_kwh, start=start, step=timedelta(minutes=minutes), zone=zone, signal=signal))
    cache = cached(source)

    try:
        got = asyncio.run(cache.intensity(DE))
    except IntensityError:
        assert cache.state().refused == 1
        return

    now = clock.utcnow()
    assert isinstance(got.g_per_kwh, int | float)
    assert not isinstance(got.g_per_kwh, bool)
    assert 0 <= got.g_per_kwh <= 2000
    assert got.zone in ("DE", "DE-X")
    assert got.signal == "average"
    assert got.observed_at <= now + timedelta(minutes=5)
    assert got.observed_at < got.valid_until
    assert now <= got.valid_until + 3 * HOUR
    assert (got.quality == "stale") == (got.valid_until + timedelta(seconds=30) <= now)


async def test_a_forecast_is_remembered_and_its_failure_does_not_stop_the_present(
    source: Source, clock: ManualClock
) -> None:
    """A plan without forecasts still has a present."""
    now = clock.utcnow()
    source.series = [value(start=now + hour * HOUR, quality="forecast") for hour in range(-2, 6)]
    cache = cached(source)
    assert len(await cache.forecast(DE)) == 6
    await cache.forecast(DE)
    assert source.series_asked == 1

    source.series = UnknownZoneError("live", "forecasts are not in the plan")
    clock.advance(700)
    assert len(await cache.forecast(DE)) == 6
    clock.advance(6 * 3600)
    with pytest.raises(IntensityError, match="last forecast is over"):
        await cache.forecast(DE)
    assert (await cache.intensity(DE)).g_per_kwh == 100


async def test_history_is_checked_like_everything_else(source: Source, clock: ManualClock) -> None:
    """An absurd hour spoils the answer."""
    now = clock.utcnow()
    source.series = [value(start=now - 9 * HOUR), value(1e6, start=now - 8 * HOUR)]

    with pytest.raises(IntensityError, match="1000000"):
        await cached(source).history(DE, now - 24 * HOUR, now)
