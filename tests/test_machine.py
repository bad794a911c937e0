"""What is known of the machine from one life of a process to the next: its idle power, learnt and left in a file."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk.cli import main
from carbon_sdk.cpu.clock import Cut
from carbon_sdk.errors import SettingsError
from carbon_sdk.log import Log
from carbon_sdk.machine import IDLE_FILE, find_meters, idle_power
from carbon_sdk.sampler import Energy, Window
from carbon_sdk.settings import from_environment
from carbon_sdk.spans.ledger import Ledger, Page
from tests.meters.conftest import SysfsTree
from tests.privileges import without_privileges

IDLE_WATTS = 40.0
CPUS = 8.0
BASIS = "package-0 by intel-rapl"
START = datetime(2026, 3, 29, 12, tzinfo=UTC)


def window(load: float, *, gap: str | None = None) -> Window:
    """One second of a machine with a concave curve."""
    joules = None if gap else IDLE_WATTS + 120.0 * load**0.7
    return Window(
        started_at=START,
        ended_at=START + timedelta(seconds=1),
        seconds=1.0,
        energies=(Energy(domain="package", joules=joules, method="counter", gap=gap),),
        busy_cpu_seconds=load * CPUS,
        cpus=CPUS,
        container_cpu_seconds=None,
        cut=Cut(accounts={}, spans=(), process_cpu_seconds=0.0, late_cpu_seconds=0.0),
    )


@contextmanager
def life(folder: Path, *, basis: str | None = BASIS, idle_watts: float | None = None) -> Iterator[tuple[Ledger, Log]]:
    """The books of one process, and its faults."""
    log = Log(lambda *_: None)
    with idle_power(from_environment({}, state_dir=folder, idle_watts=idle_watts), basis, log) as power:
        yield Ledger(idle_power=power), log


def live(ledger: Ledger, seconds: int = 300) -> Page:
    """Some minutes between idle and a tenth of load; the last window."""
    return [ledger.book(window((second % 50) / 500)) for second in range(seconds)][-1]


def test_the_idle_power_is_learnt_from_the_windows_of_the_line(tmp_path: Path) -> None:
    """At first the usage ratio serves and says so; then idle joules are those of the learnt watts."""
    with life(tmp_path) as (ledger, _):
        first, last = ledger.book(window(0.05)), live(ledger)

    assert (first.idle_rule, last.idle_rule) == ("usage_ratio", "learnt")
    assert last.idle["package"] == pytest.approx(IDLE_WATTS, rel=0.1)


def test_what_one_process_has_learnt_serves_the_next_from_its_first_window(tmp_path: Path) -> None:
    """A restart is no improvement of the figures. The file is for its owner alone."""
    folder = tmp_path / "state"
    with life(folder) as (ledger, _):
        before = live(ledger)
    file = folder / IDLE_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [one.name for one in folder.iterdir()] == [IDLE_FILE]

    with life(folder) as (ledger, log):
        after = ledger.book(window(0.9))

    assert after.idle_rule == "learnt"
    assert after.idle["package"] == pytest.approx(before.idle["package"])
    assert not log.faults


def test_a_process_that_is_killed_has_left_what_it_had_learnt(tmp_path: Path) -> None:
    """It is written down once it is known, and every ten minutes after that."""
    now, log = [0.0], Log(lambda *_: None)
    file = tmp_path / IDLE_FILE
    with idle_power(from_environment({}, state_dir=tmp_path), BASIS, log, monotonic=lambda: now[0]) as power:
        ledger = Ledger(idle_power=power)
        live(ledger)
        first = file.read_text()
        now[0] = 599.0
        live(ledger)
        assert file.read_text() == first
        now[0] = 600.0
        live(ledger)
        assert file.read_text() != first
        with life(tmp_path) as (other, _):
            assert other.book(window(0.5)).idle_rule == "learnt"


def test_what_was_learnt_through_other_meters_is_left_alone(tmp_path: Path) -> None:
    """One socket's idle power is not that of two."""
    with life(tmp_path) as (ledger, _):
        live(ledger)
    with life(tmp_path, basis="package-0, package-1 by intel-rapl") as (ledger, _):
        page = ledger.book(window(0.5))

    assert page.idle_rule == "usage_ratio"


@pytest.mark.parametrize(("basis", "watts"), [(None, None), (BASIS, 12.0)])
def test_watts_that_are_set_and_meters_that_were_handed_in_leave_nothing(
    tmp_path: Path, basis: str | None, watts: float | None
) -> None:
    """The first are known; nobody knows whether the next process has the same meters."""
    with life(tmp_path, basis=basis, idle_watts=watts) as (ledger, _):
        live(ledger)

    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_is_never_quiet_teaches_nothing_and_the_record_says_so(tmp_path: Path) -> None:
    """Never below 15 % load: the usage ratio serves, in this life and the next."""
    with life(tmp_path) as (ledger, _):
        pages = [ledger.book(window(0.15 + (second % 80) / 100)) for second in range(400)]

    assert {page.idle_rule for page in pages} == {"usage_ratio"}
    assert list(tmp_path.iterdir()) == []


def test_a_gap_teaches_nothing(tmp_path: Path) -> None:
    """No joules are not few joules."""
    with life(tmp_path) as (ledger, _):
        for _second in range(200):
            ledger.book(window(0.01, gap="the counter went back"))

    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_cannot_be_had_is_told_once(tmp_path: Path) -> None:
    """Learning goes on in memory."""
    (tmp_path / "file").write_text("")
    with life(tmp_path / "file" / "state") as (ledger, log):
        page = live(ledger)

    assert page.idle_rule == "learnt"
    assert set(log.faults) == {"state"}


def test_a_file_of_another_kind_is_written_anew(tmp_path: Path) -> None:
    """What it held is none of ours."""
    (tmp_path / IDLE_FILE).write_text('["not", "ours"]')
    with life(tmp_path) as (ledger, _):
        live(ledger)

    assert json.loads((tmp_path / IDLE_FILE).read_text())["basis"] == BASIS


SERVICE = """
import sys, time
from pathlib import Path
from carbon_sdk import Carbon, track
from carbon_sdk.sinks.jsonlines import JSONLinesSink

sinks = {"records": JSONLinesSink(Path(sys.argv[1]))}
with Carbon(sample_interval_seconds=0.1, sinks=sinks, zone="DE", gpu="off") as carbon:
    carbon.wait_ready()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        with track("job"):
            sum(range(100_000))
"""


def served(tmp_path: Path, sysfs: SysfsTree) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records and the log lines of a service that has no privileges."""
    records = tmp_path / "records.jsonl"
    ended = subprocess.run(
        [sys.executable, "-c", SERVICE, str(records)],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=without_privileges,
        env={
            **os.environ,
            "CARBON_SDK_SYSFS_ROOT": str(sysfs.root),
            "CARBON_SDK_STATE_DIR": str(tmp_path / "state"),
        },
    )
    assert ended.stdout == ""
    return [json.loads(line) for line in records.read_text().splitlines()], [
        json.loads(line) for line in ended.stderr.splitlines()
    ]


def test_a_counter_for_root_only_is_told_once_and_every_record_says_that_it_is_modelled(tmp_path: Path) -> None:
    """No exception; one line for the process's life, with the file, the reason and the remedy."""
    tree = SysfsTree(tmp_path / "sys", "intel-rapl:0 package-0")
    (tree.folder("intel-rapl:0") / "energy_uj").chmod(0)
    records, lines = served(tmp_path, tree)
    (line,) = [line for line in lines if "energy_uj" in str(line)]

    assert line["event"] == "carbon.meter"
    assert "intel-rapl:0/energy_uj is readable by root only" in line["problem"]
    assert "tmpfiles.d" in line["remedy"]
    assert {record["meter"] for record in records} == {"model"}
    known = [record for record in records if record["energy_joules"] is not None]
    assert known
    for record in known:
        assert record["energy_method"] == "model"
        if record["kind"] == "worker":
            assert record["energy_low_joules"] < record["energy_joules"] < record["energy_high_joules"]


def test_one_package_of_two_that_cannot_be_read_makes_every_record_partial(tmp_path: Path) -> None:
    """The missing socket is told once, and is not taken for 0 W."""
    tree = SysfsTree(tmp_path / "sys", "intel-rapl:0 package-0\nintel-rapl:1 package-1")
    (tree.folder("intel-rapl:1") / "energy_uj").chmod(0)
    records, lines = served(tmp_path, tree)
    (line,) = [line for line in lines if "energy_uj" in str(line)]

    assert "intel-rapl:1/energy_uj is readable by root only" in line["problem"]
    assert {record["meter"] for record in records} == {"powercap"}
    assert {record["partial"] for record in records if record["energy_joules"] is not None} == {True}
    assert all("not readable: package-1" in record["basis"] for record in records)


PLUG = """
from carbon_sdk.meters.meter import Reading
from carbon_sdk.testing import FakeMeter


def from_options(options):
    if options.get("broken"):
        raise OSError("no plug under the desk")
    meter = FakeMeter(float(options["watts"]))
    meter.name = "plug"
    return meter
"""


def with_plug(folder: Path, **options: str) -> tuple[int, dict[str, Any]]:
    """What the doctor says where an installed package announces a meter."""
    (folder / "our_plug.py").write_text(PLUG)
    info = folder / "our_plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[carbon_sdk.meters]\nplug = our_plug:from_options\n")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    ended = subprocess.run(
        [sys.executable, "-m", "carbon_sdk.cli", "doctor", "--json"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "CARBON_SDK_METER": "plug", "CARBON_SDK_GPU": "off", **options},
    )
    assert ended.stderr == ""
    return ended.returncode, json.loads(ended.stdout)


def test_a_meter_of_somebodys_own_serves_by_its_name(tmp_path: Path) -> None:
    """It is built from its variables, which are no misspelt settings."""
    code, found = with_plug(tmp_path, CARBON_SDK_PLUG_WATTS="20")

    assert (code, found["means"]) == (0, "counter")
    assert found["meters"][0] == {"meter": "plug", "serves": True, "reason": "a test's own watts", "remedy": None}
    assert not any("PLUG" in warning for warning in found["warnings"])


def test_a_meter_of_somebodys_own_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    """Nothing else takes the place of what was chosen."""
    code, found = with_plug(tmp_path, CARBON_SDK_PLUG_BROKEN="1")

    assert (code, found["means"]) == (3, None)
    assert found["meters"][0]["reason"] == "OSError: no plug under the desk"


def test_a_meter_that_nobody_has_names_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2."""
    monkeypatch.setenv("CARBON_SDK_METER", "powercab")

    assert main(["doctor", "--json"]) == 2
    told = capsys.readouterr().err
    assert "CARBON_SDK_METER" in told
    assert "auto, powercap, exporter, model" in told


def test_a_service_goes_on_with_the_meters_that_there_are(tmp_path: Path) -> None:
    """The setting is told, and the first meter that serves is taken."""
    problems: list[SettingsError] = []
    settings = from_environment({}, meter="powercab", gpu="off", sysfs_root=tmp_path)
    found = find_meters(settings, Log(lambda *_: None), problems.append)

    assert [problem.setting for problem in problems] == ["CARBON_SDK_METER"]
    assert [meter.name for meter in found.meters] == ["model"]
