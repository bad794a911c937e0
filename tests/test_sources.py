"""A provider with a past, by its name."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carbon_sdk.errors import SettingsError
from carbon_sdk.intensity.intensity import Place
from carbon_sdk.settings import Settings
from carbon_sdk.sources import history_of

MOMENTARY = """
closed = 0


class Momentary:
    def __init__(self, options, http):
        pass

    async def aclose(self):
        global closed
        closed += 1
"""


OPENED = """
import asyncio

import momentary

from carbon_sdk.sources import history_of
from carbon_sdk.errors import SettingsError
from carbon_sdk.settings import Settings


async def opened():
    async with history_of(Settings(), "momentary"):
        pass

try:
    asyncio.run(opened())
except SettingsError as exc:
    print(exc)
print("closed:", momentary.closed)
"""


async def opened(name: str, **options: str) -> str:
    source = {f"CARBON_SDK_{key.upper()}": value for key, value in options.items()}
    async with history_of(Settings(source=source), name) as provider:
        assert await provider.intensity(Place(zone="DE")) is not None
        return provider.name


def test_a_provider_is_built_from_its_own_options(tmp_path: Path) -> None:
    """As the line builds it."""
    path = tmp_path / "grid.csv"
    path.write_text("start,end,g_per_kwh\n2020-01-01T00:00:00Z,2099-01-01T00:00:00Z,300\n", encoding="utf-8")

    assert asyncio.run(opened("file", file_path=str(path), file_zone="DE")) == "file"


def test_a_name_that_is_none_is_told_with_those_that_are() -> None:
    """Before anything is asked."""
    with pytest.raises(SettingsError, match="eco2mix"):
        asyncio.run(opened("eco3mix"))


def test_a_provider_without_a_past_cannot_price_again(tmp_path: Path) -> None:
    """One of somebody else's, which is closed all the same; the message says what to do."""
    info = tmp_path / "momentary-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: momentary\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[carbon_sdk.providers]\nmomentary = momentary:Momentary\n", encoding="utf-8"
    )
    (tmp_path / "momentary.py").write_text(MOMENTARY, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    told = subprocess.run([sys.executable, "-c", OPENED], env=environment, capture_output=True, text=True, check=True)

    assert "knows no past" in told.stdout
    assert told.stdout.strip().endswith("closed: 1")
