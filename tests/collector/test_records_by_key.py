"""One record by its key: as it was stored, and what it would weigh today."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from carbon_sdk.cli import main
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.collector.store import NewPrice
from carbon_sdk.wire import from_object
from tests.collector.service import HOUR, Collector, emission

INSTANCE = "0" * 15 + "1"


def settings(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    monkeypatch.setenv("CARBON_SDK_COLLECTOR_URL", str(collector.client.base_url).rstrip("/"))


def test_a_record_is_found_by_its_key(start: Callable[..., Collector]) -> None:
    """Every field as it was sent, and no second price."""
    collector = start()
    sent = [emission(number, units={"images": 3.0}) for number in range(3)]
    collector.send(sent)
    told = collector.ask(f"/v1/records/{INSTANCE}/1")

    assert from_object(told["record"]) == sent[1]
    assert told["repriced"] is None
    assert collector.client.get(f"/v1/records/{INSTANCE}/9").status_code == 404
    assert collector.client.get(f"/v1/records/{INSTANCE}/{2**70}").status_code == 404


def test_the_command_explains_a_record_by_its_key(
    start: Callable[..., Collector], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it does one in a file; a key that the collector does not have is told."""
    collector = start()
    collector.send([emission(0)])
    collector.ask("/v1/projects")
    settings(monkeypatch, collector)

    assert main(["explain", f"{INSTANCE}/0"]) == 0
    assert "1.5 J / 3600000 J/kWh x 300 g/kWh" in capsys.readouterr().out
    assert main(["explain", f"{INSTANCE}/7"]) == 2
    assert "404" in capsys.readouterr().err
    collector.stop()
    monkeypatch.setenv("CARBON_SDK_COLLECTOR_URL", "http://127.0.0.1:9")
    assert main(["explain", f"{INSTANCE}/0"]) == 2
    assert "gives no answer" in capsys.readouterr().err


def test_a_key_without_a_collector_names_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """And says that it is no file either."""
    assert main(["explain", "abc/0"]) == 2
    assert "CARBON_SDK_COLLECTOR_URL" in capsys.readouterr().err


def test_a_record_that_was_priced_again_shows_both_prices(
    start: Callable[..., Collector],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first price stays; the second is that of the record's own quarter of an hour."""
    folder = tmp_path / "data"
    first = start(folder=folder)
    grams = 1.5 / 3.6e6 * 300.0 * 1.5
    first.send([emission(0, pue=1.5, emissions_g=grams), emission(1, pue=1.5, joules=4.0)])
    first.ask("/v1/projects")
    first.stop()

    async def reprice() -> None:
        store = await asyncio.to_thread(DuckDBStore, folder)
        prices = [
            NewPrice(
                zone="DE",
                place="DE",
                signal="average",
                scope="lifecycle",
                quality="measured",
                slot=HOUR + timedelta(minutes=15 * part),
                g_per_kwh=200.0,
            )
            for part in range(4)
        ]
        await store.reprice("default", "history", prices)
        await store.aclose()

    asyncio.run(reprice())
    again = start(folder=folder)
    settings(monkeypatch, again)
    told = again.ask(f"/v1/records/{INSTANCE}/1")["repriced"]

    assert told["g_per_kwh"] == pytest.approx(200.0)
    assert told["source"] == "history"
    assert main(["explain", f"{INSTANCE}/0"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1.5 J / 3600000 J/kWh x 300 g/kWh x 1.5 PUE" in shown
    assert "1.5 J / 3600000 J/kWh x 200 g/kWh x 1.5 PUE = 0.000125 g" in shown
    assert "by history" in shown
