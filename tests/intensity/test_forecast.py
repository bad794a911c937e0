"""When and where is it greenest: against brute force, on recorded forecasts, by a clock that is told the time."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.constant import Constant
from carbon_sdk.intensity.fallback import Fallback
from carbon_sdk.intensity.forecast import first_at_most, greenest, greenest_window, mean_g_per_kwh, wait_until_green
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.testing import ManualClock
from tests.intensity.sources import DE, HOUR, Source, value

NOON = ManualClock().utcnow()
HALF = timedelta(minutes=30)
RECORDED = Path(__file__).parent.parent / "providers" / "recorded"


def halves(numbers: Sequence[float], *, start: datetime = NOON, zone: str = "DE") -> list[Intensity]:
    """A forecast in half hours."""
    return [
        value(number, start=start + index * HALF, step=HALF, zone=zone, quality="forecast")
        for index, number in enumerate(numbers)
    ]


def british() -> list[Intensity]:
    """The 48 hours that NESO forecast for Great Britain on 3 December 2023 (CC BY 4.0)."""
    answer = json.loads((RECORDED / "gb_carbon_intensity" / "intensity_fw48h.json").read_text(encoding="utf-8"))
    rows = [(datetime.fromisoformat(row["from"]), row["intensity"]["forecast"]) for row in answer["data"]]
    return [value(number, start=start, step=HALF, zone="GB", quality="forecast") for start, number in rows]


@given(
    numbers=st.lists(st.integers(0, 500), min_size=1, max_size=12),
    duration=st.integers(1, 240),
    after=st.integers(-60, 300),
    length=st.integers(1, 400),
)
def test_no_minute_is_greener_than_the_window_that_was_found(
    numbers: list[int], duration: int, after: int, length: int
) -> None:
    """Trying every minute finds nothing better, and nothing where nothing was found."""
    values = halves(numbers)
    earliest, work = NOON + timedelta(minutes=after), timedelta(minutes=duration)
    before = earliest + timedelta(minutes=length)

    found = greenest(values, duration=work, after=earliest, before=before)

    means = [
        mean
        for minute in range(max(0, length - duration) + 1)
        if (start := earliest + timedelta(minutes=minute)) + work <= before
        and (mean := mean_g_per_kwh(values, start, start + work)) is not None
    ]
    if not means:
        assert found is None
    else:
        assert found is not None
        assert found.g_per_kwh <= min(means) + 1e-9
        assert earliest <= found.start
        assert found.end <= before
        assert found.end - found.start == work


def test_a_hole_in_the_forecast_is_no_place_to_run() -> None:
    """What is not known is not taken for clean."""
    values = [*halves([100, 1]), *halves([90, 80], start=NOON + 3 * HOUR)]

    found = greenest(values, duration=HOUR, after=NOON, before=NOON + 5 * HOUR)

    assert found is not None
    assert found.start == NOON
    assert mean_g_per_kwh(values, NOON + HALF, NOON + 2 * HOUR) is None


def test_of_equal_windows_the_earliest_is_given() -> None:
    """Waiting without a saving helps nobody."""
    found = greenest(halves([50] * 8), duration=HOUR, after=NOON, before=NOON + 4 * HOUR)

    assert found is not None
    assert found.start == NOON


def test_a_recorded_british_day_has_its_greenest_two_hours_at_night() -> None:
    """The numbers were added up by hand from the recorded half hours."""
    values = british()
    start = values[0].observed_at

    found = greenest(values, duration=2 * HOUR, after=start, before=start + timedelta(hours=24))

    best = min(
        (sum(one.g_per_kwh for one in values[index : index + 4]) / 4, values[index].observed_at)
        for index in range(0, 45)
    )
    assert found is not None
    assert (found.g_per_kwh, found.start) == best


async def test_the_greenest_of_several_places_and_what_it_saves(clock: ManualClock) -> None:
    """Saving is against starting at once in the first place."""
    source = Source(clock)
    series = {"DE": halves([400, 300, 200, 200]), "FR": halves([60, 50, 40, 45], zone="FR")}

    async def forecast(place: Place) -> Sequence[Intensity]:
        return series[place.zone or ""]

    source.forecast = forecast  # type: ignore[method-assign]

    found = await greenest_window(
        source, [DE, Place(zone="FR")], duration=HOUR, before=NOON + 2 * HOUR, utcnow=clock.utcnow
    )

    assert (found.window.zone, found.window.start) == ("FR", NOON + HOUR)
    assert found.window.g_per_kwh == 42.5
    assert found.now_g_per_kwh == 350
    assert found.saving_g_per_kwh == 307.5


async def test_forecasts_of_different_kinds_are_not_compared(clock: ManualClock) -> None:
    """A direct number is lower than a lifecycle one of the same grid."""
    source = Source(clock)

    async def forecast(place: Place) -> Sequence[Intensity]:
        scope = "direct" if place.zone == "GB" else "lifecycle"
        return [value(start=NOON, zone=place.zone or "", quality="forecast", emission_scope=scope)]  # type: ignore[arg-type]

    source.forecast = forecast  # type: ignore[method-assign]

    with pytest.raises(IntensityError, match="average/direct and average/lifecycle: not compared"):
        await greenest_window(source, [DE, Place(zone="GB")], duration=HALF, before=NOON + HOUR, utcnow=clock.utcnow)


async def test_without_a_forecast_it_is_said_at_once(clock: ManualClock) -> None:
    """Neither question waits for what cannot come."""
    chain = Fallback(Constant(300.0))
    with pytest.raises(IntensityError, match="constant: has no forecast"):
        await greenest_window(chain, [DE], duration=HOUR, before=NOON + 2 * HOUR, utcnow=clock.utcnow)
    with pytest.raises(IntensityError, match="constant: has no forecast"):
        await wait_until_green(chain, DE, max_g_per_kwh=100, at_most=HOUR, utcnow=clock.utcnow)


@pytest.mark.parametrize(
    ("duration", "before", "problem"),
    [
        (timedelta(0), NOON + HOUR, "positive"),
        (HOUR, NOON.replace(tzinfo=None) + HOUR, "time zone"),
        (2 * HOUR, NOON + HOUR, "do not fit"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    clock: ManualClock, duration: timedelta, before: datetime, problem: str
) -> None:
    """Before anything is asked."""
    source = Source(clock)
    with pytest.raises(ValueError, match=problem):
        await greenest_window(source, [DE], duration=duration, before=before, utcnow=clock.utcnow)
    assert source.series_asked == 0


async def test_a_forecast_that_is_too_short_says_so(clock: ManualClock) -> None:
    """With the reasons of the places that had none."""
    source = Source(clock)
    source.series = halves([10])
    with pytest.raises(IntensityError, match="no forecast covers 2:00:00"):
        await greenest_window(source, [DE], duration=2 * HOUR, before=NOON + 9 * HOUR, utcnow=clock.utcnow)


class Night:
    """A source whose intensity follows a forecast exactly, and a sleep that moves its clock."""

    def __init__(self, clock: ManualClock, numbers: Sequence[float]) -> None:
        self.source = Source(clock)
        self.clock = clock
        self.values = halves(numbers)
        self.source.series = self.values
        self.source.answer = lambda _place: next(
            one for one in self.values if one.observed_at <= clock.utcnow() < one.valid_until
        )
        self.naps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.clock.advance(seconds)


async def test_waiting_ends_when_the_grid_is_green(clock: ManualClock) -> None:
    """No later than a moment after, and with few looks."""
    night = Night(clock, [400, 300, 250, 90, 80, 70])

    waited = await wait_until_green(
        night.source, DE, max_g_per_kwh=100, at_most=4 * HOUR, utcnow=clock.utcnow, sleep=night.sleep
    )

    assert waited.green
    assert waited.seconds == 90 * 60
    assert waited.intensity.g_per_kwh == 90
    assert len(night.naps) == 6


async def test_waiting_ends_when_the_time_is_up(clock: ManualClock) -> None:
    """The work runs anyway, and knows that it is not green."""
    night = Night(clock, [400] * 12)

    waited = await wait_until_green(
        night.source, DE, max_g_per_kwh=100, at_most=timedelta(minutes=50), utcnow=clock.utcnow, sleep=night.sleep
    )

    assert not waited.green
    assert waited.seconds == 50 * 60


async def test_green_already_waits_for_nothing(clock: ManualClock) -> None:
    """And needs no forecast."""
    night = Night(clock, [20])
    night.source.series = IntensityError("live", "no forecast")

    waited = await wait_until_green(
        night.source, DE, max_g_per_kwh=100, at_most=HOUR, utcnow=clock.utcnow, sleep=night.sleep
    )

    assert (waited.green, waited.seconds, night.naps) == (True, 0, [])


async def test_a_forecast_that_fails_while_waiting_does_not_end_the_wait(clock: ManualClock) -> None:
    """The last one serves on."""
    night = Night(clock, [400, 90])
    ask = night.source.forecast

    async def once(place: Place) -> Sequence[Intensity]:
        answer = await ask(place)
        night.source.series = IntensityError("live", "down")
        return answer

    night.source.forecast = once  # type: ignore[method-assign]

    waited = await wait_until_green(
        night.source, DE, max_g_per_kwh=100, at_most=HOUR, utcnow=clock.utcnow, sleep=night.sleep
    )

    assert waited.green


def test_the_first_green_moment_is_now_or_the_start_of_an_interval() -> None:
    """Never one that is over."""
    values = halves([90, 200, 80])

    assert first_at_most(values, 100, NOON) == NOON
    assert first_at_most(values, 100, NOON + HALF) == NOON + 2 * HALF
    assert first_at_most(values, 10, NOON) is None
    assert first_at_most(values, 100, NOON.astimezone(UTC) + 3 * HALF) is None
