"""Who is logged in: a cookie for a token, as long as the token is good.

The cookie holds 256 random bits that mean nothing elsewhere; the token itself stays at the server's side of the login
and is never sent back. Forms carry a second value that only this collector can make for that cookie, so that a page of
another site cannot send them (CSRF).
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from carbon_sdk.collector.access import Caller, Tokens

LIFETIME_SECONDS = 12 * 3600
MOST_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class _Session:
    caller: Caller
    ends: float


class Sessions:
    """The sessions of one process; a restart ends them all.

    Args:
        tokens: Who may come in.
        monotonic: Clock, seconds.
    """

    def __init__(self, tokens: Tokens, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._monotonic = monotonic
        self._secret = secrets.token_bytes(32)
        self._held: OrderedDict[str, _Session] = OrderedDict()

    @property
    def are_needed(self) -> bool:
        """Whether anybody must log in: once a token was made."""
        return bool(self._tokens.all())

    def begin(self, token: str) -> str | None:
        """The cookie of a new session; None where the token opens nothing that can be read."""
        caller = self._tokens.caller(token.strip())
        if caller is None or "read" not in caller.scopes:
            return None
        cookie = secrets.token_urlsafe(32)
        self._held[_digest(cookie)] = _Session(caller, self._monotonic() + LIFETIME_SECONDS)
        if len(self._held) > MOST_SESSIONS:
            self._held.popitem(last=False)
        return cookie

    def caller(self, cookie: str | None) -> Caller | None:
        """Who holds this cookie; None where nobody does, its time is over, or its token was revoked."""
        found = self._held.get(_digest(cookie or ""))
        if found is None:
            return None
        good = any(one.token_id == found.caller.name and one.revoked_at is None for one in self._tokens.all())
        if not good or self._monotonic() >= found.ends:
            self.end(cookie)
            return None
        return found.caller

    def end(self, cookie: str | None) -> None:
        """Log out."""
        self._held.pop(_digest(cookie or ""), None)

    def form_value(self, cookie: str) -> str:
        """What a form must carry beside this cookie."""
        return hmac.new(self._secret, cookie.encode(), hashlib.sha256).hexdigest()

    def is_ours(self, cookie: str | None, value: str) -> bool:
        """Whether a form carries what was made for its cookie."""
        return cookie is not None and hmac.compare_digest(self.form_value(cookie), value)


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
