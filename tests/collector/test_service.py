"""The collector as services and people meet it: over HTTP, as a process, through crashes."""

import gzip
import json
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from carbon_sdk.collector.__main__ import main
from carbon_sdk.wire import to_json
from tests.collector.service import HOUR, Collector, emission, stamp

Start = Callable[..., Collector]


def test_a_batch_is_stored_and_adds_up(start: Start) -> None:
    """What was sent is what the report says."""
    collector = start()
    answer = collector.send([emission(number, joules=0.1 * number) for number in range(50)])

    assert (answer["status"], answer["stored"]) == (200, 50)
    assert collector.total() == pytest.approx(sum(0.1 * number for number in range(50)), rel=1e-12)


def test_a_batch_sent_again_is_known_and_counts_once(start: Start) -> None:
    """A sender that did not hear the answer sends again."""
    collector = start()
    batch = [emission(number) for number in range(10)]
    collector.send(batch)
    again = collector.send(batch)

    assert (again["stored"], again["known"]) == (0, 10)
    assert collector.total() == pytest.approx(15.0)


def test_equal_figures_of_two_processes_are_two_records(start: Start) -> None:
    """The key is instance and sequence, never the content."""
    collector = start()
    for instance in ("a" * 16, "b" * 16):
        assert collector.send([emission(0, instance=instance)])["stored"] == 1

    assert collector.total() == pytest.approx(3.0)


def test_one_bad_record_is_answered_with_why_and_costs_nobody_else(start: Start) -> None:
    """The others of its batch are stored."""
    collector = start()
    good, bad = json.loads(to_json(emission(0))), json.loads(to_json(emission(1)))
    bad["energy_joules"] = -5.0
    answer = collector.client.post("/v1/emissions", json=[good, bad]).json()

    assert (answer["stored"], answer["refused"]) == (1, 1)
    assert answer["reasons"][0]["record"] == 1
    assert "energy_joules" in answer["reasons"][0]["reason"]
    assert collector.total() == pytest.approx(1.5)


def test_a_newer_schema_is_426(start: Start) -> None:
    """The sender keeps it until the collector is newer."""
    collector = start()
    newer = {**json.loads(to_json(emission(0))), "schema": 99}

    assert collector.client.post("/v1/emissions", json=[newer]).status_code == 426


def test_gzip_and_lines_are_taken(start: Start) -> None:
    """NDJSON, compressed."""
    collector = start()
    lines = "\n".join(to_json(emission(number)) for number in range(3)).encode()
    answer = collector.client.post(
        "/v1/emissions",
        content=gzip.compress(lines),
        headers={"content-type": "application/x-ndjson", "content-encoding": "gzip"},
    )

    assert answer.json()["stored"] == 3


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[", {"content-type": "application/json"}, 400),
        (b"{}" * 40, {"content-type": "text/html"}, 415),
        (b"not gzip", {"content-type": "application/json", "content-encoding": "gzip"}, 400),
        (gzip.compress(b" " * 80_000_000), {"content-type": "application/json", "content-encoding": "gzip"}, 413),
        (b" " * 9_000_000, {"content-type": "application/json"}, 413),
    ],
)
def test_hostile_bodies_are_refused_and_the_service_goes_on(
    start: Start, body: bytes, headers: dict[str, str], status: int
) -> None:
    """Malformed, of an unknown kind, a bomb, too long."""
    collector = start()

    assert collector.client.post("/v1/emissions", content=body, headers=headers).status_code == status
    assert collector.send([emission(0)])["stored"] == 1


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"])
def test_days_add_up_to_the_whole_in_every_time_zone(start: Start, zone: str) -> None:
    """UTC+14, UTC-11, UTC+5:45: cut anywhere, nothing is lost."""
    collector = start()
    collector.send(
        [emission(n, joules=0.37 * n + 0.1, window_start=HOUR - timedelta(minutes=36 * n)) for n in range(70)]
    )
    days = collector.ask("/v1/reports/totals", bucket="day", tz=zone)["rows"]

    assert len(days) >= 2
    assert sum(row["energy_joules"] for row in days) == pytest.approx(collector.total(), rel=1e-9)


def test_with_tokens_nobody_comes_without_and_each_scope_opens_its_own_door(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token to write may not read, and is in no log."""
    folder = tmp_path / "data"
    tokens = {}
    for scope in ("write", "read"):
        assert main(["token", "make", "--data", str(folder), "--scope", scope]) == 0
        tokens[scope] = capsys.readouterr().out.strip()
    collector = start(folder=folder)
    writing, reading = ({"authorization": f"Bearer {tokens[scope]}"} for scope in ("write", "read"))
    stretch = {"from": stamp(HOUR), "to": stamp(HOUR + timedelta(hours=1))}

    assert collector.send([emission(0)])["status"] == 401
    assert collector.send([emission(0)], **reading)["status"] == 403
    assert collector.send([emission(0)], **writing)["stored"] == 1
    assert collector.client.get("/v1/reports/totals", params=stretch).status_code == 401
    assert collector.client.get("/v1/reports/totals", params=stretch, headers=writing).status_code == 403
    assert collector.client.get("/v1/reports/totals", params=stretch, headers=reading).status_code == 200
    collector.stop()
    assert not any(token in json.dumps(collector.log) for token in tokens.values())


def test_sigterm_ends_it_with_zero_and_all_is_there_after_the_restart(start: Start) -> None:
    """An orderly end: the store is closed, which the log says."""
    collector = start()
    collector.send([emission(number) for number in range(20)])

    assert collector.stop(signal.SIGTERM) == 0
    assert collector.log[-1]["event"] == "collector_stopped"
    assert start().total() == pytest.approx(30.0)


def test_a_second_collector_on_one_folder_says_who_holds_it(start: Start, tmp_path: Path) -> None:
    """It ends at once, and names the process."""
    first = start()
    with pytest.raises(AssertionError, match=str(first.process.pid)):
        start()
    assert first.send([emission(0)])["stored"] == 1


def test_it_is_healthy_and_hardens_its_answers(start: Start) -> None:
    """Health, readiness, own metrics, headers."""
    collector = start()

    assert collector.client.get("/healthz").status_code == 200
    assert collector.client.get("/readyz").status_code == 200
    assert "carbon" in collector.client.get("/metrics").text
    headers = collector.client.get("/openapi.json").headers
    assert headers["x-content-type-options"] == "nosniff"


def test_a_path_that_climbs_finds_nothing(start: Start) -> None:
    """Only routes are served."""
    collector = start()
    for path in ("/../tokens.json", "/%2e%2e/tokens.json", "/v1/reports/..%2f..%2ftokens.json"):
        url = httpx.URL(str(collector.client.base_url), raw_path=path.encode())
        assert collector.client.get(url).status_code == 404
