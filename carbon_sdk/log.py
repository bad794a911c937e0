"""Where our lines go: the host's structlog, else its stdlib logging, else JSON lines on stderr.

Never stdout, and nothing of the host's logging is configured or changed. What goes wrong inside carbon_sdk is a
**fault**: told once for each kind, then counted.
"""

import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

LOGGER = "carbon_sdk"
MAXIMUM_FAULT_KINDS = 200

Write = Callable[[str, str, Mapping[str, Any]], None]
"""Takes a level (`info`, `warning`, `error`), an event and its fields."""


def to_stream(stream: TextIO) -> Write:
    """JSON lines, one for each event, with a UTC timestamp."""
    import structlog  # noqa: PLC0415  # 118 ms: only our own thread pays it

    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
    return lambda level, event, fields: getattr(logger, level)(event, **fields)


def to_file(path: Path) -> Write:
    """JSON lines appended to a file that is made with mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)

    def write(level: str, event: str, fields: Mapping[str, Any]) -> None:
        with path.open("a", encoding="utf-8") as stream:
            to_stream(stream)(level, event, fields)

    return write


def to_host() -> Write:
    """The way that the host has prepared, looked up for each line, so that a configuration made later counts too."""
    alone: list[Write] = []

    def write(level: str, event: str, fields: Mapping[str, Any]) -> None:
        structlog = sys.modules.get("structlog")
        logging = sys.modules.get("logging")  # where nobody has loaded it, nobody has given it a handler
        if structlog is not None and structlog.is_configured():
            getattr(structlog.get_logger(LOGGER), level)(event, **fields)
        elif logging is not None and _is_heard(logging):
            text = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
            logging.getLogger(LOGGER).log(
                getattr(logging, level.upper()), "%s %s", event, text, extra={"carbon": dict(fields)}
            )
        elif sys.stderr is not None:  # a service may have closed it
            if not alone:
                alone.append(to_stream(sys.stderr))
            alone[0](level, event, fields)

    return write


def _is_heard(logging: Any) -> bool:
    """Whether the host has given our logger a handler.

    The logger is not made for the question: a configuration that comes later switches off the loggers that there are
    (`disable_existing_loggers`), and with it all of our lines.
    """
    own = logging.root.manager.loggerDict.get(LOGGER)
    return bool(own.hasHandlers() if isinstance(own, logging.Logger) else logging.root.handlers)


class Log:
    """Takes events and faults from any thread; writes them from our own when `flush` is called.

    Args:
        write: Where lines go.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: deque[tuple[str, str, dict[str, Any]]] = deque(maxlen=1000)
        self._lock = threading.Lock()
        self.faults: Counter[str] = Counter()
        """How often each kind of fault has happened."""

    def event(self, event: str, *, level: str = "info", **fields: Any) -> None:
        """Leave one line."""
        self._waiting.append((level, event, fields))

    def fault(self, kind: str, problem: BaseException | str, *, remedy: str | None = None) -> None:
        """Count a fault; the first of its kind leaves one line.

        Args:
            kind: Names the station and what failed: `intensity.electricity_maps`.
            problem: What happened.
            remedy: What to do about it.
        """
        if kind not in self.faults and len(self.faults) >= MAXIMUM_FAULT_KINDS:
            kind = "other"
        self.faults[kind] += 1
        if self.faults[kind] == 1:
            text = problem if isinstance(problem, str) else f"{type(problem).__name__}: {problem}"
            self.event("carbon.fault", level="warning", fault=kind, problem=text, remedy=remedy)

    def flush(self) -> None:
        """Write what waits. An error of the host's logging is swallowed: there is nowhere left to tell it."""
        with self._lock:
            while self._waiting:
                level, event, fields = self._waiting.popleft()
                try:
                    self._write(level, event, fields)
                except Exception:
                    self.faults["log"] += 1


def tell_place(log: Log, problem: str) -> None:
    """Tell of a place that is not known as well as it could be."""
    log.event("carbon.place", level="warning", problem=problem)
