"""What all tests share: the same examples of a law on every machine in CI, and no setting of the machine's own."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")

REAL_CLOCKS = {"cpu", "integrations", "servers", "invisible", "command"}
REAL_CLOCKS |= {
    "test_browser",
    "test_carbon",
    "test_demo",
    "test_doctor",
    "test_examples",
    "test_exporter",
    "test_forks",
    "test_sampler",
}
"""Folders and modules that ask this machine's CPU clocks, or a browser: what the machine does meanwhile is in there."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks real clocks may fail twice, and is shown as run again: a fault of ours fails each time.

    On the virtual machines of CI a thread's CPU clock jumped by 10 ms, now and then, in loops that do next to nothing.
    """
    for item in items:
        parts = Path(item.nodeid.partition("::")[0]).with_suffix("").parts
        if not REAL_CLOCKS.isdisjoint(parts):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CARBON_SDK_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asyncio alone, also where trio is installed: what is said of trio has tests of its own."""
    return "asyncio"


@pytest.fixture
def no_collection() -> Iterator[None]:
    """A pause of the garbage collector is booked where Python ran it, so exact figures are asked for without one."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
