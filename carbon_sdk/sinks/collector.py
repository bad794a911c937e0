"""Records to the collector of all services, at least once and in order, so that it keeps each of them once.

A batch waits in the spool before it is sent and leaves it when the collector has answered, so neither an absent
collector nor the sudden end of this process loses any. Retries, their jitter, and `Retry-After` are the HTTP client's.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from carbon_sdk.emission import Emission
from carbon_sdk.errors import SettingsError
from carbon_sdk.http import HTTP, HTTPError, Reply
from carbon_sdk.log import Log, to_host
from carbon_sdk.sinks.spool import Spool, records_of
from carbon_sdk.wire import objects_of, to_columns

SPOOL_BYTES = 64 * 1024 * 1024
"""About a million records."""
FINAL = frozenset({400, 413, 415, 422})
"""Answers that judge the batch itself (RFC 9110): sent again, it gets the same. Any other speaks of the way to the
collector, or does not come from one: a token to be renewed, an ingress that does not know it yet, a login page."""
REMEDIES = {
    401: "set CARBON_SDK_COLLECTOR_TOKEN to a token that may write",
    403: "set CARBON_SDK_COLLECTOR_TOKEN to a token that may write",
    426: "the collector is older than this service: update it",
}
UNKNOWN_FORM = 415
COLUMNS, ARRAY = "application/vnd.carbon-sdk.columns+json", "application/json"


class CollectorSink:
    """Sends batches as gzipped columns; as arrays of records to a collector that is older than those.

    Args:
        url: The collector's address, `https://carbon.example.org`.
        http: The client.
        spool: Where batches wait.
        token: With the scope `write`; None where the collector has no tokens.
        log: Told what went wrong.
    """

    def __init__(self, url: str, *, http: HTTP, spool: Spool, token: str | None = None, log: Log | None = None) -> None:
        self._url = f"{url.rstrip('/')}/v1/emissions"
        self._http = http
        self._spool = spool
        self._token = token
        self._log = log or Log(to_host())
        self._told_dropped = 0
        self._form = COLUMNS
        self.refused_records = 0
        """Records that the collector will never take."""

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "CollectorSink":
        """Built by settings.

        Raises:
            SettingsError: `CARBON_SDK_COLLECTOR_URL` is no address, or `CARBON_SDK_COLLECTOR_SPOOL_BYTES` no number.
        """
        url = options.get("url", "")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise SettingsError(
                "CARBON_SDK_COLLECTOR_URL",
                "it is not set" if not url else "it is no address of a collector",
                "Give scheme, host and port alone, as http://127.0.0.1:8321",
            )
        text = options.get("spool_bytes", str(SPOOL_BYTES))
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**50):
            raise SettingsError("CARBON_SDK_COLLECTOR_SPOOL_BYTES", "it is not a whole number", "Give bytes, 67108864")
        spool = Spool(Path(options["state_dir"]) / "spool", maximum_bytes=int(text))
        return cls(url, http=http, spool=spool, token=options.get("token") or None)

    async def write(self, emissions: Sequence[Emission], /) -> None:
        """Let a batch wait, and send what waits as far as it goes; what is not sent goes on waiting."""
        self._spool.put(gzip.compress(to_columns(emissions).encode(), 6), len(emissions))
        if self._spool.problem is not None:
            self._fault(
                "spool", self._spool.problem, "records wait in memory; what was not sent is lost when the process ends"
            )
        await self._send_waiting()
        if self._spool.dropped_records > self._told_dropped:
            self._told_dropped = self._spool.dropped_records
            self._fault("spool.full", f"{self._told_dropped} records dropped", "the oldest make room: see spool_bytes")

    async def aclose(self) -> None:
        """Send what waits if the collector is there; the rest stays in the spool for the next process."""
        try:
            await self._send_waiting()
        finally:
            self._spool.close()

    async def _send_waiting(self) -> None:
        headers = {"content-encoding": "gzip"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        secrets = () if self._token is None else (self._token,)
        while (waiting := self._spool.oldest()) is not None:
            name, columns = waiting
            body = columns if self._form == COLUMNS else _as_array(columns)
            headers["content-type"] = self._form
            try:
                reply = await self._http.send(
                    "POST", self._url, content=body, headers=headers, secrets=secrets, repeatable=True
                )
            except HTTPError as exc:
                if exc.kind != "paused":
                    self._fault("away", str(exc), "records wait in the spool")
                return
            if reply.status == UNKNOWN_FORM and self._form == COLUMNS:
                self._form = ARRAY
                continue
            refused = _refused(reply, records_of(name))
            if refused is None:
                remedy = REMEDIES.get(reply.status, "check the address, if this goes on")
                self._fault("busy", f"the collector answered {reply.status}", f"records wait in the spool; {remedy}")
                return
            self._spool.remove(name)
            if refused:
                self.refused_records += refused
                problem = f"the collector answered {reply.status}: {reply.excerpt()}"
                self._fault("refused", problem, f"{self.refused_records} records are lost")

    def _fault(self, kind: str, problem: str, remedy: str) -> None:
        self._log.fault(f"sink.collector.{kind}", problem, remedy=remedy)
        self._log.flush()


def _as_array(columns: bytes) -> bytes:
    """The same batch as an array of records."""
    return gzip.compress(json.dumps(objects_of(gzip.decompress(columns)), separators=(",", ":")).encode(), 6)


def _refused(reply: Reply, records: int) -> int | None:
    """How many records of a batch the collector will never take; None where it has not taken the others either."""
    if reply.status in FINAL:
        return records
    try:
        counts = json.loads(reply.text) if reply.status == 200 else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(counts, Mapping) or not isinstance(counts.get("stored"), int):  # as a proxy's page has none
        return None
    refused = counts.get("refused", 0)
    return refused if isinstance(refused, int) else 0
