"""What works on this machine, what does not, and the remedy: meters, machine, quota, place, intensity, a self-test.

It looks with the eyes of the line itself: the same settings, the same detection, the same chain of providers. It leaves
nothing behind, and changes nothing.
"""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import anyio

from carbon_sdk import __version__, cloud
from carbon_sdk.assembly import misspelt
from carbon_sdk.intensity.fallback import Fallback
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.interpreter import unsupported
from carbon_sdk.log import Log
from carbon_sdk.machine import basis_of, find_meters, known_idle_power, refuse
from carbon_sdk.meters import cgroup
from carbon_sdk.meters.coefficients import find_architecture
from carbon_sdk.meters.detect import Detected, MeterReport, with_instance_type
from carbon_sdk.meters.idle import IdlePower
from carbon_sdk.meters.meter import CPU_DOMAINS, IdleRule, Method, ScopeKind
from carbon_sdk.meters.modelled import ModelledMeter
from carbon_sdk.selftest import BURN_SECONDS, SelfTest, self_test
from carbon_sdk.settings import Settings
from carbon_sdk.sources import intensity_chain
from carbon_sdk.spans.ledger import weakest

WORKS, COULD_BE_BETTER, NOTHING = 0, 1, 3
"""Exit codes. 2 is what the command gives for a setting that cannot be used."""
ASKING_SECONDS = 15.0
"""How long the providers may take; a cold one with retries takes a few."""

WORDS: Mapping[Method, str] = {
    "counter": "measured by a counter",
    "power_integral": "measured as power over time",
    "model": "modelled, with a low and a high bound",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is under this process; None is unknown.

    Args:
        cpu: Its name, as /proc/cpuinfo prints it.
        microarchitecture: What that is.
        threads: Logical CPUs.
        sockets: CPU packages.
        virtual: It is a virtual machine.
        memory_bytes: Its memory.
        vendor: Who made it, or which cloud runs it, by DMI.
        instance_type: The cloud's name of it.
        instance_type_known_by: `setting`, `dmi` or `metadata`.
    """

    cpu: str | None
    microarchitecture: str | None
    threads: int
    sockets: int | None
    virtual: bool
    memory_bytes: int | None
    vendor: str | None
    instance_type: str | None
    instance_type_known_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What this process may use; None is no limit that can be seen.

    Args:
        cpus: Logical CPUs, "at most": limits above the container cannot be seen.
        cpus_by: The file that says so.
        memory_bytes: Memory.
        scope: Whose joules the CPU meter reads; None without one.
        scope_cpus: Logical CPUs in that.
    """

    cpus: float | None
    cpus_by: str | None
    memory_bytes: int | None
    scope: ScopeKind | None
    scope_cpus: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What the scope of the CPU meter draws doing nothing.

    Args:
        watts: None where it is not known.
        rule: How it is known.
    """

    watts: float | None
    rule: IdleRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One provider in the chain.

    Args:
        provider: Its name.
        answered: It gave the value that is shown.
        problem: Why it did not; None where it was not asked or did.
    """

    provider: str
    answered: bool
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The grid intensity here.

    Args:
        place: The place asked for.
        known_by: Where that was learnt: `setting`, `cloud_region`, `metadata`, `country`, `default`.
        intensity: What holds now; None where nobody answered in time.
        chain: Whom the line would ask, in order.
    """

    place: str
    known_by: str
    intensity: Intensity | None
    chain: tuple[Link, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All that was found.

    Args:
        meters: Every meter, in the order in which they are asked.
        machine: The machine.
        quota: What this process may use of it.
        idle: What it draws doing nothing.
        grid: Where it stands, and how dirty a kWh is there.
        test: What the self-test gave; None where no CPU meter serves, or the interpreter cannot be measured.
        warnings: What else is not as it should be.
        disabled: The settings turn carbon_sdk off.
        unsupported: Why this interpreter cannot be measured; None where it can.
    """

    meters: tuple[MeterReport, ...]
    machine: Machine
    quota: Quota
    idle: Idle
    grid: Grid
    test: SelfTest | None
    warnings: tuple[str, ...]
    disabled: bool
    unsupported: str | None

    @property
    def means(self) -> Method | None:
        """How the joules of the CPU are known; None where they are not."""
        if self.test is None or not self.test.measured:
            return None
        books = [book for book in self.test.books if book.domain in CPU_DOMAINS and book.measured_joules is not None]
        return weakest(book.method for book in books)

    @property
    def remedies(self) -> tuple[MeterReport, ...]:
        """The meters that somebody could do something about."""
        return tuple(report for report in self.meters if report.remedy is not None)

    @property
    def exit_code(self) -> int:
        """0 where it works as well as it can here; 1 where a meter has a remedy; 3 where no joule can be booked."""
        if self.disabled or self.unsupported is not None:
            return NOTHING
        if self.means is None or self.test is None or not self.test.balances:
            return NOTHING
        return COULD_BE_BETTER if self.remedies else WORKS

    @property
    def verdict(self) -> str:
        """The same in words."""
        if self.disabled:
            return "nothing is measured: CARBON_SDK_DISABLED is set"
        if self.unsupported is not None:
            return f"nothing is measured: {self.unsupported}"
        if self.means is None or self.test is None:
            return "nothing can be measured"
        if not self.test.balances:
            return "the books do not balance"
        if self.remedies:
            return f"it works, energy is {WORDS[self.means]}, and it can be better: see the remedy"
        return f"it works, energy is {WORDS[self.means]}"

    def as_object(self) -> dict[str, Any]:
        """The same as one JSON-ready object; unknown is null."""
        fields = dataclasses.asdict(self)
        value = self.grid.intensity
        return {
            "version": __version__,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "means": self.means,
            **fields,
            "meters": [report._asdict() for report in self.meters],
            "grid": fields["grid"] | {"intensity": None if value is None else _intensity(value)},
            "test": None if self.test is None else fields["test"] | _sums(self.test),
        }


def _intensity(value: Intensity) -> dict[str, Any]:
    names = ("g_per_kwh", "source", "quality", "signal", "emission_scope", "zone", "licence", "attribution")
    return {name: getattr(value, name) for name in names}


def _sums(test: SelfTest) -> dict[str, Any]:
    return {
        "measured": test.measured,
        "balances": test.balances,
        "books": [
            dataclasses.asdict(book) | {"booked_joules": book.booked_joules, "balances": book.balances}
            for book in test.books
        ],
    }


def main(settings: Settings, stream: IO[str]) -> int:
    """Look at everything and write it as one JSON object.

    Args:
        settings: As a service would have them.
        stream: Where to.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting cannot be used.
    """
    found = asyncio.run(examine(settings))
    stream.write(json.dumps(found.as_object()) + "\n")
    return found.exit_code


async def examine(
    settings: Settings,
    *,
    seconds: float = BURN_SECONDS,
    unsupported: Callable[[], str | None] = unsupported,
) -> Diagnosis:
    """Look at everything; it takes a little longer than the self-test.

    Args:
        settings: As a service would have them.
        seconds: How long the self-test burns CPU.
        unsupported: Says why this interpreter cannot be measured; no self-test then.

    Raises:
        SettingsError: A setting cannot be used.
    """
    reason = unsupported()
    warnings: list[str] = []

    def hear(_level: str, event: str, fields: Mapping[str, Any]) -> None:
        if event != "carbon.meter":  # the table of meters says it
            warnings.append(_told(fields))

    log = Log(hear)
    told = await cloud.told(settings, log) if settings.cloud_metadata else None
    chained = intensity_chain(dataclasses.replace(settings, cloud_metadata=False), log, told=told)
    async with chained as (chain, place):
        found = await asyncio.to_thread(find_meters, settings, log, refuse)
        known_by = None if found.instance_type is None else "setting" if settings.instance_type else "dmi"
        if known_by is None and told is not None and told.instance_type is not None:
            found = with_instance_type(found, told.instance_type, idle_watts=settings.idle_watts)
            known_by = "metadata"
        idle = known_idle_power(settings, basis_of(found.meters), log)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(_grid(chain, place))
            test = await _tested(found, idle, seconds, measurable=reason is None)
    log.flush()
    grid = asking.result()
    shown = [link.problem for link in grid.chain if link.problem is not None]
    return Diagnosis(
        meters=found.reports,
        machine=_machine(found, known_by),
        quota=_quota(found, settings),
        idle=_idle(found, idle),
        grid=grid,
        test=test,
        warnings=(*(text for text in warnings if not any(one in text for one in shown)), *misspelt(settings)),
        disabled=settings.disabled,
        unsupported=reason,
    )


async def _tested(found: Detected, idle: IdlePower, seconds: float, *, measurable: bool) -> SelfTest | None:
    """The self-test, where a CPU meter serves and the interpreter can be measured; the meters are closed after it."""
    try:
        if found.cpu is None or not measurable:
            return None
        return await self_test(found.meters, idle_power=idle, seconds=seconds)
    finally:
        for meter in found.meters:
            await asyncio.to_thread(meter.close)


def _machine(found: Detected, instance_type_known_by: str | None) -> Machine:
    hardware = found.hardware
    architecture = find_architecture(hardware.cpu)
    return Machine(
        cpu=hardware.cpu.model_name,
        microarchitecture=None if architecture is None else architecture.name,
        threads=hardware.cpu.threads,
        sockets=hardware.cpu.sockets,
        virtual=hardware.virtual,
        memory_bytes=hardware.memory_bytes,
        vendor=hardware.system_vendor,
        instance_type=found.instance_type,
        instance_type_known_by=instance_type_known_by,
    )


def _idle(found: Detected, known: IdlePower) -> Idle:
    watts, rule = known.watts()
    if rule == "usage_ratio" and isinstance(found.cpu, ModelledMeter):
        return Idle(watts=found.cpu.idle_watts, rule="model")
    return Idle(watts=watts, rule=rule)


def _quota(found: Detected, settings: Settings) -> Quota:
    limit = found.limit
    scope = None if found.cpu is None else found.cpu.scope
    return Quota(
        cpus=None if limit is None else limit.cpus,
        cpus_by=None if limit is None else str(limit.source),
        memory_bytes=cgroup.memory_limit_bytes(cgroup.hierarchies(settings.procfs_root)),
        scope=None if scope is None else scope.kind,
        scope_cpus=None if scope is None else scope.cpus,
    )


async def _grid(chain: Fallback, place: Place) -> Grid:
    """Ask for the intensity once, as the line would."""
    value: Intensity | None = None
    with anyio.move_on_after(ASKING_SECONDS):
        value = await chain.intensity(place)
    return Grid(
        place=str(place),
        known_by=place.known_by,
        intensity=value,
        chain=tuple(
            Link(
                provider=link.name,
                answered=link.answered > 0,
                problem=link.last_problem and link.last_problem.removeprefix(f"{link.name}: "),
            )
            for link in chain.state()
        ),
    )


def _told(fields: Mapping[str, Any]) -> str:
    """One log line's words."""
    return ". ".join(str(fields[name]) for name in ("problem", "remedy") if fields.get(name))
