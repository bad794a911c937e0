"""Every error that carbon_sdk raises.

```
CarbonSDKError
├── SettingsError      a setting cannot be used: names the setting and the remedy
├── MeterError         a meter cannot be opened or read
├── IntensityError     a grid-intensity source has no usable answer
├── SinkError          a record could not be delivered
└── WireError          a record cannot be read or written
```

Errors of libraries below us are translated once, where they are met, and always chained (`raise ... from exc`).
"""

from collections.abc import Iterable


class CarbonSDKError(Exception):
    """The base of all errors of this package."""


class SettingsError(CarbonSDKError):
    """A setting cannot be used as given."""

    def __init__(self, setting: str, problem: str, remedy: str) -> None:
        super().__init__(f"{setting}: {problem}. {remedy}")
        self.setting = setting
        self.problem = problem
        self.remedy = remedy


class MeterError(CarbonSDKError):
    """A meter cannot be opened, or this reading of it failed."""


class IntensityError(CarbonSDKError):
    """A grid-intensity source has no usable answer for this place now.

    Args:
        source: The source's name, `electricity_maps`.
        problem: What was wrong, without secrets.
        retry_after_seconds: How long the source asked to be left alone; None when it did not say.
        remedy: What a person can do about it, naming the setting; None for what its kind of error calls for.
    """

    def __init__(
        self, source: str, problem: str, *, retry_after_seconds: float | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(f"{source}: {problem}")
        self.source = source
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds
        self.remedy = remedy


class SinkError(CarbonSDKError):
    """A record could not be delivered."""


class WireError(CarbonSDKError):
    """A record cannot be read or written."""


def nearest(name: str, known: Iterable[str], *, most: int = 3, alike: float = 0.6) -> list[str]:
    """The known names that are spelt most like one that nobody knows, for an error's message; best first.

    Args:
        name: As it was written.
        known: The names that there are.
        most: How many to name.
        alike: How much like it a name must be, 0 to 1.
    """
    from difflib import get_close_matches  # noqa: PLC0415  # only a mistake needs it

    return get_close_matches(name, list(known), most, alike)
