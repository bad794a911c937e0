"""The running service: uvicorn around the application, a door for the command line, an orderly end.

The store's file belongs to this process alone, so commands that need it while it runs (backup, import, retention) ask
through a socket in the collector's folder. It has mode 0600: who may use it may read the file too.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from carbon_sdk.collector.access import Tokens
from carbon_sdk.collector.app import REQUESTS_PER_SECOND, create_app
from carbon_sdk.collector.gate import is_loopback
from carbon_sdk.collector.intake import IntakeLimits
from carbon_sdk.collector.protocol import HEAD_SECONDS, patient
from carbon_sdk.collector.store import Store, StoreError

DRAIN_SECONDS = 5
"""Requests under way get so long after SIGTERM: a body that comes slower is sent again to the next process."""
CONNECTIONS = 2_000
MOST_COMMAND_BYTES = 256 * 1024 * 1024
"""A command of the command line on this machine: the new prices of ten years' quarters fit in."""
FILES = 4_096
"""Open files: room for all connections, where the system's own limit is lower but may be raised."""
SOCKET = "control.sock"
TOKENS = "tokens.json"

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How the service is reached.

    Args:
        host: Address to listen on.
        port: Port; 0 for any that is free.
        limits: What one request may bring.
        requests_per_second: How often one caller may come.
        head_seconds: How long a request's head may take to come.
        tls_certificate: PEM file, with tls_key.
        tls_key: PEM file.
    """

    host: str = "127.0.0.1"
    port: int = 8321
    limits: IntakeLimits = field(default_factory=IntakeLimits)
    requests_per_second: float = REQUESTS_PER_SECOND
    head_seconds: float = HEAD_SECONDS
    tls_certificate: Path | None = None
    tls_key: Path | None = None


GC_THRESHOLDS = (50_000, 20, 100)
"""Every body makes thousands of short-lived tuples and no cycles. At Python's own 700 the search for cycles took a
fifth of the time of a collector under load (py-spy)."""


SWITCH_SECONDS = 0.05
"""After so long a thread that computes in Python must give way. All of ours give way earlier by themselves, in each
call of DuckDB, Arrow and the disk. At Python's own 5 ms they took the caches from each other in the middle of a body,
which cost a tenth of the rate (benchmarks/ingest.py)."""


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT_BYTES = 32 * 1024 * 1024
"""Freed memory that stays with the process: the longest body, unpacked, and the most that glibc takes. Fetching it anew
was two thirds of the time of unpacking (200 page faults a body of 800 kB)."""


def run(service: Coroutine[Any, Any, None]) -> None:
    """Run the service on the quickest event loop there is."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)
    _keep_freed_memory()
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FILES <= most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(service)


def _keep_freed_memory() -> None:
    """Let glibc reuse the room of a body that was unpacked, where it would give it back and fetch it for each anew."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have no such call
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


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
        host, port = listening.getsockname()[:2]
        scheme = "https" if serving.tls_certificate else "http"
        shown = f"[{host}]" if ":" in host else host

        def listens() -> None:
            log("collector_started", url=f"{scheme}://{shown}:{port}", folder=str(folder), tokens=len(tokens.all()))

        async with _control(folder / SOCKET, commands, log):
            with listening, _told(log):
                await _Server(_config(app, serving), listens).serve(sockets=[listening])
    finally:
        await store.aclose()
        log("collector_stopped", folder=str(folder))


def _config(app: Starlette, serving: Serving) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=patient(serving.head_seconds),
        ws="none",
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


class _Lines(logging.Handler):
    """uvicorn's own lines as ours."""

    def __init__(self, log: Callable[..., object]) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with the traceback of an error that no route caught."""
        fields = {}
        if record.exc_info and record.exc_info[0] is not None:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        self._log("collector_server", problem=record.getMessage(), **fields)


@contextlib.contextmanager
def _told(log: Callable[..., object]) -> Iterator[None]:
    handler, logger = _Lines(log), logging.getLogger("uvicorn.error")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def _listen(serving: Serving) -> socket.socket:
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((serving.host, serving.port))
    except (OSError, OverflowError) as exc:  # of a port beyond 65535, an OverflowError
        listening.close()
        problem = exc.strerror if isinstance(exc, OSError) else "a port is 0 to 65535"
        raise StoreError(f"cannot listen on {serving.host}:{serving.port}: {problem}; choose another --port") from exc
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
