"""The whole `Carbon` with a provider: windows and waiting from any loop, and a source that lies or is cut off."""

import asyncio
import http.server
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk import Carbon, CarbonSDKError, track
from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.settings import from_environment
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink
from tests.intensity.sources import HOUR, value

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_collection")]
TOKEN = "token-that-nobody-may-see"


class Foretold(FixedIntensity):
    """300 g/kWh now and 100 from the next hour on; Norway has 50 throughout."""

    async def forecast(self, place: Place) -> list[Intensity]:
        """Eight hours from now."""
        start = datetime.now(UTC) - timedelta(minutes=1)
        zone = place.zone or "DE"
        grams = [50.0] * 8 if zone == "NO" else [300.0, *[100.0] * 7]
        return [
            replace(value(each, start=start + hour * HOUR, zone=zone, source="fixed"), quality="forecast")
            for hour, each in enumerate(grams)
        ]


def carbon(provider: Any, sink: RecordingSink | None = None) -> Carbon:
    """One that measures a machine of 20 W."""
    return Carbon(zone="DE", meters=[FakeMeter(20.0)], provider=provider, sinks={"record": sink or RecordingSink()})


async def test_the_greenest_window_is_told_to_a_caller_on_another_loop() -> None:
    """The chain lives on our thread; the answer is the later hour, with what it saves."""
    async with carbon(Foretold(300.0)) as running:
        best = await running.greenest_window(HOUR, before=datetime.now(UTC) + 6 * HOUR, zones=["DE"])

    assert best.window.zone == "DE"
    assert best.window.g_per_kwh == pytest.approx(100.0)
    assert best.saving_g_per_kwh == pytest.approx(200.0 - 200.0 / 60, abs=1.0)


async def test_of_several_zones_the_greenest_is_told() -> None:
    """Work that may run elsewhere runs where the power is clean."""
    async with carbon(Foretold(300.0)) as running:
        best = await running.greenest_window(HOUR, before=datetime.now(UTC) + 6 * HOUR, zones=["DE", "NO"])

    assert best.window.zone == "NO"
    assert best.window.g_per_kwh == pytest.approx(50.0)


async def test_without_a_forecast_both_say_so_at_once() -> None:
    """The static averages have none, and nobody waits a night to learn it."""
    async with carbon(FixedIntensity(300.0)) as running:
        with pytest.raises(IntensityError, match="has no forecast"):
            await running.greenest_window(HOUR, before=datetime.now(UTC) + 6 * HOUR)
        with pytest.raises(IntensityError, match="has no forecast"):
            await running.wait_until_green(max_g_per_kwh=100.0, at_most=6 * HOUR)


async def test_a_green_grid_is_not_waited_for() -> None:
    """The limit is met, so the worker goes on."""
    async with carbon(FixedIntensity(80.0)) as running:
        waited = await running.wait_until_green(max_g_per_kwh=100.0, at_most=6 * HOUR)

    assert waited.green
    assert waited.intensity.g_per_kwh == 80.0


async def test_closing_ends_the_waiting_with_an_error() -> None:
    """A worker that waits for green power does not hang when its process shuts down."""
    running = carbon(Foretold(300.0))
    async with running:
        waiting = asyncio.create_task(running.wait_until_green(max_g_per_kwh=10.0, at_most=6 * HOUR))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    with pytest.raises(CarbonSDKError, match="closed"):
        await asyncio.wait_for(waiting, 10)


LIES: dict[str, tuple[int, dict[str, str], bytes]] = {
    "server error": (500, {}, b"oops"),
    "refused token": (401, {}, json.dumps({"error": TOKEN}).encode()),
    "forbidden": (403, {}, b"{}"),
    "not found": (404, {}, b"{}"),
    "too many, seconds": (429, {"Retry-After": "60"}, b"{}"),
    "too many, date": (429, {"Retry-After": "Wed, 01 Jan 2098 00:00:00 GMT"}, b"{}"),
    "redirect to itself": (302, {"Location": "/"}, b""),
    "empty": (200, {}, b""),
    "no JSON": (200, {}, b"{not json"),
    "a list": (200, {}, b"[1, 2]"),
    "text for a number": (200, {}, b'{"zone": "DE", "carbonIntensity": "low"}'),
    "NaN": (200, {}, b'{"zone": "DE", "carbonIntensity": NaN}'),
    "50 MB": (200, {}, b" " * 50_000_000),
    **{
        f"{grams} g dated {year}": (
            200,
            {},
            json.dumps(
                {
                    "zone": "DE",
                    "carbonIntensity": grams,
                    "datetime": f"{year}-01-01T00:00:00.000Z",
                    "updatedAt": f"{year}-01-01T00:00:00.000Z",
                    "emissionFactorType": "lifecycle",
                    "isEstimated": False,
                    "estimationMethod": None,
                }
            ).encode(),
        )
        for grams, year in ((-5, 2026), (1e9, 2026), (300, 1999), (300, 2098))
    },
}


@contextmanager
def lying(status: int, headers: dict[str, str], body: bytes) -> Generator[tuple[str, list[str]]]:
    """A real server that gives the same answer to everybody; yields its address and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:  # the client has seen enough
                self.close_connection = True

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_source_leaves_a_record_with_the_static_value(
    lie: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whatever the first provider answers, the record carries the yearly average, named and marked static."""
    sink = RecordingSink()
    with lying(*LIES[lie]) as (address, asked):
        monkeypatch.setenv("CARBON_SDK_PROVIDER", "electricity_maps,yearly_averages")
        monkeypatch.setenv("CARBON_SDK_ELECTRICITY_MAPS_TOKEN", TOKEN)
        monkeypatch.setenv("CARBON_SDK_ELECTRICITY_MAPS_BASE_URL", address)
        monkeypatch.setenv("CARBON_SDK_INTENSITY_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("CARBON_SDK_ZONE", "DE")
        async with Carbon(from_environment(), meters=[FakeMeter(20.0)], sinks={"record": sink}), track("job"):
            await asyncio.sleep(0.6)

    (job,) = [emission for emission in sink.emissions if emission.name == "job"]
    assert (job.intensity_source, job.intensity_quality) == ("yearly_averages", "static")
    assert 1 <= len(asked) <= 3
    out, err = capfd.readouterr()
    written = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert TOKEN not in out + err + written
    assert written
