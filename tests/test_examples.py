"""What the README shows runs as it is."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from carbon_sdk.cli import main
from carbon_sdk.environment import environment

ROOT = Path(__file__).parent.parent


def test_the_worker_prints_what_each_job_cost() -> None:
    """Three jobs, three lines, each with its joules and grams."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.worker"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert "None" not in done.stdout


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(example: Path) -> None:
    """It fits a page of a README."""
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 25


def test_the_demo_prints_books_that_add_up(tmp_path: Path) -> None:
    """A real uvicorn, real traffic, every endpoint in the table, every measured joule booked."""
    log = tmp_path / "carbon.log"
    done = subprocess.run(
        [sys.executable, "-m", "carbon_sdk.cli", "demo", "--json", "--seconds", "2", "--log", str(log)],
        cwd=tmp_path,
        env={**environment(), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    table = json.loads(done.stdout)

    names = {row["name"] for row in table["endpoints"]}
    assert names == {"GET /compute/{ms}", "GET /wait", "GET /thread", "GET /fan-out", "GET /stream"}
    assert table["booked_joules"] == pytest.approx(table["measured"]["energy_joules"], rel=1e-6)
    assert all(row["emissions_g_per_request"] > 0 for row in table["endpoints"])
    assert (table["intensity_source"], table["intensity_quality"]) == ("yearly_averages", "static")
    assert any("CARBON_SDK_ZONE" in one["problem"] for one in table["told"])
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {event["event"] for event in events} == {"carbon.emission"}
    assert {"endpoint", "method", "energy_joules", "emissions_g_per_request", "zone"} <= events[0].keys()


def test_the_demo_with_the_network_cut_shows_static_values_and_why(tmp_path: Path) -> None:
    """The table's figures are marked, and the source that failed is named with its remedy."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-m", "carbon_sdk.cli", "demo", "--seconds", "2"],
        cwd=tmp_path,
        env={
            **environment(),
            "HOME": str(tmp_path),
            "COLUMNS": "80",
            "CARBON_SDK_PROVIDER": "gb_carbon_intensity,yearly_averages",
            "CARBON_SDK_GB_CARBON_INTENSITY_BASE_URL": address,
            "CARBON_SDK_ZONE": "GB",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    shown = " ".join(done.stdout.split())

    assert "g/kWh in zone GB, by yearly_averages (static, average, lifecycle)" in shown
    assert f"gb_carbon_intensity: {address}/intensity/" in shown
    assert "no connection" in shown
    assert "Let this host reach it, by CARBON_SDK_HTTP_PROXY if need be, or change CARBON_SDK_PROVIDER." in shown


def test_a_setting_that_cannot_be_used_is_named_before_the_demo_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has the variable and the remedy."""
    monkeypatch.setenv("CARBON_SDK_SAMPLE_INTERVAL_SECONDS", "0")

    assert main(["demo"]) == 2
    assert "CARBON_SDK_SAMPLE_INTERVAL_SECONDS" in capsys.readouterr().err
