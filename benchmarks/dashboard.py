"""How soon the dashboard is painted over many records while more come in, and whether a large page stays smooth.

A store is filled with a month of minutes of three services, one of them with 200 endpoints; then a headless Chromium
opens its pages, each time with an empty cache, while the services go on sending. Prints one table.

    python -m benchmarks.dashboard                       ten million records, about four minutes
    python -m benchmarks.dashboard --records 1000000     one million
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import zstandard
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.filled import fill

SERVICES = {"catalogue": 200, "billing": 18, "search": 12}
ENDPOINTS = sum(SERVICES.values())
LIVE = 99
"""Number of the instance that sends while pages are asked for."""
BATCH_MINUTES = 20
RUNS = 9
COLUMNS = "application/vnd.carbon-sdk.columns+json"
OBSERVER = """
window.painted = 0;
new PerformanceObserver(list => { window.painted = list.getEntries().at(-1).startTime; })
    .observe({type: 'largest-contentful-paint', buffered: true});
window.long = [];
new PerformanceObserver(list => window.long.push(...list.getEntries().map(one => [one.startTime, one.duration])))
    .observe({type: 'longtask', buffered: true});
"""
TRACED = ["toplevel", "devtools.timeline"]


def batch(service: str, number: int, first: datetime, minutes: int, sequence: int) -> dict[str, Any]:
    """So many minutes of all endpoints of a service, as columns."""
    endpoints = SERVICES[service]
    rows = [(minute, endpoint) for minute in range(minutes) for endpoint in range(endpoints)]
    starts = [first + timedelta(minutes=minute) for minute in range(minutes)]
    texts = [f"{start:%Y-%m-%dT%H:%M:%S.000000Z}" for start in (*starts, starts[-1] + timedelta(minutes=1))]
    busy = [0.3 + 0.7 * math.sin((start.hour * 60 + start.minute) / 1440 * math.pi) for start in starts]
    joules = [(2.0 + endpoint * 37 % 101) * busy[minute] for minute, endpoint in rows]
    names = [f"GET /{service}/{endpoint:03d}/{{item}}" for _, endpoint in rows]
    return {
        "instance": f"{number:016x}",
        "machine": f"{number:016x}",
        "service": service,
        "sequence": list(range(sequence, sequence + len(rows))),
        "kind": "request",
        "root": names,
        "name": names,
        "window_start": [texts[minute] for minute, _ in rows],
        "window_end": [texts[minute + 1] for minute, _ in rows],
        "meter": "powercap",
        "meter_scope": "machine",
        "basis": "powercap: package-0, dram",
        "idle_rule": "learnt",
        "requests": [3 + endpoint % 40 for _, endpoint in rows],
        "cpu_seconds": [one / 17.0 for one in joules],
        "energy_joules": joules,
        "energy_method": "counter",
        "emissions_g": [one / 3.6e6 * 312.5 for one in joules],
        "intensity_g_per_kwh": 312.5,
        "intensity_source": "electricity_maps",
        "intensity_quality": "measured",
        "intensity_signal": "average",
        "intensity_scope": "lifecycle",
        "zone": "DE",
        "place": "DE",
        "release": "2026.3.1",
    }


class Ingest(threading.Thread):
    """Sends what the services go on measuring, so many records a second, until it is stopped.

    Args:
        address: The collector's.
        rate: Records a second; 0: none.
    """

    def __init__(self, address: str, rate: float) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=address, trust_env=False, timeout=60.0)
        self._rate = rate
        self._end = threading.Event()
        self.sent = 0

    def run(self) -> None:
        packer = zstandard.ZstdCompressor(level=1)
        service = next(iter(SERVICES))
        headers = {"content-type": COLUMNS, "content-encoding": "zstd"}
        started = time.monotonic()
        while self._rate and not self._end.wait(max(self.sent / self._rate - (time.monotonic() - started), 0.0)):
            first = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=BATCH_MINUTES)
            made = batch(service, LIVE, first, BATCH_MINUTES, self.sent)
            answer = self._client.post(
                "/v1/emissions", content=packer.compress(json.dumps(made).encode()), headers=headers
            )
            if answer.status_code == 200:
                self.sent += int(answer.json()["stored"])

    def stop(self) -> None:
        """Send no more."""
        self._end.set()
        self.join()


def served(client: httpx.Client, path: str) -> list[float]:
    """Milliseconds until the whole page is there, without a browser."""
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        client.get(path).raise_for_status()
        times.append((time.perf_counter() - started) * 1e3)
    return times


def painted(browser: Browser, address: str) -> tuple[list[float], list[float], float]:
    """Milliseconds until the largest content is painted, until the charts are drawn; CPU ms of the longest task."""
    paints, charts, longest = [], [], 0.0
    for _ in range(RUNS):
        page = _page(browser)
        page.goto(address)
        page.locator(".chart canvas").nth(2).wait_for()
        charts.append(float(page.evaluate("performance.now()")))
        paints.append(float(page.evaluate("window.painted")))
        page.context.close()
    page = _page(browser)
    browser.start_tracing(page=page, categories=TRACED)
    page.goto(address)
    page.locator(".chart canvas").nth(2).wait_for()
    page.wait_for_timeout(300)
    longest = _longest(browser)
    page.context.close()
    return paints, charts, longest


def used(browser: Browser, address: str) -> tuple[float, float]:
    """Milliseconds of the longest task while somebody sorts by each column, filters, hovers and scrolls.

    Returns:
        By CPU time, which other work on the machine does not lengthen, and as a PerformanceObserver sees it;
        that one sees none below 50 ms.
    """
    page = _page(browser)
    page.goto(address)
    page.locator(".chart canvas").nth(2).wait_for()
    page.evaluate("window.long = []")
    browser.start_tracing(page=page, categories=TRACED)
    for button in page.locator(".sort").all():
        button.click()
        button.click()
    page.get_by_role("searchbox").press_sequentially("/17")
    page.get_by_role("searchbox").fill("")
    for mark in page.locator("a.mark:visible").all()[:20]:
        mark.hover()
    for _ in range(20):
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(30)
    longest = _longest(browser)
    observed = page.evaluate("Math.max(0, ...window.long.map(one => one[1]))")
    page.context.close()
    return longest, float(observed)


def _page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(OBSERVER)
    return page


def _longest(browser: Browser) -> float:
    """CPU milliseconds, which other work on the machine does not lengthen, of the longest task of a page's thread."""
    events = json.loads(browser.stop_tracing())["traceEvents"]
    pages = {
        (one["pid"], one["tid"])
        for one in events
        if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    tasks = (one for one in events if (one["pid"], one["tid"]) in pages and one["name"].endswith("RunTask"))
    return max(float(one.get("tdur", 0)) / 1e3 for one in tasks)


def shown(name: str, values: Sequence[float]) -> str:
    """One line of the table."""
    return f"| {name} | {statistics.median(values):.0f} | {max(values):.0f} |"


def measure(address: str) -> None:
    """Ask for the pages and print the rows."""
    client = httpx.Client(base_url=address, trust_env=False, timeout=60.0)
    print("| what | median ms | greatest ms |\n|---|---|---|")
    overview, service = "/dashboard/?period=30d", "/dashboard/service?service=catalogue&period=30d"
    for name, path in (
        ("overview of 30 days, at the server", overview),
        ("overview of 24 hours, at the server", "/dashboard/?period=24h"),
        ("service of 200 endpoints, at the server", service),
        ("chains of calls, at the server", "/dashboard/chains?period=30d"),
    ):
        print(shown(name, served(client, path)), flush=True)
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, path in (("overview", overview), ("service of 200 endpoints", service)):
            paints, charts, longest = painted(browser, f"{address}{path}")
            print(shown(f"{name}, painted", paints))
            print(shown(f"{name}, charts drawn", charts))
            print(f"| {name}, longest task while loading, CPU | | {longest:.0f} |", flush=True)
        longest, observed = used(browser, f"{address}{service}")
        print(f"| sorting, filtering, hovering, scrolling there, longest task, CPU | | {longest:.0f} |")
        print(f"| the same by PerformanceObserver (0: none of 50 ms or more) | | {observed:.0f} |")
        browser.close()


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000, help="to store first")
    parser.add_argument("--ingest", type=float, default=5_000.0, help="records a second that come in meanwhile")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="carbon-dashboard-"))
    started = time.monotonic()
    records = fill(folder, arguments.records, SERVICES)
    print(f"{records:,} records, {ENDPOINTS} endpoints, written in {time.monotonic() - started:.0f} s", flush=True)
    command = [sys.executable, "-m", "carbon_sdk.collector", "serve", "--port", "0", "--data", str(folder)]
    process = subprocess.Popen([*command, "--requests-per-second", "1000"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while '"collector_started"' not in (line := process.stderr.readline() or sys.exit("it did not start")):
            pass
        address = json.loads(line)["url"]
        ingest = Ingest(address, arguments.ingest)
        ingest.start()
        time.sleep(5.0)
        began, sent = time.monotonic(), ingest.sent
        measure(address)
        rate = (ingest.sent - sent) / (time.monotonic() - began)
        ingest.stop()
        print(f"\n{rate:,.0f} records a second came in meanwhile")
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
