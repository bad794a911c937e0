"""uvicorn's HTTP protocol with an end to its patience: heads that come too slowly or too long are hung up on."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""A client that has not sent a whole request head by then is hung up on (slow loris)."""
HEAD_BYTES = 64 * 1024
"""Longest request head, four times what servers usually take; the parser itself has no bound."""


class PatientProtocol(HttpToolsProtocol):
    """Waits so long for a head, and no longer."""

    head_seconds = HEAD_SECONDS
    _waiting: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_message = False
    _heard = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come: its first head is due."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Something has come; where it is no whole head, one is due."""
        self._heard = False
        super().data_received(data)
        if not self._in_message and not self._heard:
            if self._waiting is None:
                self._wait()
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._hang_up()

    def on_message_begin(self) -> None:
        """A head begins: it is due."""
        self._heard = True
        if self._waiting is None:
            self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_waiting()
        self._in_message = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole; whatever comes now is another head."""
        self._heard = True
        self._in_message = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.head_seconds, self._hang_up)

    def _stop_waiting(self) -> None:
        self._head_bytes = 0
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


def patient(head_seconds: float) -> type[PatientProtocol]:
    """The protocol that waits so long."""
    return type("Protocol", (PatientProtocol,), {"head_seconds": head_seconds})
