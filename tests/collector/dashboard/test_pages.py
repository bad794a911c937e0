"""The pages as a browser without a script gets them."""

import html
import json
import re
from collections.abc import Callable

import pytest

from tests.collector.service import Collector

ENDPOINT = "service=billing&endpoint=POST+/invoices/%7Bid%7D&period=7d"
PAGES = [
    "",
    "?period=7d",
    "?from=2026-01-01&to=2026-01-02",
    "?period=never",
    "service?service=billing&period=7d",
    f"endpoint?{ENDPOINT}",
    "chains?period=7d",
    "chain?root_service=shop&root_endpoint=POST+/checkout&period=7d",
    "machines?period=7d",
    "compare?period=24h",
    "report?period=7d",
    "records?period=7d",
]


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_inline_and_nothing_comes_from_another_host(company: Collector, page: str) -> None:
    """The policy forbids it, and no page tries."""
    answer = company.client.get(f"/dashboard/{page}")
    policy = answer.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "//" not in policy
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>|javascript:", answer.text)
    loaded = re.findall(r'(?:src|<link rel="\w+" href)="([^"#]+)"', answer.text)
    assert loaded
    assert all(link.startswith("/") for link in loaded)


def test_files_are_kept_by_browsers_under_a_name_that_changes_with_them(company: Collector) -> None:
    """Scripts, styles and the chart library come from here."""
    links = re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', company.client.get("/dashboard/").text)

    assert any(link.endswith("uPlot.iife.min.js") for link in links)
    for link in links:
        answer = company.client.get(link)
        assert answer.status_code == 200, link
        assert "immutable" in answer.headers["cache-control"]


def test_the_overview_says_what_the_api_says(company: Collector) -> None:
    """Total, order of services and endpoints."""
    rows = company.ask("/v1/reports/services")["rows"]
    page = company.client.get("/dashboard/", params={"period": "7d"}).text
    places = [page.index(f">{row['key']['service']}</a>") for row in rows]

    assert places == sorted(places)
    assert page.index("POST /invoices/{id}</a>") < page.index("GET /items/{id}</a>")
    assert "counter · measured" in page
    assert "model · static" in page


def test_a_trend_is_told_only_against_a_time_that_has_records(company: Collector) -> None:
    """The company has nine days: yesterday can be compared with the day before, this week not with the last one."""
    day, week = (company.client.get("/dashboard/", params={"period": period}).text for period in ("24h", "7d"))

    assert "against the time before" in day
    assert "against the time before" not in week


def test_the_records_behind_a_figure_are_its_records(company: Collector) -> None:
    """All pages of them add up to the figure, and the files hold the same."""
    page = company.client.get(f"/dashboard/endpoint?{ENDPOINT}").text
    link = re.search(r'class="button" href="([^"]+)">The records behind', page)
    assert link is not None
    following, seen = html.unescape(link[1]), 0
    while following:
        page = company.client.get(following).text
        seen += page.count("<summary>all</summary>")
        later = re.search(r'class="button" href="([^"]+)">Later records', page)
        following = html.unescape(later[1]) if later else ""
    files = dict(re.findall(r'<a href="(/dashboard/v1/records[^"]+)">(\w+)</a>', page))
    (lines,) = [company.client.get(html.unescape(href)).text for href, form in files.items() if form == "ndjson"]

    assert seen == len(lines.splitlines()) > 100
    assert {json.loads(line)["root"] for line in lines.splitlines()} == {"POST /invoices/{id}"}


def test_the_endpoint_page_says_why(company: Collector) -> None:
    """The part that weighs most, by name."""
    page = company.client.get(f"/dashboard/endpoint?{ENDPOINT}").text

    assert "the span “render pdf”" in page
    assert page.index("render pdf") < page.index("its own code")


def test_the_books_of_a_service_add_up_on_its_page(company: Collector) -> None:
    """The shares of the parts are a whole, and the whole is what the machines measured."""
    page = company.client.get("/dashboard/service?service=billing&period=7d").text
    widths = [float(width) for width in re.findall(r'<rect class="book-\w+" x="[\d.]+%" width="([\d.]+)%"', page)]

    assert sum(widths) == pytest.approx(100.0, abs=0.05)
    assert "Measured on all machines" in page


def test_the_week_of_a_service_comes_after_the_page_or_with_it(company: Collector) -> None:
    """A browser with a script asks for the map by itself; without one there is a link."""
    page = company.client.get("/dashboard/service?service=billing&period=7d").text
    source = re.search(r'data-fragment="([^"]+)"', page)
    link = re.search(r'<noscript><p><a href="([^"]+)">', page)
    assert source is not None
    assert link is not None
    later, with_it = (company.client.get(html.unescape(found[1])).text for found in (source, link))

    assert "data-heat" not in page
    assert later.count("<td class=") == with_it.count("<td class=") - with_it.split("data-heat")[0].count("<td class=")
    assert later.count('class="heat-') >= 7 * 24


def test_each_machine_stands_once(company: Collector) -> None:
    """Two services of one machine both report it."""
    page = company.client.get("/dashboard/machines?period=7d").text

    assert page.count(f"<code>{'a' * 12}</code>") == 1
    assert page.count(f"<code>{'b' * 12}</code>") == 1


def test_the_report_is_a_page_and_three_files(company: Collector) -> None:
    """The page loads nothing and allows nothing but its own styles; whole days, whatever the period."""
    asked = {"period": "24h", "operator": "own"}
    page = company.client.get("/dashboard/report", params={**asked, "format": "html"})
    told = company.client.get("/dashboard/report", params={**asked, "format": "json"}).json()
    csv, book = (company.client.get("/dashboard/report", params={**asked, "format": form}) for form in ("csv", "xlsx"))

    assert "style-src 'sha256-" in page.headers["content-security-policy"]
    assert told["sha256"] in page.text
    assert told["sha256"] in csv.text
    assert book.content.startswith(b"PK")
    assert "attachment" in book.headers["content-disposition"]
    for wrong in ({"format": "doc"}, {"format": "html", "operator": "nobody"}):
        assert company.client.get("/dashboard/report", params=wrong).status_code == 400


def test_an_empty_collector_says_how_to_send_the_first_record(start: Callable[..., Collector]) -> None:
    """With its own address, ready to be copied."""
    collector = start()
    answer = collector.client.get("/", follow_redirects=True)

    assert answer.status_code == 200
    assert f"CARBON_SDK_COLLECTOR_URL={collector.client.base_url}".rstrip("/") in answer.text


def test_a_period_without_records_says_where_there_are_some(company: Collector) -> None:
    """It links to all of them."""
    page = company.client.get("/dashboard/", params={"from": "2025-01-01", "to": "2025-01-02"}).text
    link = re.search(r'href="([^"]+)">Show all of them', page)

    assert "Nothing in this period" in page
    assert link is not None
    assert "POST /invoices/{id}" in company.client.get(link[1].replace("&amp;", "&")).text


@pytest.mark.parametrize("asked", [{"period": "fortnight"}, {"tz": "Mars/Olympus"}, {"project": "../etc"}])
def test_a_wrong_question_is_answered_by_a_page_that_says_why(company: Collector, asked: dict[str, str]) -> None:
    """Status 400, in words."""
    answer = company.client.get("/dashboard/", params=asked)

    assert answer.status_code == 400
    assert next(iter(asked)) in answer.text
    assert "Back to the overview" in answer.text


def test_names_from_outside_are_text_and_never_markup(start: Callable[..., Collector]) -> None:
    """A service may be called anything."""
    from tests.collector.service import emission

    collector = start()
    collector.send([emission(0, service="<script>alert(1)</script>", root='GET /"><img src=x onerror=alert(1)>')])
    collector.ask("/v1/reports/totals")
    page = collector.client.get("/dashboard/").text

    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
