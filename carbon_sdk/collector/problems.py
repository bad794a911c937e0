"""What is wrong with the store at present, told once when it begins and once when it ends."""

import threading
from collections.abc import Callable
from pathlib import Path


class Problems:
    """Problems by what has them; each thread of the store tells of its own.

    Args:
        folder: The store's; a problem is told to anybody who asks for health, so its name is left out.
        log: Called with an event and its fields.
    """

    def __init__(self, folder: Path, log: Callable[..., object]) -> None:
        self._folder = str(folder)
        self._log = log
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}

    @property
    def first(self) -> str | None:
        """One that lasts; None where all is well."""
        with self._lock:
            return next(iter(self._problems.values()), None)

    def has(self, what: str) -> bool:
        """Whether this fails at present."""
        with self._lock:
            return what in self._problems

    def began(self, what: str, problem: str) -> None:
        """Something fails, again or for the first time."""
        problem = problem.replace(self._folder, "the data folder")
        with self._lock:
            new = what not in self._problems
            self._problems[what] = problem
        if new:
            self._log("collector_store_failing", what=what, problem=problem)

    def ended(self, what: str) -> None:
        """It works."""
        with self._lock:
            problem = self._problems.pop(what, None)
        if problem is not None:
            self._log("collector_store_recovered", what=what, problem=problem)


def reason(exc: BaseException) -> str:
    """An error in few words."""
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc).splitlines()[0][:300] if str(exc) else type(exc).__name__
