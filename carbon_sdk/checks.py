"""Checks of what a setting is given.

Each answers the value as it serves, or raises a `SettingsError` with the remedy.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from carbon_sdk.budgets import Budget, budgets_of
from carbon_sdk.errors import SettingsError, nearest

PREFIX = "CARBON_SDK_"
"""Of every variable."""

Check = Callable[[str, Any], Any]
"""Takes a setting's name, and what it was given."""


def refuse(name: str, problem: str, remedy: str) -> SettingsError:
    """The error of a setting, which is named as a variable and as an argument."""
    return SettingsError(f"{PREFIX}{name.upper()} ({name})", problem, remedy)


def _shown(value: object) -> str:
    return repr(str(value)[:60])


def text(name: str, value: Any) -> str:
    """A name: 1 to 200 printable characters."""
    word = str(value).strip()
    if not word or len(word) > 200 or not word.isprintable():
        raise refuse(name, f"{_shown(value)} is not a name", "Give 1 to 200 printable characters")
    return word


def path(name: str, value: Any) -> Path:
    """A path, `~` being the home."""
    word = os.path.expanduser(str(value).strip())
    if not isinstance(value, str | os.PathLike) or not word or "\0" in word:
        raise refuse(name, f"{_shown(value)} is not a path", "Give the path of a file or folder")
    if word.startswith("~"):
        raise refuse(name, f"no home is known for {_shown(value)}", "Give a path from / on")
    return Path(word)


def _parts(name: str, value: Any) -> tuple[str, ...]:
    """The texts of a list, or of one text with commas; blank ones are left out. What is refused is not shown."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable) or isinstance(parts, bytes | Mapping):
        raise refuse(name, f"it is {type(value).__name__}, and no list", "Give a list of texts, or one with commas")
    parts = tuple(parts)
    strange = next((part for part in parts if not isinstance(part, str)), "")
    if strange != "":
        raise refuse(name, f"it holds {type(strange).__name__}", "Give a list of texts, or one with commas")
    return tuple(part.strip() for part in parts if part.strip())


def file(name: str, value: Any) -> Path:
    """The path of a file that is there."""
    found = path(name, value)
    if not found.is_file():
        raise refuse(name, f"there is no file {_shown(found)}", "Give the path of a file that can be read")
    return found


def truth(name: str, value: Any) -> bool:
    """`1`, `true`, `yes`, `on`, or one of their opposites."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("", "0", "false", "no", "off"):
        return False
    raise refuse(name, f"{_shown(value)} is neither true nor false", "Write 1 or 0")


def number(low: float, high: float, unit: str) -> Check:
    """Checks for a number from `low` to `high` of a unit."""

    def check(name: str, value: Any) -> float:
        try:
            given = float(value)
        except (TypeError, ValueError, OverflowError) as exc:
            hint = ", with a point, not a comma" if "," in str(value) else ""
            raise refuse(
                name, f"{_shown(value)} is not a number", f"Give {unit} from {low:g} to {high:g}{hint}"
            ) from exc
        if isinstance(value, bool) or not math.isfinite(given) or not low <= given <= high:
            raise refuse(name, f"{_shown(value)} is out of range", f"Give {unit} from {low:g} to {high:g}")
        return given

    return check


def one_of(*allowed: str) -> Check:
    """Checks for one of these words."""

    def check(name: str, value: Any) -> str:
        word = str(value).strip().lower()
        if word not in allowed:
            near = nearest(word, allowed, most=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise refuse(name, f"{_shown(value)} is not known", f"Choose one of {', '.join(allowed)}{hint}")
        return word

    return check


def names(name: str, value: Any) -> tuple[str, ...]:
    """Names of providers or sinks, in order."""
    given = tuple(part.lower().replace("-", "_") for part in _parts(name, value))
    for one in given:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", one):
            raise refuse(name, f"{_shown(one)} is not a name", "Give names in order, separated by commas")
    return given


def hosts(name: str, value: Any) -> tuple[str, ...]:
    """Hosts, or `.domains`, without scheme and port."""
    given = tuple(part.lower() for part in _parts(name, value))
    for host in given:
        if not re.fullmatch(r"\.?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", host):
            raise refuse(
                name, f"{_shown(host)} is not a host", "Give hosts without scheme or port: cart.internal,.svc.local"
            )
    return given


def queues(name: str, value: Any) -> tuple[str, ...]:
    """Names of queues, or `*`."""
    given = _parts(name, value)
    for queue in given:
        if len(queue) > 200 or not queue.isprintable() or ("*" in queue and queue != "*"):
            raise refuse(name, f"{_shown(queue)} is not a queue", "Give names of queues: mail,images; or * for all")
    return given


def secrets(name: str, value: Any) -> tuple[str, ...]:
    """One or two secrets, which no message shows."""
    given = _parts(name, value)
    if any(len(secret) < 16 for secret in given) or len(given) > 2:
        raise refuse(name, "a secret is too short, or there are more than two", "Give one or two of 16 characters")
    return given


def zone(name: str, value: Any) -> str:
    """A zone's key as Electricity Maps writes it; a country is one."""
    word = str(value).strip()
    if not re.fullmatch(r"[A-Za-z0-9]{2,8}(-[A-Za-z0-9]{1,8}){0,3}", word):
        raise refuse(name, f"{_shown(value)} is not a zone key", "Write it as Electricity Maps does, DE or DK-DK1")
    return word.upper()


def budgets(name: str, value: Any) -> tuple[Budget, ...]:
    """Budgets of a TOML file, or of its tables."""
    try:
        return budgets_of(value)
    except ValueError as exc:
        raise refuse(name, str(exc), "Name a TOML file, or give a list of tables as it would hold") from exc


def address(name: str, value: Any) -> str:
    """An http address without a password, which no message shows."""
    word = str(value).strip()
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s#@]*)?", word):
        raise refuse(name, "it is not an http address", "Write it as http://10.0.0.7:9100, without a password")
    return word


def proxy(name: str, value: Any) -> str:
    """A proxy's address, which may hold a password, so no message shows it."""
    word = str(value).strip()
    if not re.fullmatch(r"https?://([^\s/@]+@)?[^\s/@:]+(:\d{1,5})?/?", word):
        raise refuse(name, "it is not the address of a proxy", "Write it as http://proxy.example.org:3128")
    return word
