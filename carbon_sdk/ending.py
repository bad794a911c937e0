"""The end of a process of multiprocessing, which takes a way of its own.

A child that was forked, or that a fork server made, ends by `os._exit`: what `atexit` holds never runs there, up to
Python 3.12 because nobody calls it, from 3.13 on because what the parent had registered was thrown away. What does run
are the finalizers of `multiprocessing.util`.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module

LAST = -100
"""Of two finalizers the one of higher priority runs first, and children are waited for before any below 0."""

_arranged_in: set[int] = set()


def arrange(hand_over: Callable[[], object]) -> None:
    """Have this called at the end of this process, where it is a child of multiprocessing; once for each process."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or os.getpid() in _arranged_in:
        return
    _arranged_in.add(os.getpid())
    import_module("multiprocessing.util").Finalize(None, hand_over, exitpriority=LAST)
