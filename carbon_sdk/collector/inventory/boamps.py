"""The report in the form of BoAmps (Boavizta), with the fields that CodeCarbon fills.

BoAmps describes one task: its stage, family, algorithms and data. No record knows these, so a context file brings them,
and whatever else is known better: its values stand above ours.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from carbon_sdk.collector.inventory.inventory import Inventory, counted, total

FORMAT = "0.1"
SPECIFICATION = "https://github.com/Boavizta/BoAmps/tree/main/model"
REQUIRED = ("taskStage", "taskFamily", "algorithms", "dataset")
"""What a task must have for the file to be valid."""


def boamps(inventory: Inventory, context: Mapping[str, Any]) -> dict[str, Any]:
    """The file's content.

    Args:
        inventory: The report.
        context: What its user knows of the task, in BoAmps' own form; `{}` where nothing.
    """
    begin = f"{inventory.first_day}T00:00:00"
    made: dict[str, Any] = {
        "header": {
            "formatVersion": FORMAT,
            "formatVersionSpecificationUri": SPECIFICATION,
            "reportId": inventory.sha256,
            "reportDatetime": begin,
            "publisher": {"projectName": inventory.project},
        },
        "task": {"nbRequest": counted(line.requests for line in inventory.lines)},
        "measures": [_measure(inventory, method, begin) for method in _methods(inventory)],
        "system": {"os": "Linux"},
        "software": {"language": "python"},
        "infrastructure": _infrastructure(inventory),
        "environment": _environment(inventory),
    }
    return {name: _merged(made.get(name), context.get(name)) for name in [*made, *sorted(context.keys() - made.keys())]}


def missing(content: Mapping[str, Any]) -> tuple[str, ...]:
    """What the file still lacks to be valid."""
    task = content.get("task", {})
    return tuple(name for name in REQUIRED if not task.get(name))


def _methods(inventory: Inventory) -> dict[str, float]:
    """Share of the joules by how they were known."""
    shares: dict[str, float] = {}
    for method in inventory.methods:
        shares[method.energy_method] = shares.get(method.energy_method, 0.0) + (method.share or 0.0)
    return dict(sorted(shares.items()))


def _measure(inventory: Inventory, method: str, begin: str) -> dict[str, Any]:
    energy = total(line.energy_kwh for line in inventory.lines)
    share = _methods(inventory)[method]
    return {
        "measurementMethod": "carbon_sdk",
        "version": inventory.version,
        "cpuTrackingMode": method,
        "powerConsumption": None if energy is None else total([energy * share]),
        "measurementDuration": _days(inventory) * 86_400,
        "measurementDateTime": begin,
    }


def _days(inventory: Inventory) -> int:
    first, last = date.fromisoformat(inventory.first_day), date.fromisoformat(inventory.last_day)
    return (last - first + timedelta(days=1)).days


def _infrastructure(inventory: Inventory) -> dict[str, Any]:
    kind = {"own": "onPremise", "cloud": "publicCloud"}.get(inventory.operator or "")
    return {"infraType": kind, "components": []} if kind else {"components": []}


def _environment(inventory: Inventory) -> dict[str, Any]:
    if not inventory.factors:
        return {}
    most = inventory.factors[0]
    return {"location": most.zone, "powerSourceCarbonIntensity": most.g_per_kwh}


def _merged(ours: Any, theirs: Any) -> Any:
    """Their values above ours, key by key."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        names = [*ours, *(name for name in theirs if name not in ours)]
        return {name: _merged(ours.get(name), theirs.get(name)) for name in names}
    return ours if theirs is None else theirs
