"""The last hour, minute by minute."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.collector.service import Collector, emission

Start = Callable[..., Collector]
MINUTE = timedelta(minutes=1)


def series(collector: Collector, **asked: str) -> dict[str, Any]:
    """The numbers of a chart of the last hour, once all is seen."""
    collector.ask("/v1/reports/totals")
    answer = collector.client.get("/dashboard/series", params={"period": "1h", **asked})
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


def values(told: dict[str, Any], title: str) -> dict[str, float]:
    """What a panel shows where it shows anything, by the time at which it begins."""
    (panel,) = [one for one in told["panels"] if one["title"] == title]
    times = [f"{datetime.fromtimestamp(edge, UTC):%H:%M}" for edge in told["edges"]]
    return {at: value for at, value in zip(times, panel["values"], strict=False) if value is not None}


def test_the_last_hour_is_shown_by_the_minute(start: Start) -> None:
    """Each minute its own joules, the machine's book left out; of one service where that is asked for."""
    collector = start()
    first, second = (datetime.now(UTC).replace(second=0, microsecond=0) - ago * MINUTE for ago in (12, 7))
    collector.send(
        [
            emission(0, window_start=first, joules=2.0),
            emission(1, window_start=first, joules=3.0, service="search"),
            emission(2, window_start=second, joules=4.0),
            emission(3, window_start=second, joules=90.0, kind="measured", root="measured", name="measured"),
        ]
    )
    told = series(collector)

    assert told["each"] == "each minute"
    assert len(told["names"]) == len(told["ticks"]) == 60
    assert values(told, "Energy") == {f"{first:%H:%M}": 5.0, f"{second:%H:%M}": 4.0}
    assert values(told, "Intensity") == {f"{first:%H:%M}": 300.0, f"{second:%H:%M}": 300.0}
    assert values(series(collector, service="search"), "Energy") == {f"{first:%H:%M}": 3.0}


@pytest.mark.parametrize("minutes", [5, 10])
def test_records_that_are_longer_than_a_minute_are_not_cut(start: Start, minutes: int) -> None:
    """Nobody knows in which of their minutes the joules were used: quarters of an hour, from the roll-up."""
    collector = start()
    begun = datetime.now(UTC).replace(second=0, microsecond=0) - 20 * MINUTE
    collector.send([emission(0, window_start=begun, window_end=begun + minutes * MINUTE, joules=2.0)])
    told = series(collector)

    assert told["each"] == "each quarter of an hour"
    assert list(values(told, "Energy").values()) == [2.0]
