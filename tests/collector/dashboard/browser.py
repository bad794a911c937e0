"""A headless Chromium as the tests drive it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NEEDED = "no Chromium on this machine: apt-get install chromium"


def executable() -> str | None:
    """The Chromium of this machine; None where it has none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


AXE = Path(__file__).parent / "axe" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def complaints(page: Page, scheme: Literal["light", "dark"]) -> list[str]:
    """What axe finds wrong with a page by WCAG 2.2 A and AA, in light or in dark."""
    page.emulate_media(color_scheme=scheme)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(
        "async levels => (await axe.run({runOnly: levels})).violations"
        ".map(one => one.id + ': ' + one.nodes.map(node => node.html).slice(0, 3).join(' | '))",
        LEVELS,
    )
    return found


class Visitor:
    """Somebody with a browser window, who notes what goes wrong in it.

    Args:
        browser: The browser.
        address: Of the collector.
        wanted: How the window is: viewport, colour scheme, time zone.
    """

    def __init__(self, browser: Browser, address: str, **wanted: Any) -> None:
        self.address = address
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **wanted})
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: self._note(said.type, said.text))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(text)

    def go(self, path: str) -> Page:
        """Open a page of the dashboard and wait until its charts are drawn."""
        self.page.goto(f"{self.address}/dashboard/{path}")
        expect(self.page.locator(".wait:visible")).to_have_count(0)
        return self.page


Visit = Callable[..., Visitor]
