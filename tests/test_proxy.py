"""Providers asked by a proxy: real ones, for plain HTTP and for a tunnel; its password shows nowhere."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carbon_sdk import Carbon
from carbon_sdk.http import HTTP, HTTPError
from carbon_sdk.settings import from_environment
from carbon_sdk.testing import FakeMeter
from tests.intensity.sources import latest
from tests.upstream import Authority, Upstream, answer, upstream

pytestmark = pytest.mark.anyio
PASSWORD = "p@ss/word"
LOGIN = "someone:p%40ss%2Fword"
BASIC = "Basic c29tZW9uZTpwQHNzL3dvcmQ="


@asynccontextmanager
async def tunnel() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that connects its client through to where it wants; its address, and what it was asked, head by head."""
    asked: list[str] = []
    pumps: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        host, _, port = head.split()[1].rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writers.extend((writer, back))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        pumps.update((asyncio.ensure_future(pump(reader, back)), asyncio.ensure_future(pump(there, writer))))

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"http://{LOGIN}@127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for one in pumps:
            one.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def with_login(server: Upstream) -> str:
    """The address of a proxy, with user and password."""
    return server.address.replace("//", f"//{LOGIN}@")


async def test_a_name_that_this_host_does_not_know_is_asked_for_by_the_proxy() -> None:
    """It gets the whole address, and its password in a header."""
    async with upstream(answer(b"good")) as proxy:
        http = HTTP(proxy=with_login(proxy))
        reply = await http.get("http://grid.invalid/latest", params={"zone": "DE"})
        await http.aclose()

    assert reply.body == b"good"
    assert proxy.asked == ["GET http://grid.invalid/latest?zone=DE HTTP/1.1"]
    assert proxy.headers[0]["proxy-authorization"] == BASIC


async def test_a_tunnel_leads_to_a_server_that_shows_who_it_is(tmp_path: Path) -> None:
    """The proxy sees the server's name and nothing of the question."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    async with upstream(answer(b"good"), tls=authority.context()) as server, tunnel() as (address, asked):
        http = HTTP(proxy=address, ca_file=str(tmp_path / "ca.pem"))
        reply = await http.get(f"{server.address}/latest", headers={"auth-token": "a-secret-token"})
        await http.aclose()

    assert reply.body == b"good"
    assert server.headers[0]["auth-token"] == "a-secret-token"
    assert "proxy-authorization" not in server.headers[0]
    (head,) = asked
    assert head.startswith("CONNECT localhost:")
    assert BASIC in head
    assert "a-secret-token" not in head
    assert "/latest" not in head


@pytest.mark.parametrize("url", ["http://grid.invalid/latest", "https://grid.invalid/latest"])
async def test_a_proxy_that_refuses_shows_no_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """As a status, or as a failure to connect."""
    caplog.set_level(logging.DEBUG)
    async with upstream(answer(f"no {PASSWORD}".encode(), status=407)) as proxy:
        http = HTTP(proxy=with_login(proxy), attempts=1)
        try:
            reply = await http.get(url)
            shown = [str(reply.status), reply.excerpt(), repr(reply)]
        except HTTPError as exc:
            shown = [*traceback.format_exception(exc), repr(exc), repr(exc.__cause__), repr(exc.__context__)]
        await http.aclose()

    everything = "".join(shown) + caplog.text + repr(http)
    assert "407" in everything
    for written in (PASSWORD, "p%40ss", BASIC.split()[1]):
        assert written not in everything


async def test_providers_are_asked_by_the_proxy_and_the_collector_is_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The one is out in the world, the other at home."""
    now = datetime.now(UTC)
    truth = latest(now, datetime=(now - timedelta(minutes=10)).isoformat())
    async with upstream(answer(truth)) as proxy, upstream(answer({"accepted": 1, "refused": 0})) as collector:
        settings = from_environment(
            {
                "CARBON_SDK_PROVIDER": "electricity_maps,yearly_averages",
                "CARBON_SDK_ELECTRICITY_MAPS_TOKEN": "a-secret-token",
                "CARBON_SDK_ELECTRICITY_MAPS_BASE_URL": "http://grid.invalid",
                "CARBON_SDK_HTTP_PROXY": with_login(proxy),
                "CARBON_SDK_SINKS": "collector",
                "CARBON_SDK_COLLECTOR_URL": collector.address,
                "CARBON_SDK_STATE_DIR": str(tmp_path),
                "CARBON_SDK_ZONE": "DE",
            }
        )
        async with Carbon(settings, meters=[FakeMeter(20.0)]):
            while not proxy.asked:
                await asyncio.sleep(0.01)

    assert all(line.startswith("GET http://grid.invalid/") for line in proxy.asked)
    assert collector.asked
    assert all(line.startswith("POST /") for line in collector.asked)
    assert PASSWORD not in repr(settings) + "".join(capfd.readouterr())
