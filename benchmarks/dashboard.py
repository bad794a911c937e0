"""How soon the dashboard is painted over many records, and whether a page with 200 endpoints stays smooth.

A collector is filled with a month of minutes of three services, one of them with 200 endpoints; then a headless
Chromium opens its pages, each time with an empty cache. Prints one table.

    python benchmarks/dashboard.py                       a million records, about two minutes
    python benchmarks/dashboard.py --records 10000000    about ten minutes
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import zstandard
from playwright.sync_api import Browser, Page, sync_playwright

SERVICES = {"catalogue": 200, "billing": 18, "search": 12}
ENDPOINTS = sum(SERVICES.values())
BATCH_MINUTES = 20
RUNS = 9
COLUMNS = "application/vnd.carbon-sdk.columns+json"
OBSERVER = """
window.painted = 0;
new PerformanceObserver(list => { window.painted = list.getEntries().at(-1).startTime; })
    .observe({type: 'largest-contentful-paint', buffered: true});
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


def bodies(records: int) -> Iterator[bytes]:
    """Compressed batches, the oldest first, of about so many records up to now."""
    minutes = max(records // ENDPOINTS, BATCH_MINUTES)
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=minutes)
    packer = zstandard.ZstdCompressor(level=1)
    for minute in range(0, minutes, BATCH_MINUTES):
        span = min(BATCH_MINUTES, minutes - minute)
        for number, (service, endpoints) in enumerate(SERVICES.items()):
            made = batch(service, number, start + timedelta(minutes=minute), span, minute * endpoints)
            yield packer.compress(json.dumps(made).encode())


def fill(client: httpx.Client, records: int) -> int:
    """Send them, and wait until queries see them."""
    stored = 0
    for body in bodies(records):
        while True:
            answer = client.post(
                "/v1/emissions", content=body, headers={"content-type": COLUMNS, "content-encoding": "zstd"}
            )
            if answer.status_code != 503:
                break
            time.sleep(0.5)
        stored += int(answer.json()["stored"])
    while "records_waiting 0\n" not in client.get("/metrics").text:
        time.sleep(0.1)
    return stored


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


def used(browser: Browser, address: str) -> float:
    """CPU milliseconds of the longest task while somebody sorts by each column, filters, hovers and scrolls."""
    page = _page(browser)
    page.goto(address)
    page.locator(".chart canvas").nth(2).wait_for()
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
    page.context.close()
    return longest


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


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="to store first")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="carbon-dashboard-"))
    command = [sys.executable, "-m", "carbon_sdk.collector", "serve", "--port", "0", "--data", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while '"collector_started"' not in (line := process.stderr.readline() or sys.exit("it did not start")):
            pass
        address = json.loads(line)["url"]
        client = httpx.Client(base_url=address, trust_env=False, timeout=60.0)
        print(f"{fill(client, arguments.records):,} records, {ENDPOINTS} endpoints\n")
        print("| what | median ms | greatest ms |\n|---|---|---|")
        overview, service = "/dashboard/?period=30d", "/dashboard/service?service=catalogue&period=30d"
        print(shown("overview of 30 days, at the server", served(client, overview)))
        print(shown("service of 200 endpoints, at the server", served(client, service)))
        with sync_playwright() as playwright:
            found = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            for name, path in (("overview", overview), ("service of 200 endpoints", service)):
                paints, charts, longest = painted(browser, f"{address}{path}")
                print(shown(f"{name}, painted", paints))
                print(shown(f"{name}, charts drawn", charts))
                print(f"| {name}, longest task while loading, CPU | | {longest:.0f} |")
            longest = used(browser, f"{address}{service}")
            print(f"| sorting, filtering, hovering, scrolling there, longest task, CPU | | {longest:.0f} |")
            browser.close()
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
