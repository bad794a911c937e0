"""Which interpreters can be measured: the main one of a process, with its global lock.

Without the lock a thread's slot would be read while it is written; a sub-interpreter has modules of its own, so that
two accounts of one process would each book the same threads.
"""

import sys
from importlib import import_module


def unsupported() -> str | None:
    """Why this interpreter cannot be measured; None where it can."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "Python without its global lock (a free-threaded build) is not supported yet"
    if _number() != 0:
        return "a sub-interpreter is not supported yet: only the main one of a process can be measured"
    if sys.is_finalizing():  # a thread that starts now waits for ever before Python 3.12
        return "the interpreter is ending"
    return None


def _number() -> int:
    """Of this interpreter in its process; the main one's is 0. Python 3.14 is the first to tell it publicly."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            current = import_module(name).get_current()
        except ImportError:
            continue
        return int(current[0] if isinstance(current, tuple) else current)
    return 0
