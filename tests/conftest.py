"""What all tests share: the same examples of a law on every machine in CI, and no setting of the machine's own."""

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


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
