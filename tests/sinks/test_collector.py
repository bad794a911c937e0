"""The way to the collector: the real one, absent ones, and ones that refuse."""

import asyncio
import gzip
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import respx

from carbon_sdk import Carbon, track
from carbon_sdk.emission import Emission
from carbon_sdk.errors import SettingsError
from carbon_sdk.http import HTTP
from carbon_sdk.log import Log
from carbon_sdk.settings import from_environment
from carbon_sdk.sinks.collector import CollectorSink
from carbon_sdk.sinks.delivery import CLOSE_SECONDS
from carbon_sdk.sinks.spool import Spool
from carbon_sdk.wire import from_object, objects_of
from tests.collector.service import Collector, emission

pytestmark = pytest.mark.anyio
ADDRESS = "http://collector.test:8321"


async def no_sleep(_seconds: float) -> None:
    """Retries at once."""


class Bench:
    """A sink and what it told."""

    def __init__(
        self, folder: Path, url: str = ADDRESS, *, maximum_bytes: int = 10**6, token: str | None = None
    ) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.http = HTTP(sleep=no_sleep, monotonic=lambda: self.now)
        self.spool = Spool(folder, maximum_bytes=maximum_bytes)
        log = Log(lambda _level, _event, fields: self.lines.append(str(fields)))
        self.sink = CollectorSink(url, http=self.http, spool=self.spool, token=token, log=log)

    async def close(self) -> None:
        await self.sink.aclose()
        await self.http.aclose()


async def test_records_arrive_at_the_real_collector_and_leave_the_spool(
    start: Callable[..., Collector], tmp_path: Path
) -> None:
    """Delivered, acknowledged, forgotten here."""
    collector = start()
    bench = Bench(tmp_path / "spool", str(collector.client.base_url))
    for number in range(4):
        await bench.sink.write([emission(10 * number + one) for one in range(10)])
    await bench.close()

    assert collector.total() == pytest.approx(60.0)
    assert not list((tmp_path / "spool").rglob("*.gz"))
    assert not bench.lines


async def test_what_an_absent_collector_missed_arrives_once_after_a_restart_of_both(
    start: Callable[..., Collector], tmp_path: Path
) -> None:
    """The collector is killed, records go on, the sender ends too; its successor delivers what was left."""
    collector = start()
    url = str(collector.client.base_url)
    first = Bench(tmp_path / "spool", url)
    await first.sink.write([emission(0)])
    collector.stop(signal.SIGKILL)
    await first.sink.write([emission(1), emission(2)])
    await first.close()
    again = start("--port", url.rpartition(":")[2].strip("/"))
    second = Bench(tmp_path / "spool", url)
    await second.sink.write([emission(0, instance="b" * 16)])
    await second.close()

    assert again.total() == pytest.approx(4 * 1.5)
    assert any("wait in the spool" in line for line in first.lines)
    assert not list((tmp_path / "spool").rglob("*.gz"))


async def test_a_collector_that_is_older_than_columns_gets_the_same_records_as_an_array(tmp_path: Path) -> None:
    """It says 415 once; what waits and what comes later goes as it can be read."""
    sent = [emission(0), emission(1, units={"images": 2.0}), emission(2, intensity_observed_at=None, joules=7.25)]
    taken: list[Emission] = []
    asked: list[str] = []

    def older(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["content-type"])
        if asked[-1] != "application/json":
            return httpx.Response(415)
        taken.extend(map(from_object, json.loads(gzip.decompress(request.content))))
        return httpx.Response(200, json={"stored": 2, "refused": 0})

    bench = Bench(tmp_path)
    with respx.mock(using="httpx") as routes:
        routes.post(f"{ADDRESS}/v1/emissions").mock(side_effect=older)
        await bench.sink.write(sent[:2])
        await bench.sink.write(sent[2:])
        await bench.close()

    assert taken == sent
    assert asked == ["application/vnd.carbon-sdk.columns+json", "application/json", "application/json"]
    assert not bench.lines


@pytest.mark.parametrize("status", [204, 301, 401, 403, 404, 405, 408, 425, 426, 429, 500, 503])
async def test_an_answer_that_may_change_keeps_the_batch(tmp_path: Path, status: int) -> None:
    """A token that was revoked, an ingress that starts, a busy collector: it is sent again later, only once more."""
    bench = Bench(tmp_path)
    with respx.mock(using="httpx") as router:
        route = router.post(f"{ADDRESS}/v1/emissions").mock(return_value=httpx.Response(status))
        await bench.sink.write([emission(0)])
        bench.now += 100_000.0
        route.mock(return_value=httpx.Response(200, json={"stored": 1, "refused": 0}))
        await bench.sink.write([emission(1)])
        bodies = {bytes(call.request.content) for call in route.calls}

    assert bench.spool.oldest() is None
    assert len(bodies) == 2
    assert bench.sink.refused_records == 0
    await bench.close()


PAGES = ("<h1>Welcome to the hotel</h1>", "", "[]", "{}", "null", '{"stored":"1"}', "[" * 99_999)


@pytest.mark.parametrize("page", PAGES, ids=[page[:20] for page in PAGES])
async def test_a_200_that_is_no_collectors_keeps_the_batch_and_is_told(tmp_path: Path, page: str) -> None:
    """Whoever gave it has stored nothing."""
    bench = Bench(tmp_path)
    with respx.mock(using="httpx") as router:
        router.post(f"{ADDRESS}/v1/emissions").mock(return_value=httpx.Response(200, text=page))
        await bench.sink.write([emission(0)])

    assert bench.spool.oldest() is not None
    assert bench.sink.refused_records == 0
    assert "wait in the spool" in bench.lines[0]
    await bench.close()


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_an_answer_that_will_not_change_drops_the_batch_counts_it_and_says_why(
    tmp_path: Path, status: int
) -> None:
    """Asked once as it is; the token is not in the line."""
    bench = Bench(tmp_path, token="s3cret-token")
    with respx.mock(using="httpx") as router:
        route = router.post(f"{ADDRESS}/v1/emissions").mock(
            return_value=httpx.Response(status, text="no: s3cret-token is wrong")
        )
        await bench.sink.write([emission(0), emission(1)])
        assert route.calls[0].request.headers["authorization"] == "Bearer s3cret-token"
        assert len(route.calls) == (2 if status == 415 else 1)  # it may know arrays

    assert bench.sink.refused_records == 2
    assert bench.spool.oldest() is None
    assert str(status) in bench.lines[0]
    assert "s3cret-token" not in "".join(bench.lines)
    await bench.close()


async def test_fifty_batches_go_over_one_connection(tmp_path: Path) -> None:
    """A new one for each would cost both sides a handshake."""
    peers = []

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            peers.append(self.client_address)
            self.rfile.read(int(self.headers["content-length"]))
            body = b'{"stored":1}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bench = Bench(tmp_path, f"http://127.0.0.1:{server.server_port}")
        for number in range(50):
            await bench.sink.write([emission(number)])
        await bench.close()
        server.shutdown()

    assert len(peers) == 50
    assert len(set(peers)) == 1


async def test_retry_after_is_kept_and_nobody_is_asked_before(tmp_path: Path) -> None:
    """429 for an hour: what comes meanwhile goes to the spool alone."""
    bench = Bench(tmp_path)
    with respx.mock(using="httpx") as router:
        route = router.post(f"{ADDRESS}/v1/emissions").mock(
            return_value=httpx.Response(429, headers={"retry-after": "3600"})
        )
        await bench.sink.write([emission(0)])
        bench.now += 3500.0
        await bench.sink.write([emission(1)])
        assert len(route.calls) == 1
        bench.now += 200.0
        route.mock(return_value=httpx.Response(200, json={"stored": 1}))
        await bench.sink.write([emission(2)])

    assert bench.spool.oldest() is None
    await bench.close()


async def test_records_that_the_collector_refuses_one_by_one_are_counted(tmp_path: Path) -> None:
    """The others of the batch are stored."""
    bench = Bench(tmp_path)
    with respx.mock(using="httpx") as router:
        router.post(f"{ADDRESS}/v1/emissions").mock(
            return_value=httpx.Response(200, json={"stored": 1, "refused": 1, "reasons": ["too old"]})
        )
        await bench.sink.write([emission(0), emission(1)])

    assert bench.sink.refused_records == 1
    assert "too old" in bench.lines[0]
    await bench.close()


async def test_a_receiver_that_never_answers_can_be_left_and_loses_nothing(tmp_path: Path) -> None:
    """Cancelled in the middle, the batch is still in the spool."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts by its backlog, and never answers
        bench = Bench(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.sink.write([emission(0)]), 0.2)
        bench.spool.close()
        await bench.http.aclose()
    heir = Spool(tmp_path, maximum_bytes=10**6)

    assert heir.oldest() is not None
    heir.close()


@pytest.mark.parametrize(
    "url", ["", "collector:8321", "ftp://collector", "http://user:pass@collector", "http://c/?a=1"]
)
def test_an_address_that_cannot_be_used_names_the_setting(tmp_path: Path, url: str) -> None:
    """And never repeats what it holds: it may be a password."""
    with pytest.raises(SettingsError, match="CARBON_SDK_COLLECTOR_URL") as told:
        CollectorSink.from_options({"url": url, "state_dir": str(tmp_path)}, HTTP())
    assert "pass" not in str(told.value)


async def test_a_measured_job_arrives_with_nothing_but_settings(
    start: Callable[..., Collector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address and sink by environment; the last flush at the end brings the job's record and the machine's book."""
    collector = start()
    monkeypatch.setenv("CARBON_SDK_COLLECTOR_URL", str(collector.client.base_url))
    monkeypatch.setenv("CARBON_SDK_STATE_DIR", str(tmp_path / "state"))
    async with Carbon(settings=from_environment(sinks="collector", zone="DE", service="shop")):
        with track("resize"):
            sum(range(300_000))
    collector.ask("/v1/projects")
    rows = collector.client.get(
        "/v1/records", params={"from": "2026-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z", "format": "ndjson"}
    ).text

    assert '"resize"' in rows
    assert '"measured"' in rows
    assert not list((tmp_path / "state").rglob("*.gz"))


@pytest.mark.parametrize("receiver", ["refuses", "does not resolve", "never answers"])
async def test_closing_takes_its_seconds_at_most_and_leaves_every_record_in_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: str
) -> None:
    """More than one batch: also what still stood behind the one that was being sent."""
    monkeypatch.setenv("CARBON_SDK_STATE_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts by its backlog, and never answers
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        if receiver == "refuses":
            silent.close()
        url = "http://nowhere.invalid:8321" if receiver == "does not resolve" else f"http://{address}"
        monkeypatch.setenv("CARBON_SDK_COLLECTOR_URL", url)
        carbon = Carbon(settings=from_environment(sinks="collector", zone="DE", service="shop", close_seconds=2.0))
        async with carbon:
            for number in range(700):
                with track(f"job-{number}"):
                    pass
            began = time.monotonic()
        took = time.monotonic() - began
    heir = Spool(tmp_path / "spool", maximum_bytes=10**9)
    names = set()
    while (waiting := heir.oldest()) is not None:
        names |= {record["name"] for record in objects_of(gzip.decompress(waiting[1]))}
        heir.remove(waiting[0])
    heir.close()

    assert took < 2.0 + CLOSE_SECONDS + 4.0  # a busy machine's share
    assert {f"job-{number}" for number in range(700)} <= names
