"""The CSV file that gets a row for each run. It is looked at before the program starts."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from carbon_sdk.cells import cell
from carbon_sdk.errors import CarbonSDKError

DOMAINS = ("package", "dram", "psys", "gpu")
COLUMNS = (
    "started_at",
    "command",
    "exit_code",
    "signal",
    "duration_seconds",
    "cpu_seconds",
    "energy_joules",
    *(f"energy_{domain}_joules" for domain in DOMAINS),
    "energy_low_joules",
    "energy_high_joules",
    "energy_method",
    "emissions_g",
    "intensity_g_per_kwh",
    "intensity_source",
    "intensity_quality",
    "zone",
    "pue",
    "meter",
    "idle_rule",
    "gap_seconds",
    "gap_cpu_seconds",
    "left_running",
)


class CSVFile:
    """A CSV file that gets a row for each run.

    Args:
        path: Where; it is made with its heads where it is not there.

    Raises:
        CarbonSDKError: It cannot be written, or has other columns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("a+", encoding="utf-8", newline="") as file:
                file.seek(0)
                head = file.readline().strip()
                if not head:
                    file.write(_row(COLUMNS))
        except (OSError, UnicodeError) as exc:
            raise CarbonSDKError(f"{path} cannot be written: {getattr(exc, 'strerror', None) or exc}") from exc
        if head and head != ",".join(COLUMNS):
            raise CarbonSDKError(f"{path} has other columns; name a new file")

    def append(self, figures: Mapping[str, Any]) -> None:
        """One row, in one write.

        Args:
            figures: By the names of `COLUMNS`.
        """
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_row(cell(figures[name]) for name in COLUMNS))


def _row(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
