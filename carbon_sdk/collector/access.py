"""Who may do what: tokens per project, stored hashed, and how often somebody may come.

A token is `cst_ID_SECRET`. The secret has 256 random bits, so a plain SHA-256 of it is safe to store: there is nothing
to guess. The file is read again when it has changed, so a revoked token ends at once and no restart is needed.
"""

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from carbon_sdk.collector.store import StoreError

Scope = Literal["write", "read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OPEN_PROJECT = "default"
"""The project of records that come without a token."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"cst_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_MOST_CALLERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is kept of a token; its secret is not.

    Args:
        token_id: Its public part.
        project: The one project that it opens.
        scopes: What it allows.
        made_at: When, UTC.
        sha256: Hash of the secret.
        revoked_at: When it was revoked; None while it is good.
    """

    token_id: str
    project: str
    scopes: tuple[Scope, ...]
    made_at: str
    sha256: str
    revoked_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who was let in.

    Args:
        name: The token's public part, or `local` where none is asked for.
        project: Their project; None where they may name one.
        scopes: What they may do.
    """

    name: str
    project: str | None
    scopes: tuple[Scope, ...]


def project_name(text: str) -> str:
    """A project's name, checked.

    Raises:
        ValueError: It is none.
    """
    if not _NAME.fullmatch(text):
        raise ValueError("a project's name has 1 to 64 letters, digits, dots, dashes and underscores")
    return text


class Tokens:
    """The tokens in one file of mode 0600.

    Args:
        path: The file; missing means that there are none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def all(self) -> Sequence[Token]:
        """Every token ever made, oldest first.

        Raises:
            StoreError: The file cannot be read.
        """
        self._refresh()
        return list(self._tokens.values())

    def make(self, project: str, scopes: Sequence[Scope]) -> str:
        """Make a token.

        Returns:
            The whole token; it is not shown again.

        Raises:
            ValueError: The project's name, or a scope, is none.
            StoreError: The file cannot be written.
        """
        project_name(project)
        if not scopes or set(scopes) - set(SCOPES):
            raise ValueError(f"scopes are {' and '.join(SCOPES)}")
        token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        token = Token(
            token_id=token_id,
            project=project,
            scopes=tuple(dict.fromkeys(scopes)),
            made_at=_now(),
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
        )
        with self._writing() as tokens:
            tokens[token_id] = token
        return f"cst_{token_id}_{secret}"

    def revoke(self, token_id: str) -> bool:
        """End a token.

        Returns:
            Whether there was such a token that was still good.
        """
        with self._writing() as tokens:
            token = tokens.get(token_id)
            if token is None or token.revoked_at is not None:
                return False
            tokens[token_id] = Token(**{**asdict(token), "revoked_at": _now()})
        return True

    def caller(self, text: str) -> Caller | None:
        """Who holds this token; None where it opens nothing. Takes equally long for every wrong secret."""
        self._refresh()
        match = _TOKEN.fullmatch(text)
        token = self._tokens.get(match[1]) if match else None
        offered = hashlib.sha256((match[2] if match else text).encode()).hexdigest()
        right = hmac.compare_digest(offered, token.sha256 if token else "0" * 64)
        if token is None or not right or token.revoked_at is not None:
            return None
        return Caller(name=token.token_id, project=token.project, scopes=token.scopes)

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._seen, self._tokens = None, {}
            return
        except OSError as exc:
            raise StoreError(f"{self._path}: {exc.strerror}") from exc
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._tokens = self._read()
            self._seen = seen

    def _read(self) -> dict[str, Token]:
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))["tokens"]
            return {row["token_id"]: Token(**{**row, "scopes": tuple(row["scopes"])}) for row in rows}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise StoreError(
                f"{self._path} cannot be read; restore it from a backup, or remove it and make tokens anew"
            ) from exc

    @contextlib.contextmanager
    def _writing(self) -> Iterator[dict[str, Token]]:
        """Change the tokens; nobody else does meanwhile. Written beside and renamed."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self._path.with_suffix(".lock"), "w", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                tokens = self._read()
                yield tokens
                draft = self._path.with_suffix(".part")
                rows = [{**asdict(token), "scopes": list(token.scopes)} for token in tokens.values()]
                file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                with open(file, "w", encoding="utf-8") as stream:
                    json.dump({"tokens": rows}, stream, indent=1)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(draft, self._path)
        except OSError as exc:
            raise StoreError(f"{self._path}: {exc.strerror}") from exc


class Rate:
    """How often each caller may come: so many a second, and a burst of two seconds' worth.

    Args:
        per_second: Calls a second.
        monotonic: Clock, seconds.
    """

    def __init__(self, per_second: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._monotonic = monotonic
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, caller: str) -> float:
        """0 where the caller may go on, which counts; else how long to wait."""
        now = self._monotonic()
        burst = 2 * self._per_second
        left, at = self._left.pop(caller, (burst, now))
        left = min(burst, left + (now - at) * self._per_second)
        wait = 0.0 if left >= 1.0 else (1.0 - left) / self._per_second
        self._left[caller] = (left - 1.0 if not wait else left, now)
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return wait


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
