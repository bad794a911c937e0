"""Real servers as processes on free ports of loopback, and what a client sees of them on the wire."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 30.0
VOLATILE = (b"date:", b"server:")

COMMANDS: dict[str, Callable[[str, int], list[str]]] = {
    "uvicorn": lambda app, port: ["uvicorn", app, "--port", str(port)],
    "hypercorn": lambda app, port: ["hypercorn", app, "--bind", f"127.0.0.1:{port}"],
    "granian": lambda app, port: ["granian", app, "--interface", "asgi", "--port", str(port)],
}


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Server:
    """A server that runs until `stop`.

    Args:
        command: The words after `python -m`; its port is the last thing that it needs to listen on.
        port: Where it will listen.
        folder: For events, records and its log.
        environment: Variables on top of this process's.
    """

    def __init__(self, command: list[str], port: int, folder: Path, **environment: str) -> None:
        self.port = port
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "providers"))),
                "PYTHONHASHSEED": "0",  # frameworks keep methods in sets, and headers show their order
                "EVENTS": str(folder / "events"),
                "CARBON_SDK_SINKS": "jsonlines",
                "CARBON_SDK_JSONLINES_PATH": str(folder / "records"),
                "CARBON_SDK_STATE_DIR": str(folder / "state"),
                "CARBON_SDK_ZONE": "DE",
                "CARBON_SDK_EMIT_INTERVAL_SECONDS": "3600",
                "CARBON_SDK_FIRST_RECORD_SECONDS": "3600",
                **environment,
            },
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.connect().close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise AssertionError(f"{command[0]} does not listen: {self.log()}")

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)

    def stop(self) -> None:
        """Ask it to end, as a supervisor does, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self._log.close()

    def log(self) -> str:
        """What it has printed."""
        return (self._folder / "log").read_text(encoding="utf-8")

    def events(self) -> list[str]:
        """What the application has noted."""
        file = self._folder / "events"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def wait_for(self, event: str, *, times: int = 1) -> None:
        """Wait until the application has noted something that begins so, so many times."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while sum(noted.startswith(event) for noted in self.events()) < times:
            assert time.monotonic() < deadline, f"{event!r} never happened: {self.events()} {self.log()}"
            time.sleep(0.02)

    def records(self) -> list[dict[str, Any]]:
        """The records that were written."""
        file = self._folder / "records"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    def ask(self, method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
        """Everything that comes back on a connection of its own, to its end, without what changes with time."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *headers, "", ""]
        with self.connect() as connection:
            connection.sendall("\r\n".join(lines).encode() + body)
            return steady(read_to_end(connection))


def read_to_end(connection: socket.socket) -> bytes:
    """All bytes until the other side closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def steady(answer: bytes) -> bytes:
    """An answer without its date and its server's name."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(VOLATILE)]
    return b"\r\n".join(lines) + separator + body


def converse(server: Server, path: str, *texts: str) -> list[object]:
    """What a WebSocket client sees: the handshake's answer, each reply, and how it ends."""
    seen: list[object] = []
    try:
        with connect(
            f"ws://127.0.0.1:{server.port}{path}", subprotocols=[Subprotocol("chat")], proxy=None, compression=None
        ) as client:
            seen.append((client.subprotocol, client.response and client.response.headers.get("x-room")))
            for text in texts:
                client.send(text)
                seen.append(client.recv(timeout=PATIENCE_SECONDS))
    except InvalidStatus as exc:
        seen.append((exc.response.status_code, exc.response.body))
    except ConnectionClosed as exc:
        seen.append((exc.rcvd and exc.rcvd.code, exc.rcvd and exc.rcvd.reason))
    return seen
