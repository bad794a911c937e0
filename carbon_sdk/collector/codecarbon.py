"""A CodeCarbon `emissions.csv` becomes records.

CodeCarbon writes a row when a run stops, and one at each `flush()`; the rows of a run hold totals since its start,
except in files of tasks, where each row is a task. A record here is what a row adds to the row before it of the same
run.

The key is (`codecarbon-RUN`, number of the row among the run's rows), never the content: two runs may have equal
figures. CodeCarbon only appends, so importing the same file again, or a longer one, brings each row once.

What the file does not say stays unknown: how joules were measured is taken for a model, the weakest; the intensity's
source is CodeCarbon itself. Its times are local and name no zone, so the zone is asked for.
"""

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from carbon_sdk.collector.decode import Bounds, decode
from carbon_sdk.collector.store import KNOWN, LASTING, REFUSED, STORED, Store, StoreError
from carbon_sdk.emission import JOULES_PER_KWH, Emission
from carbon_sdk.wire import MAXIMUM_TEXT, to_json

_CUMULATIVE = ("duration", "emissions", "energy_consumed", "cpu_energy", "gpu_energy", "ram_energy")
_NEEDED = ("timestamp", "duration", "emissions", "energy_consumed")
_GRAMS_PER_KG = 1_000.0
_BATCH = 5_000
_EVER = Bounds(records=_BATCH, oldest_us=0, newest_us=2**62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did.

    Args:
        stored: Rows that are new.
        known: Rows that were imported before.
        refused: Rows that could not be read, with the line and the reason.
    """

    stored: int
    known: int
    refused: tuple[str, ...]


async def import_file(store: Store, project: str, path: Path, zone: ZoneInfo) -> Imported:
    """Bring a file in; again is harmless.

    Args:
        store: Where to.
        project: Under which project.
        path: The file.
        zone: The time zone in which CodeCarbon ran.

    Raises:
        StoreError: The file is none of CodeCarbon's.
    """
    refused: list[str] = []
    counts = {STORED: 0, KNOWN: 0}
    waiting: list[Emission] = []

    async def hand_over() -> None:
        batch = decode("\n".join(map(to_json, waiting)).encode(), "ndjson", _EVER)
        await store.ingest(project, batch)
        for outcome in counts:
            counts[outcome] += batch.outcomes.count(outcome)
        refused.extend(batch.reasons.get(i, "") for i, outcome in enumerate(batch.outcomes) if outcome == REFUSED)
        waiting.clear()

    for row in read(path, zone):
        if isinstance(row, str):
            refused.append(row)
            continue
        waiting.append(row)
        if len(waiting) >= _BATCH:
            await hand_over()
    if waiting:
        await hand_over()
    return Imported(stored=counts[STORED], known=counts[KNOWN], refused=tuple(refused))


def read(path: Path, zone: ZoneInfo) -> Iterator[Emission | str]:
    """The records of a file, and a sentence for each row that cannot be read.

    Raises:
        StoreError: The file is none of CodeCarbon's.
    """
    before: dict[str, Mapping[str, float]] = {}
    counted: dict[str, int] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
            if missing:
                raise StoreError(f"{path} is no emissions.csv of CodeCarbon: it has no column {', '.join(missing)}")
            tasks = "task_name" in (rows.fieldnames or ())
            for row in rows:
                run = _run_of(row)
                sequence = counted[run] = counted.get(run, -1) + 1
                try:
                    totals = {name: _number(row.get(name)) for name in _CUMULATIVE}
                    added = totals if tasks else _added(totals, before.get(run, {}))
                    before[run] = totals
                    yield _emission(row, added, run, sequence, zone)
                except ValueError as exc:
                    yield f"line {rows.line_num}: {exc}"
    except (OSError, UnicodeError, csv.Error) as exc:
        raise StoreError(f"{path} cannot be read: {exc}") from exc


def _run_of(row: Mapping[str, str]) -> str:
    name = row.get("run_id") or f"{row.get('project_name')} {row.get('timestamp')}"
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _number(text: str | None) -> float:
    value = float(text or 0.0)
    if not math.isfinite(value) or value < 0.0:
        raise ValueError(f"{text!r} is no amount")
    return value


def _added(totals: Mapping[str, float], before: Mapping[str, float]) -> Mapping[str, float]:
    """What a row adds; a run whose totals fell began anew."""
    if any(totals[name] < before.get(name, 0.0) for name in totals):
        return totals
    return {name: value - before.get(name, 0.0) for name, value in totals.items()}


def _emission(row: Mapping[str, str], added: Mapping[str, float], run: str, sequence: int, zone: ZoneInfo) -> Emission:
    end = datetime.fromisoformat(row["timestamp"])
    end = (end if end.tzinfo else end.replace(tzinfo=zone)).astimezone(UTC)
    service = _text(row, "project_name") or "codecarbon"
    name = _text(row, "task_name") or _text(row, "experiment_name") or service
    joules = added["energy_consumed"] * JOULES_PER_KWH
    grams = added["emissions"] * _GRAMS_PER_KG
    described = [_text(row, one) for one in ("codecarbon_version", "tracking_mode", "cpu_model", "gpu_model")]
    place = [_text(row, one) for one in ("cloud_provider", "cloud_region", "country_iso_code", "region")]
    return Emission(
        instance=LASTING + run,
        sequence=sequence,
        service=service,
        machine=hashlib.sha256(f"codecarbon {_text(row, 'os')} {_text(row, 'cpu_model')}".encode()).hexdigest()[:16],
        kind="worker",
        root=name,
        name=name,
        window_start=end - timedelta(seconds=added["duration"]),
        window_end=end,
        meter="codecarbon",
        meter_scope="machine",
        basis=("CodeCarbon " + ", ".join(part for part in described if part))[:MAXIMUM_TEXT],
        idle_rule="none",
        requests=1 if sequence == 0 or _text(row, "task_name") else 0,
        duration_seconds=added["duration"],
        energy_joules=joules,
        energy_package_joules=added["cpu_energy"] * JOULES_PER_KWH if row.get("cpu_energy") else None,
        energy_dram_joules=added["ram_energy"] * JOULES_PER_KWH if row.get("ram_energy") else None,
        energy_gpu_joules=added["gpu_energy"] * JOULES_PER_KWH if row.get("gpu_energy") else None,
        energy_package_method="model" if row.get("cpu_energy") else None,
        energy_dram_method="model" if row.get("ram_energy") else None,
        energy_gpu_method="model" if row.get("gpu_energy") else None,
        energy_method="model",
        emissions_g=grams,
        intensity_g_per_kwh=grams / (joules / JOULES_PER_KWH) if joules else None,
        intensity_source="codecarbon",
        intensity_quality="static",
        place=" ".join(part for part in place if part)[:MAXIMUM_TEXT] or None,
        share_rule="codecarbon",
    )


def _text(row: Mapping[str, str], name: str) -> str:
    return (row.get(name) or "").replace("\x00", "")[:MAXIMUM_TEXT]
