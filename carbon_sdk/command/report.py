"""What a command cost: for people, as JSON, as figures of a row."""

import json
import shlex
import signal
from collections.abc import Mapping
from typing import Any

from carbon_sdk.command.csv_file import COLUMNS, DOMAINS
from carbon_sdk.command.result import Result
from carbon_sdk.emission import Emission
from carbon_sdk.sinks.sink import Total
from carbon_sdk.wire import to_object, utc_text

SHOWN_LEFT = 5
"""Names of processes that still run; the others are counted."""
STILL_RUNNING = "Still running"


def figures(result: Result) -> dict[str, Any]:
    """What is told of a run, by the names of `COLUMNS`; None is unknown."""
    record = result.record
    own: dict[str, Any] = {name: getattr(record, name) for name in COLUMNS if hasattr(record, name)}
    return own | {
        "started_at": utc_text(result.started_at),
        "command": shlex.join(result.words),
        "exit_code": result.ended.exit_code,
        "signal": result.ended.signal_number,
        "duration_seconds": result.duration_seconds,
        "cpu_seconds": result.cpu_seconds,
        "left_running": len(result.left),
    }


def json_line(result: Result) -> str:
    """One line: the figures, where the machine's joules went, who still runs, and the record itself."""
    told = {name: value for name, value in figures(result).items() if name != "left_running"}
    told["left_running"] = {str(pid): name for pid, name in result.left.items()}
    told["followed"] = result.followed
    told["machine_joules"] = {name: sum(joules.values()) for name, joules in machine(result).items()}
    told["record"] = to_object(result.record)
    return json.dumps(told, allow_nan=False) + "\n"


def machine(result: Result) -> Mapping[str, Mapping[str, float]]:
    """Where the measured joules went: the command, others, this process, idle; each by domain."""
    found = {record.kind: _joules(record) for record in result.records}
    measured = found.get("measured", {})
    own, sdk = found.get("worker", {}), found.get("sdk", {})
    idle, unknown = found.get("idle", {}), found.get("unattributed", {})
    background = found.get("background", {})
    parts = (own, sdk, idle, unknown, background)
    rest = {domain: joules - sum(part.get(domain, 0.0) for part in parts) for domain, joules in measured.items()}
    table = {"the command": own, "others": rest, "carbon-sdk itself": sdk, "idle": idle}
    if any(unknown.values()):
        table["nobody's"] = unknown
    return table | {"measured": measured}


def _joules(record: Emission) -> dict[str, float]:
    found = {domain: getattr(record, f"energy_{domain}_joules") for domain in DOMAINS}
    return {domain: joules for domain, joules in found.items() if joules is not None}


def sentences(result: Result) -> list[str]:
    """What the table does not say."""
    record = result.record
    lines = []
    if record.energy_low_joules is not None and record.energy_high_joules is not None:
        bounds = f"{record.energy_low_joules:.2f} to {record.energy_high_joules:.2f} J"
        lines.append(f"The command: {bounds}, by {record.meter}: {record.basis}")
    else:
        lines.append(f"Joules by {record.meter}: {record.basis}")
    if record.intensity_g_per_kwh is None:
        lines.append("Grams are unknown.")
    else:
        lines.append(
            f"{record.intensity_g_per_kwh:.0f} g/kWh in zone {record.zone} by {record.intensity_source} "
            f"({record.intensity_quality}, {record.intensity_signal}, {record.intensity_scope})"
            + (f", PUE {record.pue:g}" if record.pue != 1.0 else "")
        )
    if record.gap_seconds:
        lines.append(
            f"{record.gap_seconds:.1f} s had no reading; {record.gap_cpu_seconds:.2f} CPU s in them have no joules."
        )
    if record.partial:
        lines.append("A socket or device could not be read: the joules are a part of the whole.")
    if result.left:
        shown = ", ".join(f"{name} ({pid})" for pid, name in list(result.left.items())[:SHOWN_LEFT])
        more = f" and {len(result.left) - SHOWN_LEFT} more" if len(result.left) > SHOWN_LEFT else ""
        lines.append(f"{STILL_RUNNING}, counted up to now: {shown}{more}.")
    return lines


def command(result: Result) -> str:
    """The program and its arguments, on one line."""
    return shlex.join(result.words).replace("\n", " ")


def ending(result: Result) -> str:
    """How it ended, and what it took."""
    number = result.ended.signal_number
    how = f"exit {result.ended.exit_code}" if number is None else f"ended by {signal.Signals(number).name}"
    return f"{how}, {result.duration_seconds:.2f} s, {result.cpu_seconds:.2f} CPU s"


def rows(result: Result) -> list[list[str]]:
    """Where the machine's joules went, as cells: the heads, the command's row, those of the others."""
    found = machine(result)
    domains = [domain for domain in DOMAINS if domain in found["measured"] or domain in found["the command"]]
    grams = "unknown" if result.record.emissions_g is None else f"{result.record.emissions_g:.6f}"
    cells = [[name, *_cells(joules, domains), ""] for name, joules in found.items()]
    cells[0][-1] = grams
    return [["joules", *domains, "all", "g CO2e"], *cells]


def _cells(joules: Mapping[str, float], domains: list[str]) -> list[str]:
    found = [joules.get(domain) for domain in domains]
    return ["unknown" if one is None else f"{one:,.2f}" for one in [*found, sum(joules.values()) if joules else None]]


def lines(result: Result) -> str:
    """The table as sentences, for whoever has not installed what draws it."""
    (_, *heads), *found = rows(result)
    told = [
        f"{name}: {', '.join(f'{head} {cell}' for head, cell in zip(heads, cells, strict=True) if cell)}"
        for name, *cells in found
    ]
    return "\n".join([command(result), ending(result), "Joules:", *told, *sentences(result)]) + "\n"


def progress_line(name: str, seconds: float, total: Total | None) -> str:
    """How it goes."""
    if total is None:
        return f"{name}: {seconds:.0f} s, no figures yet"
    joules = f"{sum(total.energy_joules.values()):.2f} J" if total.energy_joules else "joules unknown"
    grams = f"{total.emissions_g:.6f} g" if total.energy_joules else "grams unknown"
    return f"{name}: {seconds:.0f} s, {total.cpu_seconds:.2f} CPU s, {joules}, {grams}"
