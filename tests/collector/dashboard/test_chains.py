"""What a request costs over all services, as the dashboard shows it: of the company, and of three services that run."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.collector.dashboard.browser import NEEDED, Visitor, chromium, executable
from tests.collector.service import Collector, emission
from tests.integrations.chained import CHECKOUTS, Chain

CHECKOUT = {"root_service": "shop", "root_endpoint": "POST /checkout", "period": "7d"}
BAR = re.compile(r'<rect class="share-part"(?: x="([\d.]+)")? width="([\d.]+)"')

Start = Callable[..., Collector]


def test_the_bars_of_a_way_follow_one_another_and_fill_the_whole(company: Collector) -> None:
    """First the endpoint where it began, then the called ones by weight; nothing is left out and nothing twice."""
    page = company.client.get("/dashboard/chain", params=CHECKOUT).text
    bars = [(float(start or 0.0), float(width)) for start, width in BAR.findall(page)]
    names = re.findall(r'<th scope="row" class="text"><a href="[^"]+">([^<]+)</a>', page)

    assert names == ["POST /checkout", "POST /charges", "GET /stock"]
    for (start, width), (following, _) in itertools.pairwise(bars):
        assert following == pytest.approx(start + width, abs=0.02)
    assert sum(width for _, width in bars) == pytest.approx(100.0, abs=0.05)


def test_a_request_of_a_chain_weighs_all_that_it_caused_over_the_requests_that_began_it(company: Collector) -> None:
    """Not over all calls between services, of which there are five times as many."""
    rows = company.ask("/v1/reports/ways", root_endpoint="POST /checkout", **{"from": "2020-01-01T00:00:00Z"})["rows"]
    requests = {row["key"]["endpoint"]: row["requests"] for row in rows}
    grams = sum(row["emissions_g"] for row in rows)
    page = company.client.get("/dashboard/chain", params={**CHECKOUT, "period": "12m"}).text
    each = re.search(r"All services together: ([\d.]+) µg a request", page)

    assert each is not None
    assert float(each[1]) == pytest.approx(grams / requests["POST /checkout"] * 1e6, rel=5e-3)
    assert sum(requests.values()) > 4 * requests["POST /checkout"]


def test_an_endpoint_says_what_it_causes_elsewhere_and_for_whom_it_works(company: Collector) -> None:
    """Both lead to the way of the chain; who neither calls nor is called says nothing of chains."""
    first, called, alone = (
        company.client.get("/dashboard/endpoint", params={"service": service, "endpoint": name, "period": "7d"}).text
        for service, name in (("shop", "POST /checkout"), ("billing", "POST /charges"), ("shop", "GET /search"))
    )

    assert "over all services: <a href" in first
    assert "On whose behalf" in called
    assert "POST /checkout</a>" in called
    assert "over all services" not in alone
    assert "On whose behalf" not in alone


def test_the_share_with_no_known_root_is_told(company: Collector) -> None:
    """Background, carbon_sdk and the accounts beyond the limit; the three parts are the process book."""
    rows = company.ask("/v1/reports/books", **{"from": "2020-01-01T00:00:00Z"})["rows"]
    joules = {row["key"]["kind"]: row["energy_joules"] for row in rows}
    outside = sum(joules.get(kind, 0.0) for kind in ("background", "sdk", "other")) / sum(joules.values())
    page = company.client.get("/dashboard/chains", params={"period": "12m"}).text
    widths = dict(re.findall(r'<rect class="book-(\w+)" x="[\d.]+%" width="([\d.]+)%"', page))

    assert float(widths["idle"]) == pytest.approx(100.0 * outside, rel=1e-3)
    assert sum(map(float, widths.values())) == pytest.approx(100.0, abs=0.01)


def test_where_nobody_says_for_whom_he_calls_the_page_says_how(start: Start) -> None:
    """And the overview does not show the same endpoints twice."""
    collector = start()
    collector.send([emission(0)])
    collector.ask("/v1/reports/totals")

    assert "CARBON_SDK_PROPAGATE_TO" in collector.client.get("/dashboard/chains", params={"period": "7d"}).text
    assert "Chains of calls that emit most" not in collector.client.get("/dashboard/", params={"period": "7d"}).text


@pytest.fixture
def shopped(tmp_path: Path, start: Start) -> Collector:
    """A collector to which three services delivered what their checkouts took."""
    collector = start()
    chain = Chain(tmp_path, collector=str(collector.client.base_url).rstrip("/"))
    try:
        chain.run()
    finally:
        chain.kill()
    collector.ask("/v1/reports/totals")
    return collector


@pytest.mark.skipif(executable() is None, reason=NEEDED)
def test_a_checkout_is_followed_through_three_services_in_the_browser(shopped: Collector) -> None:
    """From the overview in two clicks: each service with its grams and calls, and their sum."""
    with chromium() as browser:
        visitor = Visitor(browser, str(shopped.client.base_url).rstrip("/"))
        page = visitor.go("?period=1h")
        page.get_by_role("link", name="all chains").click()
        page.get_by_role("region", name="Where the chains began").get_by_role("link", name="POST /checkout").click()
        way = page.get_by_role("region", name="The way of a request through services")
        expect(way.get_by_role("row").nth(1)).to_contain_text("POST /checkout")

        assert calls(way) == {
            ("shop", "POST /checkout"): 1.0,
            ("shop", "GET /sale"): 3.0,
            ("cart", "GET /items"): 1.0,
            ("cart", "GET /sold"): 1.0,
            ("price", "GET /price"): 3.0,
        }
        expect(page.locator(".facts")).to_contain_text(f"{CHECKOUTS} requests began it")
        expect(page.locator(".total")).to_contain_text("a request")
        way.get_by_role("link", name="GET /price").click()
        whose = page.get_by_role("region", name="On whose behalf GET /price works")
        expect(whose.get_by_role("row", name="POST /checkout")).to_be_visible()
        expect(whose.get_by_role("row", name="itself")).to_contain_text("5")
        visitor.context.close()
        assert visitor.problems == []


def calls(way: Locator) -> dict[tuple[str, str], float]:
    """How often a request that begins the chain calls each endpoint."""
    rows = way.locator("tbody tr")
    return {
        (row.locator(".of").inner_text(), row.locator("th a").inner_text()): float(
            row.locator("[data-label='Calls a request']").inner_text()
        )
        for row in rows.all()
    }
