"""The running service: uvicorn around the application, a door for the command line, an orderly end.

The store's file belongs to this process alone, so commands that need it while it runs (backup, import, retention) ask
through a socket in the collector's folder. It has mode 0600: who may use it may read the file too.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.routing import BaseRoute
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from carbon_sdk.collector.access import Tokens
from carbon_sdk.collector.app import REQUESTS_PER_SECOND, create_app
from carbon_sdk.collector.gate import is_loopback
from carbon_sdk.collector.intake import IntakeLimits
from carbon_sdk.collector.store import Store, StoreError

HEAD_SECONDS = 10.0
"""A client that has not sent a whole request head by then is hung up on (slow loris)."""
DRAIN_SECONDS = 20
"""Requests under way get so long after SIGTERM."""
CONNECTIONS = 2_000
MOST_COMMAND_BYTES = 256 * 1024 * 1024
"""A command of the command line on this machine: the new prices of ten years' quarters fit in."""
SOCKET = "control.sock"
TOKENS = "tokens.json"

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose patience with a request head ends."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come: its first head is due."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """A head begins: it is due."""
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How the service is reached.

    Args:
        host: Address to listen on.
        port: Port; 0 for any that is free.
        limits: What one request may bring.
        requests_per_second: How often one caller may come.
        tls_certificate: PEM file, with tls_key.
        tls_key: PEM file.
    """

    host: str = "127.0.0.1"
    port: int = 8321
    limits: IntakeLimits = field(default_factory=IntakeLimits)
    requests_per_second: float = REQUESTS_PER_SECOND
    tls_certificate: Path | None = None
    tls_key: Path | None = None


GC_THRESHOLDS = (50_000, 20, 100)
"""Every body makes thousands of short-lived tuples and no cycles. At Python's own 700 the search for cycles took a
fifth of the time of a collector under load (py-spy)."""


def run(service: Coroutine[Any, Any, None]) -> None:
    """Run the service on the quickest event loop there is."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(service)


class _Server(uvicorn.Server):
    """uvicorn, which tells when it listens, and does not raise a signal again before the store is closed."""

    def __init__(self, config: uvicorn.Config, listens: Callable[[], None]) -> None:
        super().__init__(config)
        self._listens = listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell."""
        await super().startup(sockets)
        self._listens()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the service; the process then ends by itself, with 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


async def serve(
    store: Store,
    folder: Path,
    serving: Serving,
    *,
    commands: Mapping[str, Command],
    log: Callable[..., object],
    routes: Sequence[BaseRoute] = (),
    exempt: tuple[str, ...] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is under way, and close the store.

    Args:
        store: The open store; closed at the end.
        folder: The collector's folder.
        serving: How the service is reached.
        commands: What the control socket does, by name.
        log: Called with an event and its fields.
        routes: Further routes; see `create_app`.
        exempt: Paths of those that look after tokens themselves; see `create_app`.

    Raises:
        StoreError: It may not listen there, or cannot.
    """
    tokens = Tokens(folder / TOKENS)
    try:
        if not is_loopback(serving.host) and not tokens.all():
            raise StoreError(
                f"without tokens the collector listens on loopback only, not on {serving.host}; make one first: "
                "carbon-sdk collector token make --project NAME --scope write --scope read"
            )
        listening = _listen(serving)
        app = create_app(
            store,
            tokens,
            limits=serving.limits,
            requests_per_second=serving.requests_per_second,
            routes=routes,
            exempt=exempt,
            log=log,
        )
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            ssl_certfile=serving.tls_certificate,
            ssl_keyfile=serving.tls_key,
        )
        host, port = listening.getsockname()[:2]
        scheme = "https" if serving.tls_certificate else "http"
        shown = f"[{host}]" if ":" in host else host

        def listens() -> None:
            log("collector_started", url=f"{scheme}://{shown}:{port}", folder=str(folder), tokens=len(tokens.all()))

        async with _control(folder / SOCKET, commands, log):
            with listening:
                await _Server(config, listens).serve(sockets=[listening])
    finally:
        await store.aclose()
        log("collector_stopped", folder=str(folder))


def _listen(serving: Serving) -> socket.socket:
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((serving.host, serving.port))
    except OSError as exc:
        listening.close()
        raise StoreError(
            f"cannot listen on {serving.host}:{serving.port}: {exc.strerror}; choose another --port"
        ) from exc
    listening.set_inheritable(False)
    return listening


@contextlib.asynccontextmanager
async def _control(path: Path, commands: Mapping[str, Command], log: Callable[..., object]) -> Any:
    """The socket by which the command line reaches this process: one JSON object a line, one answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            asked = json.loads(await reader.readline() or b"{}")
            try:
                command = commands[asked["command"]]
                reply = {"done": await command(asked)}
            except KeyError as exc:
                reply = {"error": f"the running collector does not know {exc}"}
            except StoreError as exc:
                reply = {"error": str(exc)}
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(answer, path, limit=MOST_COMMAND_BYTES)
    except OSError as exc:  # the folder's name is too long for a socket, or its file system has none
        log("collector_without_control", problem=str(exc), remedy="backup and import need the collector stopped")
        yield
        return
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)  # noqa: ASYNC240


def ask(folder: Path, command: str, **fields: Any) -> Mapping[str, Any] | None:
    """Let the collector that runs on a folder do something.

    Args:
        folder: The collector's folder.
        command: What.
        fields: With what.

    Returns:
        `{"done": answer}`; None where no collector runs there.

    Raises:
        StoreError: It could not do it.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(folder / SOCKET))
            client.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
            with client.makefile("rb") as stream:
                line = stream.readline()
    except OSError:
        return None
    reply: dict[str, Any] = json.loads(line or b'{"error": "the collector stopped meanwhile"}')
    if "error" in reply:
        raise StoreError(reply["error"])
    return reply
