"""What becomes of an error of ours in the app's own stack: it is told, and the app never sees it.

An exception that a signal's handler raises, or that another thread sets, may surface in the midst of our code as well
(time limits of Celery and RQ do that). It is the app's, and goes on to it.
"""

import signal
from collections import deque
from collections.abc import Callable
from types import CodeType
from typing import Any

OnError = Callable[[str, BaseException], None]
"""Told of an error of ours: where, and what."""


class Touched(deque[Any]):
    """Owners that have something to give at the next cut, and who is told of errors meanwhile.

    Args:
        on_error: Told of an error of ours.
        maximum: How many are kept; None keeps all.
    """

    def __init__(self, on_error: OnError, maximum: int | None = None) -> None:
        super().__init__(maxlen=maximum)
        self.on_error = on_error

    def fault(self, where: str, exc: Exception) -> bool:
        """Tell of an error of ours; False where it is the app's, and has to be raised again."""
        if _of_the_app(exc):
            return False
        self.on_error(where, exc)
        return True


def _of_the_app(exc: Exception) -> bool:
    """Ours are of the language's own types, for our code calls nothing else; a handler may raise such a one too."""
    if type(exc).__module__ not in ("builtins", "carbon_sdk.errors"):
        return True
    handlers = _handlers()
    trace = exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _handlers() -> set[CodeType]:
    found = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        code = getattr(getattr(handler, "__func__", handler), "__code__", None)
        if code is not None:
            found.add(code)
    return found
