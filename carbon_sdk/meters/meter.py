"""The door of the meters: what a meter is, and what one reading of it says.

A **domain** is a part of the machine whose joules can be known: the CPU packages, their DRAM, the whole platform
(psys), the GPUs. A **scope** says whose joules a meter reads, the machine's or the container's, and counts the busy CPU
time of the same thing, so that shares of the joules are shares of the right whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Domain = Literal["package", "dram", "psys", "gpu"]
Method = Literal["counter", "power_integral", "model"]
"""How joules were known, best first: a hardware counter, power integrated over time, a model of the hardware."""
ScopeKind = Literal["machine", "container"]
IdleRule = Literal["set", "learnt", "usage_ratio", "model", "none"]
"""How idle was told from active: watts set; learnt; Kepler's usage ratio; a model's own idle watts; idle not known."""
IdlePolicy = Literal["none", "by_cpu", "reserved"]
"""Who carries idle energy: nobody, the accounts by their CPU time, the accounts by what their container reserves."""

CPU_DOMAINS: tuple[Domain, ...] = ("package", "dram", "psys")
METHODS: tuple[Method, ...] = ("counter", "power_integral", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The joules that one domain used since the meter's previous reading.

    Args:
        domain: Which part of the machine.
        energy_joules: Joules since the previous reading of this meter, all sockets or devices added up; None where this
            stretch could not be read (a gap), and at a meter's first reading.
        method: How the joules were known.
        low_joules: Lower bound, where modelled.
        high_joules: Upper bound, where modelled.
        partial: A socket or device of this domain could not be read: the figure is a part of the whole.
        gap: Why there are no joules; None where there are some, and at the first reading.
        idle_joules: Joules of this stretch that the domain would have used doing nothing, where the meter itself knows
            (GPU idle power, a model's idle watts); None where it does not.
        process_share: The share of the joules above idle that this process used, 0 to 1, where the meter itself knows
            (per-process SM utilisation); None where it does not. CPU domains leave it None: CPU time says it.
        waiting: The counter has not moved since the previous reading: the joules of this stretch come with a later one,
            and the window goes on until then.
    """

    domain: Domain
    energy_joules: float | None
    method: Method
    low_joules: float | None = None
    high_joules: float | None = None
    partial: bool = False
    gap: str | None = None
    idle_joules: float | None = None
    process_share: float | None = None
    waiting: bool = False


class Scope(Protocol):
    """Whose joules a meter reads, and how busy that was."""

    @property
    def kind(self) -> ScopeKind:
        """`machine` (a VM's machine is the VM) or `container`."""

    @property
    def cpus(self) -> float:
        """Logical CPUs in this scope; a container limited to one and a half CPUs has 1.5."""

    def busy_cpu_seconds(self) -> float | None:
        """CPU seconds that everything in this scope has used since some fixed moment; None when it cannot be known.

        It never raises. For the machine: user, nice, system, irq and softirq time, guest time once, no steal.
        """


class Meter(Protocol):
    """Something that knows how many joules were used.

    A meter is read from one thread at a time, by ordinary blocking calls that take microseconds; one that may hang
    keeps a thread of its own behind `read`.
    """

    @property
    def name(self) -> str:
        """What the record calls it: `powercap`, `nvml`, `model`."""

    @property
    def scope(self) -> Scope:
        """Whose joules these are."""

    @property
    def minimum_interval_seconds(self) -> float:
        """Readings closer together than this say nothing (0.1 for CPU meters)."""

    @property
    def maximum_interval_seconds(self) -> float:
        """A stretch longer than this is a gap: a counter may have wrapped twice, a model ran frozen."""

    @property
    def basis(self) -> str:
        """What the joules rest on, for people: zones read, or the CPU and coefficients of a model."""

    def read(self) -> Sequence[Reading]:
        """The joules of each domain since the previous call. It never raises for a failed read: that is a gap."""

    def close(self) -> None:
        """Give back descriptors and threads; a second call does nothing."""
