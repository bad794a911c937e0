"""Budgets: what may be spent, what has been, and who is told when."""

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk import Carbon, SettingsError, track
from carbon_sdk.budgets import LIMITS, Per, Standing, budgets_of
from carbon_sdk.settings import Settings, from_environment
from carbon_sdk.sinks.sink import Total
from carbon_sdk.spending import Spending, period_of
from carbon_sdk.testing import FakeMeter, FixedIntensity
from tests.sinks.totals import total, totals

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


class Bench:
    """Spending of a service, and what it tells.

    Args:
        folder: Where processes share sums.
        tables: The budgets.
    """

    def __init__(self, folder: Path | None, *tables: dict[str, Any], instance: str = "a" * 16) -> None:
        self.told: list[Standing] = []
        self.faults: list[str] = []
        self.instance = instance
        self.spending = Spending(
            budgets_of(tables),
            service="shop",
            folder=folder,
            tell=self.told.append,
            fault=lambda kind, problem, remedy: self.faults.append(f"{kind}: {problem}"),
        )

    def at(self, seconds: float, *accounts: Total) -> list[Standing]:
        """Running totals so many seconds after noon."""
        return self.spending.update(totals(*accounts, instance=self.instance, at=NOON + timedelta(seconds=seconds)))


def test_a_breach_is_told_once_and_again_when_it_doubles() -> None:
    """Not at each window: at the limit, at twice what was told, and anew on the next day."""
    bench = Bench(None, {"grams_per_day": 10})
    spent = {0: 4.0, 1: 9.0, 2: 11.0, 3: 15.0, 4: 21.9, 5: 22.0, 6: 43.9, 7: 44.0, 86400: 44.0, 86401: 55.0}

    for second, grams in spent.items():
        bench.at(second, total(grams=grams))

    assert [standing.spent for standing in bench.told] == [11.0, 22.0, 44.0, 11.0]
    assert bench.told[-1].started_at == datetime(2026, 3, 30, tzinfo=UTC)


def test_only_the_endpoint_of_a_budget_counts_and_all_of_it() -> None:
    """Its spans are in it, other endpoints are not; a budget without an endpoint holds them all."""
    bench = Bench(None, {"endpoint": "GET /a", "joules_per_day": 5}, {"joules_per_month": 100})

    one, whole = bench.at(
        0,
        total(package=2.0, dram=0.5),
        total(kind="span", name="resize", package=1.0),
        total(root="GET /b", package=30.0),
        total(kind="sdk", root="carbon_sdk", package=0.25),
    )

    assert (one.spent, whole.spent) == (3.5, 33.75)
    assert (one.ratio, whole.ratio) == (0.7, 0.3375)


def test_a_requests_mean_is_judged_after_ten_or_at_the_hours_end() -> None:
    """One dear request is no breach yet; a rare one is found out when its hour has passed."""
    bench = Bench(None, {"endpoint": "GET /a", "grams_per_request": 1.0}, {"endpoint": "night", "grams_per_request": 1})
    night = total(kind="worker", root="night", requests=1, grams=7.0)
    bench.at(0, total(requests=1, grams=5.0), night)
    assert not bench.told

    bench.at(1, total(requests=10, grams=12.0), night)
    assert [(standing.budget.endpoint, standing.spent) for standing in bench.told] == [("GET /a", 1.2)]

    bench.at(3600, total(requests=10, grams=12.0), night)
    assert [(standing.budget.endpoint, standing.spent) for standing in bench.told[1:]] == [("night", 7.0)]
    assert bench.told[-1].ends_at == NOON + timedelta(hours=1)


def test_at_this_rate_the_period_will_cost() -> None:
    """Two grams in an hour make 24 + 2 until midnight, twelve hours on; a minute says nothing yet."""
    bench = Bench(None, {"grams_per_day": 100})
    assert bench.at(0, total(grams=0.0))[0].projected is None
    assert bench.at(30, total(grams=1.0))[0].projected is None

    (standing,) = bench.at(3600, total(grams=2.0))

    assert standing.projected == pytest.approx(2.0 + 2.0 * 11)
    assert standing.projected_ratio == pytest.approx(0.24)


def test_processes_of_a_service_share_what_they_spend_and_one_of_them_tells(tmp_path: Path) -> None:
    """Half of it each: neither exceeds it alone."""
    one = Bench(tmp_path, {"grams_per_day": 10})
    other = Bench(tmp_path, {"grams_per_day": 10}, instance="b" * 16)
    for second, grams in ((0, 1.0), (20, 6.0)):
        one.at(second, total(grams=grams))
        other.at(second + 0.5, total(grams=grams))

    assert other.at(40, total(grams=6.0))[0].spent == 12.0
    assert [standing.spent for standing in (*one.told, *other.told)] == [12.0]


def test_what_was_spent_outlives_the_process(tmp_path: Path) -> None:
    """A restart is no new day; a spent budget is not told again."""
    before = Bench(tmp_path, {"grams_per_day": 10})
    before.at(0, total(grams=1.0))
    before.at(1, total(grams=9.0))
    before.spending.close()
    after = Bench(tmp_path, {"grams_per_day": 10}, instance="b" * 16)

    assert after.at(60, total(grams=2.0))[0].spent == 11.0
    assert (len(before.told), len(after.told)) == (0, 1)
    again = Bench(tmp_path, {"grams_per_day": 10}, instance="c" * 16)
    again.at(120, total(grams=3.0))
    assert not again.told
    (file,) = tmp_path.glob("budgets-*.json")
    assert file.stat().st_mode & 0o777 == 0o600


def _spend(folder: Path, instance: str) -> None:
    bench = Bench(folder, {"grams_per_day": 1000}, instance=instance)
    for second in range(50):
        bench.at(second * 11, total(grams=float(second)))
    bench.spending.close()


def test_nothing_is_lost_between_processes_that_write_at_once(tmp_path: Path) -> None:
    """Four at the same time, each writes fifty times."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spend, args=(tmp_path, str(number) * 16)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert Bench(tmp_path, {"grams_per_day": 1000}).at(600)[0].spent == pytest.approx(4 * 49.0)


def test_without_a_folder_to_write_to_each_process_counts_for_itself(tmp_path: Path) -> None:
    """It is said once."""
    (tmp_path / "file").touch()
    bench = Bench(tmp_path / "file" / "folder", {"grams_per_day": 10})

    bench.at(0, total(grams=6.0))
    assert bench.at(20, total(grams=12.0))[0].spent == 12.0
    assert len(bench.told) == len(bench.faults) == 1


def test_a_file_that_is_none_of_ours_is_begun_anew(tmp_path: Path) -> None:
    """Half a file, or somebody else's."""
    bench = Bench(tmp_path, {"grams_per_day": 10})
    bench.at(0, total(grams=6.0))
    (file,) = tmp_path.glob("budgets-*.json")
    kept = json.loads(file.read_text())
    (spent,) = kept.values()
    wrong = {"start": 3, "since": "2026-01-01", "amount": float("nan"), "requests": "many", "told": {"day": None}}
    for content in ("{", "[1]", "[" * 99_999, *(json.dumps({"x": {**spent, name: wrong[name]}}) for name in wrong)):
        file.write_text(content)
        anew = Bench(tmp_path, {"grams_per_day": 10})
        assert anew.at(20, total(grams=2.0))[0].spent == 2.0
        assert len(anew.faults) == 1


moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(moment=moments, per=st.sampled_from(["request", "day", "month"]))
def test_periods_follow_one_another_without_a_gap(moment: datetime, per: Per) -> None:
    """Each moment lies in one, and the next begins where it ends."""
    start, end = period_of(per, moment)

    assert start <= moment < end
    assert period_of(per, end)[0] == end
    assert period_of(per, end - timedelta(microseconds=1)) == (start, end)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_budgets_come_from_a_file_or_from_code(mark: str, tmp_path: Path) -> None:
    """Each limit by its own key; Windows may begin the file with a mark."""
    file = tmp_path / "budgets.toml"
    file.write_text(
        f'{mark}[[budget]]\nendpoint = "GET /a"\njoules_per_request = 0.5\n'
        '[[budget]]\nname = "all of it"\ngrams_per_month = 40\n'
    )

    found = from_environment({"CARBON_SDK_BUDGETS": str(file)}).budgets

    assert [(one.name, one.endpoint, one.unit, one.per, one.limit) for one in found] == [
        ("GET /a: joules per request", "GET /a", "joules", "request", 0.5),
        ("all of it", None, "grams", "month", 40.0),
    ]
    assert {budgets_of([{key: 1}])[0].unit for key in LIMITS} == {"grams", "joules"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([{"endpoint": "GET /a"}], "one limit"),
        ([{"grams_per_day": 1, "grams_per_month": 1}], "one limit"),
        ([{"grams_per_week": 1}], "'grams_per_week' means nothing"),
        ([{"grams_per_day": 0}], "above 0"),
        ([{"grams_per_day": True}], "above 0"),
        ([{"grams_per_day": float("nan")}], "above 0"),
        ([{"grams_per_day": 1}] * 2, "another name"),
        ([{"name": "", "grams_per_day": 1}], "1 to 200 printable"),
        (["GET /a"], "not a budget"),
        (7, "neither a file nor a list"),
        ([{"name": str(number), "grams_per_day": 1} for number in range(101)], "more than 100"),
        ("/no/such/file", "No such file"),
    ],
)
def test_a_budget_that_cannot_be_used_is_named(given: Any, says: str) -> None:
    """The setting, what is wrong, and the remedy."""
    with pytest.raises(SettingsError, match=f"CARBON_SDK_BUDGETS.*{says}.*TOML"):
        Settings(budgets=given)


@pytest.mark.parametrize("content", ["[[budget]", "[[budgets]]\ngrams_per_day = 1", "budget = 3", b"\xff"])
def test_a_file_that_holds_no_budgets_is_named(content: str | bytes, tmp_path: Path) -> None:
    """With its path."""
    file = tmp_path / "budgets.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(SettingsError, match=str(file)):
        Settings(budgets=file)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_breach_is_an_event_and_a_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line with the figures in their unit; the app's own function is called, and may fail."""
    called: list[Standing] = []

    def react(standing: Standing) -> None:
        called.append(standing)
        raise RuntimeError("the app's own")

    async with Carbon(
        meters=[FakeMeter(20.0)],
        provider=FixedIntensity(100.0),
        sinks={},
        service="shop",
        state_dir=tmp_path,
        budgets=[{"endpoint": "job", "joules_per_day": 0.01}],
        on_budget_exceeded=react,
    ) as carbon:
        with track("job"):
            sum(range(3_000_000))

    (record,) = [record for record in caplog.records if record.getMessage().startswith("carbon.budget_exceeded")]
    event = record.__dict__["carbon"]
    assert (event["budget"], event["service"], event["limit_joules"]) == ("job: joules per day", "shop", 0.01)
    assert event["spent_joules"] == called[0].spent
    assert event["spent_joules"] > 0.01
    assert carbon.log.faults["budgets.callback"] == 1
