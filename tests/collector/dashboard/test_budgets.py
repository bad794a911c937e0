"""Budgets on the pages of endpoints and services, spent by all processes together."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carbon_sdk.collector.dashboard.allowance import budgets_in
from tests.collector.service import Collector, emission

Start = Callable[..., Collector]
BUDGETS = """
[[budget]]
service = "shop"
endpoint = "GET /items/{id}"
joules_per_day = 100

[[budget]]
service = "shop"
endpoint = "GET /items/{id}"
name = "light"
joules_per_request = 1

[[budget]]
service = "shop"
name = "the whole shop"
grams_per_month = 1

[[budget]]
service = "search"
joules_per_day = 1
"""


@pytest.fixture
def collector(start: Start, tmp_path: Path) -> Collector:
    """It knows the budgets; two processes of the shop used 60 J each a moment ago."""
    file = tmp_path / "budgets.toml"
    file.write_text(BUDGETS)
    running = start("--budgets", str(file))
    now = datetime.now(UTC) - timedelta(seconds=1)
    for instance in ("a" * 16, "b" * 16):
        running.send([emission(0, instance=instance, joules=60.0, window_start=now, requests=100)])
    running.ask("/v1/reports/totals")
    return running


def rows(page: str) -> dict[str, str]:
    """Each budget's name and what its row says."""
    table = re.search(r'class="sheet budgets">.*?</table>', page, re.DOTALL)
    told = [] if table is None else re.findall(r"<tr[^>]*>\s*<th scope=\"row\".*?</tr>", table[0], re.DOTALL)
    texts = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in told]
    return {re.split(r" (?:a request|this)", text)[0]: text for text in texts}


def test_an_endpoint_shows_its_budgets_as_all_processes_spent_them(collector: Collector) -> None:
    """120 J of 100 J a day are exceeded; 0.6 J of 1 J a request are not; other services' budgets are not here."""
    page = collector.client.get("/dashboard/endpoint", params={"service": "shop", "endpoint": "GET /items/{id}"}).text
    told = rows(page)

    assert list(told) == ["GET /items/{id}: joules per day", "light"]
    assert "120 % 120 J exceeded 100 J" in told["GET /items/{id}: joules per day"]
    assert "60 % 600 mJ 1.00 J" in told["light"]


def test_a_service_shows_the_budgets_of_all_of_it(collector: Collector) -> None:
    """120 J at 300 g/kWh are 10 mg of 1 g a month."""
    told = rows(collector.client.get("/dashboard/service", params={"service": "shop"}).text)

    assert list(told) == ["the whole shop"]
    assert "1.0 % 10.0 mg 1.00 g" in told["the whole shop"]


def test_without_budgets_no_page_speaks_of_them(start: Start) -> None:
    """Nothing is shown of what nobody set."""
    running = start()
    running.send([emission(0, window_start=datetime.now(UTC) - timedelta(seconds=1))])
    running.ask("/v1/reports/totals")

    assert "Budgets" not in running.client.get("/dashboard/service", params={"service": "shop"}).text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[budget]]\njoules_per_day = 1\n", "names its service"),
        ('[[budget]]\nservice = "shop"\njoules = 1\n', "means nothing"),
        ("[budget", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, text: str, problem: str) -> None:
    """Before the collector starts."""
    file = tmp_path / "budgets.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=problem):
        budgets_in(file)
