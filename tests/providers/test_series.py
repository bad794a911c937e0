"""Which interval stands for the present: the one that holds, else the newest for a while."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk_providers.series import in_order, overlapping, pages, present

START = datetime(2026, 3, 29, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hours(numbers: Sequence[float]) -> list[Intensity]:
    """One measured value an hour from the start on."""
    return [
        Intensity(
            g_per_kwh=number,
            source="x",
            signal="average",
            emission_scope="lifecycle",
            zone="DE",
            quality="measured",
            observed_at=START + index * HOUR,
            valid_until=START + (index + 1) * HOUR,
        )
        for index, number in enumerate(numbers)
    ]


minutes = st.integers(0, 48 * 60).map(lambda count: START + timedelta(minutes=count))


@given(now=minutes, count=st.integers(1, 24))
def test_the_interval_that_holds_now_is_given_as_it_is(now: datetime, count: int) -> None:
    """Past the last one it is carried forward for as long as the source is usually late, then there is none."""
    values = hours(range(count))
    late = now - values[-1].valid_until
    if late > 2 * HOUR:
        with pytest.raises(IntensityError, match="newest interval ended"):
            present("x", values, now, lag=2 * HOUR)
        return

    value = present("x", values, now, lag=2 * HOUR)

    assert value.observed_at <= now < value.valid_until
    if late >= timedelta(0):
        assert value.quality == "estimated"
        assert value.observed_at == values[-1].observed_at
        assert "newest published interval" in (value.method or "")
    else:
        assert value in values


def test_an_interval_of_the_future_does_not_stand_for_the_present() -> None:
    """A series that has not begun has no present."""
    with pytest.raises(IntensityError, match="no interval that has begun"):
        present("x", hours([1.0]), START - HOUR, lag=HOUR)


def test_of_two_values_for_one_start_the_first_stays() -> None:
    """Duplicates occur; they must not count twice."""
    twice = hours([1.0]) + hours([2.0, 3.0])

    assert [value.g_per_kwh for value in in_order(reversed(twice[:1] + twice[2:]))] == [1.0, 3.0]
    assert [value.g_per_kwh for value in in_order(twice)] == [1.0, 3.0]


@given(start=minutes, length=st.integers(0, 3000), longest=st.integers(1, 500))
def test_pages_cover_a_span_without_holes_or_overlaps(start: datetime, length: int, longest: int) -> None:
    """Each no longer than the source answers at once."""
    end = start + timedelta(minutes=length)

    cut = pages(start, end, timedelta(minutes=longest))

    assert sum((until - since for since, until in cut), timedelta(0)) == end - start
    assert all(until - since <= timedelta(minutes=longest) for since, until in cut)
    assert [since for since, _ in cut[1:]] == [until for _, until in cut[:-1]]


@given(start=minutes, length=st.integers(1, 600))
def test_what_overlaps_a_span_is_what_shares_a_moment_with_it(start: datetime, length: int) -> None:
    """Touching ends share none."""
    end = start + timedelta(minutes=length)
    values = hours(range(24))

    kept = overlapping(values, start, end)

    assert kept == [value for value in values if max(value.observed_at, start) < min(value.valid_until, end)]
