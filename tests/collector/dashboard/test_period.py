"""The stretch of time that a page shows."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.collector.dashboard.period import PRESETS, period_of

ZONES = ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "Europe/Berlin", "America/St_Johns"]
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda one: one.replace(tzinfo=UTC))


@given(MOMENTS, st.sampled_from(ZONES), st.sampled_from(list(PRESETS)))
def test_a_preset_holds_the_present_and_is_cut_on_quarters(now: datetime, name: str, preset: str) -> None:
    """Whoever looks, wherever, sees what was sent just now; the store can answer each cut."""
    period = period_of({"period": preset}, ZoneInfo(name), now)

    assert period.start < now < period.end <= now + timedelta(days=31)
    assert all(edge.timestamp() % 900 == 0 for edge in period.edges)


@given(st.dates(date(2001, 1, 1), date(2090, 1, 1)), st.integers(0, 400), st.sampled_from(ZONES))
def test_two_dates_are_whole_days_of_the_viewer(first: date, days: int, name: str) -> None:
    """From the first moment of the first day to the last of the last, also where clocks change."""
    last = first + timedelta(days=days)
    zone = ZoneInfo(name)
    period = period_of({"from": first.isoformat(), "to": last.isoformat()}, zone, datetime.now(UTC))

    assert period.start.astimezone(zone).replace(tzinfo=None) == datetime.combine(first, datetime.min.time())
    assert (period.first_day, period.last_day) == (first, last)
    assert period.parameters == {"from": first.isoformat(), "to": last.isoformat(), "tz": name}


@given(MOMENTS, st.sampled_from(ZONES), st.sampled_from(["1h", "24h", "7d", "30d"]))
def test_what_is_not_over_is_compared_with_as_much_of_the_time_before(now: datetime, name: str, preset: str) -> None:
    """At four in the afternoon, seven days so far stand against seven days up to four in the afternoon."""
    zone = ZoneInfo(name)
    period = period_of({"period": preset}, zone, now)
    before = period.earlier(now)
    passed = min(period.end, now + timedelta(minutes=15)) - period.start

    assert before.start < before.end <= period.start
    assert abs((before.end - before.start) - passed) <= timedelta(hours=1, minutes=15)  # where clocks change
    if preset.endswith("d"):
        assert before.start.astimezone(zone).hour == period.start.astimezone(zone).hour


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"period": "fortnight"}, "period"),
        ({"from": "2026-03-01"}, "to"),
        ({"from": "yesterday", "to": "2026-03-01"}, "from"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "from"),
        ({"from": "1026-03-02", "to": "2026-03-01"}, "from"),
    ],
)
def test_a_wrong_period_is_refused_by_name(asked: dict[str, str], named: str) -> None:
    """The message says how it is written."""
    with pytest.raises(ValueError, match=named):
        period_of(asked, ZoneInfo("UTC"), datetime.now(UTC))
