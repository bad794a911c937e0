"""The whole chain against a real server that fails in every way: always an answer, with its true quality."""

import asyncio
import json
import random
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk import Carbon, track
from carbon_sdk.environment import environment
from carbon_sdk.intensity.fallback import Fallback
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.log import Log
from carbon_sdk.settings import from_environment
from carbon_sdk.sources import intensity_chain
from carbon_sdk.testing import FakeMeter, ManualClock, RecordingSink
from tests.intensity.sources import latest
from tests.upstream import (
    Authority,
    Serve,
    answer,
    blanks,
    bomb,
    hang,
    raw,
    reset,
    self_signed,
    upstream,
)

pytestmark = pytest.mark.anyio
TOKEN = "token-that-nobody-may-see"
BEGIN = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)
FAILS_AT = BEGIN + timedelta(minutes=65)
"""When the fault is met: the first value is over and may be asked for again."""
WHOLE = json.dumps(latest(FAILS_AT)).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def says(**changes: Any) -> Serve:
    """A truthful answer but for these fields."""
    return answer(latest(FAILS_AT, **changes))


def hour(moment: datetime) -> str:
    """As Electricity Maps writes it."""
    return moment.strftime("%Y-%m-%dT%H:00:00.000Z")


FAULTS: dict[str, tuple[Serve, int]] = {
    # it does not come, or not whole; what may be the network's fault is tried three times
    "hang": (hang, 3),
    "slow drip": (raw(HEAD + b"\r\n", *[b" "] * 100, every_seconds=0.05), 3),
    "reset": (reset, 3),
    "closed without a word": (raw(), 3),
    "half a head": (raw(b"HTTP/1.1 200 OK\r\nContent-"), 3),
    "half a body": (raw(HEAD + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE[:100]), 3),
    "half a body that says it is whole": (answer(WHOLE[:100]), 1),
    "half of a chunked body": (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + WHOLE[:100]), 3),
    "no HTTP": (raw(b"220 mail.example.org ESMTP\r\n"), 1),
    "no gzip": (answer(WHOLE, headers={"Content-Encoding": "gzip"}), 1),
    # a status
    "500": (answer(b"oops", status=500), 3),
    "503 with a wait": (answer(b"", status=503, headers={"Retry-After": "120"}), 1),
    "401": (answer({"error": "Invalid auth-token", "message": TOKEN}, status=401), 1),
    "403": (answer({}, status=403), 1),
    "404": (answer({"error": 'No recent data for zone "DE"'}, status=404), 1),
    "429, seconds": (answer({}, status=429, headers={"Retry-After": "60"}), 1),
    "429, a date": (answer({}, status=429, headers={"Retry-After": "Sun, 29 Mar 2026 13:07:00 GMT"}), 1),
    "429, nothing": (answer({}, status=429), 1),
    "redirect to itself": (answer(status=302, headers={"Location": "/"}), 1),
    # a body
    "empty": (answer(), 1),
    "no JSON": (answer(b"{not json"), 1),
    "a page": (answer(b"<!DOCTYPE html><title>Log in</title>"), 1),
    "a list": (answer([latest(FAILS_AT)]), 1),
    "50 MB": (blanks(50), 1),
    "50 MB, compressed": (bomb(50), 1),
    "deeply nested": (answer(b"[" * 100_000), 1),
    # a field, all others being right
    "text for the number": (says(carbonIntensity="302"), 1),
    "a list for the number": (says(carbonIntensity=[302]), 1),
    "true for the number": (says(carbonIntensity=True), 1),
    "null for the number": (says(carbonIntensity=None), 1),
    "NaN": (says(carbonIntensity=float("nan")), 1),
    "infinity": (says(carbonIntensity=float("inf")), 1),
    "negative": (says(carbonIntensity=-5), 1),
    "absurd": (says(carbonIntensity=1e9), 1),
    "beyond all numbers": (answer(WHOLE.replace(b"302", b"9" * 400)), 1),
    "number for the zone": (says(zone=7), 1),
    "another zone": (says(zone="FR"), 1),
    "number for the date": (says(datetime=1_774_785_600), 1),
    "a date without its offset": (says(datetime="2026-03-29T13:00:00"), 1),
    "a date long past": (says(datetime=hour(BEGIN - timedelta(days=9000))), 1),
    "a date to come": (says(datetime=hour(BEGIN + timedelta(days=9000))), 1),
    "text for a truth": (says(isEstimated="no"), 1),
    "another scope": (says(emissionFactorType="direct"), 1),
    "made up": (says(estimationMethod="SANDBOX_MODE_DATA"), 1),
}
SLOW = ("hang", "slow drip")
WHOLE_SERVICE = (
    "hang",
    "reset",
    "half a body",
    "500",
    "401",
    "429, a date",
    "50 MB",
    "text for the number",
    "NaN",
    "made up",
)
"""One of each kind for the tests that run a whole service."""
on_every_fault = pytest.mark.parametrize("fault", FAULTS)


def variables(address: str, **more: str) -> dict[str, str]:
    """An environment in which Electricity Maps is asked at this address."""
    return {
        "CARBON_SDK_PROVIDER": "electricity_maps,yearly_averages",
        "CARBON_SDK_ELECTRICITY_MAPS_TOKEN": TOKEN,
        "CARBON_SDK_ELECTRICITY_MAPS_BASE_URL": address,
        "CARBON_SDK_HTTP_TIMEOUT_SECONDS": "10",
        "CARBON_SDK_ZONE": "DE",
        **more,
    }


def patient(fault: str, address: str) -> dict[str, str]:
    """Likewise, with a short deadline where the fault is to be slow."""
    return variables(address, **({"CARBON_SDK_HTTP_TIMEOUT_SECONDS": "0.8"} if fault in SLOW else {}))


def lately() -> dict[str, Any]:
    """A truthful answer by this machine's own clock, good for another fifty minutes, also at the end of an hour."""
    now = datetime.now(UTC)
    return latest(now, datetime=(now - timedelta(minutes=10)).isoformat())


class Asking:
    """A chain as the settings build it, and what it told."""

    def __init__(self, chain: Fallback, place: Place, lines: list[str]) -> None:
        self.chain = chain
        self.place = place
        self.lines = lines

    async def now(self) -> tuple[str, str]:
        """Source and quality of the answer."""
        value = await self.intensity()
        return value.source, value.quality

    async def intensity(self) -> Intensity:
        """The answer."""
        return await self.chain.intensity(self.place)

    @property
    def problem(self) -> str:
        """Why Electricity Maps had no answer, the last time."""
        cache = self.chain.state()[0].cache
        assert cache is not None
        return cache.last_problem or ""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.chain.state()[0].last_remedy or ""


@asynccontextmanager
async def asking(environ: dict[str, str], clock: ManualClock) -> AsyncIterator[Asking]:
    """The chain of these settings, by this clock."""
    lines: list[str] = []
    log = Log(lambda _level, event, fields: lines.append(f"{event} {dict(fields)}"))
    async with intensity_chain(from_environment(environ), log, timing=clock.timing) as (chain, place):
        yield Asking(chain, place, lines)
        log.flush()


async def test_a_truthful_source_is_believed(clock: ManualClock) -> None:
    """The control: nothing of the chain stands in the way of a good answer."""
    async with upstream(answer(latest(BEGIN))) as server, asking(variables(server.address), clock) as chain:
        value = await chain.intensity()

    assert (value.source, value.quality, value.g_per_kwh) == ("electricity_maps", "measured", 302.0)
    assert len(server.asked) == 1
    assert TOKEN not in server.asked[0]


@on_every_fault
async def test_a_fault_is_met_with_the_last_value_then_with_the_average_and_ends_with_it(
    fault: str, clock: ManualClock
) -> None:
    """Measured, stale for three hours, static, and measured again: each marked, with few requests."""
    serve, requests = FAULTS[fault]
    async with upstream(answer(latest(BEGIN))) as server, asking(patient(fault, server.address), clock) as chain:
        assert await chain.now() == ("electricity_maps", "measured")
        clock.advance((FAILS_AT - BEGIN).total_seconds())
        server.serve, server.asked = serve, []

        failed = [await chain.now() for _ in range(50)]
        asked = len(server.asked)
        clock.advance(3 * 3600)
        server.serve = hang if fault in SLOW else answer(status=404)
        later = await chain.now()
        clock.advance(2 * 3600)
        server.serve = answer(latest(clock.utcnow()))
        mended = await chain.now()

    assert set(failed) == {("electricity_maps", "stale")}
    assert asked == requests
    assert later == ("yearly_averages", "static")
    assert mended == ("electricity_maps", "measured")
    assert TOKEN not in repr(chain.lines) + chain.problem


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in SLOW])
async def test_an_hour_of_a_fault_costs_a_few_requests(fault: str, clock: ManualClock) -> None:
    """A price is wanted each minute; the source is asked ever more rarely, and one line says what to do about it."""
    serve, requests = FAULTS[fault]
    async with upstream(serve) as server, asking(variables(server.address), clock) as chain:
        clock.advance((FAILS_AT - BEGIN).total_seconds())
        answers = set()
        for _ in range(60):
            answers.add(await chain.now())
            clock.advance(60)

    assert answers == {("yearly_averages", "static")}
    assert requests <= len(server.asked) <= 7 * requests
    (line,) = chain.lines
    assert line.startswith("carbon.fault {'fault': 'intensity.electricity_maps")
    assert "CARBON_SDK_" in line or "clock" in line


@pytest.mark.parametrize(
    ("order", "late"),
    [
        ("yearly_averages,electricity_maps", "electricity_maps stands behind yearly_averages"),
        ("constant,electricity_maps,yearly_averages", "electricity_maps stands behind constant"),
        ("electricity_maps,constant", None),
        ("electricity_maps", None),
    ],
)
async def test_a_source_behind_one_that_always_answers_is_told_of(
    order: str, late: str | None, clock: ManualClock
) -> None:
    """A list in the wrong order would never ask the live source, and nobody would see it."""
    more = {"CARBON_SDK_PROVIDER": order, "CARBON_SDK_CONSTANT_G_PER_KWH": "7"}
    async with upstream(answer(latest(BEGIN))) as server, asking(variables(server.address, **more), clock) as chain:
        told = await chain.now()

    assert [line for line in chain.lines if "always answers" in line] == [line for line in chain.lines if late]
    assert (told == ("electricity_maps", "measured")) == (late is None)
    assert late is None or late in chain.lines[0]


async def test_a_name_that_does_not_resolve_is_met_with_the_average(clock: ManualClock) -> None:
    """The message says that it is the name."""
    async with asking(variables("http://grid.invalid/v4"), clock) as chain:
        assert await chain.now() == ("yearly_averages", "static")

    assert "http://grid.invalid/v4/carbon-intensity/latest: the host name does not resolve" in chain.problem
    assert "resolve" in chain.remedy


async def test_a_port_where_nobody_listens_is_met_with_the_average(clock: ManualClock) -> None:
    """As when a firewall refuses."""
    async with upstream() as server:
        address = server.address
    async with asking(variables(address), clock) as chain:
        assert await chain.now() == ("yearly_averages", "static")

    assert "no connection" in chain.problem


@pytest.mark.parametrize(
    ("flaw", "says"),
    [
        ("expired", "expired"),
        ("another name", "Hostname mismatch"),
        ("unknown", "unable to get"),
        ("self-signed", "self-signed"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_refused(
    flaw: str, says: str, clock: ManualClock, tmp_path: Path
) -> None:
    """Not a byte of the token goes to a server that cannot show who it is."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    trust = {} if flaw == "unknown" else {"CARBON_SDK_HTTP_CA_FILE": str(tmp_path / "ca.pem")}
    certificate = {
        "expired": authority.context(days_left=-1),
        "another name": authority.context("other.test"),
        "unknown": authority.context(),
        "self-signed": self_signed(tmp_path),
    }[flaw]
    async with (
        upstream(answer(latest(BEGIN)), tls=certificate) as server,
        asking(variables(server.address, **trust), clock) as chain,
    ):
        assert await chain.now() == ("yearly_averages", "static")

    assert not server.asked
    assert "TLS refused" in chain.problem
    assert says in chain.problem
    assert "CARBON_SDK_HTTP_CA_FILE" in chain.remedy


async def test_a_certificate_of_a_trusted_authority_is_taken(clock: ManualClock, tmp_path: Path) -> None:
    """The control: a company's own authority is named in a setting."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    async with (
        upstream(answer(latest(BEGIN)), tls=authority.context()) as server,
        asking(variables(server.address, CARBON_SDK_HTTP_CA_FILE=str(tmp_path / "ca.pem")), clock) as chain,
    ):
        assert await chain.now() == ("electricity_maps", "measured")


async def test_a_day_of_flapping_is_answered_throughout(clock: ManualClock) -> None:
    """Up and down every five minutes: no value is of another hour than it says, few requests, few lines."""
    choice = random.Random(5)
    faults = [FAULTS[name][0] for name in FAULTS if name not in SLOW and "50 MB" not in name]
    seen: list[str] = []
    async with upstream() as server, asking(variables(server.address), clock) as chain:
        for minute in range(24 * 60):
            now = clock.utcnow()
            if minute % 5 == 0:
                up = choice.random() < 0.5
                server.serve = answer(latest(now, carbonIntensity=now.hour)) if up else choice.choice(faults)
            value = await chain.intensity()
            seen.append(value.quality)
            if value.source == "electricity_maps":
                assert value.g_per_kwh == value.observed_at.hour
                assert (value.quality == "stale") == (now >= value.valid_until + timedelta(seconds=60))
            clock.advance(60)

    assert {"measured", "stale"} <= set(seen) <= {"measured", "stale", "static"}
    assert seen.count("measured") > 20 * 60
    assert len(server.asked) < 24 * 6
    assert len(chain.lines) <= 2 * 24 + 1


@pytest.mark.parametrize(
    "serve", [blanks(1000), bomb(200), bomb(200, times=2)], ids=["plain", "compressed", "compressed twice"]
)
async def test_a_long_body_does_not_fill_the_memory(serve: Serve, clock: ManualClock) -> None:
    """It is cut off at its limit of 8 MiB, as it unpacks."""
    async with upstream(serve) as server:
        tracemalloc.start()
        try:
            async with asking(variables(server.address), clock) as chain:
                assert await chain.now() == ("yearly_averages", "static")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert "longer than" in chain.problem or "not asked for" in chain.problem
    assert len(server.asked) == 1
    assert peak < 64_000_000


async def worker(environ: dict[str, str]) -> asyncio.subprocess.Process:
    """A process of its own that asks for the intensity and prints it."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "carbon_sdk.cli", "intensity", "--json", env=environ, stdout=asyncio.subprocess.PIPE
    )


async def test_workers_of_a_host_make_one_request_between_them(tmp_path: Path) -> None:
    """Four processes start at once on a cold shared cache; a fifth comes later."""
    truth = answer(lately())

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await truth(writer)

    async with upstream(slowly) as server:
        environ = {**environment(), **variables(server.address, CARBON_SDK_INTENSITY_CACHE=str(tmp_path))}
        workers = [await worker(environ) for _ in range(4)]
        printed = [(await one.communicate())[0] for one in workers]
        printed.append((await (await worker(environ)).communicate())[0])

    assert [json.loads(text)["quality"] for text in printed] == ["measured"] * 5
    assert len(server.asked) == 1


async def test_a_worker_that_is_killed_while_asking_holds_nobody_up(tmp_path: Path) -> None:
    """Its lock goes with it."""
    async with upstream(hang) as server:
        environ = {**environment(), **variables(server.address, CARBON_SDK_INTENSITY_CACHE=str(tmp_path))}
        killed = await worker(environ)
        while not server.asked:
            await asyncio.sleep(0.01)
        server.serve = answer(lately())
        waiting = await worker(environ)
        killed.kill()
        printed, _ = await waiting.communicate()
        await killed.communicate()

    assert json.loads(printed)["quality"] == "measured"
    assert len(server.asked) == 2


@pytest.mark.parametrize("fault", ["truth", *WHOLE_SERVICE])
async def test_a_record_carries_what_the_chain_answered(
    fault: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A whole service under each fault: no exception, the average in its records, marked; the truth in the control."""
    serve, requests = (answer(lately()), 1) if fault == "truth" else FAULTS[fault]
    sink = RecordingSink()
    async with upstream(serve) as server:
        environ = {**patient(fault, server.address), "CARBON_SDK_INTENSITY_CACHE": str(tmp_path / "cache")}
        for name, text in environ.items():
            monkeypatch.setenv(name, text)
        async with Carbon(from_environment(), meters=[FakeMeter(20.0)], sinks={"record": sink}), track("job"):
            await asyncio.sleep(0.2)

    (job,) = [emission for emission in sink.emissions if emission.name == "job"]
    expected = ("electricity_maps", "measured") if fault == "truth" else ("yearly_averages", "static")
    assert (job.intensity_source, job.intensity_quality) == expected
    assert 1 <= len(server.asked) <= requests
    out, err = capfd.readouterr()
    assert TOKEN not in out + err + "".join(path.read_text() for path in tmp_path.rglob("*.json"))


async def test_a_hanging_source_holds_no_request_and_no_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's loop turns on while its source says nothing."""
    sink = RecordingSink()
    async with upstream(hang) as server:
        for name, text in variables(server.address, CARBON_SDK_HTTP_TIMEOUT_SECONDS="60").items():
            monkeypatch.setenv(name, text)
        async with Carbon(from_environment(), meters=[FakeMeter(20.0)], sinks={"record": sink}):
            for _ in range(20):
                with track("request"):
                    await asyncio.sleep(0)
            while not server.asked:
                await asyncio.sleep(0.01)
        assert len(server.asked) == 1

    assert sink.emissions
    assert {emission.intensity_quality for emission in sink.emissions} == {"static"}
