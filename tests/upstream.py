"""A real server in place of a provider's, which behaves as badly as a test wants, and certificates for it."""

import asyncio
import gzip
import json
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import trustme

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Answers one request, or does something else to it."""


def answer(
    body: object = b"", *, status: int = 200, headers: Mapping[str, str] | None = None, says_bytes: int | None = None
) -> Serve:
    """A whole answer.

    Args:
        body: Bytes, or what is sent as JSON.
        status: HTTP status.
        headers: More of them.
        says_bytes: The length that is announced, where it is not the true one.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} So", "Content-Type: application/json"]
    lines += [f"{name}: {text}" for name, text in (headers or {}).items()]
    lines += [f"Content-Length: {len(content) if says_bytes is None else says_bytes}", "", ""]

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + content)
        await writer.drain()

    return serve


def raw(*parts: bytes, every_seconds: float = 0.0) -> Serve:
    """Bytes as they are, one part after the other, and then the end of the connection."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every_seconds)
        writer.close()

    return serve


def blanks(megabytes: int) -> Serve:
    """A long body, sent for as long as the client takes it."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (megabytes * 1_000_000))
        for _ in range(megabytes * 10):
            if writer.is_closing():
                return
            writer.write(b" " * 100_000)
            await writer.drain()

    return serve


def bomb(megabytes: int, *, times: int = 1) -> Serve:
    """A long body that takes a thousandth of its room on the way, and a millionth where it is packed twice."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        content = _packed(megabytes)
        for _ in range(times - 1):
            content = gzip.compress(content)
        await answer(content, headers={"Content-Encoding": ", ".join(["gzip"] * times)})(writer)

    return serve


@cache
def _packed(megabytes: int) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return b"".join(packer.compress(b" " * 1_000_000) for _ in range(megabytes)) + packer.flush()


async def hang(_writer: asyncio.StreamWriter) -> None:
    """Say nothing until the client has gone."""
    await asyncio.sleep(3600)


async def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off instead of ending it."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Upstream:
    """What a test makes of the provider's server.

    Args:
        serve: How requests are met from the start.
    """

    def __init__(self, serve: Serve = hang) -> None:
        self.serve = serve
        self.asked: list[str] = []
        """Request lines, in order."""
        self.headers: list[dict[str, str]] = []
        """The headers of each, names in lower case."""
        self.connections = 0
        self.address = ""

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All requests of one connection."""
        self.connections += 1
        try:
            while line := await reader.readline():
                self.asked.append(line.decode("latin-1").strip())
                headers: dict[str, str] = {}
                while header := (await reader.readline()).decode("latin-1").strip():
                    name, _, text = header.partition(":")
                    headers[name.lower()] = text.strip()
                self.headers.append(headers)
                await reader.readexactly(int(headers.get("content-length", "0")))
                await self.serve(writer)
                if writer.is_closing():
                    break
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def upstream(serve: Serve = hang, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """A server on this loop, gone at the end of the block together with its connections.

    Args:
        serve: How requests are met; `Upstream.serve` may be changed later.
        tls: Speak TLS with this certificate.
    """
    one = Upstream(serve)
    meetings: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        meetings.add(task)
        try:
            await one.meet(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over; 3.11 would log it
        finally:
            meetings.discard(task)

    server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    one.address = f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
    try:
        yield one
    finally:
        server.close()
        for meeting in tuple(meetings):
            meeting.cancel()
        await asyncio.gather(*meetings, return_exceptions=True)


class Authority:
    """An authority of the test's own, whom a client trusts when told to."""

    def __init__(self) -> None:
        self._own = trustme.CA()
        self.pem = self._own.cert_pem.bytes()

    def context(self, name: str = "localhost", *, days_left: int = 30) -> ssl.SSLContext:
        """A server's side with a certificate for a name, expired where no days are left."""
        end = datetime.now(UTC) + timedelta(days=days_left)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._own.issue_cert(name, not_before=end - timedelta(days=90), not_after=end).configure_cert(context)
        return context


def self_signed(folder: Any) -> ssl.SSLContext:
    """A server's side whose certificate nobody but itself vouches for."""
    alone = trustme.CA()
    path = folder / "alone.pem"
    path.write_bytes(alone.private_key_pem.bytes() + alone.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
