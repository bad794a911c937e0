"""The machine as the settings say it: its meters, its idle power, and where it stands."""

import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from carbon_sdk.errors import SettingsError
from carbon_sdk.intensity.intensity import Place
from carbon_sdk.log import Log, tell_place
from carbon_sdk.meters.baseline import Baseline
from carbon_sdk.meters.detect import Detected, detect
from carbon_sdk.meters.estimate import find_socket
from carbon_sdk.meters.hardware import look
from carbon_sdk.meters.idle import IdlePower
from carbon_sdk.meters.meter import Meter
from carbon_sdk.place import place_of
from carbon_sdk.settings import Settings

IDLE_FILE = "idle_power.json"
LEAVE_SECONDS = 600.0
"""How often what is learnt is written down while a process lives: one that is killed leaves it too."""
METER_PLUGINS = "carbon_sdk.meters"
METERS = ("powercap", "exporter", "model")
"""The CPU meters that are here; others come from installed packages."""

Forgive = Callable[[SettingsError], None]
"""Told of a setting that cannot be used; it raises, or the default serves instead."""


def refuse(problem: SettingsError) -> None:
    """Forgive nothing.

    Raises:
        SettingsError: The problem.
    """
    raise problem


def find_meters(
    settings: Settings,
    log: Log,
    forgive: Forgive,
    *,
    pids: Callable[[], Collection[int]] | None = None,
    baseline: Baseline | None = None,
) -> Detected:
    """The meters that serve here; the log is told once of each that could, or could read more, and how.

    Args:
        settings: Which to look for, and where.
        log: Told.
        forgive: Told of a meter that nobody has: the first that serves is taken then.
        pids: The processes whose part of the GPUs is wanted; this one alone when None.
        baseline: What the machine's counters said when the first stretch began; None where that begins at the first
            reading.
    """
    own: Callable[[], Meter] | None = None
    if settings.meter not in ("auto", *METERS):
        try:
            own = _own(settings)
        except SettingsError as exc:
            forgive(exc)
    found = detect(
        sysfs_root=settings.sysfs_root,
        procfs_root=settings.procfs_root,
        choice="auto" if own is None and settings.meter not in METERS else settings.meter,
        own=own,
        psys=settings.psys,
        gpu={"auto": None, "on": True, "off": False}[settings.gpu],
        instance_type=settings.instance_type,
        idle_watts=settings.idle_watts,
        interval_seconds=settings.sample_interval_seconds,
        exporter_url=settings.exporter_url,
        visible_devices=settings.source.get("CUDA_VISIBLE_DEVICES"),
        pci_order=settings.source.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID",
        pids=pids,
        baseline=baseline,
    )
    for report in found.reports:
        if report.remedy is not None:
            log.event("carbon.meter", level="warning", meter=report.meter, problem=report.reason, remedy=report.remedy)
    return found


def know_machine(settings: Settings) -> None:
    """Look this machine up in the tables, which is remembered: a forked child need not do it again."""
    machine = look(settings.procfs_root, settings.sysfs_root)
    find_socket(machine, settings.instance_type or machine.instance_type)


def basis_of(meters: Sequence[Meter]) -> str:
    """What the joules of some meters rest on, in words."""
    return "; ".join(meter.basis for meter in meters) or "nothing can be measured here"


def _own(settings: Settings) -> Callable[[], Meter]:
    """Builds a meter that an installed package announces, from its options."""
    from carbon_sdk import plugins  # noqa: PLC0415  # what is installed is looked up for nobody else here

    try:
        build: Any = plugins.load(METER_PLUGINS, settings.meter)
    except plugins.PluginError as exc:
        known = ", ".join(("auto", *METERS))
        raise SettingsError("CARBON_SDK_METER", str(exc), f"Choose one of {known}, or install the package") from exc
    return lambda: cast(Meter, build(settings.options(settings.meter)))


def find_place(settings: Settings, log: Log, forgive: Forgive, *, final: bool = True) -> Place:
    """Where the energy is used; the world where what was set names no place.

    Args:
        settings: What was set.
        log: Told of a place that is not known.
        forgive: Told of one that does not exist.
        final: Nobody else will be asked for it.
    """
    try:
        return place_of(settings, warn=lambda text: tell_place(log, text) if final else None)
    except SettingsError as exc:
        forgive(exc)
        return Place(known_by="default")


def known_idle_power(
    settings: Settings, basis: str | None, log: Log, *, learnt: Callable[[], None] | None = None
) -> IdlePower:
    """Set, or what an earlier process saw through the same meters; from there on it learns.

    Args:
        settings: Idle watts, and the state folder.
        basis: What the meters' joules rest on; None where the meters were handed in: nobody knows whether the next are
            the same.
        log: Told where the state folder cannot be used.
        learnt: Called when the idle power has been learnt, and each time that it is looked at again.
    """
    if settings.idle_watts is not None or basis is None:
        return IdlePower(settings.idle_watts)
    file = settings.state_folder / IDLE_FILE
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError, RecursionError) as exc:
        known = {}
        log.fault("state", exc, remedy=f"the idle power is learnt anew; {file} is written again at the end")
    same = isinstance(known, dict) and known.get("basis") == basis
    return IdlePower(state=known if same else None, learnt=learnt)


@contextmanager
def idle_power(
    settings: Settings, basis: str | None, log: Log, *, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[IdlePower]:
    """The idle power, left to the next process: once it is learnt, now and then, and at the end.

    Args:
        settings: Idle watts, and the state folder.
        basis: What the meters' joules rest on; None where the meters were handed in: they leave nothing.
        log: Told where the state folder cannot be used.
        monotonic: The clock that says when to leave it again.
    """
    left_at = -math.inf

    def now_and_then() -> None:
        nonlocal left_at
        if monotonic() - left_at >= LEAVE_SECONDS:
            left_at = monotonic()
            _leave(idle, settings, basis, log)

    idle = known_idle_power(settings, basis, log, learnt=now_and_then)
    try:
        yield idle
    finally:
        if basis is not None:
            _leave(idle, settings, basis, log)


def _leave(idle: IdlePower, settings: Settings, basis: str | None, log: Log) -> None:
    """Write what was seen, beside the file and then in its place."""
    seen, file = idle.dump(), settings.state_folder / IDLE_FILE
    if not seen:
        return
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}.part")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({"basis": basis, **seen}), encoding="utf-8")
        draft.replace(file)
    except OSError as exc:
        log.fault("state", exc, remedy=f"the next process learns the idle power anew; make {file.parent} writable")
