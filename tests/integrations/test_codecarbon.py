"""CodeCarbon's trackers over carbon_sdk: the same calls, files and units, and joules that are counted once."""

import asyncio
import csv
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from carbon_sdk import Carbon
from carbon_sdk.collector import codecarbon as history
from carbon_sdk.emission import Emission
from carbon_sdk.errors import SettingsError
from carbon_sdk.integrations import codecarbon_arguments
from carbon_sdk.integrations.codecarbon import (
    EmissionsTracker,
    OfflineEmissionsTracker,
    OutputMethod,
    TaskEmissionsTracker,
    track_emissions,
    track_task_emissions,
)
from carbon_sdk.meters.meter import Reading
from carbon_sdk.meters.scope import MachineScope
from carbon_sdk.testing import FakeMeter, FixedIntensity

WATTS = 20.0
PER_CPU_SECOND = 10.0
COLUMNS = (
    "timestamp,project_name,run_id,experiment_id,duration,emissions,emissions_rate,cpu_power,gpu_power,ram_power,"
    "cpu_energy,gpu_energy,ram_energy,energy_consumed,water_consumed,country_name,country_iso_code,region,"
    "cloud_provider,cloud_region,os,python_version,codecarbon_version,cpu_count,cpu_model,gpu_count,gpu_model,"
    "longitude,latitude,ram_total_size,tracking_mode,cpu_utilization_percent,gpu_utilization_percent,"
    "ram_utilization_percent,ram_used_gb,on_cloud,pue,wue"
)
"""The first line of an emissions.csv of CodeCarbon 3.3.2."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person who runs the tests; every argument may warn again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in list(os.environ):
        if name.lower().startswith("codecarbon_"):
            monkeypatch.delenv(name)
    codecarbon_arguments.warned.clear()


@pytest.fixture
def meter() -> Iterator[FakeMeter]:
    """A machine of 20 W that this process alone keeps busy, measured in windows of a tenth of a second."""
    meter = FakeMeter(WATTS)
    with Carbon(meters=[meter], provider=FixedIntensity(360.0), sinks={}, sample_interval_seconds=0.1, zone="DE"):
        yield meter


class BusyMeter:
    """Ten joules for each CPU second that anything on the machine uses: whatever else runs, ours cost the same."""

    name = "busy"
    basis = "a test's own joules"
    minimum_interval_seconds = 0.0
    maximum_interval_seconds = 60.0

    def __init__(self) -> None:
        self.scope = MachineScope()
        self._before: float | None = None

    def read(self) -> Sequence[Reading]:
        """Joules since the last call."""
        now, before = self.scope.busy_cpu_seconds(), self._before
        self._before = now
        joules = None if now is None or before is None else (now - before) * PER_CPU_SECOND
        return [Reading(domain="package", energy_joules=joules, method="counter", idle_joules=0.0)]

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def busy_meter() -> Iterator[None]:
    """A machine whose joules go by its CPU time."""
    with Carbon(meters=[BusyMeter()], provider=FixedIntensity(360.0), sinks={}, sample_interval_seconds=0.2, zone="DE"):
        yield


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


def joules(tracker: EmissionsTracker) -> float:
    assert tracker.final_emissions_data is not None
    assert tracker.final_emissions_data.energy_consumed is not None
    return tracker.final_emissions_data.energy_consumed * 3.6e6


def rows(name: str = "emissions.csv") -> list[dict[str, str]]:
    with open(name, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("meter")
def test_a_run_has_the_machines_joules_and_returns_kilograms() -> None:
    """The default mode; joules of a machine of 20 W over the run's own duration."""
    tracker = EmissionsTracker(project_name="train")
    tracker.start()
    time.sleep(0.35)
    emissions = tracker.stop()
    (row,) = rows()

    assert joules(tracker) == pytest.approx(WATTS * float(row["duration"]), rel=0.1)
    assert emissions == pytest.approx(joules(tracker) / 3.6e6 * 360.0 / 1000.0)
    assert emissions == tracker.final_emissions == pytest.approx(float(row["emissions"]))
    assert float(row["emissions_rate"]) == pytest.approx(float(row["emissions"]) / float(row["duration"]))
    assert float(row["cpu_energy"]) == pytest.approx(float(row["energy_consumed"]))
    assert float(row["cpu_power"]) == pytest.approx(WATTS, rel=0.1)
    assert (row["project_name"], row["tracking_mode"], row["country_iso_code"]) == ("train", "machine", "DEU")
    assert (row["country_name"], row["on_cloud"], row["ram_energy"]) == ("Germany", "N", "")


@pytest.mark.usefixtures("meter")
def test_the_file_has_codecarbons_columns_in_its_order(tmp_path: Path) -> None:
    """So that what reads it today reads it tomorrow."""
    with EmissionsTracker():
        pass

    assert (tmp_path / "emissions.csv").read_text().splitlines()[0] == COLUMNS


@pytest.mark.usefixtures("meter")
def test_a_collector_takes_the_file_as_a_history(tmp_path: Path) -> None:
    """The same import that reads CodeCarbon's own; the times carry their zone."""
    with EmissionsTracker(project_name="train"):
        time.sleep(0.2)
    (record,) = history.read(tmp_path / "emissions.csv", ZoneInfo("Asia/Kathmandu"))
    assert isinstance(record, Emission)

    assert record.energy_joules == pytest.approx(float(rows()[0]["energy_consumed"]) * 3.6e6)
    assert abs((record.window_end - datetime.now(UTC)).total_seconds()) < 60.0


@pytest.mark.usefixtures("meter")
def test_two_trackers_of_the_machine_both_show_the_machine() -> None:
    """As in CodeCarbon; they are never added."""
    outer, inner = EmissionsTracker(save_to_file=False), EmissionsTracker(save_to_file=False)
    outer.start()
    inner.start()
    time.sleep(0.3)
    inner.stop()
    outer.stop()

    assert joules(inner) == pytest.approx(joules(outer), rel=0.2)


@pytest.mark.usefixtures("busy_meter")
def test_nested_trackers_of_the_process_count_no_joule_twice() -> None:
    """The inner one has what it burnt, the outer one the rest; together they have the process's."""
    outer = EmissionsTracker(tracking_mode="process", save_to_file=False)
    begun = time.process_time()
    outer.start()
    burn(0.4)
    with EmissionsTracker(tracking_mode="process", save_to_file=False) as inner:
        burn(0.6)
    burn(0.4)
    outer.stop()
    used = time.process_time() - begun

    assert joules(inner) == pytest.approx(PER_CPU_SECOND * 0.6, rel=0.15)
    assert joules(inner) + joules(outer) <= PER_CPU_SECOND * used * 1.02
    assert joules(inner) + joules(outer) == pytest.approx(PER_CPU_SECOND * used, rel=0.15)


@pytest.mark.usefixtures("busy_meter")
def test_trackers_on_two_threads_have_each_their_own() -> None:
    """One that waits is not charged what the other burns."""
    busy = EmissionsTracker(tracking_mode="process", save_to_file=False)
    idle = EmissionsTracker(tracking_mode="process", save_to_file=False)
    ended = threading.Event()

    def wait() -> None:
        with idle:
            ended.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    with busy:
        burn(0.8)
    ended.set()
    thread.join()

    assert joules(busy) == pytest.approx(PER_CPU_SECOND * 0.8, rel=0.15)
    assert joules(idle) < 0.15 * joules(busy)


@pytest.mark.usefixtures("busy_meter")
def test_a_child_process_belongs_to_the_tracker_that_started_it() -> None:
    """Its CPU is followed, though it has ended before the window closes; another tracker's children are not ours."""
    code = "import time\nwhile time.process_time() < 0.6: sum(range(1000))"

    def other() -> None:
        with EmissionsTracker(tracking_mode="process", save_to_file=False):
            subprocess.run([sys.executable, "-c", code], check=True)

    thread = threading.Thread(target=other)
    thread.start()
    with EmissionsTracker(tracking_mode="process", save_to_file=False) as tracker:
        subprocess.run([sys.executable, "-c", code], check=True)
    thread.join()

    assert joules(tracker) == pytest.approx(
        PER_CPU_SECOND * 0.6, rel=0.5
    )  # a reading a second: a start or an end falls between two


def test_a_failed_reading_is_a_gap_and_no_zero(meter: FakeMeter) -> None:
    """Nothing was read: the cells are empty, the result is None."""
    meter.failing = "the driver is gone"
    tracker = EmissionsTracker()
    time.sleep(0.15)
    tracker.start()
    time.sleep(0.3)
    emissions = tracker.stop()
    (row,) = rows()

    assert emissions is None
    assert (row["emissions"], row["energy_consumed"], row["cpu_energy"], row["emissions_rate"]) == ("", "", "", "")
    assert float(row["duration"]) > 0.25


def test_a_gap_within_a_run_leaves_the_joules_of_the_rest(meter: FakeMeter) -> None:
    """A drop is not taken for a wrap, nor a gap for none: half a run is half its joules, and that is told."""
    tracker = EmissionsTracker(save_to_file=False)
    tracker.start()
    time.sleep(0.35)
    meter.failing = "away"
    time.sleep(0.4)
    meter.failing = None
    time.sleep(0.35)
    tracker.stop()
    assert tracker.final_emissions_data is not None

    assert joules(tracker) < 0.85 * WATTS * tracker.final_emissions_data.duration
    assert joules(tracker) > 0.3 * WATTS * tracker.final_emissions_data.duration
    assert default_faults()["tracker.gap"] == 1


def default_faults() -> Any:
    from carbon_sdk.process import default

    return default().log.faults


@pytest.mark.usefixtures("busy_meter")
def test_a_task_has_its_own_energy_and_its_own_file() -> None:
    """Tasks without a run around them: the run is their sum, and what ran between them is in neither."""
    tracker = EmissionsTracker(experiment_name="grid", tracking_mode="process")
    tracker.start_task("load")
    burn(0.3)
    load = tracker.stop_task()
    burn(0.3)
    tracker.start_task("fit")
    burn(0.6)
    fit = tracker.stop_task("fit")
    tracker.stop()
    written = rows(f"emissions_grid_{tracker.run_id}.csv")
    assert load is not None
    assert fit is not None
    assert load.energy_consumed is not None
    assert fit.energy_consumed is not None

    assert load.energy_consumed * 3.6e6 == pytest.approx(PER_CPU_SECOND * 0.3, rel=0.2)
    assert fit.energy_consumed * 3.6e6 == pytest.approx(PER_CPU_SECOND * 0.6, rel=0.2)
    assert joules(tracker) == pytest.approx((load.energy_consumed + fit.energy_consumed) * 3.6e6)
    assert [row["task_name"] for row in written] == ["load", "fit"]
    assert [float(row["energy_consumed"]) for row in written] == [load.energy_consumed, fit.energy_consumed]


@pytest.mark.usefixtures("busy_meter")
def test_a_run_of_the_process_holds_the_tasks_that_were_measured_in_it() -> None:
    """They are parts of it, each joule once."""
    tracker = EmissionsTracker(tracking_mode="process", save_to_file=False)
    tracker.start()
    burn(0.3)
    with TaskEmissionsTracker("part", tracker=tracker):
        burn(0.4)
    tracker.stop()

    assert tracker.stop_task("part") is None
    assert joules(tracker) == pytest.approx(PER_CPU_SECOND * 0.7, rel=0.15)


@pytest.mark.usefixtures("meter")
def test_a_run_of_the_machine_holds_its_tasks_once() -> None:
    """They lie within its time."""
    tracker = EmissionsTracker(save_to_file=False)
    tracker.start()
    with TaskEmissionsTracker("part", tracker=tracker):
        time.sleep(0.25)
    tracker.stop()
    assert tracker.final_emissions_data is not None

    assert joules(tracker) == pytest.approx(WATTS * tracker.final_emissions_data.duration, rel=0.1)


@pytest.mark.usefixtures("meter")
def test_a_decorated_function_is_a_run_for_each_call() -> None:
    """With arguments and without, sync and async; its result and its errors are its own."""

    @track_emissions
    def plain(number: int) -> int:
        """Its own words."""
        return number + 1

    @track_emissions(project_name="slow", offline=True, country_iso_code="FRA")
    async def slow() -> str:
        await asyncio.sleep(0.01)
        return "done"

    @track_emissions(project_name="bad")
    def bad() -> None:
        raise ValueError("mine")

    assert plain(1) == 2
    assert asyncio.run(slow()) == "done"
    with pytest.raises(ValueError, match="mine"):
        bad()
    assert (plain.__name__, plain.__doc__) == ("plain", "Its own words.")
    assert [row["project_name"] for row in rows()] == ["codecarbon", "slow", "bad"]
    assert rows()[1]["country_iso_code"] == "FRA"


@pytest.mark.usefixtures("meter")
def test_a_decorated_task_belongs_to_its_tracker() -> None:
    """Or to one of its own."""
    tracker = EmissionsTracker(save_to_file=False)

    @track_task_emissions(tracker=tracker, task_name="step")
    def step() -> int:
        return 5

    @track_task_emissions
    def alone() -> int:
        return 6

    assert (step(), alone()) == (5, 6)
    tracker.stop()
    assert len(rows()) == 1


@pytest.mark.usefixtures("meter")
def test_flush_writes_and_goes_on(tmp_path: Path) -> None:
    """Appended a row each time, or the run's one row updated; a file with other columns is put aside."""
    (tmp_path / "updated.csv").write_text("other,columns\n1,2\n")
    for name, writing in (("emissions.csv", "append"), ("updated.csv", "update")):
        tracker = EmissionsTracker(output_file=name, on_csv_write=writing)
        tracker.start()
        time.sleep(0.15)
        first = tracker.flush()
        time.sleep(0.15)
        last = tracker.stop()
        assert first is not None
        assert last is not None
        assert first < last

    assert len(rows()) == 2
    assert len(rows("updated.csv")) == 1
    assert (tmp_path / "updated.csv.bak").read_text() == "other,columns\n1,2\n"


@pytest.mark.usefixtures("meter")
def test_an_offline_tracker_is_priced_by_its_countrys_average() -> None:
    """Whatever the settings say, and nobody is asked; an intensity that is forced stands above it."""
    with OfflineEmissionsTracker(country_iso_code="FRA", pue=1.5) as france:
        time.sleep(0.15)
    with EmissionsTracker(force_carbon_intensity_g_co2e_kwh=1000.0, wue=2.0) as forced:
        time.sleep(0.15)
    assert france.final_emissions is not None
    assert forced.final_emissions is not None
    first, second = rows()

    assert france.final_emissions / (joules(france) / 3.6e6) < 0.1
    assert forced.final_emissions / (joules(forced) / 3.6e6) == pytest.approx(1.0)
    assert (first["country_name"], first["pue"]) == ("France", "1.5")
    assert joules(france) == pytest.approx(1.5 * WATTS * float(first["duration"]), rel=0.2)
    assert float(second["water_consumed"]) == pytest.approx(2.0 * float(second["energy_consumed"]))


@pytest.mark.usefixtures("meter")
def test_an_argument_without_meaning_warns_once_and_names_what_serves() -> None:
    """Then it is silent; one that is at rest says nothing."""
    with pytest.warns(UserWarning, match="CARBON_SDK_SINKS=prometheus"):
        EmissionsTracker(save_to_prometheus=True, save_to_api=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EmissionsTracker(save_to_prometheus=True)
    with pytest.warns(UserWarning, match="CARBON_SDK_COLLECTOR_URL"):
        EmissionsTracker(output_methods=[OutputMethod.CSV, OutputMethod.API])


def test_every_argument_of_codecarbon_is_known() -> None:
    """It has a meaning, or something that serves instead."""
    known = set(codecarbon_arguments.Arguments.__dataclass_fields__) | codecarbon_arguments.INSTEAD.keys()

    assert set(codecarbon_arguments.ORDER) - known == {"output_methods", "co2_signal_api_token"}


def test_every_argument_of_codecarbon_stands_in_the_documentation() -> None:
    """What happens to it can be looked up."""
    page = (Path(__file__).parents[2] / "docs/codecarbon.md").read_text(encoding="utf-8")
    told = {name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}

    assert {*codecarbon_arguments.ORDER, *codecarbon_arguments.Arguments.__dataclass_fields__} <= told


@pytest.mark.usefixtures("meter")
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tracking_mode": "all"}, "tracking_mode"),
        ({"output_dir": "no/such/folder"}, "output_dir"),
        ({"pue": "much"}, "pue"),
        ({"output_methods": "csv,fax"}, "output_methods"),
        ({"on_csv_write": "never"}, "on_csv_write"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named_with_the_remedy(given: dict[str, Any], named: str) -> None:
    """At once, where it was written."""
    with pytest.raises(SettingsError, match=named):
        EmissionsTracker(**given)


@pytest.mark.usefixtures("meter")
def test_an_unknown_argument_and_an_unknown_country_are_refused() -> None:
    """A slip of the pen does not measure something else."""
    with pytest.raises(TypeError, match="no_such"):
        EmissionsTracker(no_such=1)
    with pytest.raises(TypeError, match="given twice"):
        EmissionsTracker("name", project_name="again")
    with pytest.raises(SettingsError, match=r"country_iso_code.*DEU"):
        OfflineEmissionsTracker(country_iso_code="DEX")


@pytest.mark.usefixtures("meter")
def test_files_and_variables_of_codecarbon_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call stands above the variables, those above the local file, that above the one at home."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.codecarbon.config").write_text("[codecarbon]\nproject_name=home\nexperiment_name=home\nwue=3\n")
    (tmp_path / ".codecarbon.config").write_text("[codecarbon]\nproject_name=local\nexperiment_name=local\n")
    monkeypatch.setenv("CODECARBON_PROJECT_NAME", "variable")
    monkeypatch.setenv("CODECARBON_SAVE_TO_FILE", "False")
    tracker = EmissionsTracker(tracking_mode="process")
    told = tracker._told

    assert (told.project_name, told.experiment_name, told.wue) == ("variable", "local", 3.0)
    assert (told.save_to_file, told.tracking_mode) == (False, "process")
    assert EmissionsTracker("call")._told.project_name == "call"


@pytest.mark.usefixtures("meter")
def test_handlers_are_given_what_codecarbon_gives_and_their_errors_are_told() -> None:
    """Total and what was added; a handler that fails ends nothing."""
    seen: list[tuple[float, float]] = []

    class Keep:
        def out(self, total: Any, delta: Any) -> None:
            seen.append((total.energy_consumed, delta.energy_consumed))

    class Broken:
        def out(self, total: Any, delta: Any) -> None:
            raise RuntimeError("mine")

    tracker = EmissionsTracker(output_handlers=[Keep(), Broken()], save_to_file=False)
    tracker.start()
    time.sleep(0.15)
    tracker.flush()
    time.sleep(0.15)
    tracker.stop()

    assert seen[0][0] == seen[0][1]
    assert seen[1][1] == pytest.approx(seen[1][0] - seen[0][0])
    assert default_faults()["codecarbon.Broken"] == 2


@pytest.mark.usefixtures("meter")
def test_stopping_twice_or_never_started_changes_nothing() -> None:
    """The second answer is the first one."""
    tracker = EmissionsTracker(save_to_file=False)
    assert tracker.stop() is None
    assert tracker.flush() is None
    tracker.start()
    tracker.start()
    time.sleep(0.15)
    first = tracker.stop()

    assert first is not None
    assert tracker.stop() == first


@pytest.mark.usefixtures("busy_meter")
def test_a_tracker_may_be_stopped_by_another_thread_and_out_of_order() -> None:
    """What its own thread uses afterwards is not theirs."""
    one = EmissionsTracker(tracking_mode="process", save_to_file=False)
    other = EmissionsTracker(tracking_mode="process", save_to_file=False)
    one.start()
    other.start()
    burn(0.4)
    one.stop()
    thread = threading.Thread(target=other.stop)
    thread.start()
    thread.join()
    both = joules(one) + joules(other)
    burn(0.2)
    with EmissionsTracker(tracking_mode="process", save_to_file=False) as third:
        burn(0.4)

    assert both == pytest.approx(PER_CPU_SECOND * 0.4, rel=0.2)
    assert joules(third) == pytest.approx(PER_CPU_SECOND * 0.4, rel=0.2)


def test_a_disabled_sdk_measures_nothing_and_breaks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`CARBON_SDK_DISABLED=1`, in a process of its own."""
    code = (
        "from carbon_sdk.integrations.codecarbon import EmissionsTracker\n"
        "with EmissionsTracker() as tracker: pass\n"
        "print(tracker.final_emissions)"
    )
    environment = {**os.environ, "CARBON_SDK_DISABLED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )

    assert (done.stdout, (tmp_path / "emissions.csv").exists()) == ("None\n", False)


def test_a_script_with_one_changed_import_runs(tmp_path: Path) -> None:
    """Nothing else is set up: no settings, no `Carbon`; and a fork does not count the parent's run again."""
    code = (
        "import os, time\n"
        "from carbon_sdk.integrations.codecarbon import EmissionsTracker\n"
        "tracker = EmissionsTracker()\n"
        "tracker.start()\n"
        "time.sleep(0.4)\n"
        "if os.fork() == 0:\n"
        "    tracker.stop()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "emissions = tracker.stop()\n"
        "print(f'Emissions: {emissions} kg CO2')\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )

    assert float(done.stdout.split()[1]) > 0.0
    assert len((tmp_path / "emissions.csv").read_text().splitlines()) == 2
