"""The collector's application over a real store, in the test's own process: quicker than a process of its own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from carbon_sdk.collector.access import Tokens
from carbon_sdk.collector.app import create_app
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.emission import Emission
from carbon_sdk.wire import to_json
from tests.collector.service import DAYS


class Inside:
    """An application and its store.

    Args:
        store: The store.
        client: Talks to the application.
    """

    def __init__(self, store: Any, client: httpx.AsyncClient) -> None:
        self.store = store
        self.client = client

    async def send(self, *records: Emission, project: str = "default") -> dict[str, Any]:
        """The answer to one batch, once queries see it."""
        answer = await self.client.post(
            "/v1/emissions",
            params={"project": project},
            content=f"[{','.join(map(to_json, records))}]",
            headers={"content-type": "application/json"},
        )
        body: dict[str, Any] = answer.json()
        await self.store.settled()
        return {"status": answer.status_code, **body}

    async def ask(self, path: str, **asked: str | Sequence[str]) -> Any:
        """The answer to one question over the days of the tests."""
        answer = await self.client.get(path, params={**DAYS, **asked})
        answer.raise_for_status()
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.text


@asynccontextmanager
async def over(store: Any, folder: Path) -> AsyncIterator[Inside]:
    """An application over an open store, which is closed at the end.

    Args:
        store: The store.
        folder: The collector's.
    """
    app = create_app(store, Tokens(folder / "tokens.json"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        try:
            yield Inside(store, client)
        finally:
            await store.aclose()


@asynccontextmanager
async def inside(folder: Path, **given: Any) -> AsyncIterator[Inside]:
    """An application on a folder of the embedded store.

    Args:
        folder: The store's.
        given: Further arguments of the store.
    """
    async with over(DuckDBStore(folder, **given), folder) as collector:
        yield collector
