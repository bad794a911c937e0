"""A child that may not open files against their modes, whoever runs the tests."""

import ctypes
import os


def without_privileges() -> None:
    """In a child: no program that it becomes may open files against their modes, root's own included."""
    if os.geteuid() == 0:
        drop_from_bounding_set, override, read_search = 24, 1, 2  # linux/prctl.h, linux/capability.h
        libc = ctypes.CDLL(None)
        for capability in (override, read_search):
            assert libc.prctl(drop_from_bounding_set, capability, 0, 0, 0) == 0
