"""The command `carbon-sdk`: what it prints, and with which exit code it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from carbon_sdk.cli import main


@pytest.fixture(autouse=True)
def quiet_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the person who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_a_key_the_intensity_is_static_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """No network, no token: the bundled average answers, marked."""
    assert main(["intensity", "FR", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert (told["zone"], told["quality"], told["source"]) == ("FR", "static", "yearly_averages")
    assert 0.0 < told["g_per_kwh"] < 200.0
    assert told["licence"]
    assert told["known_by"] == "setting"


def test_a_person_reads_value_source_and_credit(capsys: pytest.CaptureFixture[str]) -> None:
    """The first line says the value and how it is known; the source's name is whole in 80 columns."""
    assert main(["intensity", "DE"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert "g CO2e/kWh  DE  static, average, lifecycle, by yearly_averages" in lines[0]
    assert any(line.split()[:1] == ["yearly_averages"] for line in lines)
    assert any("Our World in Data" in line for line in lines)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """Electricity Maps at an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/v4"
    monkeypatch.setenv("CARBON_SDK_PROVIDER", "electricity_maps,yearly_averages")
    monkeypatch.setenv("CARBON_SDK_ELECTRICITY_MAPS_TOKEN", "token-that-nobody-may-see")
    monkeypatch.setenv("CARBON_SDK_ELECTRICITY_MAPS_BASE_URL", address)
    return address


@pytest.mark.parametrize("columns", [80, 200])
def test_why_a_source_failed_and_what_to_do_stand_below_the_table(
    columns: int, nobody: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In whole sentences, whatever the terminal's width; not a second time on stderr."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["intensity", "DE"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()

    assert "static, average, lifecycle, by yearly_averages" in lines[0]
    assert any(line.split()[:6] == ["electricity_maps", "average,", "lifecycle", "0", "1", "1"] for line in lines)
    words = " ".join(printed.out.split())
    assert f"electricity_maps: {nobody}/carbon-intensity/latest: no connection, or it broke" in words
    assert "Let this host reach it, by CARBON_SDK_HTTP_PROXY if need be, or change CARBON_SDK_PROVIDER." in words
    assert max(map(len, lines)) <= columns
    assert not printed.err
    assert "token-that" not in printed.out


def test_a_script_reads_why_a_source_failed(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the object, and as an event on stderr."""
    assert main(["intensity", "DE", "--json"]) == 0
    printed = capsys.readouterr()
    first, averages = json.loads(printed.out)["chain"]

    assert nobody in first["last_problem"]
    assert "CARBON_SDK_PROVIDER" in first["last_remedy"]
    assert (averages["last_problem"], averages["last_remedy"]) == (None, None)
    assert json.loads(printed.err)["fault"] == "intensity.electricity_maps"


def test_a_place_that_is_not_known_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """The value goes to stdout alone, so that it can be piped."""
    assert main(["intensity", "--json"]) == 0
    printed = capsys.readouterr()

    assert json.loads(printed.out)["zone"] == "WORLD"
    assert "CARBON_SDK_ZONE" in printed.err


def test_an_unknown_zone_names_the_setting_and_its_kin(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line, no traceback."""
    assert main(["intensity", "DEE"]) == 2
    printed = capsys.readouterr()

    assert not printed.out
    assert "CARBON_SDK_ZONE" in printed.err
    assert "DE" in printed.err


def test_a_forecast_that_nobody_has_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The value is shown all the same; the exit code tells a script."""
    assert main(["intensity", "DE", "--forecast", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)

    assert told["forecast"] == []
    assert "forecast" in told["forecast_problem"]


def test_the_collectors_words_reach_the_collector(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its own parser answers, `--help` included."""
    made = main(["collector", "token", "make", "--data", str(tmp_path / "c"), "--scope", "write"])
    assert made == 0
    secret = capsys.readouterr().out.strip().splitlines()[-1]
    assert main(["collector", "token", "list", "--data", str(tmp_path / "c")]) == 0
    listed = capsys.readouterr().out

    assert "write" in listed
    assert secret not in listed
    with pytest.raises(SystemExit) as ended:
        main(["collector", "--help"])
    assert ended.value.code == 0
    assert "serve" in capsys.readouterr().out


def test_the_quick_start_shows_what_three_services_delivered(capfd: pytest.CaptureFixture[str]) -> None:
    """One command: a collector, three services, traffic, and a first total of each."""
    assert main(["quickstart", "--seconds", "2", "--port", "0", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)

    assert told["collector"].startswith("http://127.0.0.1:")
    assert sorted(row["service"] for row in told["services"]) == ["billing", "mail", "shop"]
    for row in told["services"]:
        assert row["requests"] > 0
        assert row["energy_joules"] > 0.0
        assert row["emissions_g"] > 0.0


def test_an_interrupt_ends_the_quick_start_with_a_last_total() -> None:
    """Ctrl-C reaches every process of the terminal at once: the collector still answers, and nobody is left behind."""
    command = [sys.executable, "-m", "carbon_sdk.cli", "quickstart", "--port", "0"]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "until Ctrl-C" in line:
            break
    os.killpg(running.pid, signal.SIGINT)
    out, problems = running.communicate(timeout=60)

    assert (running.returncode, problems) == (0, "")
    assert "shop" in out
    assert "billing" in out


@pytest.mark.parametrize("words", [["quickstart", "--port", "0"], ["demo", "--seconds", "60"]])
def test_a_sigterm_leaves_none_of_their_processes_behind(words: list[str], tmp_path: Path) -> None:
    """It reaches the command alone, which ends the services that it has started."""
    running = subprocess.Popen(
        [sys.executable, "-m", "carbon_sdk.cli", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    above = psutil.Process(running.pid)
    wanted = 4 if "quickstart" in words else 1
    while len(children := above.children(recursive=True)) < wanted or not all(_listens(one) for one in children):
        assert running.poll() is None
        time.sleep(0.1)
    running.terminate()

    assert running.wait(60) in (0, 130)  # the quick start has a last total to show, or none yet
    assert not psutil.wait_procs(children, timeout=10)[1]


def _listens(process: psutil.Process) -> bool:
    return any(one.status == psutil.CONN_LISTEN for one in process.net_connections())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["quickstart", "--port", "99999"], "'99999' is not a port from 0 to 65535"),
        (["quickstart", "--port", "-1"], "'-1' is not a port"),
        (["quickstart", "--seconds", "nan"], "'nan' is not seconds from 0.1"),
        (["demo", "--seconds", "-1"], "'-1' is not seconds"),
        (["run", "--interval", "soon", "--", "true"], "'soon' is not seconds"),
    ],
)
def test_a_number_that_cannot_be_used_is_refused_with_its_range(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once, in a line that a person can act on."""
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_the_collector_refuses_a_port_that_there_is_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In one line, as one that is taken."""
    assert main(["collector", "serve", "--port", "99999", "--data", str(tmp_path)]) != 0

    assert "cannot listen on 127.0.0.1:99999: a port is 0 to 65535" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer sees what there is."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out

    assert all(name in printed for name in ("demo", "quickstart", "intensity", "doctor", "collector"))


def test_help_of_the_collector_tells_what_serves_unless_it_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever sets a limit sees from which."""
    with pytest.raises(SystemExit):
        main(["collector", "serve", "--help"])
    printed = " ".join(capsys.readouterr().out.split())

    for told in (
        "--host HOST address to listen on; beyond loopback only with tokens (127.0.0.1)",
        "free (8321)",
        "as it comes (8)",
        "head came (10.0)",
        "batch (10000)",
        "records are kept (",
    ):
        assert told in printed


def _printed_to(out: int, words: list[str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "carbon_sdk.cli", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CARBON_SDK_ZONE": "DE"}
    return subprocess.run(
        command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )


PRINTING = [["doctor"], ["intensity", "DE"], ["intensity", "DE", "--json"], ["monitoring", "grafana"]]


@pytest.mark.parametrize("words", PRINTING)
def test_a_full_disk_is_told_in_one_line(words: list[str]) -> None:
    """Whether the command draws, or writes at once what it prints."""
    full = os.open("/dev/full", os.O_WRONLY)
    done = _printed_to(full, words)
    os.close(full)

    assert done.returncode == 74
    assert done.stderr == "carbon-sdk: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("words", PRINTING)
def test_a_reader_that_has_gone_is_told_in_one_line(words: list[str]) -> None:
    """As after `| head -1`; the exit code is what a shell sees of a program that SIGPIPE ended."""
    reader, writer = os.pipe()
    os.close(reader)
    done = _printed_to(writer, words)
    os.close(writer)

    assert done.returncode == 141
    assert done.stderr == "carbon-sdk: standard output cannot be written: Broken pipe\n"


def test_a_standard_output_that_was_closed_before_is_told_in_one_line() -> None:
    """There is no stream to write to at all."""
    command = f"exec {sys.executable} -m carbon_sdk.cli monitoring grafana >&-"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 74
    assert done.stderr == "carbon-sdk: standard output cannot be written: Bad file descriptor\n"
