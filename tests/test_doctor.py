"""`carbon-sdk doctor`: what it says of this machine and of others, and with which exit code it ends."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from carbon_sdk import doctor_table
from carbon_sdk.cli import main
from carbon_sdk.doctor import Diagnosis, Grid, Idle, Link, Machine, Quota, examine
from carbon_sdk.meters.detect import MeterReport
from carbon_sdk.meters.idle import IdlePower
from carbon_sdk.selftest import Book, SelfTest, SpanResult
from carbon_sdk.settings import from_environment
from tests.meters.conftest import SysfsTree
from tests.privileges import without_privileges

WATTS = 20.0


@pytest.fixture(autouse=True)
def quiet_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the person who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SysfsTree]:
    """A machine whose one package draws 20 W."""
    tree = SysfsTree(tmp_path / "sys", "intel-rapl:0 package-0")
    descriptor = os.open(tree.folder("intel-rapl:0") / "energy_uj", os.O_WRONLY | os.O_TRUNC)
    os.pwrite(descriptor, b"0001000000\n", 0)
    ended = threading.Event()

    def draw() -> None:
        microjoules = 1_000_000
        while not ended.wait(0.05):
            microjoules += round(WATTS * 0.05 * 1e6)
            os.pwrite(descriptor, b"%010d\n" % microjoules, 0)

    drawing = threading.Thread(target=draw)
    drawing.start()
    monkeypatch.setenv("CARBON_SDK_SYSFS_ROOT", str(tree.root))
    yield tree
    ended.set()
    drawing.join()
    os.close(descriptor)


def test_idle_power_that_was_learnt_is_shown_and_left_as_it_was(
    counter: SysfsTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The doctor takes up what a service has left, and leaves nothing."""
    power = IdlePower()
    for second in range(300):
        load = (second % 50) / 500
        power.observe(energy_joules=8.0 + 24.0 * load**0.7, seconds=1.0, utilisation=load)
    file = tmp_path / "state" / "idle_power.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"basis": "package-0 by intel-rapl", **power.dump()}))
    before = file.read_text()
    monkeypatch.setenv("CARBON_SDK_STATE_DIR", str(file.parent))
    code, found = told(capsys)

    assert (code, found["idle"]["rule"], found["test"]["idle_rule"]) == (0, "learnt", "learnt")
    assert found["idle"]["watts"] == pytest.approx(8.0, rel=0.1)
    assert file.read_text() == before


def told(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """The exit code, and the JSON object."""
    code = main(["doctor", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_counter_that_serves_is_all_that_is_wanted(counter: SysfsTree, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0; the spans are booked what they burned, one twice the other, and the sums are equal."""
    code, found = told(capsys)
    serving = {report["meter"]: report["serves"] for report in found["meters"]}
    (book,) = [book for book in found["test"]["books"] if book["domain"] == "package"]
    long, short = found["test"]["spans"]

    assert code == found["exit_code"] == 0
    assert found["means"] == "counter"
    assert (serving["powercap"], serving["model"]) == (True, False)
    assert book["measured_joules"] > 0.0
    assert book["booked_joules"] == pytest.approx(book["measured_joules"], rel=1e-9)
    assert found["test"]["balances"]
    for span in (long, short):
        assert span["booked_cpu_seconds"] == pytest.approx(span["burned_cpu_seconds"], rel=0.2)
    assert long["burned_cpu_seconds"] > 1.3 * short["burned_cpu_seconds"] > 0.0
    shared = book["spans"]["long"] / book["spans"]["short"]
    assert shared == pytest.approx(long["booked_cpu_seconds"] / short["booked_cpu_seconds"], rel=0.05)


@pytest.mark.anyio
async def test_an_interpreter_that_cannot_be_measured_is_told_and_not_tested(counter: SysfsTree) -> None:
    """The doctor says what a service would say at its start, and books no joule that none would get."""
    found = await examine(from_environment(), unsupported=lambda: "no global lock")

    assert (found.exit_code, found.test, found.as_object()["unsupported"]) == (3, None, "no global lock")


def test_without_a_counter_the_model_is_named_and_nothing_is_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A virtual machine: exit code 0, every meter with its reason, and whatever misspelt variable there is."""
    monkeypatch.setenv("CARBON_SDK_SYSFS_ROOT", str(tmp_path))
    monkeypatch.setenv("CARBON_SDK_GPU", "off")
    monkeypatch.setenv("CARBON_SDK_ZONE", "DE")
    monkeypatch.setenv("CARBON_SDK_ZOME", "DE")
    monkeypatch.setenv("CARBON_SDK_INSTANCE_TYPE", "m5.large")
    code, found = told(capsys)
    reports = {report["meter"]: report for report in found["meters"]}

    assert (code, found["means"]) == (0, "model")
    assert list(reports) == ["powercap", "exporter", "model", "nvml"]
    assert "powercap does not exist" in reports["powercap"]["reason"]
    assert all(report["reason"] for report in reports.values())
    assert found["warnings"] == ["CARBON_SDK_ZOME is no setting. Did you mean CARBON_SDK_ZONE?"]
    assert (found["machine"]["instance_type"], found["machine"]["instance_type_known_by"]) == ("m5.large", "setting")
    assert (found["grid"]["place"], found["grid"]["known_by"]) == ("DE", "setting")
    assert found["grid"]["intensity"]["source"] == "yearly_averages"
    assert found["quota"]["scope_cpus"] > 0
    assert found["idle"]["rule"] == "model"
    assert found["idle"]["watts"] > 0.0


def unprivileged(sysfs_root: Path) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON object, as a process without privileges sees it."""
    ended = subprocess.run(
        [sys.executable, "-m", "carbon_sdk.cli", "doctor", "--json"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "CARBON_SDK_SYSFS_ROOT": str(sysfs_root)},
        preexec_fn=without_privileges,
    )
    assert ended.stderr == ""
    return ended.returncode, json.loads(ended.stdout)


def test_a_counter_for_root_only_is_named_with_the_remedy(tmp_path: Path) -> None:
    """The model serves, and the exit code is not 0: measuring would be possible."""
    tree = SysfsTree(tmp_path / "sys", "intel-rapl:0 package-0")
    (tree.folder("intel-rapl:0") / "energy_uj").chmod(0)
    code, found = unprivileged(tree.root)
    powercap = found["meters"][0]

    assert (code, found["means"]) == (1, "model")
    assert not powercap["serves"]
    assert "intel-rapl:0/energy_uj is readable by root only" in powercap["reason"]
    assert "tmpfiles.d" in powercap["remedy"]


def test_one_package_of_two_is_a_part(counter: SysfsTree) -> None:
    """The missing socket is named, with the remedy, and not taken for 0 W."""
    counter.add("intel-rapl:1 package-1")
    (counter.folder("intel-rapl:1") / "energy_uj").chmod(0)
    code, found = unprivileged(counter.root)
    powercap = found["meters"][0]

    assert (code, found["means"], found["test"]["partial"]) == (1, "counter", True)
    assert powercap["serves"]
    assert "not readable: package-1" in powercap["reason"]
    assert "intel-rapl:1/energy_uj is readable by root only" in powercap["reason"]
    assert "tmpfiles.d" in powercap["remedy"]


def test_a_chosen_meter_that_does_not_serve_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3: no joule can be booked."""
    monkeypatch.setenv("CARBON_SDK_SYSFS_ROOT", str(tmp_path))
    monkeypatch.setenv("CARBON_SDK_METER", "powercap")
    code, found = told(capsys)

    assert (code, found["means"], found["test"]) == (3, None, None)


def test_a_setting_that_cannot_be_used_is_told_before_anything_is_burned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line."""
    monkeypatch.setenv("CARBON_SDK_ZONE", "DEE")

    assert main(["doctor"]) == 2
    assert "CARBON_SDK_ZONE" in capsys.readouterr().err


def test_a_provider_that_does_not_answer_is_shown_with_its_reason(
    tmp_path: Path, counter: SysfsTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The static average stands in, and measuring is possible all the same."""
    monkeypatch.setenv("CARBON_SDK_ZONE", "DE")
    monkeypatch.setenv("CARBON_SDK_PROVIDER", "file")
    monkeypatch.setenv("CARBON_SDK_FILE_PATH", str(tmp_path / "absent.csv"))
    code, found = told(capsys)
    file, static = found["grid"]["chain"]

    assert code == 0
    assert (file["provider"], file["answered"]) == ("file", False)
    assert "absent.csv" in file["problem"]
    assert not file["problem"].startswith("file:")
    assert found["warnings"] == []
    assert static["answered"]


@pytest.mark.parametrize("columns", [80, 200])
def test_in_a_real_terminal_no_line_is_torn(counter: SysfsTree, columns: int) -> None:
    """As wide as the terminal at most, with the verdict first."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    running = subprocess.Popen(
        [sys.executable, "-m", "carbon_sdk.cli", "doctor"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while block := _block(mine):
        shown += block
    os.close(mine)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r", "\n").splitlines()
    words = [line for line in lines if line.strip() and "burning CPU" not in line]

    assert running.wait() == 0
    assert words[0].startswith("carbon_sdk ")
    assert "measured by a counter" in words[0]
    assert any("The books balance" in line for line in words)
    assert max(map(len, lines)) <= columns


def _block(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side is closed
        return b""


PACKAGE = Book(
    domain="package",
    method="counter",
    measured_joules=100.0,
    spans={"long": 40.0, "short": 20.0},
    background_joules=1.0,
    rest_joules=9.0,
    idle_joules=30.0,
)
TEST = SelfTest(
    seconds=2.0,
    spans=(
        SpanResult(name="long", burned_cpu_seconds=1.2, booked_cpu_seconds=1.21),
        SpanResult(name="short", burned_cpu_seconds=0.6, booked_cpu_seconds=0.61),
    ),
    background_cpu_seconds=0.01,
    books=(PACKAGE,),
    idle_rule="usage_ratio",
)
FOUND = Diagnosis(
    meters=(MeterReport(meter="powercap", serves=True, reason="package-0 by intel-rapl"),),
    machine=Machine(
        cpu="Intel(R) Xeon(R) Gold 6254 CPU @ 3.10GHz",
        microarchitecture="Cascade Lake",
        threads=72,
        sockets=2,
        virtual=False,
        memory_bytes=None,
        vendor="Dell Inc.",
        instance_type=None,
        instance_type_known_by=None,
    ),
    quota=Quota(cpus=1.5, cpus_by="/sys/fs/cgroup/cpu.max", memory_bytes=2**30, scope="container", scope_cpus=1.5),
    idle=Idle(watts=None, rule="usage_ratio"),
    grid=Grid(
        place="DE",
        known_by="setting",
        intensity=None,
        chain=(Link(provider="electricity_maps", answered=False, problem="401"),),
    ),
    test=TEST,
    warnings=(),
    disabled=False,
    unsupported=None,
)


def shown(found: Diagnosis, width: int = 80) -> str:
    """What a person sees."""
    stream = StringIO()
    doctor_table.show(found, Console(file=stream, width=width))
    return stream.getvalue()


def with_book(**changes: Any) -> Diagnosis:
    """The same, with another book of the package."""
    return replace(FOUND, test=replace(TEST, books=(replace(PACKAGE, **changes),)))


def test_a_person_reads_what_was_found() -> None:
    """Quota, scope, the provider's problem, the spans and the sums."""
    text = shown(FOUND)

    assert "at most 1.5 of 72 CPUs, by /sys/fs/cgroup/cpu.max" in text
    assert "1.07 GB" in text
    assert "the container, 1.5 CPUs" in text
    assert "not known yet" in text
    assert "electricity_maps: 401" in text
    assert "nobody answered in time" in text
    assert "idle, by usage ratio" in text
    assert [re.sub(r" +", " ", line).strip() for line in text.splitlines() if "100.000" in line] == [
        "booked 100.000",
        "measured 100.000",
    ]
    assert "The books balance" in text


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        (FOUND, 0, "it works"),
        (replace(FOUND, meters=(FOUND.meters[0]._replace(remedy="Do this"),)), 1, "Remedy: Do this"),
        (replace(FOUND, disabled=True), 3, "CARBON_SDK_DISABLED"),
        (replace(FOUND, test=None), 3, "nothing can be measured"),
        (replace(FOUND, unsupported="no global lock"), 3, "nothing is measured: no global lock"),
        (with_book(idle_joules=31.0), 3, "do not balance"),
        (with_book(measured_joules=0.0), 3, "stood still while the CPU was busy"),
        (with_book(measured_joules=None, gap="the counter went back"), 3, "package: the counter went back"),
        (replace(FOUND, warnings=("the place is not known",)), 0, "the place is not known"),
        (replace(FOUND, test=replace(TEST, faults=("cpu: odd",))), 0, "cpu: odd"),
        (replace(FOUND, test=replace(TEST, partial=True)), 0, "a part of the whole"),
    ],
)
def test_the_exit_code_and_the_words_go_together(found: Diagnosis, code: int, words: str) -> None:
    """0 as well as it can, 1 with a remedy, 3 no joule can be booked."""
    text = shown(found)

    assert found.exit_code == code
    assert words in " ".join(text.split())
    assert found.as_object()["exit_code"] == code
    assert json.loads(json.dumps(found.as_object()))["verdict"] == found.verdict
