"""What strangers and broken clients send: each is refused in its own way, and the service goes on for all others."""

import gzip
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zstandard

from carbon_sdk.wire import to_object
from tests.collector.service import LONG, Collector, emission

Start = Callable[..., Collector]
JSON = {"content-type": "application/json"}
IMPATIENT = ("--head-seconds", "0.3", "--body-seconds", "0.3")


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One collector for all tests that only send to it."""
    folder: Path = tmp_path_factory.mktemp("hostile") / "data"
    started = Collector(folder)
    yield started
    started.stop()


@pytest.fixture
def instance(request: pytest.FixtureRequest) -> str:
    """A sender of the test's own."""
    return str(request.node.name)[:100]


def connected(collector: Collector, *begins: bytes) -> socket.socket:
    """A connection that has sent so much."""
    url = collector.client.base_url
    connection = socket.create_connection((url.host, url.port or 80), timeout=30)
    for begin in begins:
        connection.sendall(begin)
    return connection


def until_closed(connection: socket.socket) -> bytes:
    """What the other side says before it hangs up."""
    said = b""
    try:
        while part := connection.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


def works(collector: Collector, instance: str) -> bool:
    """Whether a decent sender is served."""
    return bool(collector.send([emission(0, instance=f"decent {instance}")])["status"] == 200)


def test_connections_that_dribble_their_heads_are_hung_up_on_and_delay_nobody(start: Start, instance: str) -> None:
    """A hundred of them at once (slow loris)."""
    collector = start(*IMPATIENT)
    with ExitStack() as stack:
        slow = [
            stack.enter_context(connected(collector, b"POST /v1/emissions HTTP/1.1\r\n", b"Host: local"))
            for _ in range(100)
        ]
        assert works(collector, instance)
        assert [until_closed(one) for one in slow] == [b""] * 100
    assert works(collector, instance)


def test_a_connection_that_sends_blank_lines_for_ever_is_hung_up_on(start: Start) -> None:
    """It never begins another request, and may not keep its place by that."""
    collector = start(*IMPATIENT)
    with connected(collector, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        said = b""
        while not said.endswith(b"}"):
            said += connection.recv(65536)
        connection.sendall(b"\r\n")
        assert until_closed(connection) == b""


def test_a_head_without_end_is_cut_off(collector: Collector, instance: str) -> None:
    """64 KiB are enough for anybody's head."""
    with connected(collector, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ") as connection:
        try:
            for _ in range(1_000):
                connection.sendall(b"x" * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            pytest.fail("64 MB of one header were taken")
    assert works(collector, instance)


def test_a_body_that_comes_too_slowly_is_408(start: Start, instance: str) -> None:
    """Said while the client still sends."""
    collector = start(*IMPATIENT)
    head = (
        b"POST /v1/emissions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
    )
    with connected(collector, head + b"\r\n[") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")
    assert works(collector, instance)


def test_sigterm_waits_for_no_body_that_stands_still(start: Start) -> None:
    """The batch was not answered, so its sender sends it again to the next process."""
    collector = start()
    head = (
        b"POST /v1/emissions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
    )
    with connected(collector, head + b"\r\n["):
        assert collector.stop(signal.SIGTERM) == 0
    assert collector.log[-1]["event"] == "collector_stopped"


@pytest.mark.parametrize(
    "request_line",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/emissions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/emissions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/emissions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_400_and_a_line_in_the_log_like_every_other(
    collector: Collector, instance: str, request_line: bytes
) -> None:
    """Smuggled lengths, bytes, TLS where none is spoken."""
    with connected(collector, request_line) as connection:
        assert until_closed(connection).startswith(b"HTTP/1.1 4")
    assert works(collector, instance)
    assert {"event"} < set(collector.log[-1]), "JSON"


def zeros(length: int) -> bytes:
    """A zstd frame of zeros that states no length."""
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    return packer.compress(bytes(length)) + packer.flush()


def lying() -> bytes:
    """A zstd frame that says 10 bytes and holds 80 MB."""
    whole = bytearray(zstandard.ZstdCompressor(level=1).compress(bytes(80_000_000)))
    assert whole[4] >> 6 == 2, "a length in four bytes (RFC 8878, section 3.1.1.1)"
    whole[6 - 1 + (0 if whole[4] & 0x20 else 1) : 10 - 1 + (0 if whole[4] & 0x20 else 1)] = (10).to_bytes(4, "little")
    return bytes(whole)


@pytest.mark.parametrize(
    ("body", "encoding", "statuses"),
    [
        (gzip.compress(bytes(200_000_000), 9), "gzip", {413}),
        (gzip.compress(b" " * 1_000_000) * 100, "gzip", {413}),
        (zeros(200_000_000), "zstd", {413}),
        (lying(), "zstd", {400, 413}),
        (zeros(1_000_000)[:-3], "zstd", {400}),
        (gzip.compress(b"[]")[:-4], "gzip", {400}),
        (b"", "gzip", {400}),
        (gzip.compress(b"[") + gzip.compress(b"]"), "gzip", {200}),
        (gzip.compress(b"") * 10_000 + gzip.compress(b"[]"), "gzip", {400}),
        (b"[]", "gzip, gzip", {415}),
        (b"[]", "br", {415}),
    ],
    ids=[
        "gzip",
        "gzip of many",
        "zstd",
        "zstd that lies",
        "torn zstd",
        "torn gzip",
        "empty",
        "two",
        "many empty",
        "twice",
        "unknown",
    ],
)
def test_bombs_and_torn_bodies_are_refused(
    collector: Collector, instance: str, body: bytes, encoding: str, statuses: set[int]
) -> None:
    """Nothing is unpacked beyond the limit, whatever a frame says of itself."""
    answer = collector.client.post("/v1/emissions", content=body, headers={**JSON, "content-encoding": encoding})

    assert answer.status_code in statuses, answer.text
    assert works(collector, instance)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 200_000, 400),
        (b'{"a":' * 200_000, 400),
        (b"[" + b"{}," * 10_000 + b"{}]", 413),
        (b"\xff\xfe[\x00]\x00", 400),
        (b"null", 400),
        (b'"text"', 400),
        (b"", 400),
        (b"[1e999999, 1" + b"0" * 5000 + b"]", 200),
        (b"[null, true, 1, [], {}]", 200),
    ],
)
def test_malformed_json_is_refused_as_a_whole_or_record_by_record(
    collector: Collector, instance: str, body: bytes, status: int
) -> None:
    """Never an error of ours."""
    answer = collector.client.post("/v1/emissions", content=body, headers=JSON)

    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json()["stored"] == 0
    assert works(collector, instance)


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence": -1},
        {"sequence": 2**63},
        {"sequence": True},
        {"sequence": 1.0},
        {"instance": ""},
        {"instance": "x" * 513},
        {"service": "a\x00b"},
        {"service": "\ud800"},
        {"energy_joules": float("nan")},
        {"energy_joules": float("inf")},
        {"energy_joules": 1e300},
        {"energy_joules": "1"},
        {"requests": 10**18},
        {"window_start": "0001-01-01T00:00:00+14:00"},
        {"window_start": "9999-12-31T23:59:59-14:00"},
        {"window_start": 5},
        {"window_end": "2026-13-45"},
        {"kind": "other kind"},
        {"units": {"a": -1}},
        {"units": {str(number): 1 for number in range(50)}},
        {"units": [["a", 1]]},
        {"root": {"deep": [{}]}},
        {"schema": -1},
    ],
    ids=str,
)
def test_one_wrong_field_costs_one_record(collector: Collector, instance: str, fields: dict[str, Any]) -> None:
    """The records before and behind it are stored, and the reason names the field."""
    records = [to_object(emission(number, instance=instance)) for number in range(3)]
    records[1] |= fields
    answer = collector.client.post("/v1/emissions", content=json.dumps(records), headers=JSON).json()

    assert (answer["stored"], answer["refused"]) == (2, 1)
    (reason,) = answer["reasons"]
    assert reason["record"] == 1
    assert reason["reason"].startswith((next(iter(fields)), "a text", "a time")), reason


def test_attempts_without_a_good_token_are_slowed_down(start: Start) -> None:
    """401, then 429 with Retry-After, by address; who has a token is not held up by it."""
    collector = start(before=())
    folder = str(collector.folder)
    made = subprocess.run(
        [sys.executable, "-m", "carbon_sdk.collector", "token", "make", "--data", folder, "--scope", "write"],
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = {"authorization": "Bearer cst_0123456789ab_" + "A" * 43}
    first = answer = collector.client.get("/v1/projects", headers=wrong)
    for _ in range(2000):  # how many it takes is a matter of the machine's speed
        if answer.status_code != 401:
            break
        answer = collector.client.get("/v1/projects", headers=wrong)

    assert first.status_code == 401
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    good = {"authorization": f"Bearer {made.stdout.strip()}"}
    assert collector.send([emission(0)], **good)["stored"] == 1


def test_nothing_that_the_openapi_document_allows_or_forbids_brings_an_error_of_ours(
    collector: Collector, tmp_path: Path
) -> None:
    """Schemathesis makes requests of every operation, right ones and wrong ones; no answer is a 5xx."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{collector.client.base_url}/openapi.json"),
            *("--checks", "not_a_server_error,content_type_conformance,status_code_conformance"),
            *("--phases", "examples,coverage,fuzzing" if LONG else "examples,fuzzing"),
            *("--max-examples", "200" if LONG else "15", "--seed", "1", "--no-color"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-4000:]
