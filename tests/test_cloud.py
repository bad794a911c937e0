"""What a cloud tells changes place and model of a line that runs already, and nobody waits for it."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from carbon_sdk import Carbon, Emission
from carbon_sdk.cli import main
from carbon_sdk.testing import FixedIntensity, RecordingSink
from tests.clouds import GCE, Service, dmi, serving
from tests.meters.conftest import ProcfsTree

WAIT_SECONDS = 20.0


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Service]:
    """A machine of Google's, whose CPU hides its name, and its metadata service."""
    caplog.set_level(logging.INFO, logger="carbon_sdk")
    procfs = ProcfsTree(tmp_path / "proc")
    procfs.cpuinfo("Intel(R) Xeon(R) CPU @ 2.80GHz", numbers=(6, 85, 7), flags="fpu hypervisor")
    sysfs = dmi(tmp_path / "sys", sys_vendor="Google", product_name="Google Compute Engine")
    with serving(GCE) as service:
        for name, value in {
            "CLOUD_METADATA": "1",
            "CLOUD_METADATA_URL": service.address,
            "PROCFS_ROOT": str(procfs.root),
            "SYSFS_ROOT": str(sysfs),
            "SAMPLE_INTERVAL_SECONDS": "0.2",
            "GPU": "off",
        }.items():
            monkeypatch.setenv(f"CARBON_SDK_{name}", value)
        yield service


class Sink(RecordingSink):
    """Tells when the first record has come."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    async def write(self, emissions: Sequence[Emission], /) -> None:
        """Keep a batch."""
        await super().write(emissions)
        self.begun.set()


def running(sink: Sink, zone: str | None = None) -> Carbon:
    """A line that gives its first record soon."""
    return Carbon(provider=FixedIntensity(), sinks={"record": sink}, first_record_seconds=0.4, zone=zone)


def until_said(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    """The lines of an event, once there is one."""
    for _ in range(round(WAIT_SECONDS / 0.05)):
        found = [record.getMessage() for record in caplog.records if record.getMessage().startswith(event)]
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {event} within {WAIT_SECONDS} s")


def measured(sink: RecordingSink) -> list[Emission]:
    """The machine's own records, in order."""
    return sorted((one for one in sink.emissions if one.kind == "measured"), key=lambda one: one.sequence)


def test_a_line_runs_before_its_cloud_has_answered_and_takes_the_answer_up(
    google: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """What was measured before goes out at the world's place and by the masked CPU, the rest by what was told."""
    google.free.clear()
    sink = Sink()
    with running(sink):
        assert sink.begun.wait(WAIT_SECONDS)
        google.free.set()
        until_said(caplog, "carbon.cloud place=")
    first, *_, last = measured(sink)

    assert (first.place, last.place) == ("WORLD", "gcp:europe-west1")
    assert "by instance type" not in first.basis
    assert "embodied" in last.basis
    assert "embodied" not in first.basis
    assert sorted(one.sequence for one in sink.emissions) == list(range(len(sink.emissions)))


def test_nobody_is_asked_unless_the_user_wants_it(google: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by default: not one request leaves the process."""
    monkeypatch.delenv("CARBON_SDK_CLOUD_METADATA")
    sink = Sink()
    with running(sink):
        assert sink.begun.wait(WAIT_SECONDS)

    assert google.asked == []


def test_a_place_that_was_set_stays(google: Service, caplog: pytest.LogCaptureFixture) -> None:
    """The instance type is taken up all the same."""
    sink = Sink()
    with running(sink, zone="FR"):
        until_said(caplog, "carbon.cloud place=")

    assert {one.place for one in sink.emissions} == {"FR"}
    assert "embodied" in measured(sink)[-1].basis


def test_a_cloud_that_does_not_tell_is_said_once_and_the_world_stays(
    google: Service, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """One line with the reason, one with what to set; nothing is guessed."""
    dmi(tmp_path / "sys", sys_vendor="Dell Inc.", product_name="PowerEdge R740")
    with running(Sink()):
        (reason,) = until_said(caplog, "carbon.cloud")
        (place,) = until_said(caplog, "carbon.place")

    assert "PowerEdge R740" in reason
    assert "CARBON_SDK_ZONE" in place
    assert google.asked == []


def test_a_region_that_no_table_holds_is_told_and_not_guessed(
    google: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """The place stays as it was known."""
    zone = "GET /computeMetadata/v1/instance/zone"
    google.answers[zone] = replace(google.answers[zone], body="projects/1/zones/atlantis1-a")
    with running(Sink()):
        (place,) = until_said(caplog, "carbon.place")

    assert "atlantis1 of gcp" in place


def test_the_commands_ask_too_and_say_by_what_the_place_is_known(
    google: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """`intensity` and `doctor`, where the one who typed them waits for just that."""
    assert main(["intensity", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)

    assert (shown["place"], shown["known_by"]) == ("gcp:europe-west1", "metadata")
    assert (found["grid"]["place"], found["grid"]["known_by"]) == ("gcp:europe-west1", "metadata")
    assert found["machine"]["instance_type"] == "n2-standard-4"
    assert found["machine"]["instance_type_known_by"] == "metadata"
