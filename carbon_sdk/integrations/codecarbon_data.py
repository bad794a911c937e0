"""What CodeCarbon 3.3 writes about a run or a task: the same columns, in the same order and units.

Energy in kWh, power in W, emissions in kg CO2e, their rate in kg/s, duration in seconds, memory in GiB, water in
litres. Unknown is an empty cell, never 0. One column differs: times are UTC and say so, where CodeCarbon writes local
time.
"""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from carbon_sdk.cells import cell

Writing = Literal["append", "update"]


class OutputMethod(StrEnum):
    """Where CodeCarbon sends data; here `CSV` and `LOGGER` do what they say, the others are settings of carbon_sdk."""

    CSV = "csv"
    API = "api"
    LOGGER = "logger"
    PROMETHEUS = "prometheus"
    LOGFIRE = "logfire"
    BOAMPS = "boamps"


@dataclass(kw_only=True)
class _Columns:
    """Columns of a run and of a task alike."""

    timestamp: str
    project_name: str
    run_id: str
    duration: float
    emissions: float | None
    emissions_rate: float | None
    cpu_power: float | None
    gpu_power: float | None
    ram_power: float | None
    cpu_energy: float | None
    gpu_energy: float | None
    ram_energy: float | None
    energy_consumed: float | None
    water_consumed: float | None
    country_name: str | None
    country_iso_code: str | None
    region: str | None
    cloud_provider: str
    cloud_region: str
    os: str
    python_version: str
    codecarbon_version: str
    cpu_count: float | None
    cpu_model: str | None
    gpu_count: float | None
    gpu_model: str | None
    longitude: float | None
    latitude: float | None
    ram_total_size: float | None
    tracking_mode: str
    cpu_utilization_percent: float | None
    gpu_utilization_percent: float | None
    ram_utilization_percent: float | None
    ram_used_gb: float | None
    on_cloud: str

    @property
    def values(self) -> dict[str, Any]:
        """By column."""
        return {name: getattr(self, name) for name in self.columns()}

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Their names, in CodeCarbon's order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def toJSON(self) -> str:  # CodeCarbon's name
        """As JSON."""
        return json.dumps(self.values, sort_keys=True, indent=4)


@dataclass(kw_only=True)
class EmissionsData(_Columns):
    """A row of `emissions.csv`: a run."""

    experiment_id: str
    pue: float = 1.0
    wue: float = 0.0

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Their names, in CodeCarbon's order."""
        common = _Columns.columns()
        return (*common[:3], "experiment_id", *common[3:], "pue", "wue")

    def less(self, before: "EmissionsData | None") -> "EmissionsData":
        """What was added since an earlier row of the same run."""
        if before is None:
            return self
        added = {name: _less(getattr(self, name), getattr(before, name)) for name in _ADDED}
        seconds, kilograms = added["duration"] or 0.0, added["emissions"]
        rate = kilograms / seconds if kilograms is not None and seconds > 0.0 else None
        return dataclasses.replace(self, **{**added, "emissions_rate": rate})  # type: ignore[arg-type]


@dataclass(kw_only=True)
class TaskEmissionsData(_Columns):
    """A row of the file of tasks."""

    task_name: str

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Their names, in CodeCarbon's order."""
        return ("task_name", *_Columns.columns())

    @classmethod
    def of(cls, task_name: str, data: EmissionsData) -> "TaskEmissionsData":
        """A task's row from what it cost."""
        return cls(task_name=task_name, **{name: getattr(data, name) for name in _Columns.columns()})


_ADDED = ("duration", "emissions", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed")


def _less(now: float | None, before: float | None) -> float | None:
    return None if now is None else now - (before or 0.0)


def write_run(path: Path, data: EmissionsData, writing: Writing) -> None:
    """Add the row of a run to a file, or put it in place of this run's last one.

    A file that has other columns is moved to `.bak`, as CodeCarbon does.

    Args:
        path: The file.
        data: The row.
        writing: `append`, or `update`.

    Raises:
        OSError: It cannot be written.
    """
    rows: list[dict[str, str]] = []
    heads: Sequence[str] = data.columns()
    if path.exists() and path.stat().st_size:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            found = list(reader.fieldnames or ())
            if sorted(found) == sorted(heads):
                heads = found
                rows = list(reader) if writing == "update" else []
            else:
                found = []
        if not found:
            _put_aside(path)
    if writing == "update" and rows:
        kept = [row for row in rows if row.get("run_id") != data.run_id]
        draft = path.with_name(f".{path.name}.{os.getpid()}.part")
        draft.write_text(_lines(heads, [*kept, data.values], head=True), encoding="utf-8")
        draft.replace(path)
        return
    fresh = not path.exists() or not path.stat().st_size
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write(_lines(heads, [data.values], head=fresh))


def write_tasks(path: Path, tasks: Sequence[TaskEmissionsData]) -> None:
    """Write the tasks of a run anew.

    Raises:
        OSError: It cannot be written.
    """
    path.write_text(_lines(TaskEmissionsData.columns(), [task.values for task in tasks], head=True), encoding="utf-8")


def _lines(heads: Sequence[str], rows: Sequence[Mapping[str, Any]], *, head: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if head:
        writer.writerow(heads)
    writer.writerows([cell(row.get(name)) for name in heads] for row in rows)
    return text.getvalue()


def _put_aside(path: Path) -> None:
    number = -1
    aside = path.with_name(f"{path.name}.bak")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}_{number}.bak")
    with suppress(FileNotFoundError):  # another process was faster
        path.rename(aside)
