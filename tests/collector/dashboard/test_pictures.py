"""What the pictures say: books that add up, the shape of intervals, the week, and why an endpoint emits."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.collector.dashboard.books import books_picture
from carbon_sdk.collector.dashboard.endpoint import reasons
from carbon_sdk.collector.dashboard.heat import heats_of
from carbon_sdk.collector.dashboard.known import known_of
from carbon_sdk.collector.dashboard.spread import spread_of
from carbon_sdk.collector.figure import Figure

START = datetime(2026, 3, 2, tzinfo=UTC)
JOULES = st.floats(0, 1e9)


def figure(
    key: dict[str, str | None] | None = None, *, start: datetime = START, grams: float | None = None, **sums: Any
) -> Figure:
    return Figure(
        key=key or {},
        start=start,
        end=start + timedelta(hours=1),
        sums={"requests": None, "cpu_seconds": None, "energy_joules": None, **sums},
        emissions={} if grams is None else {"average/lifecycle": grams},
        quality={"measured": 1.0},
        method={"counter": 1.0},
        source={"electricity_maps": 1.0},
        idle_rule={"learnt": 1.0},
    )


@given(JOULES, JOULES, JOULES, JOULES, JOULES)
def test_the_books_fill_their_picture_and_no_more(
    own: float, other: float, idle: float, unattributed: float, rest: float
) -> None:
    """Whatever the parts, they stand side by side without a gap, and their shares are those of the whole."""
    process = [
        figure({"service": "a", "kind": "request"}, energy_joules=own),
        figure({"service": "b", "kind": "request"}, energy_joules=other),
    ]
    whole = own + other + idle + unattributed + rest
    parts = {"measured": whole, "idle": idle, "unattributed": unattributed}
    picture = books_picture(process, [figure({"kind": kind}, energy_joules=j) for kind, j in parts.items()], "a")

    if picture is None:
        assert whole == pytest.approx(0.0, abs=1e-6)
        return
    end = 0.0
    for part in picture.parts:
        assert part.start == pytest.approx(end, abs=1e-6)
        end += part.width
    assert end == pytest.approx(100.0)


def test_without_a_machine_book_the_picture_says_what_is_missing() -> None:
    """What was booked is shown; what the machine used beside it is not made up."""
    picture = books_picture([figure({"service": "a", "kind": "request"}, energy_joules=5.0)], [], "a")

    assert picture is not None
    assert [part.look for part in picture.parts] == ["spans"]
    assert "not known" in picture.remark


def test_accounts_beyond_what_was_measured_are_told() -> None:
    """Windows of several processes do not end together; nobody hides it."""
    picture = books_picture(
        [figure({"service": "a", "kind": "request"}, energy_joules=12.0)],
        [figure({"kind": "measured"}, energy_joules=10.0)],
        "a",
    )

    assert picture is not None
    assert "20 %" in picture.remark


def test_the_shape_of_intervals_holds_each_of_them_once() -> None:
    """As many as there are; lowest, median and highest are values that occurred."""
    figures = [figure(energy_joules=float(10 * each), requests=10) for each in (1, 2, 2, 3, 9)]
    figures.append(figure(energy_joules=4.0, requests=0))
    spread = spread_of(figures, "quarter")

    assert spread is not None
    assert spread.intervals == 5
    assert sum(int(bar.text.split()[0]) for bar in spread.bars) == 5
    assert dict(spread.marks) == {
        "Lowest": "1.00 J",
        "Median": "2.00 J",
        "95 of 100 below": "9.00 J",
        "Highest": "9.00 J",
    }
    assert spread_of(figures[:2], "quarter") is None


@pytest.mark.parametrize(("zone", "day", "hour"), [("Pacific/Kiritimati", 0, 14), ("Pacific/Pago_Pago", 6, 13)])
def test_the_week_is_that_of_the_viewer(zone: str, day: int, hour: int) -> None:
    """Monday midnight UTC is Monday afternoon at UTC+14 and Sunday at UTC-11."""
    key: dict[str, str | None] = {"intensity_signal": "average", "intensity_scope": "lifecycle"}
    (heat,) = heats_of([figure(key, grams=2.0, emissions_g=2.0)], ZoneInfo(zone))

    assert heat.rows[day][1][hour].text == "2.00 g"
    assert sum(cell.level > 0 for _, cells in heat.rows for cell in cells) == 1


def test_a_weekday_that_a_period_holds_twice_weighs_no_more() -> None:
    """Ten days hold three weekdays twice: an hour is shown as it is on average, not as their sum."""
    key: dict[str, str | None] = {"intensity_signal": "average", "intensity_scope": "lifecycle"}
    hours = [
        figure(key, start=START + timedelta(days=days), emissions_g=grams)
        for days, grams in ((0, 2.0), (1, 3.0), (7, 4.0))
    ]
    (heat,) = heats_of(hours, ZoneInfo("UTC"))

    assert [cells[0].text for _, cells in heat.rows[:2]] == ["3.00 g, mean of 2 hours", "3.00 g"]
    assert heat.rows[0][1][0].level == heat.rows[1][1][0].level
    assert heat.greatest == "3.00 g"


def test_an_endpoint_is_heavy_or_busy_and_the_page_says_which() -> None:
    """Weight of a request against the mean of its service, share of its requests, and the part that weighs most."""
    service = figure(requests=1000, grams=100.0)
    heavy = figure(requests=10, grams=60.0)
    busy = figure(requests=900, grams=40.0)
    parts = [figure({"name": "render", "kind": "span"}, grams=45.0), figure({"name": "POST /x"}, grams=15.0)]

    told = " ".join(reasons("POST /x", heavy, service, parts))
    assert "60 % of what its service emits" in told
    assert "60.0 times the mean" in told
    assert "75 % of its emissions is the span “render”" in told
    assert "light" in " ".join(reasons("GET /y", busy, service, []))


def test_grams_of_two_kinds_are_told_apart() -> None:
    """Average and marginal mean different things; how a figure is known says both."""
    mixed = Figure(
        key={},
        start=START,
        end=START,
        sums={"energy_joules": 5.0},
        emissions={"average/lifecycle": 1.0, "marginal/direct": 2.0},
        quality={"measured": 0.25, "static": 0.75},
        method={"counter": 1.0},
        source={"electricity_maps": 1.0},
        idle_rule={"learnt": 1.0},
    )
    lines = dict(known_of(mixed).lines)

    assert "not added" in lines["Emissions"]
    assert "yearly average 75 %" in lines["Quality"]
