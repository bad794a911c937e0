"""Dashboard and rules: what is in the repository is what is generated, and a real Prometheus answers all of it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from carbon_sdk.budgets import budgets_of
from carbon_sdk.cli import main
from carbon_sdk.demo.drive import free_port, send_traffic, start_service
from carbon_sdk.monitoring.grafana import dashboard
from carbon_sdk.monitoring.series import SERIES, Series
from carbon_sdk.spending import Spending
from tests.sinks.totals import total, totals

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "docs" / "monitoring" / "rules.yml"
GRAFANA = ROOT / "docs" / "monitoring" / "grafana.json"
BUDGETS = '[[budget]]\nname = "day"\njoules_per_day = 1000\n'
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not here: apt-get install prometheus"
)


@pytest.mark.parametrize(("what", "file"), [("rules", RULES), ("grafana", GRAFANA)])
def test_the_files_are_what_the_command_prints(what: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody edits them by hand."""
    assert main(["monitoring", what]) == 0
    assert capsys.readouterr().out == file.read_text(encoding="utf-8")


def test_every_panel_asks_the_chosen_source_and_none_lies_over_another() -> None:
    """An import needs nothing but a data source."""
    panels = dashboard()["panels"]
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]

    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(SERIES)
    for panel in panels:
        (target,) = panel["targets"]
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert 'job=~"$job"' in target["expr"]


@needs_prometheus
def test_promtool_accepts_the_rules_and_finds_that_they_say_what_is_meant(tmp_path: Path) -> None:
    """`promtool check rules` and `promtool test rules`."""
    for file in (RULES, Path(__file__).parent / "rules.test.yml"):
        shutil.copy(file, tmp_path)
    for words in (["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]):
        done = subprocess.run(["promtool", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A Prometheus that scrapes the demo and a worker each second.

    Args:
        folder: Its data.
        targets: Ports by job.
    """

    def __init__(self, folder: Path, targets: dict[str, int]) -> None:
        self.port = free_port()
        scrapes = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ]
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({"global": every, "rule_files": [str(RULES)], "scrape_configs": scrapes}))
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stderr=subprocess.DEVNULL,
        )

    def ask(self, path: str, **asked: str) -> Any:
        """The data of an answer; None while it does not answer."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=asked, trust_env=False)
        except httpx.TransportError:
            return None
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]

    def rows(self, expression: str) -> list[Any]:
        """What a query answers, once it answers something; empty after a minute without."""
        end = time.monotonic() + 60
        while True:
            data = self.ask("query", query=expression)
            found: list[Any] = data["result"] if data is not None else []
            if found or time.monotonic() > end:
                return found
            time.sleep(0.25)


@pytest.fixture(scope="module")
def demo_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def prometheus(demo_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "budgets.toml").write_text(BUDGETS)
    spent = Spending(
        budgets_of(folder / "budgets.toml"), service="demo", folder=folder / "state", tell=print, fault=print
    )
    spent.update(totals(total(package=1.0), at=datetime.now(UTC) - timedelta(minutes=2)))
    worker_port = free_port()
    settings = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "CARBON_SDK_SINKS": "prometheus",
        "CARBON_SDK_ZONE": "DE",
        "CARBON_SDK_STATE_DIR": str(folder / "state"),
    }
    with ExitStack() as stack:
        port = free_port()
        demo = {"CARBON_SDK_SERVICE": "demo", "CARBON_SDK_BUDGETS": str(folder / "budgets.toml")}
        service = start_service(port, {**settings, **demo, "CARBON_SDK_PROMETHEUS_PORT": str(demo_port)})
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.monitoring.worker"],
            env={**settings, "CARBON_SDK_PROMETHEUS_PORT": str(worker_port)},
            stderr=subprocess.DEVNULL,
        )
        found = Prometheus(folder, {"demo": demo_port, "worker": worker_port})
        for process in (service, worker, found.process):
            stack.callback(process.communicate)
            stack.callback(process.kill)
        stopping = threading.Event()
        visiting = threading.Thread(target=visit, args=(port, service, stopping))
        visiting.start()
        stack.callback(visiting.join)
        stack.callback(stopping.set)
        yield found


def visit(port: int, service: "subprocess.Popen[str]", stopping: threading.Event) -> None:
    """Traffic until told to stop."""
    while not stopping.is_set():
        asyncio.run(send_traffic(port, 0.5, service))


@needs_prometheus
@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.title)
def test_every_panel_and_every_recorded_series_has_rows(prometheus: Prometheus, series: Series) -> None:
    """Over the demo and a worker, as Grafana would ask; and each is a number."""
    rows = prometheus.rows(series.filled(window="1m", where='job=~".+"'))

    assert rows, series.title
    assert all(float(row["value"][1]) >= 0.0 for row in rows)
    if series.record is not None:
        assert prometheus.rows(series.record), series.record


@needs_prometheus
def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    """Prometheus says so itself."""
    prometheus.rows("job_endpoint:carbon_power_watts:rate5m")
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    assert {rule["health"] for rule in rules} == {"ok"}, rules


@needs_prometheus
def test_promtool_has_nothing_to_say_of_what_the_demo_serves(prometheus: Prometheus, demo_port: int) -> None:
    """Names, units and helps are as Prometheus asks."""
    prometheus.rows("carbon_requests_total")
    text = httpx.get(f"http://127.0.0.1:{demo_port}/metrics", trust_env=False).text

    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert "carbon_budget_projected_ratio{" in text
