"""RAPL energy counters through the kernel's powercap tree, on Intel and AMD.

Each zone is a counter of microjoules that starts again at 0. By default the packages and their DRAM are read, of every
socket, each joule once; the platform (psys) stands for both where it is asked for, moves, and is no less than they are.
A zone that cannot be read makes the readings partial; a stretch without both of its ends is a gap.
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.counter import Difference, difference
from carbon_sdk.meters.hardware import Vendor
from carbon_sdk.meters.meter import Domain, Reading, Scope
from carbon_sdk.meters.powercap_zones import Zone, read_problem, survey
from carbon_sdk.meters.scope import MachineScope

MICROJOULE = 1e-6
REGISTER_STEPS = 2**32 - 1  # the kernel masks the energy register to 32 bits: intel_rapl_common.c, ENERGY_STATUS_MASK
MAXIMUM_WATTS = 1000.0
"""No package and no socket's DRAM takes more: the biggest parts of 2026 are sold with 500 W."""
LONGEST_SECONDS = 60.0  # turbostat's limit too: a second wrap within it would need over 1 kW on the smallest range
RESCAN_SECONDS = 10.0
"""Zones come and go with CPUs and permissions: look again this often."""
MIRROR_MICROJOULES = 1_000_000
"""Two dies whose counters read within a joule of each other at once show one counter."""
PSYS_DEFAULT_STEP_JOULES = 1.0  # psys of Sapphire and Emerald Rapids moves in steps of 1 J

Pread = Callable[[int, int, int], bytes]


@dataclass(slots=True, kw_only=True)
class _Counter:
    """One zone that is being read: the only state of the meter."""

    zone: Zone
    descriptor: int
    counts: float | None
    step_joules: float | None
    before: int | None = None
    fresh: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    """What the zones of one domain used, and what is wrong with that."""

    joules: float | None
    partial: bool
    problem: str | None


@dataclass(slots=True, kw_only=True)
class _Opened:
    counters: dict[str, _Counter] = field(default_factory=dict)
    missing: dict[str, tuple[Domain, MeterAbsentError]] = field(default_factory=dict)


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
    ) -> None:
        self._root = Path(root)
        self._scope = MachineScope(procfs, verify=True)
        self._domains: tuple[Domain, ...] = ("package", "dram", "psys") if psys else ("package", "dram")
        self._psys: bool | None = None if psys else False
        self._vendor = vendor
        self._maximum_watts = maximum_watts
        self._pread = pread
        self._clocks = (monotonic_ns, boottime_ns)
        self._zones = _Opened()
        self._read_at: tuple[int, int] | None = None
        self._looked_ns = monotonic_ns()
        self._look()
        if not any(counter.zone.domain == "package" for counter in self._zones.counters.values()):
            _, problem = next(iter(self._zones.missing.values()))
            raise problem

    @property
    def scope(self) -> Scope:
        """The machine, if /proc/stat speaks for it."""
        return self._scope

    @property
    def maximum_interval_seconds(self) -> float:
        """Half the time in which the smallest counter could wrap, at most a minute."""
        ranges = (
            counter.counts * MICROJOULE / (2 * self._bound(counter.zone.domain))
            for counter in self._zones.counters.values()
            if counter.counts is not None
        )
        return min(LONGEST_SECONDS, *ranges, LONGEST_SECONDS)

    @property
    def basis(self) -> str:
        """The zones read, and those that could not be."""
        served = self._served()
        read = sorted(key for key, counter in self._zones.counters.items() if counter.zone.domain in served)
        interfaces = sorted({counter.zone.interface for counter in self._zones.counters.values()})
        text = f"{', '.join(read)} by {' and '.join(interfaces)}"
        if self._zones.missing:
            text += f"; not readable: {', '.join(sorted(self._zones.missing))}"
        if "psys" in self._domains and self._psys is False:
            text += "; psys does not move or is less than its parts"
        return text

    def read(self) -> Sequence[Reading]:
        """The joules of each domain since the previous call; a gap where they cannot be known."""
        monotonic_ns, boottime_ns = (clock() for clock in self._clocks)
        if (monotonic_ns - self._looked_ns) / 1e9 >= RESCAN_SECONDS:
            self._looked_ns = monotonic_ns
            self._look()
        seconds, broken = self._stretch(monotonic_ns, boottime_ns)
        self._read_at = monotonic_ns, boottime_ns
        spans: dict[str, Difference] = {
            key: self._advance(counter, seconds, broken) for key, counter in list(self._zones.counters.items())
        }
        used = {domain: self._used(domain, spans) for domain in self._present()}
        self._judge_psys(used)
        missing = {self._zones.missing[key][0] for key in self._zones.missing}
        served = self._served()
        return [
            Reading(
                domain=domain,
                energy_joules=one.joules,
                method="counter",
                partial=one.partial or bool(missing & set(served)),
                gap=one.problem,
            )
            for domain, one in used.items()
            if domain in served
        ]

    def close(self) -> None:
        """Give the descriptors back; a second call does nothing."""
        for counter in self._zones.counters.values():
            os.close(counter.descriptor)
        self._zones.counters.clear()

    def _present(self) -> list[Domain]:
        present = {counter.zone.domain for counter in self._zones.counters.values()}
        return [domain for domain in self._domains if domain in present or domain == "package"]

    def _served(self) -> tuple[Domain, ...]:
        return ("psys",) if self._psys else ("package", "dram")

    def _bound(self, domain: Domain) -> float:
        if domain != "psys":
            return self._maximum_watts
        packages = sum(counter.zone.domain == "package" for counter in self._zones.counters.values())
        return 2 * self._maximum_watts * max(1, packages)

    def _stretch(self, monotonic_ns: int, boottime_ns: int) -> tuple[float, str | None]:
        """Seconds since the previous reading, and why counters say nothing about them, if they do not."""
        if self._read_at is None:
            return 0.0, None
        seconds = (monotonic_ns - self._read_at[0]) / 1e9
        asleep = (boottime_ns - self._read_at[1]) / 1e9 - seconds
        if asleep > 0.1:
            return seconds, f"the machine was suspended for {asleep:.1f} s"
        if seconds > self.maximum_interval_seconds:
            return seconds, f"{seconds:.0f} s without a reading: a counter may have wrapped twice"
        return seconds, None

    def _advance(self, counter: _Counter, seconds: float, broken: str | None) -> Difference:
        """Read one counter, and say what lies between this reading and the one before."""
        before, first = counter.before, counter.fresh
        counter.fresh = False
        try:
            now = self._value(counter.descriptor)
        except (OSError, ValueError) as exc:
            counter.before = None
            if isinstance(exc, OSError) and exc.errno in (errno.ENOENT, errno.ENODEV, errno.EBADF):
                self._drop(counter)
            reason = exc.strerror if isinstance(exc, OSError) else "not a number"
            return Difference(problem=f"{counter.zone.key}: {reason}")
        counter.before = now
        if first:
            return Difference()
        if before is None:
            return Difference(problem=f"{counter.zone.key}: no reading at the start of this stretch")
        if broken is not None:
            return Difference(problem=broken)
        found = difference(
            before,
            now,
            joules_per_count=MICROJOULE,
            counts=counter.counts,
            seconds=seconds,
            maximum_watts=self._bound(counter.zone.domain),
        )
        return found if found.problem is None else Difference(problem=f"{counter.zone.key}: {found.problem}")

    def _value(self, descriptor: int) -> int:
        for _ in range(3):
            try:
                text = self._pread(descriptor, 32, 0)
            except InterruptedError:
                continue
            if text.strip().isdigit():
                return int(text)
            raise ValueError
        raise InterruptedError(errno.EINTR, "interrupted again and again")

    def _used(self, domain: Domain, spans: dict[str, Difference]) -> _Used:
        mine = [
            spans[key]
            for key, counter in self._zones.counters.items()
            if counter.zone.domain == domain and key in spans
        ]
        gone = [span for key, span in spans.items() if key not in self._zones.counters and key.startswith(domain)]
        known = [span.joules for span in mine if span.joules is not None]
        problem = next((span.problem for span in (*mine, *gone) if span.problem is not None), None)
        if not known:
            return _Used(joules=None, partial=False, problem=problem)
        return _Used(joules=sum(known), partial=len(known) < len(mine) + len(gone), problem=None)

    def _judge_psys(self, used: dict[Domain, _Used]) -> None:
        """Decide once, at the first stretch that moved, whether psys can stand for package and DRAM."""
        if self._psys is not None or "psys" not in used:
            return
        platform, package = used["psys"].joules, used["package"].joules
        if platform is None or package is None:
            return
        step = next(
            (counter.step_joules for counter in self._zones.counters.values() if counter.zone.domain == "psys"), None
        )
        step = PSYS_DEFAULT_STEP_JOULES if step is None else step
        parts = package + (used["dram"].joules or 0.0 if "dram" in used else 0.0)
        if platform or parts > 2 * step:
            self._psys = platform > 0 and platform + step >= parts

    def _look(self) -> None:
        """Find the zones, open those that are not open, and forget those that are gone."""
        try:
            found = survey(self._root, self._vendor)
        except MeterAbsentError:
            if not self._zones.counters:
                raise
            return
        missing: dict[str, tuple[Domain, MeterAbsentError]] = {}
        for zone in found.zones:
            if zone.domain not in self._domains or zone.key in self._zones.counters:
                continue
            opened = self._open(zone)
            if isinstance(opened, MeterAbsentError):
                missing.setdefault(zone.key, (zone.domain, opened))
            elif not self._mirrors(opened):
                self._zones.counters[zone.key] = opened
        for key, counter in self._zones.counters.items():
            missing.pop(key, None)
            counter.fresh = counter.fresh and self._read_at is None
        self._zones.missing = missing

    def _open(self, zone: Zone) -> _Counter | MeterAbsentError:
        file = zone.folder / "energy_uj"
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            return read_problem(file, exc)
        try:
            self._value(descriptor)
        except OSError as exc:
            os.close(descriptor)
            return read_problem(file, exc)
        except ValueError:
            os.close(descriptor)
            return MeterAbsentError(f"{file} holds no number")
        size = _range_microjoules(zone.folder)
        step = None if size is None else size / REGISTER_STEPS
        return _Counter(
            zone=zone,
            descriptor=descriptor,
            counts=None if size is None or step is None else size + step,
            step_joules=None if step is None else step * MICROJOULE,
        )

    def _mirrors(self, counter: _Counter) -> bool:
        """Whether this die shows the counter of one that is read already (an AMD socket whose vendor is unknown)."""
        package, die, _ = counter.zone.key.partition("-die-")
        if not die or self._vendor != "unknown":
            return False
        for key, other in self._zones.counters.items():
            if key.startswith(f"{package}-die-") and counter.zone.domain == other.zone.domain == "package":
                apart = abs(self._value(counter.descriptor) - self._value(other.descriptor))
                if apart <= MIRROR_MICROJOULES:
                    os.close(counter.descriptor)
                    return True
        return False

    def _drop(self, counter: _Counter) -> None:
        """Forget a zone that went away; it is looked for at once at the next reading."""
        os.close(counter.descriptor)
        del self._zones.counters[counter.zone.key]
        self._zones.missing[counter.zone.key] = (
            counter.zone.domain,
            MeterAbsentError(f"{counter.zone.folder / 'energy_uj'} went away"),
        )
        self._looked_ns = -(10**18)


def _range_microjoules(folder: Path) -> int | None:
    """The reading after which the counter starts again; None where the file is missing, unreadable or 0."""
    try:
        text = (folder / "max_energy_range_uj").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() and int(text) else None
