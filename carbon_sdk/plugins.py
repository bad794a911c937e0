"""Entry points by name, looked up when asked.

Nothing is imported until its name is asked for, so an installed plugin that nobody uses costs nothing.
"""

import functools
import sys
from importlib.metadata import EntryPoint, entry_points

from carbon_sdk.errors import CarbonSDKError, nearest


class PluginError(CarbonSDKError):
    """No plugin of that name, or it cannot be imported."""


def names(group: str) -> tuple[str, ...]:
    """The names that are installed in a group, in order.

    Args:
        group: An entry point group, `carbon_sdk.providers`.
    """
    return tuple(sorted({point.name for point in _points(group)}))


def load(group: str, name: str) -> object:
    """The object that an entry point names.

    Args:
        group: An entry point group, `carbon_sdk.providers`.
        name: A name in it, `electricity_maps`.

    Raises:
        PluginError: There is no such name (the message lists the nearest), or importing it failed.
    """
    found = tuple(point for point in _points(group) if point.name == name)
    if not found:
        installed = names(group)
        near = nearest(name, installed) or installed
        raise PluginError(f"no {name!r} in {group}; there is {', '.join(near) or 'nothing installed'}")
    try:
        return found[0].load()
    except Exception as exc:  # foreign code runs on import and may raise anything
        raise PluginError(f"{name!r} in {group} cannot be imported: {type(exc).__name__}: {exc}") from exc


def _points(group: str) -> tuple[EntryPoint, ...]:
    return _installed(group, tuple(sys.path))


@functools.lru_cache(maxsize=16)
def _installed(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Read once for each path: looking through all that is installed takes 10 ms and more."""
    return tuple(entry_points(group=group))
