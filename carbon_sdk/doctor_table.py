"""What the doctor found, as a person reads it in a terminal. Needs the extra `cli`."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext

try:
    from rich import box
    from rich.console import Console, Group, RenderableType
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(f'{exc.name} is missing: pip install "carbon-sdk[cli]"', name=exc.name) from exc

from carbon_sdk import __version__
from carbon_sdk.doctor import NOTHING, WORKS, Diagnosis, Grid, Idle, Machine, Quota, examine
from carbon_sdk.meters.detect import MeterReport
from carbon_sdk.meters.meter import CPU_DOMAINS
from carbon_sdk.selftest import Book, SelfTest
from carbon_sdk.settings import Settings

BYTES_PER_GB = 1e9
GOOD, WARNING, BAD = "green", "yellow", "red"


def main(settings: Settings, *, console: Console | None = None) -> int:
    """Look at everything and print it.

    Args:
        settings: As a service would have them.
        console: Where to; standard output unless given.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting cannot be used.
    """
    console = console or Console()
    with console.status("burning CPU in two overlapping spans ...") if console.is_terminal else nullcontext():
        found = asyncio.run(examine(settings))
    show(found, console)
    return found.exit_code


def show(found: Diagnosis, console: Console) -> None:
    """Print what was found.

    Args:
        found: What was found.
        console: Where to.
    """
    colour = {WORKS: GOOD, NOTHING: BAD}.get(found.exit_code, WARNING)
    console.print(Text.assemble((f"carbon_sdk {__version__}: ", "bold"), (found.verdict, f"bold {colour}")))
    console.print(_meters(found.meters))
    console.print(_facts(found))
    if found.test is not None:
        console.print(_test(found.test, found.quota.scope or "machine"))
    for warning in found.warnings:
        console.print(Text(warning, style=WARNING))


def _meters(reports: Sequence[MeterReport]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, title="Meters", title_justify="left", pad_edge=False)
    table.add_column("meter", no_wrap=True)
    table.add_column("serves", no_wrap=True)
    table.add_column("what it reads, or why it does not serve", overflow="fold")
    for report in reports:
        said: list[RenderableType] = [Text(report.reason)]
        if report.remedy is not None:
            said.append(Text(f"Remedy: {report.remedy}", style=WARNING))
        table.add_row(report.meter, Text("yes", style=GOOD) if report.serves else Text("no"), Group(*said))
    return table


def _facts(found: Diagnosis) -> RenderableType:
    table = Table(
        box=box.SIMPLE_HEAD, title="Machine and place", title_justify="left", pad_edge=False, show_header=False
    )
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_machine(found.machine), *_quota(found.quota, found.machine), _idle(found.idle)):
        table.add_row(name, value)
    table.add_section()
    for name, value in _grid(found.grid):
        table.add_row(name, value)
    return table


def _machine(machine: Machine) -> list[tuple[str, str]]:
    cpu = machine.cpu or "no name"
    if machine.microarchitecture is not None:
        cpu += f", {machine.microarchitecture}"
    sockets = "" if machine.sockets is None else f", {_count(machine.sockets, 'socket')}"
    kind = "virtual machine" if machine.virtual else "no virtual machine"
    memory = "unknown" if machine.memory_bytes is None else f"{machine.memory_bytes / BYTES_PER_GB:.1f} GB"
    instance = "unknown; CARBON_SDK_INSTANCE_TYPE tells it"
    if machine.instance_type is not None:
        instance = f"{machine.instance_type} (known by {machine.instance_type_known_by})"
    vendor = [] if machine.vendor is None else [("vendor", machine.vendor)]
    return [
        ("CPU", f"{cpu}; {_count(machine.threads, 'thread')}{sockets}, {kind}"),
        ("memory", memory),
        *vendor,
        ("instance type", instance),
    ]


def _quota(quota: Quota, machine: Machine) -> list[tuple[str, str]]:
    cpus = "no limit that can be seen"
    if quota.cpus is not None:
        cpus = f"at most {quota.cpus:g} of {_count(machine.threads, 'CPU')}, by {quota.cpus_by}"
    rows = [("CPU quota", cpus)]
    if quota.memory_bytes is not None:
        rows.append(("memory limit", f"{quota.memory_bytes / BYTES_PER_GB:.3g} GB"))
    if quota.scope is not None and quota.scope_cpus is not None:
        rows.append(("joules are of", f"the {quota.scope}, {quota.scope_cpus:g} CPUs"))
    return rows


def _idle(idle: Idle) -> tuple[str, str]:
    words = {"set": "as set", "learnt": "learnt from quiet windows", "model": "by the model"}
    if idle.watts is None:
        return "idle power", "not known yet: the unused share of the CPUs stands for it"
    return "idle power", f"{idle.watts:.1f} W, {words.get(idle.rule, idle.rule)}"


def _grid(grid: Grid) -> list[tuple[str, str]]:
    rows = [("place", f"{grid.place} (known by {grid.known_by})")]
    value = grid.intensity
    if value is None:
        rows.append(("intensity", "nobody answered in time"))
    else:
        kind = f"{value.quality}, {value.signal}, {value.emission_scope}"
        rows.append(("intensity", f"{value.g_per_kwh:.0f} g CO2e/kWh in {value.zone} ({kind}) by {value.source}"))
    for link in grid.chain:
        state = "answered" if link.answered else "not asked" if link.problem is None else link.problem
        rows.append(("provider", f"{link.provider}: {state}"))
    return rows


def _test(test: SelfTest, scope: str) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, title=f"Self-test, {test.seconds:.1f} s", title_justify="left", pad_edge=False)
    table.add_column("account", no_wrap=True)
    for name in ("CPU s used", "CPU s booked", *(f"{book.domain} J" for book in test.books)):
        table.add_column(name, justify="right")
    for span in test.spans:
        cpu = [f"{span.burned_cpu_seconds:.3f}", f"{span.booked_cpu_seconds:.3f}"]
        table.add_row(f"span {span.name}", *cpu, *(_joules(book, book.spans.get(span.name)) for book in test.books))
    background = [_joules(book, book.background_joules) for book in test.books]
    table.add_row("rest of this process", "", f"{test.background_cpu_seconds:.3f}", *background)
    others = {
        f"rest of the {scope}": "rest_joules",
        f"idle, by {test.idle_rule.replace('_', ' ')}": "idle_joules",
        "unattributed": "unattributed_joules",
    }
    for name, field in others.items():
        table.add_row(name, "", "", *(_joules(book, getattr(book, field)) for book in test.books), style="dim")
    table.add_section()
    table.add_row("booked", "", "", *(_joules(book, book.booked_joules) for book in test.books))
    table.add_row("measured", "", "", *(_joules(book, book.measured_joules) for book in test.books), style="bold")
    return Group(table, *_judgement(test))


def _judgement(test: SelfTest) -> list[Text]:
    lines = [Text(f"{book.domain}: {book.gap}", style=BAD) for book in test.books if book.gap is not None]
    lines += [
        Text(f"{book.domain}: the counter stood still while the CPU was busy", style=BAD)
        for book in test.books
        if book.measured_joules == 0.0 and book.domain in CPU_DOMAINS
    ]
    lines += [Text(fault, style=BAD) for fault in test.faults]
    if test.partial:
        lines.append(Text("Not all could be read: the joules are a part of the whole.", style=WARNING))
    if not test.measured:
        return [*lines, Text("No joules were read, so there is nothing to add up.", style=BAD)]
    if not test.balances:
        return [*lines, Text("The books do not balance: this is a fault of carbon_sdk.", style=BAD)]
    explained = "Both spans ran at once, one with twice the work of the other. "
    return [*lines, Text(f"{explained}The books balance: what was booked is what was measured.", style=GOOD)]


def _joules(book: Book, value: float | None) -> str:
    return "unknown" if value is None or book.measured_joules is None else f"{value:.3f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
