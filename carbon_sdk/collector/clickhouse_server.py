"""ClickHouse through its HTTP interface: where the shards are, how one is asked, what its errors mean to us.

A **shard** is one or more servers with the same rows (replicas). The collector itself decides on which shard a record
lies, asks every shard, and adds the answers: no cluster need be named in ClickHouse's own configuration, and a shard
that does not answer is known by name instead of being left out silently.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from carbon_sdk.collector.store import BusyError, QueryError, StoreError
from carbon_sdk.http import HTTP, HTTPError, Reply

DATABASE = "carbon_sdk"
USER = "default"
INSERT_SECONDS = 30.0
"""An insert that takes longer is sent again."""
_CONNECT_SECONDS = 3.0
_REPLY_BYTES = 256 * 1024 * 1024
_READ_SETTINGS = {"output_format_json_quote_64bit_integers": "0", "wait_end_of_query": "1"}
_TOO_SLOW, _NO_DATABASE, _NO_TABLE = 159, 81, 60
_NO_SPACE = 243
_EVERY_BLOCK = {"insert_deduplicate": "0"}
"""Replicated tables leave out an insert that equals an earlier one, and with it what a view would make of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where ClickHouse is and how to come in.

    Args:
        shards: The replicas' URLs of each shard, such as `http://10.0.0.1:8123`. Their order and number decide where a
            record lies, so they are changed only while no collector has anything waiting.
        database: The database; made by `migrate`.
        user: Its user.
        password: Their password.
        ca_file: PEM file of the authorities to trust for https, instead of the bundled ones.
        replicated: Replicas are kept equal by ClickHouse (`Replicated` tables, which need Keeper and the macros
            `{shard}` and `{replica}`). Without it each shard is one server.
    """

    shards: tuple[tuple[str, ...], ...]
    database: str = DATABASE
    user: str = USER
    password: str = field(default="", repr=False)
    ca_file: str | None = None
    replicated: bool = False

    @classmethod
    def parse(cls, words: Sequence[str], **given: Any) -> "Cluster":
        """From the command line: one word a shard, its replicas with commas between.

        Raises:
            StoreError: A word is no URL, or the database's name is none.
        """
        shards = tuple(tuple(url.strip().rstrip("/") for url in word.split(",") if url.strip()) for word in words)
        for url in (url for shard in shards for url in shard):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
                raise StoreError(f"{url!r} is no ClickHouse; write http://HOST:8123 or https://HOST:8443")
        named = [url for shard in shards for url in shard]
        if twice := next((url for url in named if named.count(url) > 1), None):
            raise StoreError(f"{twice} is named twice: its records would be counted twice")
        made = cls(shards=shards, **given)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", made.database):
            raise StoreError(f"{made.database!r} is no name for a database: letters, digits and _")
        if not made.replicated and any(len(shard) != 1 for shard in shards):
            raise StoreError("several servers of one shard need replicated tables: add --clickhouse-replicated")
        return made

    def shard_of(self, project: str, machine: str) -> int:
        """On which shard the records of a machine lie: all copies of its book must meet in one place."""
        return zlib.crc32(f"{project}\0{machine}".encode()) % len(self.shards)


def literal(value: str | float | int | None) -> str:
    """A value in SQL."""
    if value is None:
        return "null"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return repr(value)


class Shard:
    """One shard, for one event loop.

    Args:
        cluster: Where it is.
        number: Which, from 0.
        seconds: Until an answer must have come.
    """

    def __init__(self, cluster: Cluster, number: int, *, seconds: float = INSERT_SECONDS) -> None:
        self._cluster = cluster
        self._urls = cluster.shards[number]
        self._seconds = seconds
        self._http = self._client()
        self._under_way: Counter[HTTP] = Counter()
        self._good = 0
        self._always = _EVERY_BLOCK if cluster.replicated else {}
        hosts = ", ".join(urlsplit(url).netloc for url in self._urls)
        self.name = f"shard {number + 1} of {len(cluster.shards)} ({hosts})"

    async def rows(self, text: str) -> list[list[Any]]:
        """The rows of an answer.

        Raises:
            StoreError: There is none; see `_refusal`.
        """
        limit = {"max_execution_time": str(max(1, int(self._seconds)))}
        reply = await self._send(f"{text} format JSONCompact", {**_READ_SETTINGS, **limit}, b"")
        try:
            answer: list[list[Any]] = json.loads(reply.body)["data"]
        except (ValueError, KeyError) as exc:
            raise StoreError(f"{self.name}: {reply.excerpt(300)}") from exc
        return answer

    async def value(self, text: str) -> Any:
        """The one value of an answer."""
        return (await self.rows(text))[0][0]

    async def execute(self, text: str, *, database: bool = True, **settings: str) -> None:
        """Run a statement without an answer; `database` is false for the one that makes it."""
        await self._send(text, settings, b"", database=database)

    async def insert(self, table: str, columns: Sequence[str], lines: bytes) -> None:
        """Add rows written as `TabSeparated`; twice is as good as once, for every table here keeps rows by key."""
        names = ", ".join(f"`{name}`" for name in columns)
        await self._send(f"insert into {table} ({names}) format TabSeparated", {}, lines)

    async def aclose(self) -> None:
        """Close the connections; a second call does nothing."""
        for client in {self._http, *self._under_way}:
            await client.aclose()

    def _client(self) -> HTTP:
        return HTTP(
            timeout_seconds=self._seconds + _CONNECT_SECONDS,
            connect_timeout_seconds=_CONNECT_SECONDS,
            max_body_bytes=_REPLY_BYTES,
            attempts=1,
            ca_file=self._cluster.ca_file,
            user_agent="carbon-sdk-collector",
        )

    async def _send(self, text: str, settings: dict[str, str], body: bytes, *, database: bool = True) -> Reply:
        asked = {**self._always, **settings, **({"database": self._cluster.database} if database else {})}
        content = body or text.encode()
        if body:
            asked["query"] = text
        headers = {"x-clickhouse-user": self._cluster.user, "x-clickhouse-key": self._cluster.password}
        failure: StoreError | None = None
        for place in range(len(self._urls)):
            number = (self._good + place) % len(self._urls)
            try:
                reply = await self._post(f"{self._urls[number]}/?{urlencode(asked)}", content, headers)
            except HTTPError as exc:
                failure = self._silence(exc)
                continue
            if reply.status == 200:
                self._good = number
                return reply
            raise self._refusal(reply)
        assert failure is not None
        raise failure

    def _silence(self, exc: HTTPError) -> StoreError:
        if exc.kind == "tls":
            return StoreError(f"{self.name}: {exc.problem}; --clickhouse-ca names the authorities to trust")
        return BusyError(
            f"{self.name} does not answer: {exc.problem}; what it holds is missing", retry_after_seconds=10
        )

    async def _post(self, url: str, content: bytes, headers: dict[str, str]) -> Reply:
        """Ask a server. After anything but success others begin with fresh connections.

        Who retries here paces himself, and a query's error is no server's. What is under way on the old ones goes on.
        """
        client, good = self._http, False
        self._under_way[client] += 1
        try:
            reply = await client.send("POST", url, content=content, headers=headers, secrets=(self._cluster.password,))
            good = reply.status == 200
        finally:
            if not good and client is self._http:
                self._http = self._client()
            self._under_way[client] -= 1
            if client is not self._http and not self._under_way[client]:
                del self._under_way[client]
                await client.aclose()
        return reply

    def _refusal(self, reply: Reply) -> StoreError:
        found = re.search(r"Code: (\d+)", reply.text)
        code = int(found[1]) if found else 0
        if code == _TOO_SLOW:
            return QueryError(f"it took longer than {self._seconds:g} s; ask for less time")
        if code in (_NO_DATABASE, _NO_TABLE):
            return StoreError(f"{self.name} has no tables of a collector; make them: carbon-sdk collector migrate")
        if code == _NO_SPACE or "No space left" in reply.text:
            return BusyError(f"{self.name}: the disk is full", retry_after_seconds=60)
        if reply.status in (401, 403) or code in (192, 193, 194, 516):
            return StoreError(f"{self.name} refuses the user {self._cluster.user!r} or the password")
        return StoreError(f"{self.name}: {reply.excerpt(300)}")
