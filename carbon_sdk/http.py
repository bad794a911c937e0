"""The one HTTP client: limits, timeouts, retries, a circuit; errors translated, secrets kept out.

Nothing but this file and `transport.py` knows which library it is. It speaks httpx's API over the aiohttp transport;
both are imported at the first request, because they cost 400 ms that a service without a live provider need not pay.

* **Time.** One attempt has one deadline for all of it, so a server that drips a byte a second cannot hold it.
* **Size.** A body beyond the limit is cut off while it arrives, after decompression.
* **Redirects** are not followed: a provider that moved is an answer to look at, and a login page is not data.
* **Retries** only for what may be asked twice (GET, or what the caller calls repeatable), with jitter. A server that
  said when to come back (`Retry-After`) is not asked before.
* **Circuit.** After repeated failures of one origin, calls fail at once; then one call probes, and closes it again.
* **Secrets.** Secret query parameters are added below httpx, whose own log line prints the URL; no error and no repr
  holds a header, a query or a body.
"""

import asyncio
import email.utils
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, quote_plus, urlsplit

from carbon_sdk.circuit import FIRST_PAUSE_SECONDS, Circuits
from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.transport import HIDDEN_QUERY, open_client, password_of

Kind = Literal["timeout", "unreachable", "name", "tls", "too_large", "protocol", "paused"]

FIRST_WAIT_SECONDS = 0.5
"""Longest wait before the second attempt; it doubles for each one more. Its share is drawn at random."""
LONGEST_WAIT_SECONDS = 4.0
AGAIN = frozenset({500, 502, 503, 504})
"""Statuses worth a second try: the server's trouble, not ours. Not 429: it asks for less, not for more."""
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
"""A server that asks for more than a day is asked again after a day."""
ENCODINGS = frozenset({"identity", "gzip", "deflate"})
"""How a body may be packed, and once only: other ways, or one in another, unpack to a thousand megabytes at a time."""


class HTTPError(CarbonSDKError):
    """No usable answer came back.

    Args:
        kind: What went wrong.
        where: Origin and path, never the query.
        problem: In words, without secrets.
        retry_after_seconds: When to ask again, where that is known.
    """

    def __init__(self, kind: Kind, where: str, problem: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{where}: {problem}")
        self.kind = kind
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer, of any status.

    Args:
        status: HTTP status.
        where: Origin and path, for messages.
        headers: Names in lower case.
        body: Decompressed bytes.
        secrets: What must not be shown.
        retry_after_seconds: What the server asked for, from seconds or from a date.
    """

    status: int
    where: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    retry_after_seconds: float | None = None

    @property
    def text(self) -> str:
        """The body as text; bytes that are no UTF-8 are replaced."""
        return self.body.decode("utf-8", errors="replace")

    def excerpt(self, characters: int = 120) -> str:
        """The body's beginning on one line, without secrets, to quote in a message."""
        text = redacted(self.text[: characters * 8], self.secrets)
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:characters]


def redacted(text: str, secrets: Sequence[str]) -> str:
    """The text with every secret replaced by `***`, also where it is written as in a URL."""
    for secret in secrets:
        for written in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(written, "***") if written else text
    return text


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds to wait from a `Retry-After` header, which holds seconds or a date (RFC 9110, section 10.2.3).

    Args:
        value: The header; None where there is none.
        now: The present, UTC.

    Returns:
        0 to one day; None where the header is missing or says nothing.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_SECONDS)


class HTTP:
    """An HTTP client for one event loop; closing it twice is fine.

    Args:
        timeout_seconds: Deadline of one attempt, all of it.
        connect_timeout_seconds: Of that, for the connection.
        max_body_bytes: Longest body that is taken, decompressed.
        attempts: How often a repeatable call is tried.
        max_connections: Connections open at once.
        proxy: `http://user:password@host:port` of a proxy; the password shows nowhere.
        ca_file: PEM file of the authorities to trust instead of the bundled ones.
        user_agent: What we call ourselves.
        monotonic: Clock of the circuits, seconds; those who ask through this client may use it.
        utcnow: Clock for `Retry-After` dates; likewise.
        sleep: How to wait between attempts.
        chance: Random numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 10.0,
        connect_timeout_seconds: float = 5.0,
        max_body_bytes: int = 8 * 1024 * 1024,
        attempts: int = 3,
        max_connections: int = 16,
        proxy: str | None = None,
        ca_file: str | None = None,
        user_agent: str = "carbon-sdk",
        monotonic: Callable[[], float] = time.monotonic,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._attempts = attempts
        self._max_connections = max_connections
        self._proxy = proxy
        self._secrets = (password_of(proxy),)
        self._ca_file = ca_file
        self._user_agent = user_agent
        self.monotonic = monotonic
        self.utcnow = utcnow
        self._sleep = sleep
        self._chance = chance
        self._circuits = Circuits()
        self._client: Any = None

    async def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        secret_params: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        secrets: Sequence[str] = (),
        attempts: int | None = None,
    ) -> Reply:
        """Ask for a resource.

        Args:
            url: Without query.
            params: Query parameters that may be seen.
            headers: Sent, never shown.
            secret_params: Query parameters that hold a secret.
            auth: User and password for HTTP basic.
            secrets: Further texts to keep out of messages, for instance a token in a header.
            attempts: How often to try; the client's own number unless given.

        Returns:
            The answer, whatever its status.

        Raises:
            HTTPError: There was none.
        """
        return await self._call(
            "GET",
            url,
            attempts=attempts or self._attempts,
            secrets=(*secrets, *(secret_params or {}).values(), *((auth[1],) if auth else ())),
            params=params,
            headers=dict(headers or {}),
            auth=auth,
            extensions={HIDDEN_QUERY: dict(secret_params or {})},
        )

    async def send(
        self,
        method: Literal["POST", "PUT"],
        url: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        repeatable: bool = False,
    ) -> Reply:
        """Send a body.

        Args:
            method: POST or PUT.
            url: Where to.
            content: The body.
            headers: Sent, never shown.
            secrets: Texts to keep out of messages.
            repeatable: The receiver takes the same body twice as once, so it may be retried here.

        Returns:
            The answer, whatever its status.

        Raises:
            HTTPError: There was none.
        """
        return await self._call(
            method,
            url,
            attempts=self._attempts if repeatable else 1,
            secrets=tuple(secrets),
            content=content,
            headers=dict(headers or {}),
        )

    def open(self) -> None:
        """Load the libraries now, so that a deadline of the first call does not pay for them."""
        if self._client is None:
            self._client = open_client(
                timeout_seconds=self._timeout_seconds,
                connect_timeout_seconds=self._connect_timeout_seconds,
                max_connections=self._max_connections,
                proxy=self._proxy,
                ca_file=self._ca_file,
                user_agent=self._user_agent,
            )

    async def aclose(self) -> None:
        """Close all connections; a second call does nothing."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _call(self, method: str, url: str, *, attempts: int, secrets: tuple[str, ...], **asked: Any) -> Reply:
        import tenacity  # noqa: PLC0415 - late: costs time, and only a live provider needs it

        longest = tenacity.wait_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(attempts),
            wait=lambda state: longest(state) * self._chance(),
            retry=tenacity.retry_if_exception(_may_pass) | tenacity.retry_if_result(_asks_again),
            retry_error_callback=lambda last: last.outcome.result() if last.outcome else None,
            sleep=self._sleep,
        )
        hidden = (*secrets, *self._secrets)
        reply: Reply = await retrying(self._attempt, method, url, _where(url), hidden, asked)
        return reply

    async def _attempt(
        self, method: str, url: str, where: str, secrets: tuple[str, ...], asked: Mapping[str, Any]
    ) -> Reply:
        circuit = self._circuits.of(url)
        wait = circuit.refusal(self.monotonic())
        if wait is not None:
            problem = f"left alone for {wait:.0f} s more, after: {circuit.reason}"
            raise HTTPError("paused", where, problem, retry_after_seconds=wait)
        try:
            reply = await self._exchange(method, url, where, secrets, asked)
        except HTTPError as exc:
            circuit.failed(self.monotonic(), self._chance(), exc.problem)
            raise
        except BaseException:
            circuit.abandoned()
            raise
        if reply.status == 429 or reply.retry_after_seconds is not None:
            circuit.succeeded()
            seconds = reply.retry_after_seconds or FIRST_PAUSE_SECONDS
            circuit.pause(self.monotonic(), seconds, f"HTTP {reply.status}, which asked for a pause")
        elif reply.status >= 500:
            circuit.failed(self.monotonic(), self._chance(), f"HTTP {reply.status}")
        else:
            circuit.succeeded()
        return reply

    async def _exchange(
        self, method: str, url: str, where: str, secrets: tuple[str, ...], asked: Mapping[str, Any]
    ) -> Reply:
        import aiohttp  # noqa: PLC0415 - late, as above
        import httpx  # noqa: PLC0415

        try:
            self.open()
        except OSError as exc:  # ssl's own errors included
            raise HTTPError("tls", where, f"the authorities in {self._ca_file} cannot be read: {exc}") from exc
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream(method, url, **asked) as response,
            ):
                body = await self._body_of(response, where)
        except TimeoutError as exc:
            failure = HTTPError("timeout", where, f"no whole answer within {self._timeout_seconds:g} s")
            cause: BaseException = exc
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as exc:
            failure, cause = _translated(exc, where, secrets), exc
        else:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(
                status=response.status_code,
                where=where,
                headers=headers,
                body=body,
                secrets=secrets,
                retry_after_seconds=retry_after_seconds(headers.get("retry-after"), self.utcnow()),
            )
        raise failure from (None if _tells(cause, secrets) else cause)

    async def _body_of(self, response: Any, where: str) -> bytes:
        packed = response.headers.get("content-encoding", "identity").strip().lower()
        if packed not in ENCODINGS:
            raise HTTPError("protocol", where, f"the body is packed as {packed[:20]!r}, which was not asked for")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise HTTPError("too_large", where, f"the body is longer than {self._max_body_bytes} bytes")
        return bytes(body)


def _may_pass(exc: BaseException) -> bool:
    return isinstance(exc, HTTPError) and exc.kind in ("timeout", "unreachable")


def _asks_again(reply: Reply) -> bool:
    return reply.status in AGAIN and reply.retry_after_seconds is None


def _where(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _chain(exc: BaseException) -> list[BaseException]:
    """The exception and what lies beneath it."""
    causes: list[BaseException] = []
    cause: BaseException | None = exc
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    return causes


def _tells(exc: BaseException, secrets: tuple[str, ...]) -> bool:
    """Whether a traceback with this exception, as libraries below wrote it, would show a secret."""
    text = "".join(f"{found}{found!r}" for found in _chain(exc))
    return redacted(text, secrets) != text


def _translated(exc: BaseException, where: str, secrets: tuple[str, ...]) -> HTTPError:
    """One error of the libraries below in our words. The aiohttp transport calls a reset a timeout, so look beneath."""
    causes = _chain(exc)
    names = {part.__name__ for found in causes for part in type(found).__mro__}
    text = " ".join(redacted(str(causes[-1]) or type(causes[-1]).__name__, secrets).split())[:160]
    if "SSLError" in names or "CertificateError" in names:
        return HTTPError("tls", where, f"TLS refused: {text}")
    if "ClientConnectorDNSError" in names or "gaierror" in names:
        return HTTPError("name", where, "the host name does not resolve")
    if names & {"ServerTimeoutError", "SocketTimeoutError", "ConnectionTimeoutError"}:
        return HTTPError("timeout", where, "it did not answer in time")
    if names & {"ClientConnectionError", "TransportError", "OSError", "ClientPayloadError"}:
        return HTTPError("unreachable", where, f"no connection, or it broke: {text}")
    return HTTPError("protocol", where, f"{type(exc).__name__}: {text}")
