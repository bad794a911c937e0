"""On whose behalf: the first service and endpoint of a chain of calls, carried in W3C `baggage`.

Two members go out, `carbon.service` and `carbon.endpoint`; the second has the moment and a signature as properties:

    baggage: carbon.service=shop,carbon.endpoint=POST%20%2Fcheckout;t=1774785600;s=3q2-7w...

They name routes of the company, so they are sent only to hosts and queues that a setting lists. They are believed only
with the signature of a shared secret, or where a setting says that the gateway strips `baggage` from outside: a
stranger could else book joules on an endpoint of his choice, or fill the books with names. What is not believed is
dropped and counted, and the request is the first of its own chain.
"""

import base64
import hashlib
import hmac
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote, unquote

from carbon_sdk.carbon import Carbon
from carbon_sdk.cpu.clock import Account, Origin, current
from carbon_sdk.identity import program_name
from carbon_sdk.process import default
from carbon_sdk.settings import Settings

SERVICE, ENDPOINT = "carbon.service", "carbon.endpoint"
MAXIMUM_BYTES = 256
"""Of our members together; longer ones are neither sent nor read."""
MAXIMUM_HEADER_BYTES = 8192
"""Of the whole header, as W3C Baggage asks a platform to carry at least."""
FRESH_SECONDS = 300
"""A signature older or newer than this is refused: clocks of servers differ by less, and who recorded it comes late."""
QUEUE_FRESH_SECONDS = 7 * 86_400
"""The same for a message, which may wait in its queue; who would send one again must be able to write to the queue."""
SIGNATURE_BYTES = 16
MAXIMUM_TEXTS = 1000
"""What a writer keeps for the second that its signatures name, and a reader of the headers that it believed."""

_OURS = re.compile(rf"^\s*(?:{re.escape(SERVICE)}|{re.escape(ENDPOINT)})\s*=")


def written(origin: Origin, *, secret: str | None, now_seconds: float) -> str | None:
    """The members for an origin; None where they would be too long.

    Args:
        origin: Where the chain began.
        secret: Signs them; None leaves the signature out, for receivers behind a gateway.
        now_seconds: Seconds since 1970.
    """
    text = f"{SERVICE}={quote(origin.service, safe='')},{ENDPOINT}={quote(origin.endpoint, safe='')}"
    if secret is not None:
        moment = str(int(now_seconds))
        text += f";t={moment};s={_signature(origin, moment, secret)}"
    return text if len(text) <= MAXIMUM_BYTES else None


def without_ours(header: str) -> str:
    """A `baggage` header without our members; those of others stay as they are."""
    return ",".join(member for member in header.split(",") if not _OURS.match(member))


def ours_alone(header: str) -> str:
    """Our members of a `baggage` header."""
    return ",".join(member for member in header.split(",") if _OURS.match(member))


class Reader:
    """Reads who caused a call, and believes it or not.

    Args:
        secrets: Any of them may have signed: two while one takes the other's place.
        trusted: Members without a signature are believed too: the gateway strips them from outside.
        fresh_seconds: For how long a signature holds.
        fault: Told of each caller that is not believed: where, and what.
        now_seconds: Seconds since 1970.
    """

    def __init__(
        self,
        *,
        secrets: Sequence[str],
        trusted: bool,
        fresh_seconds: float = FRESH_SECONDS,
        fault: Callable[[str, str], object] = lambda where, what: None,
        now_seconds: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = tuple(secrets)
        self._trusted = trusted
        self._fresh_seconds = fresh_seconds
        self._fault = fault
        self._now_seconds = now_seconds
        self._believed: dict[str, tuple[Origin, int | None]] = {}
        self.dropped: Counter[str] = Counter()
        """What was not believed, by reason."""

    def origin(self, headers: Iterable[tuple[bytes, bytes]]) -> Origin | None:
        """The origin that a request's headers name; None where there is none, or it is not believed.

        Args:
            headers: Of the ASGI scope: names in lower case.
        """
        values = [value for name, value in headers if name == b"baggage"]
        return self.read(b",".join(values).decode("latin-1")) if values else None

    def read(self, header: str) -> Origin | None:
        """The origin that a `baggage` header names; None where there is none, or it is not believed."""
        known = self._believed.get(header)
        if known is None:
            if len(header) > MAXIMUM_HEADER_BYTES:
                self._drop("oversized")
                return None
            known = self._judged(header)
            if known is None:
                return None
            if len(self._believed) >= MAXIMUM_TEXTS:
                self._believed = {}
            self._believed[header] = known
        origin, moment = known
        if moment is not None and abs(self._now_seconds() - moment) > self._fresh_seconds:
            self._drop("late")
            return None
        return origin

    def _judged(self, header: str) -> tuple[Origin, int | None] | None:
        members = [member.strip() for member in header.split(",") if _OURS.match(member)]
        if not members:
            return None
        if sum(map(len, members)) + len(members) - 1 > MAXIMUM_BYTES:
            self._drop("oversized")
            return None
        fields = dict(member.split("=", 1) for member in members)
        service, (endpoint, *properties) = fields.get(SERVICE, ""), fields.get(ENDPOINT, "").split(";")
        try:
            origin = Origin(unquote(service.strip(), errors="strict"), unquote(endpoint.strip(), errors="strict"))
        except UnicodeDecodeError:
            self._drop("malformed")
            return None
        if len(members) != len(fields) or not (_is_name(origin.service) and _is_name(origin.endpoint)):
            self._drop("malformed")
            return None
        if self._trusted:
            return origin, None
        return self._verified(origin, properties)

    def _verified(self, origin: Origin, properties: Sequence[str]) -> tuple[Origin, int] | None:
        signed = dict(one.strip().split("=", 1) for one in properties if "=" in one)
        moment, signature = signed.get("t", ""), signed.get("s", "")
        if not signature or not re.fullmatch(r"[0-9]{1,12}", moment):
            self._drop("unsigned")
            return None
        given = signature.encode("ascii", errors="replace")
        known = [hmac.compare_digest(given, _signature(origin, moment, one).encode()) for one in self._secrets]
        if not any(known):
            self._drop("forged")
            return None
        return origin, int(moment)

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        self._fault(f"baggage.{reason}", f"a caller's baggage is {reason}: its request is the first of its own chain")


class Writer:
    """Writes who caused a call into the headers of a call that goes out, or into the message of a queue.

    Args:
        service: This service, where a chain begins here.
        hosts: Hosts that may learn the names of routes; `.example.org` is every host under that name.
        queues: Queues whose messages may carry them; `*` is every queue.
        secret: Signs the members; None leaves the signature out.
        now_seconds: Seconds since 1970.
    """

    def __init__(
        self,
        *,
        service: str,
        hosts: Sequence[str] = (),
        queues: Sequence[str] = (),
        secret: str | None,
        now_seconds: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._hosts = frozenset(host for host in hosts if not host.startswith("."))
        self._domains = tuple(host for host in hosts if host.startswith("."))
        self._queues = frozenset(queues)
        self._secret = secret
        self._now_seconds = now_seconds
        self._second = 0
        self._texts: dict[Account, str] = {}
        self._judged: dict[str, bool] = {}

    @classmethod
    def of(cls, settings: Settings) -> "Writer":
        """As the settings say."""
        return cls(
            service=settings.service or program_name(),
            hosts=settings.propagate_to,
            queues=settings.propagate_to_queues,
            secret=settings.baggage_secrets[0] if settings.baggage_secrets else None,
        )

    def header(self, host: str | None, before: str | None) -> str | None:
        """The `baggage` header of a call to a host; None where it needs none.

        Args:
            host: Where the call goes, without port.
            before: The header that it has; our members in it, of a call that was redirected, are taken out first.
        """
        return self._joined(before, allowed=host is not None and self._allowed(host))

    def message(self, queue: str, before: str | None = None) -> str | None:
        """The `baggage` of a message that is sent to a queue; None where it needs none.

        Args:
            queue: Its name.
            before: What the message has under that name already.
        """
        return self._joined(before, allowed=queue in self._queues or "*" in self._queues)

    def _joined(self, before: str | None, *, allowed: bool) -> str | None:
        own = self._own() if allowed else None
        if before is None:
            return own or None
        return ",".join(part for part in (without_ours(before), own) if part) or None

    def _allowed(self, host: str) -> bool:
        """Whether a host is one of those that were named; the answer is kept."""
        known = self._judged.get(host)
        if known is not None:
            return known
        if len(self._judged) >= MAXIMUM_TEXTS:
            self._judged = {}
        name = host.lower().rstrip(".")
        allowed = self._judged[host] = name in self._hosts or name.endswith(self._domains)
        return allowed

    def _own(self) -> str | None:
        owner = current()
        account = None if owner is None else owner.resolve()
        if account is None:
            return None
        second = int(self._now_seconds())
        if second != self._second or len(self._texts) >= MAXIMUM_TEXTS:
            self._second, self._texts = second, {}
        text = self._texts.get(account)
        if text is None:
            origin = account.origin or Origin(self._service, account.root)
            text = self._texts[account] = written(origin, secret=self._secret, now_seconds=second) or ""
        return text


class CurrentWriter:
    """The writer that the settings of the running `Carbon` ask for, which may start after a client was made.

    Args:
        carbon: A `Carbon` built by hand; the process default when None.
    """

    def __init__(self, carbon: Carbon | None = None) -> None:
        self._carbon = carbon
        self._settings: Settings | None = None
        self._writer: Writer | None = None

    def __call__(self) -> Writer:
        """As the settings say now."""
        settings = (self._carbon or default()).settings
        if self._writer is None or settings is not self._settings:
            self._settings, self._writer = settings, Writer.of(settings)
        return self._writer


def reader_of(carbon: Carbon, *, fresh_seconds: float = FRESH_SECONDS) -> Reader | None:
    """Who reads origins for a `Carbon`; None where its settings believe nobody."""
    settings = carbon.settings
    if not settings.baggage_secrets and not settings.trust_baggage:
        return None
    return Reader(
        secrets=settings.baggage_secrets,
        trusted=settings.trust_baggage,
        fresh_seconds=fresh_seconds,
        fault=carbon.log.fault,
    )


def _signature(origin: Origin, moment: str, secret: str) -> str:
    message = "\0".join((origin.service, origin.endpoint, moment)).encode()
    digest = hmac.digest(secret.encode(), message, hashlib.sha256)[:SIGNATURE_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 200 and text.isprintable()
