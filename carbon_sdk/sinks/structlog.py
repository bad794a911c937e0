"""One structured log line for each record: event `carbon.emission`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from carbon_sdk.emission import Emission
from carbon_sdk.log import Write, to_file, to_host
from carbon_sdk.wire import to_object

EVENT = "carbon.emission"


class StructlogSink:
    """Writes records through the host's logging, or to a file of their own.

    Args:
        write: Where lines go.
    """

    def __init__(self, write: Write) -> None:
        self._write = write

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: object) -> "StructlogSink":
        """Built by settings. `CARBON_SDK_STRUCTLOG_FILE` names a file; without it lines take the host's way."""
        file = options.get("file")
        return cls(to_file(Path(file)) if file else to_host())

    async def write(self, emissions: Sequence[Emission], /) -> None:
        """One line for each record."""
        for emission in emissions:
            self._write("info", EVENT, fields_of(emission))

    async def aclose(self) -> None:
        """Nothing is held."""


def fields_of(emission: Emission) -> dict[str, Any]:
    """The record's fields for a log line: those of the wire, and the ones that people read first."""
    derived = {
        "endpoint": emission.endpoint,
        "method": emission.method,
        "emissions_g_per_request": emission.emissions_g_per_request,
        "emissions_g_per_unit": emission.emissions_g_per_unit or None,
    }
    return derived | to_object(emission)
