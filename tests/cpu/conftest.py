"""A book for each test of the CPU account, and each loop that it must be exact on."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from carbon_sdk.cpu.clock import THREAD
from tests.cpu.book import Book, Loop


@pytest.fixture
def book() -> Iterator[Book]:
    """Stopped after the test, which must leave the thread to nobody."""
    book = Book()
    yield book
    book.clock.stop()
    assert THREAD.slot.owner is None


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Loop:
    """Makes a loop."""
    made: Loop = request.param
    return made
