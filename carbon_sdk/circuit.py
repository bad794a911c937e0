"""Which servers may be asked now: after repeated failures, or at its own wish, one is left alone for a while."""

from dataclasses import dataclass
from urllib.parse import urlsplit

FAILURES_TO_OPEN = 5
"""Failed attempts in a row of one origin that open its circuit."""
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 900.0
ORIGINS_REMEMBERED = 64


@dataclass(slots=True)
class Circuit:
    """Whether one origin may be asked. Times are monotonic seconds."""

    failures: int = 0
    paused_until: float = 0.0
    probing: bool = False
    reason: str = ""
    """Why it was paused the last time, without secrets."""

    def refusal(self, now: float) -> float | None:
        """Seconds to wait before the next call, or None: go ahead. Admits one probe at a time after a pause."""
        if now < self.paused_until:
            return self.paused_until - now
        if self.failures < FAILURES_TO_OPEN:
            return None
        if self.probing:
            return FIRST_PAUSE_SECONDS
        self.probing = True
        return None

    def succeeded(self) -> None:
        """The origin answered."""
        self.failures = 0
        self.probing = False

    def failed(self, now: float, chance: float, reason: str) -> None:
        """The origin did not answer, or answered 5xx.

        Args:
            now: Monotonic seconds.
            chance: 0 to 1; spreads the callers of many machines.
            reason: What went wrong, without secrets.
        """
        self.failures += 1
        self.probing = False
        beyond = self.failures - FAILURES_TO_OPEN
        if beyond >= 0:
            pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(beyond, 10), LONGEST_PAUSE_SECONDS)
            self.pause(now, pause * (0.5 + chance / 2), reason)

    def pause(self, now: float, seconds: float, reason: str) -> None:
        """Leave the origin alone for so long."""
        self.reason = reason
        self.paused_until = max(self.paused_until, now + seconds)

    def abandoned(self) -> None:
        """The call was cancelled before it said anything."""
        self.probing = False


class Circuits:
    """The circuits of the origins that were asked last, 64 at most."""

    def __init__(self) -> None:
        self._circuits: dict[str, Circuit] = {}

    def of(self, url: str) -> Circuit:
        """The circuit of a URL's origin: scheme, host and port."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        circuit = self._circuits.get(origin)
        if circuit is None:
            if len(self._circuits) >= ORIGINS_REMEMBERED:
                self._circuits.pop(next(iter(self._circuits)))
            circuit = self._circuits[origin] = Circuit()
        return circuit
