"""What a kilowatt-hour weighs while the command runs: the bundled average, or what the providers say that were set.

Nobody is asked over the network unless a provider is set; then that is done in a thread of its own, so that the command
never waits for it.
"""

import threading
from types import TracebackType
from typing import Any

from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.intensity.yearly_averages import YearlyAverages
from carbon_sdk.log import Log
from carbon_sdk.settings import Settings

LAST_PRICE_SECONDS = 2.0
"""How long the end waits for a first answer before it takes the bundled average."""


class Prices:
    """The price now.

    Args:
        settings: Which providers.
        place: Where.
        log: Told of failures.
    """

    def __init__(self, settings: Settings, place: Place, log: Log) -> None:
        self._static = YearlyAverages().known(place)
        self._settings = settings
        self._log = log
        self._place = place
        self._latest: Intensity | None = None
        self._answered = threading.Event()
        self._asking: Any = None
        self._closed = False
        self._live = settings.provider_order != (YearlyAverages.name,)
        if self._live:
            threading.Thread(target=self._run, name="carbon_sdk prices", daemon=True).start()
        else:
            self._latest = self._static

    @property
    def latest(self) -> Intensity | None:
        """The last answer; None before the first."""
        return self._latest

    def last(self) -> Intensity:
        """The price of what has none yet: wait a little for the first answer, then take the bundled average."""
        if self._live:
            self._answered.wait(LAST_PRICE_SECONDS)
        return self._latest or self._static

    def close(self) -> None:
        """Ask no more; a second call does nothing."""
        self._closed = True
        if self._asking is not None:
            self._asking.stop()

    def __enter__(self) -> "Prices":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            from carbon_sdk.command.asking import Asking  # noqa: PLC0415  # half a second that only a provider is worth

            self._asking = Asking(self._settings, self._place, self._log, self._answer)
            if self._closed:
                self._asking.stop()
            self._asking.run()
        except Exception as exc:  # no provider ends the command, whatever it raises: the average serves
            self._log.fault("intensity", exc, remedy="the bundled average serves")
            self._answered.set()

    def _answer(self, price: Intensity) -> None:
        self._latest = price
        self._answered.set()
