"""The dashboard as people meet it: in a browser, with a mouse, with the keyboard, on a phone, on a wall."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from carbon_sdk.collector.access import Tokens
from carbon_sdk.collector.server import TOKENS
from tests.collector.dashboard.browser import NEEDED, Visit, Visitor, chromium, complaints, executable
from tests.collector.dashboard.conftest import END
from tests.collector.service import Collector, emission

pytestmark = pytest.mark.skipif(executable() is None, reason=NEEDED)

Start = Callable[..., Collector]
ENDPOINT = "endpoint?service=billing&endpoint=POST+/invoices/%7Bid%7D&period=7d"
CHAIN = "chain?root_service=shop&root_endpoint=POST+/checkout&period=7d"
PAGES = [
    "?period=7d",
    "service?service=shop&period=7d",
    ENDPOINT,
    "chains?period=7d",
    CHAIN,
    "machines?period=7d",
    "compare?period=24h",
    "records?period=24h",
    "report?period=7d",
]
PAPER = "report?period=7d&operator=own&format=html"
TROUBLE = ["?period=never", "?from=2025-01-01&to=2025-01-02"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for this module."""
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, company: Collector) -> Iterator[Visit]:
    """Opens windows, and fails where one saw an error that its test did not provoke."""
    visitors: list[Visitor] = []

    def come(**wanted: Any) -> Visitor:
        visitors.append(Visitor(browser, str(company.client.base_url).rstrip("/"), **wanted))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.context.close()
        assert visitor.problems == []


def test_three_clicks_lead_to_the_endpoint_that_emits_most_and_why(visit: Visit) -> None:
    """Overview, period, endpoint: somebody who has never seen it reads the reason."""
    page = visit().go("")

    page.get_by_role("link", name="7d", exact=True).click()
    most = page.get_by_role("region", name="Endpoints that emit most").get_by_role("row").nth(1)
    expect(most).to_contain_text("billing")
    most.get_by_role("link", name="POST /invoices/{id}").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("POST /invoices/{id}")
    expect(page.locator(".reasons")).to_contain_text("times the mean of the service")
    expect(page.locator(".reasons")).to_contain_text("is the span “render pdf”")
    page.get_by_role("link", name="The records behind this page").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("POST /invoices/{id}")


@pytest.mark.parametrize("path", [*PAGES, PAPER, *TROUBLE])
def test_axe_finds_nothing_to_complain_about(visit: Visit, path: str) -> None:
    """WCAG 2.2 A and AA, contrast among them, in light and in dark."""
    visitor = visit()
    page = visitor.go(path)
    assert [complaints(page, scheme) for scheme in ("light", "dark")] == [[], []]
    if path in TROUBLE:
        visitor.problems.clear()  # the browser notes the status 400


def test_axe_finds_nothing_on_an_empty_collector_and_at_its_door(browser: Browser, start: Start) -> None:
    """The first pages that somebody sees."""
    collector = start()
    visitor = Visitor(browser, str(collector.client.base_url).rstrip("/"))
    empty = [complaints(visitor.go(""), scheme) for scheme in ("light", "dark")]
    Tokens(collector.folder / TOKENS).make("default", ["read"])
    page = visitor.go("")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")

    assert empty == [[], []]
    assert [complaints(page, scheme) for scheme in ("light", "dark")] == [[], []]
    visitor.context.close()


@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_wider_than_its_window(visit: Visit, path: str) -> None:
    """From a phone to a wall; nothing to scroll sideways, no text that leaves its card."""
    page = visit().go(path)
    for width in (360, 768, 1024, 1280, 3840):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        inner = page.evaluate("document.documentElement.clientWidth")
        beyond = page.evaluate(
            "[...document.querySelectorAll('body *')].filter(one => one.checkVisibility() && !one.closest('svg, "
            ".hidden, .skip') && one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"
            ".map(one => one.outerHTML.slice(0, 80))"
        )

        assert (width, beyond) == (width, [])
        assert page.evaluate("document.documentElement.scrollWidth") <= inner
        inside = "[...document.querySelectorAll('.scroll')].map(one => one.scrollWidth - one.clientWidth)"
        assert (width, max(page.evaluate(inside), default=0)) <= (width, 1)


def note(page: Page) -> Any:
    return page.locator("#known-note")


def test_a_figure_says_on_focus_and_on_hover_how_it_is_known(visit: Visit) -> None:
    """Method, quality, low and high; Escape puts it away; Enter follows to the records."""
    page = visit().go("service?service=search&period=7d")
    expect(note(page)).to_be_hidden()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('fact')"):
            break

    expect(note(page)).to_contain_text("modelled from CPU use")
    expect(note(page)).to_contain_text("yearly average")
    expect(note(page)).to_contain_text("between")
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "known-note"
    page.keyboard.press("Escape")
    expect(note(page)).to_be_hidden()
    page.locator("a.mark").first.hover()
    expect(note(page)).to_contain_text("yearly average")
    page.locator(".fact").first.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Records")


def test_the_endpoints_are_ordered_and_narrowed(visit: Visit) -> None:
    """By any column, up and down, with keys alone; by a word."""
    page = visit().go("service?service=shop&period=7d")
    table = page.get_by_role("region", name="Endpoints and jobs of shop")
    names = table.locator("tbody th a")
    before = names.all_inner_texts()
    button = table.get_by_role("button", name="Requests")
    button.focus()
    page.keyboard.press("Enter")
    ordered = names.all_inner_texts()
    page.keyboard.press("Enter")

    assert before[0] == "GET /items/{id}"
    assert ordered[:2] == ["GET /items/{id}", "GET /"]
    assert names.all_inner_texts() == ordered[::-1]
    expect(button.locator("..")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("searchbox").fill("search")
    assert [name.inner_text() for name in names.all() if name.is_visible()] == ["GET /search"]
    expect(page.locator("[data-count]")).to_have_text("1 match")


def test_a_long_table_shows_its_first_rows_until_all_are_asked_for(browser: Browser, start: Start) -> None:
    """The first in whatever order; what is looked for is found among all."""
    collector = start()
    collector.send([emission(n, root=f"GET /{n:02d}", name=f"GET /{n:02d}", joules=100.0 - n) for n in range(60)])
    collector.ask("/v1/reports/totals")
    visitor = Visitor(browser, str(collector.client.base_url).rstrip("/"))
    page = visitor.go("service?service=shop&period=7d")
    seen = page.locator(".sheet[data-sortable] tbody tr:visible")

    expect(seen).to_have_count(25)
    page.get_by_role("button", name="Endpoint or job").click()
    page.get_by_role("button", name="Endpoint or job").click()
    expect(seen).to_have_count(25)
    expect(seen.first).to_contain_text("GET /59")
    page.get_by_role("searchbox").fill("/3")
    expect(seen).to_have_count(10)
    page.get_by_role("searchbox").fill("")
    expect(seen).to_have_count(25)
    page.get_by_role("link", name="Show all 60").click()
    expect(seen).to_have_count(60)
    visitor.context.close()
    assert visitor.problems == []


def test_the_week_is_walked_with_the_arrow_keys(visit: Visit) -> None:
    """One stop of the Tab key; each hour says what it holds."""
    page = visit().go("service?service=shop&period=7d")
    page.locator(".heat td[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")

    expect(note(page)).to_contain_text("Tue 1:00 – 2:00")
    assert page.locator(".heat td[tabindex='0']").count() == 1


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_day_is_one_day_in_axis_note_table_file_and_answer(visit: Visit, company: Collector, zone: str) -> None:
    """At UTC+14 and at UTC-11, each day that the viewer sees is the viewer's own, everywhere with one sum."""
    day = (END - timedelta(days=4)).astimezone(ZoneInfo(zone)).date()
    first, last = day - timedelta(days=10), day + timedelta(days=2)
    visitor = visit(timezone_id=zone)
    visitor.go("").wait_for_load_state("networkidle")  # the zone is learnt, the page comes once more
    page = visitor.go(f"?from={first}&to={last}")
    page.get_by_text("The numbers").click()
    row = page.locator("[data-numbers] tbody tr", has_text=f"{day.day} {day:%b %Y}")
    texts = row.locator("td").all_inner_texts()
    series = page.evaluate("fetch(document.querySelector('[data-chart]').dataset.chart).then(one => one.json())")
    at = next(n for n, name in enumerate(series["names"]) if f"{day.day} {day:%b %Y}" in name)
    file = page.evaluate("fetch(document.querySelector('.numbers a').href).then(one => one.text())")
    start = datetime.combine(day, datetime.min.time(), tzinfo=ZoneInfo(zone))
    rows = {line["start"]: line for line in csv.DictReader(io.StringIO(file))}
    line = rows[f"{start.astimezone(ZoneInfo('UTC')):%Y-%m-%dT%H:%M:%S.000000Z}"]
    answer = company.ask(
        "/v1/reports/totals", **{"from": start.isoformat(), "to": (start + timedelta(days=1)).isoformat()}
    )
    energy = next(panel for panel in series["panels"] if panel["title"] == "Energy")
    joules = energy["values"][at] * {"Wh": 3.6e3, "kWh": 3.6e6}[energy["unit"]]
    page.locator(".u-over").first.scroll_into_view_if_needed()
    box = page.locator(".u-over").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * (at + 0.5) / len(series["names"]), box["y"] + 20)

    assert joules == pytest.approx(float(line["energy_joules"]), rel=1e-5)
    assert joules == pytest.approx(answer["rows"][0]["energy_joules"], rel=1e-5)
    assert energy["texts"][at] in texts
    assert series["ticks"][at][0] == f"{day.day} {day:%b}"
    expect(page.locator(".panel-title output").nth(1)).to_have_text(f"{day:%a} {day.day} {day:%b %Y}: {texts[1]}")


def test_the_viewers_zone_is_learnt_at_the_first_visit(visit: Visit) -> None:
    """Days are the viewer's without a question; an address that names a zone stands above it."""
    visitor = visit(timezone_id="Australia/Adelaide")
    page = visitor.page
    page.goto(f"{visitor.address}/dashboard/?period=7d")
    expect(page.locator("footer")).to_contain_text("Australia/Adelaide")
    page.goto(page.url.split("?")[0] + "?period=7d&tz=America/New_York")
    expect(page.locator("footer")).to_contain_text("America/New_York")
    for link in page.locator("main a[href*='/dashboard/service']").all():
        assert "tz=America%2FNew_York" in (link.get_attribute("href") or "")


def test_a_chart_that_is_late_says_so_and_one_that_fails_can_be_asked_again(visit: Visit) -> None:
    """Loading, failed, and drawn at the second attempt; the figures around it stand all the while."""
    visitor = visit()
    page = visitor.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/dashboard/series*", hold)
    page.goto(f"{visitor.address}/dashboard/?period=7d")
    expect(page.locator(".chart")).to_contain_text("being loaded")
    expect(page.locator(".fact").first).to_be_visible()
    held[0].fulfill(status=503, json={"error": "the store is busy"})
    expect(page.get_by_role("alert")).to_contain_text("the store is busy")
    page.unroute("**/dashboard/series*")
    page.get_by_role("button", name="Try again").click()

    expect(page.locator(".chart canvas")).to_have_count(3)
    visitor.problems.clear()  # the browser notes the status 503


def test_a_period_is_chosen_by_two_dates(visit: Visit) -> None:
    """From the keyboard; Escape folds the form in again, and the next page shows those days."""
    page = visit().go("?period=7d")
    page.locator(".custom summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("From")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_label("From")).to_be_hidden()
    page.keyboard.press("Enter")
    day = (END - timedelta(days=2)).date()
    page.get_by_label("From").fill(day.isoformat())
    page.get_by_label("To", exact=True).fill(day.isoformat())
    page.get_by_role("button", name="Show").click()

    expect(page.locator(".custom summary").first).to_have_text(f"{day.day} {day:%b %Y}")
    assert f"from={day}" in page.url


def test_light_dark_or_what_the_system_says_is_chosen_once_for_all_pages(visit: Visit) -> None:
    """The list in the corner; a later page comes in that colour at once, and as the system says is a choice too."""
    page = visit(color_scheme="light").go("?period=7d")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Colours").select_option("Dark")
    dark = page.evaluate(ground)
    page.get_by_role("link", name="Machines").click()

    assert page.evaluate(ground) == dark != light
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_label("Colours")).to_have_value("dark")
    page.get_by_label("Colours").select_option("As the system")
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark
    expect(page.get_by_label("Colours")).to_have_value("")


def test_without_a_script_every_figure_is_there(visit: Visit) -> None:
    """The script adds charts, notes and sorting, nothing that is said nowhere else."""
    visitor = visit(java_script_enabled=False)
    page = visitor.page
    page.goto(f"{visitor.address}/dashboard/?period=7d")

    expect(page.locator(".fact").first).to_contain_text(re.compile(r"\d"))
    expect(page.get_by_role("link", name="POST /invoices/{id}").first).to_be_visible()
