"""What the command line does to a store: through the collector that runs on it, or with the store to itself."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import structlog

from carbon_sdk.collector import codecarbon
from carbon_sdk.collector.clickhouse_server import Cluster
from carbon_sdk.collector.clickhouse_store import ClickHouseStore, Pace
from carbon_sdk.collector.dashboard.period import Period, period_of
from carbon_sdk.collector.duckdb_open import FILE
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.collector.duckdb_upkeep import Retention
from carbon_sdk.collector.inventory.gather import Asked, gather
from carbon_sdk.collector.inventory.inventory import Supplier
from carbon_sdk.collector.inventory.quarters import price, quarters
from carbon_sdk.collector.server import Command, ask
from carbon_sdk.collector.store import Store, StoreError


class KeptStore(Store, Protocol):
    """A store with what the command line does to it beside asking."""

    async def backup(self, path: Path, /) -> None:
        """Write a copy to a new file."""

    async def retain(self) -> None:
        """Apply the retention now."""


def log_to_stderr() -> Callable[..., object]:
    """JSON lines on stderr: `log(event, **fields)`."""
    logger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.BoundLogger,
    )

    def log(event: str, **fields: object) -> None:
        logger.info(event, **fields)

    return log


def zone_named(name: str) -> ZoneInfo:
    """A time zone.

    Raises:
        StoreError: There is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as exc:
        raise StoreError(f"{name!r} is no time zone; write it as Europe/Berlin") from exc


def commands(store: KeptStore) -> Mapping[str, Command]:
    """What a running collector does for the command line, by name."""

    async def backup(asked: Mapping[str, Any]) -> None:
        await store.backup(Path(asked["file"]))

    async def import_codecarbon(asked: Mapping[str, Any]) -> dict[str, Any]:
        zone = zone_named(asked["tz"])
        return asdict(await codecarbon.import_file(store, asked["project"], Path(asked["file"]), zone))

    async def retain(_asked: Mapping[str, Any]) -> None:
        await store.retain()

    async def inventory(asked: Mapping[str, Any]) -> dict[str, object]:
        await store.settled()
        supplier = None if asked["supplier"] is None else Supplier(**asked["supplier"])
        period = _period(asked)
        made = Asked(project=asked["project"], period=period, operator=asked["operator"], supplier=supplier)
        return (await gather(store, made)).to_object()

    async def unpriced(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        await store.settled()
        return [asdict(one) for one in await quarters(store, asked["project"], _period(asked))]

    async def reprice(asked: Mapping[str, Any]) -> int:
        return await price(store, asked["project"], asked["source"], asked["prices"])

    return {
        "backup": backup,
        "import_codecarbon": import_codecarbon,
        "retain": retain,
        "inventory": inventory,
        "quarters": unpriced,
        "reprice": reprice,
    }


def _period(asked: Mapping[str, Any]) -> Period:
    try:
        return period_of(asked, zone_named(asked["tz"]), datetime.now(UTC))
    except ValueError as exc:
        raise StoreError(str(exc)) from exc


def do(
    folder: Path,
    command: str,
    *,
    retention: Retention | None = None,
    cluster: Cluster | None = None,
    **fields: Any,
) -> Any:
    """Let the collector that runs on a folder do something, or open the store for it.

    Args:
        folder: The collector's folder.
        command: One of `commands`.
        retention: How long what is kept, where the store must be opened.
        cluster: Where the store is, where it must be opened and is not the embedded one.
        fields: With what.

    Raises:
        StoreError: It cannot be done.
    """
    running = ask(folder, command, **fields)
    if running is not None:
        return running["done"]
    if cluster is None and not (folder / FILE).exists() and command != "import_codecarbon":
        raise StoreError(f"there is no store in {folder}; name its folder with --data, or the shards with --clickhouse")
    kept = retention or Retention()

    def opened() -> KeptStore:
        if cluster is None:
            return DuckDBStore(folder, retention=kept, log=log_to_stderr())
        return ClickHouseStore(folder, cluster, pace=Pace(raw_days=kept.raw_days), log=log_to_stderr())

    async def alone() -> Any:
        store = await asyncio.to_thread(opened)
        try:
            return await commands(store)[command](fields)
        finally:
            await store.aclose()

    return asyncio.run(alone())
