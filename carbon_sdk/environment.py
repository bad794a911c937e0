"""The process's environment. The only reader of `os.environ`."""

import os


def environment() -> dict[str, str]:
    """A copy of the process's environment."""
    return dict(os.environ)
