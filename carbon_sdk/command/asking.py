"""Asks the providers that were set for the price, again and again, on an event loop of its own."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.log import Log
from carbon_sdk.settings import Settings
from carbon_sdk.sources import intensity_chain

ASK_SECONDS = 15.0
"""How often the chain is asked; its cache decides when a source is."""


class Asking:
    """Asks until it is stopped.

    Args:
        settings: Which providers.
        place: Where.
        log: Told of failures.
        answered: Told each answer.
    """

    def __init__(self, settings: Settings, place: Place, log: Log, answered: Callable[[Intensity], None]) -> None:
        self._settings = replace(settings, cloud_metadata=False)  # the place is known as well as it will be
        self._place = place
        self._log = log
        self._answered = answered
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()

    def run(self) -> None:
        """Ask, on the calling thread."""
        try:
            self._loop.run_until_complete(self._ask())
        finally:
            self._loop.close()

    def stop(self) -> None:
        """Ask no more; from any thread, and any number of times."""
        try:
            self._loop.call_soon_threadsafe(self._stopping.set)
        except RuntimeError:  # it has ended by itself
            return

    async def _ask(self) -> None:
        async with intensity_chain(self._settings, self._log) as (chain, _):
            while not self._stopping.is_set():
                self._answered(await chain.intensity(self._place))
                try:
                    await asyncio.wait_for(self._stopping.wait(), ASK_SECONDS)
                except TimeoutError:
                    continue
