"""What all trackers of a process share: one `Carbon`, and the stretches that are open in it."""

import functools
import threading
from weakref import WeakKeyDictionary

from carbon_sdk.carbon import Carbon
from carbon_sdk.environment import environment
from carbon_sdk.integrations.codecarbon_arguments import Arguments
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.intensity.yearly_averages import YearlyAverages
from carbon_sdk.line import Line
from carbon_sdk.place import place_of
from carbon_sdk.process import default, track
from carbon_sdk.settings import Settings, from_environment
from carbon_sdk.spans.ledger import Page
from carbon_sdk.spans.span import Span
from carbon_sdk.stretch import Stretches

_PLACES = {f"CARBON_SDK_{name}" for name in ("ZONE", "COUNTRY", "LATITUDE", "CLOUD_REGION")}
READY_SECONDS = 0.8
"""How long the first tracker of a process waits for the meters' first reading; later ones find it taken."""


class Station:
    """A `Carbon` as its trackers see it.

    Args:
        carbon: Runs, or is started here.
    """

    def __init__(self, carbon: Carbon) -> None:
        self._carbon = carbon
        self._line: Line | None = None
        self._stands = threading.Event()
        self.stretches = Stretches(_open_span)
        carbon.watch(self)
        carbon.start()

    @property
    def disabled(self) -> bool:
        """`CARBON_SDK_DISABLED=1`."""
        return self._carbon.disabled

    @property
    def settings(self) -> Settings:
        """Those of this process."""
        return self._carbon.settings

    def attach(self, line: Line) -> None:
        """The line stands."""
        self._line = line
        self._stands.set()

    def window_closed(self, page: Page) -> None:
        """A window has closed."""
        self.stretches.window_closed(page)

    def wait_ready(self) -> None:
        """Wait a little for the first reading; without it what runs meanwhile is a gap."""
        self._carbon.start()
        self._stands.wait(READY_SECONDS)

    def peek(self) -> Page | None:
        """The open window so far."""
        return None if self._line is None else self._line.peek()

    def price(self) -> Intensity | None:
        """What a kWh weighs now; None before the first answer."""
        return None if self._line is None else self._line.intensity

    def place(self) -> Place:
        """Where the settings say that this process runs."""
        if self._line is not None:
            return self._line.place
        return place_of(self.settings)

    def average(self, place: Place) -> Intensity:
        """The bundled yearly average."""
        return _averages().known(place)

    def tell(self, problem: str) -> None:
        """A line in the log."""
        self._carbon.log.event("carbon.tracker", level="warning", problem=problem)

    def gap(self, gap_seconds: float, seconds: float) -> None:
        """Joules are missing: told once, then counted."""
        problem = f"{gap_seconds:.1f} of {seconds:.1f} s had no reading: their joules are unknown, and in no figure"
        self._carbon.log.fault("tracker.gap", problem)

    def fault(self, kind: str, problem: Exception) -> None:
        """Something went wrong: told once, then counted."""
        self._carbon.log.fault(kind, problem)


_stations: "WeakKeyDictionary[Carbon, Station]" = WeakKeyDictionary()
_own: list[Carbon] = []
_lock = threading.Lock()


def station(told: Arguments, place: Place | None) -> Station:
    """The station of the `Carbon` that runs in this process; the first tracker starts one where none does.

    It writes no records unless `CARBON_SDK_SINKS` is set: who moves from CodeCarbon expects a file, and no log lines.

    Args:
        told: What the tracker that asks was told.
        place: Where it says that it is; it becomes the process's place where that is not set.
    """
    with _lock:
        carbon = default()
        if not carbon.running:
            if not _own:
                _own.append(_make(told, place))
            carbon = _own[0]
        found = _stations.get(carbon)
        if found is None:
            found = _stations[carbon] = Station(carbon)
        return found


def _make(told: Arguments, place: Place | None) -> Carbon:
    variables = environment()
    if told.electricitymaps_api_token:
        variables.setdefault("CARBON_SDK_ELECTRICITY_MAPS_TOKEN", told.electricitymaps_api_token)
    problems: list[Exception] = []
    settings = from_environment(
        variables,
        on_error=problems.append,
        zone=None if place is None or _PLACES & variables.keys() else place.zone,
        psys=True if told.rapl_prefer_psys else None,
        sample_interval_seconds=max(told.measure_power_secs, 0.1) if told.measure_power_secs < 1.0 else None,
    )
    carbon = Carbon(settings, sinks=None if "CARBON_SDK_SINKS" in variables else {})
    carbon.forgiving = True
    for problem in problems:
        carbon.log.fault(f"settings.{getattr(problem, 'setting', '')}", problem)
    return carbon


def _open_span(name: str) -> tuple[Span, "functools.partial[None]"]:
    block = track(name, gpu=True)
    return block.__enter__(), functools.partial(block.__exit__, None, None, None)


@functools.cache
def _averages() -> YearlyAverages:
    return YearlyAverages()
