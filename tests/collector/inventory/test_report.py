"""The report for the sustainability department, made of real records by the real command."""

import csv
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk.collector.folder import DEFAULT_FOLDER
from carbon_sdk.collector.inventory.command import main
from carbon_sdk.emission import Emission
from tests.collector.dashboard.company import records
from tests.collector.service import Collector, emission, stamp

Start = Callable[..., Collector]
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = 3
PERIOD = ["--from", f"{TODAY - timedelta(days=DAYS):%Y-%m-%d}", "--to", f"{TODAY - timedelta(days=1):%Y-%m-%d}"]


def nothing_better(_provider: str, asked: Sequence[Emission]) -> list[Emission | None]:
    """A provider without history."""
    return [None for _ in asked]


def made(folder: Path, *words: str, reprice: Any = nothing_better, to: str = "report") -> bytes:
    """The file that the command writes."""
    output = folder.parent / to
    assert main([*PERIOD, "--data", str(folder), "--output", str(output), *words], reprice) == 0
    return output.read_bytes()


def test_the_collectors_own_folder_needs_no_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names no folder to either command, as the documentation does, gets the report of that collector."""
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = DEFAULT_FOLDER.expanduser()
    usual.parent.mkdir(parents=True)
    shutil.copytree(folder, usual)

    assert main([*PERIOD, "--output", str(tmp_path / "report")], nothing_better) == 0
    assert (tmp_path / "report").read_bytes() == made(folder)


def send(collector: Collector, *, shuffled: bool = False) -> None:
    """Three days of a company, in whole or in another order of batches."""
    by_instance: dict[str, list[Emission]] = {}
    for one in records(TODAY, DAYS, timedelta(hours=1)):
        by_instance.setdefault(one.instance, []).append(one)
    instances = list(by_instance.values())
    for batch in reversed(instances) if shuffled else instances:
        step = 97 if shuffled else 5_000
        for first in range(0, len(batch), step):
            assert collector.send(batch[first : first + step])["status"] == 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a collector that has run and has stopped."""
    path = tmp_path_factory.mktemp("report") / "data"
    collector = Collector(path)
    send(collector)
    collector.stop()
    return path


def test_the_same_records_give_the_same_bytes(folder: Path, start: Start, tmp_path: Path) -> None:
    """In every format; in whatever order and batches they came; from a running collector and from its store."""
    collector = start()
    send(collector, shuffled=True)
    for form in ("html", "csv", "xlsx", "json", "boamps"):
        first = made(folder, "--format", form, "--operator", "own")

        assert made(folder, "--format", form, "--operator", "own") == first, form
        assert made(collector.folder, "--format", form, "--operator", "own") == first, form


def test_the_lines_add_up_to_what_the_records_say(folder: Path) -> None:
    """Line by line, service by service; the hash in each row is that of the whole."""
    sent = list(records(TODAY, DAYS, timedelta(hours=1)))
    rows = list(csv.DictReader(io.StringIO(made(folder, "--format", "csv").decode())))
    told = json.loads(made(folder, "--format", "json"))

    for service in ("billing", "shop", "search"):
        own = [one for one in sent if one.service == service and one.kind not in ("measured", "idle", "unattributed")]
        lines = [row for row in rows if row["service"] == service]
        assert sum(int(row["requests"]) for row in lines) == sum(one.requests for one in own)
        for column, name, size in (("emissions_g", "emissions_g", 1.0), ("energy_kwh", "energy_joules", 3.6e6)):
            whole = sum(float(row[column]) for row in lines)
            assert whole == pytest.approx(sum(getattr(one, name) or 0.0 for one in own) / size, rel=1e-6)
    assert {row["sha256"] for row in rows} == {told["sha256"]}
    assert len(rows) == len(told["lines"])


def test_the_page_names_what_an_auditor_asks_for(folder: Path) -> None:
    """Basis, scopes, method, boundary, quality, bounds, gaps, factors with licences, version and hash."""
    page = made(folder, "--operator", "own").decode()
    told = json.loads(made(folder, "--operator", "own", "--format", "json"))

    for words in (
        "location-based",
        "Not computed: no supplier",
        "together with scope 3, category 3",
        "ISO/IEC 21031",
        "power supplies, fans, disks, network",
        "read from energy counters",
        "modelled from CPU use",
        "Days without a record",
        "Electricity Maps terms",
        "CC BY 4.0",
        f"sha256 {told['sha256']}",
        f"carbon_sdk {told['version']}",
    ):
        assert words in page, words
    assert not re.search(r"<script|src=|href=|@import|url\(", page)


def test_the_workbook_has_a_sheet_for_each_part_and_no_formula(folder: Path) -> None:
    """A name that begins like a formula is a text."""
    book = zipfile.ZipFile(io.BytesIO(made(folder, "--format", "xlsx")))
    names = re.findall(r'<sheet name="([^"]+)"', book.read("xl/workbook.xml").decode())

    assert names == ["About", "Scopes", "Service and month", "SCI", "Methods", "Gaps", "Factors"]
    assert not any(b"<f>" in book.read(name) for name in book.namelist() if name.endswith(".xml"))


def test_marginal_grams_are_shown_and_refused(start: Start, tmp_path: Path) -> None:
    """They stand on their own beside the others and enter no scope."""
    collector = start()
    when = TODAY - timedelta(hours=5)
    collector.send([emission(0, window_start=when, emissions_g=2.0), emission(1, window_start=when, service="=cmd")])
    collector.send([emission(0, instance="f" * 16, window_start=when, emissions_g=7.0, intensity_signal="marginal")])
    told = json.loads(made(collector.folder, "--operator", "own", "--format", "json"))
    page = made(collector.folder, "--operator", "own").decode()

    assert sorted({line["kind"] for line in told["lines"]}) == ["average/lifecycle", "marginal/lifecycle"]
    assert "refused in the inventory" in page
    assert "not added" in page
    assert b"'=cmd" in made(collector.folder, "--format", "csv")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--operator", "cloud"), "Scope 3, category 1"),
        ((), "not assigned to a scope"),
        (("--supplier-g-per-kwh", "12", "--supplier-source", "Green Power Ltd"), "12 g/kWh of Green Power Ltd"),
    ],
)
def test_operator_and_supplier_decide_where_grams_belong(folder: Path, words: tuple[str, ...], expected: str) -> None:
    """Nobody's word is assumed."""
    assert expected in made(folder, *words).decode()


def test_units_and_reserved_shares_give_an_sci(start: Start) -> None:
    """Per request and per what the service counts; without the reserved share it is unknown, with the reason."""
    collector = start()
    when = TODAY - timedelta(hours=5)
    known: dict[str, Any] = {"sci_g_per_request": 0.5, "requests": 4, "units": {"pages": 8.0}}
    collector.send([emission(0, window_start=when, service="known", **known)])
    collector.send([emission(0, instance="f" * 16, window_start=when, service="unknown")])
    told = {(one["service"], one["unit"]): one for one in json.loads(made(collector.folder, "--format", "json"))["sci"]}

    assert told["known", "request"]["g_per_unit"] == pytest.approx(0.5)
    assert told["known", "pages"]["g_per_unit"] == pytest.approx(0.25)
    assert told["unknown", "request"]["g_per_unit"] is None
    assert "reserved" in told["unknown", "request"]["reason"]


def test_the_sci_of_a_service_takes_in_what_its_spans_used(start: Start) -> None:
    """One request of 0.5 g in its own code and 1.5 g in a span weighs 2 g, in the report and at the API."""
    collector = start()
    when = TODAY - timedelta(hours=5)
    own: dict[str, Any] = {"sci_g": 0.5, "sci_g_per_request": 0.5, "requests": 1}
    span: dict[str, Any] = {"kind": "span", "name": "resize", "requests": 0, "sci_g": 1.5}
    collector.send([emission(0, window_start=when, **own), emission(1, window_start=when, **span)])
    (told,) = json.loads(made(collector.folder, "--format", "json"))["sci"]
    since = stamp(TODAY - timedelta(days=2))
    (endpoint,) = collector.ask("/v1/reports/endpoints", detail="1", **{"from": since})["rows"]

    assert told["g_per_unit"] == pytest.approx(2.0)
    assert endpoint["sci_g_per_request"] == pytest.approx(2.0)


def test_the_gap_of_an_interval_counts_once_however_many_accounts_tell_it(start: Start) -> None:
    """Two seconds were not read; an endpoint and the background both say so, each with its own CPU."""
    collector = start()
    when = TODAY - timedelta(hours=5)
    gap: dict[str, Any] = {"window_start": when, "gap_seconds": 2.0, "gap_cpu_seconds": 0.25}
    background: dict[str, Any] = {"kind": "background", "root": "background", "name": "background", "requests": 0}
    collector.send([emission(0, **gap), emission(1, **gap, **background)])
    (told,) = json.loads(made(collector.folder, "--format", "json"))["gaps"]

    assert (told["gap_seconds"], told["gap_cpu_seconds"]) == (2.0, 0.5)


def test_a_price_by_measured_history_stands_beside_the_first(start: Start) -> None:
    """Only where the rules allow; old and new are both told, and the dashboard tells them too."""
    collector = start()
    send(collector)

    def twice_in_france(provider: str, asked: Sequence[Emission]) -> list[Emission | None]:
        assert provider == "eco2mix"
        return [replace(one, emissions_g=2.0 * (one.emissions_g or 0.0)) if one.zone == "FR" else None for one in asked]

    told = json.loads(made(collector.folder, "--reprice", "eco2mix", "--format", "json", reprice=twice_in_france))
    page = made(collector.folder).decode()
    asked = {"from": stamp(TODAY - timedelta(days=DAYS)), "to": stamp(TODAY)}
    seen = collector.client.get(f"/dashboard/?from={PERIOD[1]}&to={PERIOD[3]}").text

    for line in told["lines"]:
        if line["service"] == "search":
            assert line["repriced_g"] == pytest.approx(2.0 * line["emissions_g"], rel=1e-6)
        else:
            assert line["repriced_g"] is None
    assert [one["source"] for one in told["repriced"]] == ["eco2mix"]
    assert "Priced again" in page
    assert "when priced again" in seen
    assert collector.client.get("/v1/repricings", params=asked).json()["repricings"][0]["source"] == "eco2mix"


def test_boamps_takes_what_it_cannot_know_from_a_context(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Energy per method is ours; the task is its user's, whose word stands above ours."""
    task = {"taskStage": "inference", "taskFamily": "search", "algorithms": [{"algorithmName": "bm25"}], "dataset": []}
    context = folder.parent / "context.json"
    context.write_text(json.dumps({"task": task, "environment": {"country": "Germany"}}))
    told = json.loads(made(folder, "--format", "boamps", "--operator", "cloud", "--context", str(context)))

    assert told["task"]["taskFamily"] == "search"
    assert told["task"]["nbRequest"] > 0
    assert told["infrastructure"]["infraType"] == "publicCloud"
    assert told["environment"]["country"] == "Germany"
    assert {one["cpuTrackingMode"] for one in told["measures"]} == {"counter", "model"}
    assert "dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--from", "2019-01-01", "--to", "2019-01-31"], "no record"),
        (["--from", "yesterday", "--to", "2019-01-31"], "from must be a day"),
        ([*PERIOD, "--tz", "Mars/Olympus"], "time zone"),
        ([*PERIOD, "--supplier-g-per-kwh", "12"], "a factor has a source"),
        ([*PERIOD, "--project", "../etc"], "project"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    """Exit code 2, and the remedy."""
    assert main([*words, "--data", str(folder)], nothing_better) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]

    assert problem in told
    assert told.startswith("carbon-sdk report: ")


def test_a_folder_without_a_store_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made there."""
    assert main([*PERIOD, "--data", str(tmp_path / "none")], nothing_better) == 2
    assert "--data" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
