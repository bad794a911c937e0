"""What each request and each job of a Python service costs in energy and carbon.

Importing this package loads nothing but the standard library; each name loads its module when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carbon_sdk.carbon import Carbon
    from carbon_sdk.emission import Emission
    from carbon_sdk.errors import (
        CarbonSDKError,
        IntensityError,
        MeterError,
        SettingsError,
        SinkError,
        WireError,
    )
    from carbon_sdk.integrations.asgi import CarbonMiddleware
    from carbon_sdk.intensity.intensity import Intensity
    from carbon_sdk.process import run, track
    from carbon_sdk.settings import Settings
    from carbon_sdk.spans.span import Span

__version__ = "0.1.0"

__all__ = [
    "Carbon",
    "CarbonMiddleware",
    "CarbonSDKError",
    "Emission",
    "Intensity",
    "IntensityError",
    "MeterError",
    "Settings",
    "SettingsError",
    "SinkError",
    "Span",
    "WireError",
    "run",
    "track",
]

_HOMES = {
    "Carbon": "carbon",
    "run": "process",
    "track": "process",
    "CarbonMiddleware": "integrations.asgi",
    "Emission": "emission",
    "Intensity": "intensity.intensity",
    "Settings": "settings",
    "Span": "spans.span",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
