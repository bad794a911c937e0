"""RAPL energy counters through the kernel's powercap tree, on Intel and AMD.

Each zone is a counter of microjoules that starts again at 0. By default the packages and their DRAM are read, of every
socket, each joule once; the platform (psys) stands for both where it is asked for, moves, and is no less than they are.
What cannot be read makes the readings partial; a stretch without both of its ends is a gap.
"""

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.baseline import Baseline
from carbon_sdk.meters.hardware import Vendor
from carbon_sdk.meters.meter import Domain, Reading, Scope
from carbon_sdk.meters.powercap_counter import Pread, UnknownError, ZoneCounter
from carbon_sdk.meters.powercap_zones import Zone, survey
from carbon_sdk.meters.scope import MachineScope
from carbon_sdk.meters.worker import StuckError, Worker

MAXIMUM_WATTS = 1000.0
"""No package and no socket's DRAM takes more: the biggest parts of 2026 are sold with 500 W."""
LONGEST_SECONDS = 60.0  # always enough, says turbostat: a second wrap within it would need over 1 kW on any range
RESCAN_SECONDS = 10.0
"""Zones come and go with CPUs and permissions: look again this often."""
SUSPEND_SECONDS = 0.1
"""The two clocks are read one after the other; apart by more than this, the machine slept."""
MIRROR_MICROJOULES = 1_000_000
"""Two dies whose counters read within a joule of each other at once show one counter."""
PSYS_STEP_JOULES = 1.0  # psys of Sapphire and Emerald Rapids moves in steps of 1 J; others are finer
READ_SECONDS = 1.0
"""A read takes microseconds; one that takes this long hangs."""


@dataclass(slots=True)
class _Used:
    """What the zones of one domain used: joules of those that tell, and why others do not."""

    joules: float | None = None
    problem: str | None = None


class PowercapMeter:
    """The machine's joules by RAPL.

    Args:
        root: Where /sys is.
        procfs: Where /proc is.
        psys: Read the platform domain instead of package and DRAM, where it can be trusted.
        vendor: Who made the CPU: tells whether the dies of a socket have counters of their own.
        maximum_watts: More than this cannot be, per package and per socket's DRAM.
        pread: Reads a descriptor: `pread(descriptor, bytes, offset)`.
        monotonic_ns: The clock that windows are measured with.
        boottime_ns: A clock that goes on in suspend; the two together tell of one.
        read_seconds: How long a reading may take before it counts as hanging.
        baseline: What the counters said when the first stretch began; None where that begins at the first reading.

    Raises:
        MeterAbsentError: No package can be read; it says why and what to do about it.
    """

    name = "powercap"
    minimum_interval_seconds = 0.1  # the busy time that joules are shared by moves in ticks of 10 ms

    def __init__(
        self,
        root: str | Path = "/sys",
        *,
        procfs: str | Path = "/proc",
        psys: bool = False,
        vendor: Vendor = "unknown",
        maximum_watts: float = MAXIMUM_WATTS,
        pread: Pread = os.pread,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        boottime_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        read_seconds: float = READ_SECONDS,
        baseline: Baseline | None = None,
    ) -> None:
        self._root = Path(root)
        self._scope = MachineScope(procfs, verify=True)
        self._domains: tuple[Domain, ...] = ("package", "dram", "psys") if psys else ("package", "dram")
        self._psys: bool | None = None if psys else False
        self._vendor = vendor
        self._maximum_watts = maximum_watts
        self._pread = pread
        self._monotonic_ns = monotonic_ns
        self._boottime_ns = boottime_ns
        self._longest_seconds = LONGEST_SECONDS
        self._counters: dict[str, ZoneCounter] = {}
        self._missing: dict[str, tuple[Domain, MeterAbsentError]] = {}
        self._opened: set[Domain] = set()
        self._skipped: tuple[str, ...] = ()
        self._baseline = baseline
        self._read_at: tuple[int, int] | None = None
        self._look_at_ns = 0
        self._stuck = False
        self._worker = Worker("powercap", limit_seconds=read_seconds)
        try:
            self._worker.call(self._look)
            self._baseline = None
        except StuckError as exc:
            raise MeterAbsentError(f"{self._root / 'class/powercap'}: {exc}") from exc
        if "package" not in self._opened:
            self.close()
            raise next((problem for domain, problem in self._missing.values() if domain == "package"), _no_package())

    @property
    def scope(self) -> Scope:
        """The machine, if /proc/stat speaks for it."""
        return self._scope

    @property
    def maximum_interval_seconds(self) -> float:
        """Half the time in which the smallest counter could wrap, at most a minute."""
        return self._longest_seconds

    @property
    def basis(self) -> str:
        """The zones read, and those that cannot be."""
        served = self._served()
        counters = [counter for counter in self._counters.values() if counter.zone.domain in served]
        interfaces = sorted({counter.zone.interface for counter in counters})
        text = f"{', '.join(sorted(counter.zone.key for counter in counters))} by {' and '.join(interfaces)}"
        missing = sorted(key for key, (domain, _) in self._missing.items() if domain in served)
        if missing:
            text += f"; not readable: {', '.join(missing)}"
        if self._skipped:
            text += f"; unknown and left out: {', '.join(self._skipped)}"
        if "psys" in self._domains and self._psys is False:
            text += "; not psys: it stands still or is less than its parts"
        return text

    @property
    def unreadable(self) -> Sequence[MeterAbsentError]:
        """Why some zones cannot be read, where the readings are partial."""
        served = self._served()
        return [problem for domain, problem in self._missing.values() if domain in served]

    def read(self) -> Sequence[Reading]:
        """The joules of each domain since the previous call; a gap where they cannot be known."""
        try:
            readings = self._worker.call(functools.partial(self._sample, forget=self._stuck))
        except StuckError as exc:
            self._stuck = True
            served = [domain for domain in self._served() if domain in self._opened]
            return [Reading(domain=domain, energy_joules=None, method="counter", gap=str(exc)) for domain in served]
        self._stuck = False
        return readings

    def close(self) -> None:
        """Give the descriptors and the thread back; a second call does nothing."""
        self._worker.close()
        while self._counters:
            self._counters.popitem()[1].close()

    def _sample(self, *, forget: bool) -> list[Reading]:
        """Read every zone once. Runs in the worker, which alone touches the counters."""
        now = self._monotonic_ns(), self._boottime_ns()
        before, self._read_at = self._read_at, now
        seconds = 0.0 if before is None else (now[0] - before[0]) / 1e9
        broken = None if before is None else self._broken(seconds, (now[1] - before[1]) / 1e9)
        if now[0] >= self._look_at_ns:
            self._look()
        if forget or broken is not None:
            for counter in self._counters.values():
                counter.forget()
        used = self._advance(seconds)
        for key, (domain, problem) in self._missing.items():
            if key not in self._counters and domain in used:
                used[domain].problem = used[domain].problem or str(problem)
        if self._psys is None and before is not None:
            self._psys = _psys_stands(used)
        served, unreadable = self._served(), self._unreadable_domain()
        if before is None:
            return [
                Reading(domain=domain, energy_joules=None, method="counter", partial=unreadable)
                for domain in served
                if domain in used
            ]
        return [
            Reading(
                domain=domain,
                energy_joules=one.joules,
                method="counter",
                partial=unreadable or (one.joules is not None and one.problem is not None),
                gap=(broken or one.problem or "no zone") if one.joules is None else None,
            )
            for domain, one in used.items()
            if domain in served
        ]

    def _advance(self, seconds: float) -> dict[Domain, _Used]:
        """Read the zones of each domain; one that fails is opened anew at the next reading, wherever it is then."""
        used = {domain: _Used() for domain in self._domains if domain in self._opened}
        failed: list[tuple[ZoneCounter, str]] = []
        for counter in self._counters.values():
            one = used[counter.zone.domain]
            try:
                joules = counter.advance(seconds=seconds, maximum_watts=self._bounds[counter.zone.domain])
            except UnknownError as exc:
                one.problem = one.problem or f"{counter.zone.key}: {exc}"
            except (OSError, ValueError) as exc:
                reason = str(exc.strerror if isinstance(exc, OSError) else exc)
                one.problem = one.problem or f"{counter.zone.key}: {reason}"
                failed.append((counter, reason))
            else:
                one.joules = joules if one.joules is None else one.joules + joules
        for counter, reason in failed:
            counter.close()
            del self._counters[counter.zone.key]
            problem = MeterAbsentError(f"{counter.zone.folder / 'energy_uj'}: {reason}")
            self._missing[counter.zone.key] = counter.zone.domain, problem
            self._look_at_ns = 0
        return used

    def _served(self) -> tuple[Domain, ...]:
        return ("psys",) if self._psys else ("package", "dram")

    def _unreadable_domain(self) -> bool:
        """Whether a whole domain that is there could never be read: DRAM whose file is closed, say."""
        served = self._served()
        return any(domain in served and domain not in self._opened for domain, _ in self._missing.values())

    def _broken(self, seconds: float, seconds_since_boot: float) -> str | None:
        """Why no counter can tell what this stretch took."""
        if seconds_since_boot - seconds > SUSPEND_SECONDS:
            return f"the machine was suspended for {seconds_since_boot - seconds:.1f} s"
        if seconds > self._longest_seconds:
            return f"{seconds:.0f} s without a reading: a counter may have wrapped twice"
        return None

    def _look(self) -> None:
        """Find the zones, open those that are not open, and note those that cannot be."""
        self._look_at_ns = self._monotonic_ns() + int(RESCAN_SECONDS * 1e9)
        try:
            found = survey(self._root, self._vendor)
        except MeterAbsentError:
            if not self._opened:
                raise
            return
        self._skipped = found.skipped
        for zone in found.zones:
            if zone.domain not in self._domains or zone.key in self._counters:
                continue
            try:
                counter = ZoneCounter(zone, self._pread, before=self._stood(zone))
            except MeterAbsentError as exc:
                self._missing.setdefault(zone.key, (zone.domain, exc))
                continue
            if self._mirrors(counter):
                counter.close()
                continue
            self._counters[zone.key] = counter
            self._opened.add(zone.domain)
        for key in self._counters:
            self._missing.pop(key, None)
        self._set_limits()

    def _stood(self, zone: Zone) -> bytes | None:
        """What stood in a zone's file when the first stretch began, where it was read then."""
        if self._baseline is None:
            return None
        before = self._baseline.get(zone.folder / "energy_uj")
        if before is not None:
            self._read_at = self._baseline.monotonic_ns, self._baseline.boottime_ns
        return before

    def _set_limits(self) -> None:
        """The watts that no zone exceeds, a platform at most twice its packages and their DRAM, and what follows."""
        packages = sum(counter.zone.domain == "package" for counter in self._counters.values())
        self._bounds: dict[Domain, float] = dict.fromkeys(self._domains, self._maximum_watts)
        self._bounds["psys"] = 4 * self._maximum_watts * max(1, packages)
        wraps = [
            counter.range_joules / (2 * self._bounds[counter.zone.domain])
            for counter in self._counters.values()
            if counter.range_joules is not None
        ]
        self._longest_seconds = min([LONGEST_SECONDS, *wraps])

    def _mirrors(self, counter: ZoneCounter) -> bool:
        """Whether this die shows the counter of one that is read already (an AMD socket whose vendor is unknown)."""
        package, die, _ = counter.zone.key.partition("-die-")
        if not die or self._vendor != "unknown" or counter.zone.domain != "package":
            return False
        return any(
            abs(counter.value() - other.value()) <= MIRROR_MICROJOULES
            for key, other in self._counters.items()
            if key.startswith(f"{package}-die-") and other.zone.domain == "package"
        )


def _no_package() -> MeterAbsentError:
    return MeterAbsentError("powercap has no zone of a CPU package")


def _psys_stands(used: Mapping[Domain, _Used]) -> bool | None:
    """Whether psys may stand for package and DRAM; None where this stretch was too short or too idle to tell.

    Makers connect psys differently or not at all: it must move, and contain its parts.
    """
    if "psys" not in used:
        return False
    platform, package = used["psys"].joules, used["package"].joules
    if platform is None or package is None:
        return None
    parts = package + (used["dram"].joules or 0.0 if "dram" in used else 0.0)
    if platform == 0 and parts <= 2 * PSYS_STEP_JOULES:
        return None
    return platform > 0 and platform + PSYS_STEP_JOULES >= parts
