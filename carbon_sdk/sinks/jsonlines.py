"""Records as JSON lines in a file, exactly as they go over the wire."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from carbon_sdk.emission import Emission
from carbon_sdk.errors import SettingsError, SinkError
from carbon_sdk.wire import to_json


class JSONLinesSink:
    """Appends one line for each record to a file of mode 0600.

    Args:
        path: The file; its folder is made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: object) -> "JSONLinesSink":
        """Built by settings.

        Raises:
            SettingsError: `CARBON_SDK_JSONLINES_PATH` is not set.
        """
        path = options.get("path")
        if not path:
            raise SettingsError("CARBON_SDK_JSONLINES_PATH", "it is not set", "Name the file that records go to")
        return cls(Path(path))

    async def write(self, emissions: Sequence[Emission], /) -> None:
        """Append a batch in one write.

        Raises:
            SinkError: The file cannot be written.
        """
        lines = "".join(to_json(emission) + "\n" for emission in emissions)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(lines)
        except OSError as exc:
            raise SinkError(f"{self._path} cannot be written: {exc.strerror}") from exc

    async def aclose(self) -> None:
        """Nothing is held."""
