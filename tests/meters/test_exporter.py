"""The node's joules from an exporter: what its answers mean, and what becomes of answers that do not come."""

import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.cpu.clock import Cut
from carbon_sdk.meters import absent
from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.detect import detect
from carbon_sdk.meters.exporter import MAXIMUM_BODY_BYTES, ExporterMeter
from carbon_sdk.meters.exposition import parse
from carbon_sdk.meters.meter import Reading
from carbon_sdk.sampler import Sampler
from tests.meters.conftest import Clock, Exporter, ProcfsTree, SysfsTree

NODE_EXPORTER = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
START_SECONDS = 20.0


@pytest.fixture
def meter(served: Exporter, procfs: ProcfsTree, clock: Clock) -> Iterator[ExporterMeter]:
    """A meter of that exporter whose first reading is taken."""
    meter = ExporterMeter(served.url, procfs=procfs.root, monotonic_ns=clock, read_seconds=5.0)
    meter.read()
    yield meter
    meter.close()


def joules(readings: list[Reading] | tuple[Reading, ...] | Any) -> dict[str, float | None]:
    return {reading.domain: reading.energy_joules for reading in readings}


def test_the_difference_of_two_answers_is_the_joules_between_them(
    served: Exporter, meter: ExporterMeter, clock: Clock
) -> None:
    """50 J in a second, by a counter."""
    clock.sleep(1)
    served.node(1050.0)

    (reading,) = meter.read()

    assert (reading.domain, reading.method, reading.partial) == ("package", "counter", False)
    assert reading.energy_joules == pytest.approx(50.0)


def test_counters_that_stand_still_keep_the_window_open(served: Exporter, meter: ExporterMeter, clock: Clock) -> None:
    """An exporter that reads every five seconds gives one window of five seconds, and no joule is lost."""

    class Still:
        def cut(self) -> Cut:
            return Cut(accounts={}, spans=(), process_cpu_seconds=0.0, late_cpu_seconds=0.0)

    sampler = Sampler([meter], Still(), monotonic_ns=clock)
    sampler.begin()
    windows = []
    for second in range(1, 12):
        clock.sleep(1)
        if second % 5 == 0:
            served.node(1000.0 + 40.0 * second)
        windows.append(sampler.close_if_moved())
    served.node(1440.0)
    windows.append(sampler.close())

    closed = [window for window in windows if window is not None]

    assert [window.seconds for window in closed] == pytest.approx([5.0, 5.0, 1.0])
    assert [window.energies[0].joules for window in closed] == pytest.approx([200.0, 200.0, 40.0])


def test_a_window_that_must_end_while_the_counters_stand_still_is_a_gap(meter: ExporterMeter, clock: Clock) -> None:
    """Nobody knows what a stretch used whose joules have not come."""

    class Still:
        def cut(self) -> Cut:
            return Cut(accounts={}, spans=(), process_cpu_seconds=0.0, late_cpu_seconds=0.0)

    sampler = Sampler([meter], Still(), monotonic_ns=clock)
    sampler.begin()
    clock.sleep(1)

    (energy,) = sampler.close().energies

    assert energy.joules is None
    assert "not moved" in (energy.gap or "")


def test_counters_that_stand_still_for_long_are_a_gap(served: Exporter, meter: ExporterMeter, clock: Clock) -> None:
    """A sick exporter that repeats itself does not hold the window for ever, and the joules are not made up later."""
    for _ in range(40):
        clock.sleep(1)
        (reading,) = meter.read()
        if not reading.waiting:
            break

    assert reading.gap is not None
    assert "stand still" in reading.gap
    clock.sleep(1)
    served.node(1010.0)
    assert joules(meter.read()) == {"package": pytest.approx(10.0)}


def test_a_step_back_is_a_gap_and_the_next_window_is_whole(
    served: Exporter, meter: ExporterMeter, clock: Clock
) -> None:
    """A wrap or a restart: the exporter does not say how far it counts."""
    clock.sleep(1)
    served.node(3.0)
    (reading,) = meter.read()
    clock.sleep(1)
    served.node(23.0)

    assert (reading.energy_joules, reading.gap is not None) == (None, True)
    assert joules(meter.read()) == {"package": pytest.approx(20.0)}


def test_impossible_watts_are_a_gap(served: Exporter, meter: ExporterMeter, clock: Clock) -> None:
    """No socket takes 5 kW."""
    clock.sleep(1)
    served.node(6000.0)

    (reading,) = meter.read()

    assert reading.energy_joules is None
    assert "5000 J" in (reading.gap or "")


def test_an_exporter_that_goes_away_leaves_a_gap_until_both_ends_are_read(
    served: Exporter, procfs: ProcfsTree, clock: Clock
) -> None:
    """Its joules meanwhile are unknown, not zero; with it back, the next window is whole."""
    meter = ExporterMeter(served.url, procfs=procfs.root, monotonic_ns=clock, read_seconds=5.0)
    meter.read()
    served.status = 503
    clock.sleep(1)
    (away,) = meter.read()
    served.status = 200
    served.node(1100.0)
    clock.sleep(1)
    (back,) = meter.read()
    served.node(1130.0)
    clock.sleep(1)
    whole = joules(meter.read())
    meter.close()

    assert (away.energy_joules, away.gap) == (None, "node_exporter: status 503")
    assert back.energy_joules is None
    assert whole == {"package": pytest.approx(30.0)}


def test_a_refused_connection_is_a_gap_that_says_so(procfs: ProcfsTree, clock: Clock) -> None:
    """The exporter's pod was evicted."""
    exporter = Exporter()
    exporter.node(1.0)
    meter = ExporterMeter(exporter.url, procfs=procfs.root, monotonic_ns=clock, read_seconds=5.0)
    exporter.stop()
    meter._page.close()  # the kept connection would be served by its thread
    (reading,) = meter.read()
    meter.close()

    assert reading.gap == "node_exporter: Connection refused"


def test_a_slow_answer_is_a_gap_and_the_app_does_not_wait_for_it(
    served: Exporter, procfs: ProcfsTree, clock: Clock
) -> None:
    """Byte by byte for ever: the meter gives up after its limit."""
    release = threading.Event()

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while not release.wait(0.01):
            handler.wfile.write(b"1\r\n#\r\n")

    meter = ExporterMeter(served.url, procfs=procfs.root, monotonic_ns=clock, read_seconds=0.2)
    meter.read()
    served.body = drip
    began = time.monotonic()
    (reading,) = meter.read()
    waited = time.monotonic() - began
    release.set()
    meter.close()

    assert reading.energy_joules is None
    assert reading.gap is not None
    assert waited < 2.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>welcome</html>", "no joules"),
        (b"", "no joules"),
        (b'node_rapl_package_joules_total{index="0"} NaN\n', "no amount"),
        (b'node_rapl_package_joules_total{index="0"} x\n', "could not convert"),
        (b"#" * (MAXIMUM_BODY_BYTES + 1), "larger than 4 MB"),
    ],
    ids=["html", "empty", "nan", "text", "huge"],
)
def test_a_wrong_body_is_a_gap(served: Exporter, meter: ExporterMeter, clock: Clock, body: bytes, said: str) -> None:
    """Whatever comes, the app goes on."""
    clock.sleep(1)
    served.body = body

    (reading,) = meter.read()

    assert reading.energy_joules is None
    assert said in (reading.gap or "")


def test_one_connection_serves_all_readings_and_only_rapl_is_asked_for(
    served: Exporter, meter: ExporterMeter, clock: Clock
) -> None:
    """An exporter's page has two thousand lines; the RAPL collector's has a few."""
    for second in range(5):
        clock.sleep(1)
        served.node(1000.0 + second)
        meter.read()

    assert served.connections == 1
    assert served.asked[0] == "/metrics"
    assert set(served.asked[1:]) == {"/metrics?collect[]=rapl"}


def test_a_connection_that_the_exporter_closed_is_opened_anew(
    served: Exporter, meter: ExporterMeter, clock: Clock
) -> None:
    """Servers close idle connections; that is no gap."""

    def closing(handler: Any) -> None:
        handler.close_connection = True

    clock.sleep(1)
    served.body = closing
    assert joules(meter.read()) == {"package": None}
    served.node(1010.0)
    meter.read()
    served.node(1020.0)
    clock.sleep(1)
    assert joules(meter.read()) == {"package": pytest.approx(10.0)}


def test_a_socket_that_is_missing_makes_the_reading_partial(served: Exporter, procfs: ProcfsTree, clock: Clock) -> None:
    """The missing socket is not taken for 0 W."""
    second = 'node_rapl_package_joules_total{index="1",path="/sys/class/powercap/intel-rapl:1"} '
    served.node(1000.0, second + "500")
    meter = ExporterMeter(served.url, procfs=procfs.root, monotonic_ns=clock, read_seconds=5.0)
    meter.read()
    clock.sleep(1)
    served.node(1010.0)

    (reading,) = meter.read()
    meter.close()

    assert reading.energy_joules == pytest.approx(10.0)
    assert reading.partial


def test_an_exporter_on_another_machine_is_refused(served: Exporter, procfs: ProcfsTree) -> None:
    """Its joules are not ours, however good they are."""
    procfs.write("stat", "cpu  1 0 0 1 0 0 0 0 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\nbtime 1700000000\n")
    served.node(1000.0, "node_boot_time_seconds 1.700003e+09")

    with pytest.raises(MeterAbsentError, match=r"another machine.*status.hostIP"):
        ExporterMeter(served.url, procfs=procfs.root)

    served.node(1000.0, "node_boot_time_seconds 1.7e+09")
    ExporterMeter(served.url, procfs=procfs.root).close()


def test_an_exporter_that_may_not_read_rapl_itself_is_told_apart(served: Exporter, procfs: ProcfsTree) -> None:
    """The address is right, the exporter lacks the permission."""
    served.body = b'node_scrape_collector_success{collector="rapl"} 0\n'

    with pytest.raises(MeterAbsentError, match="cannot read RAPL itself"):
        ExporterMeter(served.url, procfs=procfs.root)


def test_detect_asks_an_exporter_only_where_its_address_is_set(
    served: Exporter, procfs: ProcfsTree, tmp_path: Path
) -> None:
    """It comes after the machine's own counters and before the model."""
    without = detect(sysfs_root=tmp_path, procfs_root=procfs.root, gpu=False)
    chosen = detect(sysfs_root=tmp_path, procfs_root=procfs.root, gpu=False, choice="exporter")
    found = detect(sysfs_root=tmp_path, procfs_root=procfs.root, gpu=False, exporter_url=served.url)

    assert without.cpu is not None
    assert without.cpu.name == "model"
    assert chosen.cpu is None
    assert any("CARBON_SDK_EXPORTER_URL" in (report.remedy or "") for report in chosen.reports)
    assert found.cpu is not None
    assert (found.cpu.name, found.cpu.scope.kind) == ("exporter", "machine")
    assert found.cpu.basis.startswith("package by node_exporter at http://127.0.0.1:")
    found.cpu.close()


KEPLER_NEW = b"""# TYPE kepler_node_cpu_joules_total counter
kepler_node_cpu_active_joules_total{node_name="n",zone="package"} 400
kepler_node_cpu_idle_joules_total{node_name="n",zone="package"} 600
kepler_node_cpu_joules_total{node_name="n",path="/sys/class/powercap/intel-rapl:0",zone="package"} 1000.5
kepler_node_cpu_joules_total{node_name="n",path="/sys/class/powercap/intel-rapl:0:0",zone="core"} 800
kepler_node_cpu_joules_total{node_name="n",path="/sys/class/powercap/intel-rapl:0:1",zone="dram"} 90
kepler_node_cpu_joules_total{node_name="n",path="/sys/class/powercap/intel-rapl:1",zone="psys"} 2000
kepler_node_cpu_watts{zone="package"} 50
"""
KEPLER_OLD = b"""kepler_node_core_joules_total{instance="n",mode="idle",package="0",source="trained_power_model"} 9
kepler_node_package_joules_total{instance="n",mode="idle",package="0",source="trained_power_model"} 600
kepler_node_package_joules_total{instance="n",mode="dynamic",package="0",source="trained_power_model"} 400
kepler_node_dram_joules_total{instance="n",mode="dynamic",package="0",source="rapl-sysfs"} 5
kepler_node_platform_joules_total{instance="n",mode="dynamic",source="acpi"} 3000
kepler_node_other_joules_total{instance="n",mode="dynamic"} 7777
"""
SCAPHANDRE = b"""scaph_host_energy_microjoules 5000000
scaph_socket_energy_microjoules{socket_id="0"} 3000000
scaph_socket_energy_microjoules{socket_id="1"} 1000000
scaph_domain_energy_microjoules{domain_id="0",domain_name="core",socket_id="0"} 2500000
scaph_domain_energy_microjoules{domain_id="2",domain_name="dram",socket_id="0"} 1000000
"""
MMIO = b"""node_rapl_package_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0"} 100
node_rapl_package_joules_total{index="0",path="/sys/class/powercap/intel-rapl-mmio:0"} 99
node_rapl_core_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0:0"} 70
node_rapl_psys_joules_total{index="0",path="/sys/class/powercap/intel-rapl:1"} 300
"""
DIES = b"""node_rapl_package_0_die_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0"} 100.0
node_rapl_package_0_die_joules_total{index="1",path="/sys/class/powercap/intel-rapl:1"} 100.2
"""
ZONE_LABEL = b"""node_rapl_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0",rapl_zone="package"} 100
node_rapl_joules_total{index="0",path="/sys/class/powercap/intel-rapl:0:0",rapl_zone="dram"} 10
"""


@pytest.mark.parametrize(
    ("body", "psys", "expected"),
    [
        (KEPLER_NEW, False, {"package": 1000.5, "dram": 90.0}),
        (KEPLER_NEW, True, {"psys": 2000.0}),
        (KEPLER_OLD, False, {"package": 1000.0, "dram": 5.0}),
        (KEPLER_OLD, True, {"psys": 3000.0}),
        (SCAPHANDRE, False, {"package": 4.0, "dram": 1.0}),
        (SCAPHANDRE.splitlines()[0], False, {"psys": 5.0}),
        (MMIO, False, {"package": 100.0}),
        (MMIO, True, {"psys": 300.0}),
        (DIES, False, {"package": 100.0}),
        (ZONE_LABEL, False, {"package": 100.0, "dram": 10.0}),
        (ZONE_LABEL + KEPLER_NEW + SCAPHANDRE, False, {"package": 100.0, "dram": 10.0}),
    ],
    ids=[
        "kepler",
        "kepler-psys",
        "old",
        "old-platform",
        "scaphandre",
        "host",
        "mmio",
        "psys",
        "dies",
        "zone-label",
        "three-in-one",
    ],
)
def test_each_exporter_counts_each_joule_once(body: bytes, psys: bool, expected: dict[str, float]) -> None:
    """Cores lie inside packages, psys around them, and one package is shown by two interfaces."""
    found: dict[str, float] = {}
    for series in parse(body, psys=psys).series:
        found[series.domain] = found.get(series.domain, 0.0) + series.microjoules / 1e6

    assert found == pytest.approx(expected)


def test_an_exporters_own_guess_is_called_a_model() -> None:
    """Old Kepler serves trained estimates under the names of its counters, and says so in a label."""
    methods = {series.domain: series.method for series in parse(KEPLER_OLD).series}

    assert methods == {"package": "model", "dram": "counter"}


@given(
    st.binary(max_size=400) | st.text(max_size=200).map(lambda text: f"node_rapl_package_joules_total {text}".encode())
)
def test_no_answer_breaks_the_reader(body: bytes) -> None:
    """It reads it or raises a ValueError, nothing else."""
    try:
        parse(body)
    except ValueError:
        return


@given(st.lists(st.floats(0.1, 900.0), min_size=1, max_size=8), st.integers(0, 7))
def test_a_reset_at_any_point_makes_that_window_a_gap_and_no_other_wrong(steps: list[float], at: int) -> None:
    """Windows add up to what was used, less the one with the reset."""
    page = {"value": 1000.0}
    clock = Clock()

    class Told(ExporterMeter):
        def __init__(self) -> None:
            self._exporter, self._domains, self._known, self._before = "node_exporter", {}, {}, None
            self._monotonic_ns = clock

        def _ask(self) -> Any:
            return parse(b'node_rapl_package_joules_total{index="0"} %.6f\n' % page["value"])

    meter = Told()
    meter.read()
    total, gaps = 0.0, 0
    for number, step in enumerate(steps):
        clock.sleep(1)
        page["value"] = step * 1e-3 if number == at else page["value"] + step
        (reading,) = meter.read()
        total += reading.energy_joules or 0.0
        gaps += reading.gap is not None

    assert gaps == (1 if at < len(steps) else 0)
    assert total == pytest.approx(sum(step for number, step in enumerate(steps) if number != at), abs=1e-4)


@pytest.fixture
def node_exporter(sysfs: Callable[[str], SysfsTree]) -> Iterator[tuple[str, SysfsTree]]:
    """The real exporter over a tree that the test moves."""
    if NODE_EXPORTER is None:
        pytest.skip("node_exporter is not installed (Debian: apt-get install prometheus-node-exporter)")
    tree = sysfs("intel-rapl:0 package-0\nintel-rapl:0:0 core\nintel-rapl:0:1 dram D15\nintel-rapl:1 package-1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [NODE_EXPORTER, f"--path.sysfs={tree.root}", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        _until_it_serves(url, process)
        yield url, tree
    finally:
        process.terminate()
        process.wait()


def _until_it_serves(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("node_exporter did not come up")


def test_the_real_node_exporter_serves_the_joules_of_the_tree(
    node_exporter: tuple[str, SysfsTree], clock: Clock
) -> None:
    """Two packages and their DRAM, without the cores; a wrap is a gap of that domain alone."""
    url, tree = node_exporter
    meter = ExporterMeter(url, monotonic_ns=clock, read_seconds=10.0)
    meter.read()
    clock.sleep(1)
    for zone, used in (
        ("intel-rapl:0", 30.0),
        ("intel-rapl:0:0", 20.0),
        ("intel-rapl:0:1", 4.0),
        ("intel-rapl:1", 25.0),
    ):
        tree.use(zone, used)
    first = joules(meter.read())
    still = [reading.waiting for reading in meter.read()]
    clock.sleep(1)
    tree.use("intel-rapl:0", 1.0)
    tree.use("intel-rapl:1", 1.0)
    tree.set("intel-rapl:0:1", 7)
    wrapped = joules(meter.read())
    meter.close()

    assert meter.basis.startswith("dram, package by node_exporter")
    assert first == {"package": pytest.approx(55.0, abs=1e-4), "dram": pytest.approx(4.0, abs=1e-4)}
    assert still == [True, True]
    assert wrapped == {"package": pytest.approx(2.0, abs=1e-4), "dram": None}


def test_the_real_node_exporter_without_permission_is_told(
    sysfs: Callable[[str], SysfsTree], node_exporter: tuple[str, SysfsTree]
) -> None:
    """Its own RAPL collector fails: the message names the exporter's permission, not the address."""
    url, tree = node_exporter
    for zone in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:1"):
        (tree.folder(zone) / "energy_uj").unlink()

    with pytest.raises(MeterAbsentError, match=r"cannot read RAPL itself|no joules that are known"):
        ExporterMeter(url, read_seconds=10.0)
    assert absent.EXPORTER_SETTING == "CARBON_SDK_EXPORTER_URL"
