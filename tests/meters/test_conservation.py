"""One law for every meter: what was used is booked once, whatever reads it and however idle is told from active.

The machines move by a schedule of the test's own, so that the truth is known beside the meter. A model's joules follow
from the load alone and prove nothing about watts; the books over them are held to the same law.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from carbon_sdk.cpu.clock import Account, Cut, Use
from carbon_sdk.meters.curve import PowerCurve
from carbon_sdk.meters.exporter import ExporterMeter
from carbon_sdk.meters.idle import IdlePower
from carbon_sdk.meters.meter import Domain, IdlePolicy, Meter
from carbon_sdk.meters.modelled import ModelledMeter
from carbon_sdk.meters.nvml import NVMLMeter
from carbon_sdk.meters.powercap import PowercapMeter
from carbon_sdk.meters.scope import MachineScope
from carbon_sdk.sampler import Sampler
from carbon_sdk.spans.ledger import BACKGROUND, Ledger, Page
from tests.meters.conftest import Cards, Clock, Exporter, ProcfsTree, SysfsTree

CPUS = 4
A, B = Account("request", "GET /a", "GET /a"), Account("span", "GET /a", "resize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What the machine does between two readings.

    Args:
        seconds: How long.
        watts: By domain.
        load: Busy share of all CPUs.
        own: Of the busy time, this process's share.
        spans: Of that, the share of each account.
        gpu_seconds: In which the accounts said that they use a GPU.
        readable: Whether the reading at its end succeeds.
    """

    seconds: float
    watts: Mapping[Domain, float]
    load: float
    own: float
    spans: tuple[float, float]
    gpu_seconds: tuple[float, float]
    readable: bool = True


stretches = st.builds(
    Stretch,
    seconds=st.floats(0.2, 9.0),
    watts=st.fixed_dictionaries(
        {"package": st.floats(1.0, 400.0), "dram": st.floats(0.0, 40.0), "gpu": st.floats(0.0, 250.0)}
    ),
    load=st.floats(0.0, 1.0),
    own=st.floats(0.0, 1.2),
    spans=st.tuples(st.floats(0.0, 0.6), st.floats(0.0, 0.6)),
    gpu_seconds=st.tuples(st.just(0.0) | st.floats(1e-3, 1.0), st.just(0.0) | st.floats(1e-3, 1.0)),
    readable=st.booleans() | st.just(True),
)


some_schedules = settings(
    max_examples=6,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes: each try opens meters
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Machine(ABC):
    """A part of a machine that a meter reads.

    Args:
        clock: Its time.
    """

    domains: tuple[Domain, ...]
    slack_joules = 1e-5
    """How far a total may be off: the counter's last digit, at each reading of each counter."""
    knows_watts = True
    """Its meter reads joules; a model does not."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @abstractmethod
    def meter(self) -> Meter:
        """A meter that reads it."""

    @abstractmethod
    def use(self, watts: Mapping[Domain, float], seconds: float) -> None:
        """Use so much."""

    @abstractmethod
    def fail(self, broken: bool) -> None:
        """Let readings fail, or succeed again."""

    def joules(self, domain: Domain, before: Stretch | None, stretch: Stretch) -> float:
        """What a domain used in a stretch, as its meter can know it."""
        return stretch.watts[domain] * stretch.seconds


class Rapl(Machine):
    """Two sockets with DRAM, whose counters wrap soon."""

    domains: tuple[Domain, ...] = ("package", "dram")

    def __init__(self, clock: Clock, procfs: ProcfsTree, root: Path, *, psys: bool = False) -> None:
        super().__init__(clock)
        self._procfs, self._psys = procfs, psys
        lines = [
            line
            for n in range(2)
            for line in (
                f"intel-rapl:{n} package-{n} E15 energy={65532000000 - n}",
                f"intel-rapl:{n}:0 dram D15 energy=65712990000",
            )
        ]
        self.tree = SysfsTree(root, "\n".join([*lines, "intel-rapl:2 psys E61 energy=262143328000"]))
        if psys:
            self.domains = ("psys",)

    def meter(self) -> Meter:
        return PowercapMeter(
            self.tree.root,
            procfs=self._procfs.root,
            psys=self._psys,
            vendor="intel",
            monotonic_ns=self.clock,
            boottime_ns=self.clock.boottime_ns,
            read_seconds=20.0,
        )

    def use(self, watts: Mapping[Domain, float], seconds: float) -> None:
        for n, part in ((0, 0.6), (1, 0.4)):
            self.tree.use(f"intel-rapl:{n}", watts["package"] * part * seconds)
            self.tree.use(f"intel-rapl:{n}:0", watts["dram"] * part * seconds)
        self.tree.use("intel-rapl:2", (5.0 + watts["package"] + watts["dram"]) * seconds)

    def joules(self, domain: Domain, before: Stretch | None, stretch: Stretch) -> float:
        if domain != "psys":
            return super().joules(domain, before, stretch)
        return (5.0 + stretch.watts["package"] + stretch.watts["dram"]) * stretch.seconds

    def fail(self, broken: bool) -> None:
        for zone in ("0", "0:0", "1", "1:0", "2"):
            file = self.tree.folder(f"intel-rapl:{zone}") / "energy_uj"
            text = file.read_text().strip().removesuffix(" broken")
            file.write_text(f"{text} broken\n" if broken else f"{text}\n")


class Gpus(Machine):
    """Two cards with counters, or two that tell their power only."""

    domains: tuple[Domain, ...] = ("gpu",)
    slack_joules = 2e-2

    def __init__(self, clock: Clock, procfs: ProcfsTree, cards: Cards, *, counters: bool) -> None:
        super().__init__(clock)
        self._procfs, self._cards, self._counters = procfs, cards, counters
        self._joules = [0.0, 0.0]
        cards.gpus.clear()
        for _ in range(2):
            cards.add(energy=5_000_000 if counters else -1, power=0, users="1:50:5")

    def meter(self) -> Meter:
        return NVMLMeter(procfs=self._procfs.root, monotonic_ns=self.clock, read_seconds=20.0)

    def use(self, watts: Mapping[Domain, float], seconds: float) -> None:
        for number, part in ((0, 0.7), (1, 0.3)):
            self._joules[number] += watts["gpu"] * part * seconds
            energy = 5_000_000 + round(self._joules[number] * 1000) if self._counters else -1
            self._cards.set(number, energy=energy, power=round(watts["gpu"] * part * 1000))

    def joules(self, domain: Domain, before: Stretch | None, stretch: Stretch) -> float:
        if self._counters:
            return super().joules(domain, before, stretch)
        first = 0.0 if before is None else before.watts["gpu"]
        return (first + stretch.watts["gpu"]) / 2 * stretch.seconds

    def fail(self, broken: bool) -> None:
        for number in range(2):
            self._cards.set(number, fail=999 if broken else 0)


class Modelled(Machine):
    """No counter at all."""

    domains: tuple[Domain, ...] = ("package", "dram")
    knows_watts = False

    def __init__(self, clock: Clock, procfs: ProcfsTree) -> None:
        super().__init__(clock)
        self._procfs = procfs
        self._stat = ""

    def meter(self) -> Meter:
        watts = tuple(10.0 + 9.0 * step**0.7 for step in range(11))
        curve = PowerCurve(watts=watts, low=tuple(0.7 * one for one in watts), high=tuple(1.4 * one for one in watts))
        return ModelledMeter(
            MachineScope(self._procfs.root),
            package=curve,
            dram=curve.scaled(0.2),
            basis="test",
            interval_seconds=20.0,
            monotonic_ns=self.clock,
        )

    def use(self, watts: Mapping[Domain, float], seconds: float) -> None:
        """The load is the machine's alone."""

    def fail(self, broken: bool) -> None:
        stat = self._procfs.root / "stat"
        self._stat = stat.read_text() or self._stat
        stat.write_text("" if broken else self._stat)


class Exported(Machine):
    """A node_exporter on the machine."""

    domains: tuple[Domain, ...] = ("package", "dram")
    slack_joules = 1e-3

    def __init__(self, clock: Clock, procfs: ProcfsTree, served: Exporter) -> None:
        super().__init__(clock)
        self._procfs, self._served = procfs, served
        self._joules = {"package": 1000.0, "dram": 500.0}
        self._serve()

    def _serve(self) -> None:
        dram = (
            f'node_rapl_dram_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:0:0"}} {self._joules["dram"]}'
        )
        self._served.node(self._joules["package"], dram)

    def meter(self) -> Meter:
        return ExporterMeter(self._served.url, procfs=self._procfs.root, monotonic_ns=self.clock, read_seconds=20.0)

    def use(self, watts: Mapping[Domain, float], seconds: float) -> None:
        for domain in self.domains:
            self._joules[domain] += watts[domain] * seconds
        self._serve()

    def fail(self, broken: bool) -> None:
        self._served.status = 503 if broken else 200


class Process:
    """The CPU account of a process that uses what the schedule says."""

    def __init__(self) -> None:
        self.next = Cut(accounts={}, spans=(), process_cpu_seconds=0.0, late_cpu_seconds=0.0)

    def cut(self) -> Cut:
        """What was used since the last cut."""
        return self.next

    def live(self, stretch: Stretch) -> None:
        """Use what the schedule says."""
        used = stretch.load * CPUS * stretch.seconds * stretch.own
        self.next = Cut(
            accounts={
                account: Use(cpu_seconds=used * share, gpu_seconds=gpu)
                for account, share, gpu in zip((A, B), stretch.spans, stretch.gpu_seconds, strict=True)
            },
            spans=(),
            process_cpu_seconds=used,
            late_cpu_seconds=0.0,
        )


def pages_of(
    machines: Sequence[Machine], procfs: ProcfsTree, clock: Clock, ledger: Ledger, schedule: Sequence[Stretch]
) -> list[Page]:
    """What is booked while the machines live by a schedule."""
    busy = 100.0
    procfs.busy(busy, cpus=CPUS)
    process = Process()
    with ExitStack() as stack:
        meters = [machine.meter() for machine in machines]
        for meter in meters:
            stack.callback(meter.close)
        sampler = Sampler(meters, process, monotonic_ns=clock, utcnow=lambda: datetime(2026, 3, 29, tzinfo=UTC))
        sampler.begin()
        pages = []
        for stretch in schedule:
            clock.sleep(stretch.seconds)
            busy += stretch.load * CPUS * stretch.seconds
            for machine in machines:
                machine.fail(False)
                machine.use(stretch.watts, stretch.seconds)
            procfs.busy(busy, cpus=CPUS)
            if not stretch.readable:
                for machine in machines:
                    machine.fail(True)
            process.live(stretch)
            pages.append(ledger.book(sampler.close()))
        for machine in machines:
            machine.fail(False)
        return pages


def booked(page: Page, domain: Domain) -> list[float]:
    """Everything that the joules of a domain went to."""
    own = [entry.joules.get(domain, 0.0) for entry in page.entries.values()]
    return [*own, page.rest[domain], page.idle[domain], page.unattributed[domain]]


def truth(machine: Machine, schedule: Sequence[Stretch], domain: Domain) -> float:
    """Joules of the stretches that were read at both ends."""
    before: Stretch | None = None
    total = 0.0
    for stretch in schedule:
        if stretch.readable and (before is None or before.readable):
            total += machine.joules(domain, before, stretch)
        before = stretch
    return total


def now_and_then(schedule: Sequence[Stretch]) -> list[Stretch]:
    """The same with no failure after another: lost zones are looked for at once, and then every ten seconds."""
    spared: list[Stretch] = []
    for stretch in schedule:
        alone = not spared or spared[-1].readable
        spared.append(replace(stretch, readable=stretch.readable or not alone))
    return spared


@pytest.fixture
def built(
    request: pytest.FixtureRequest, procfs: ProcfsTree, clock: Clock, tmp_path: Path
) -> Callable[[str], list[Machine]]:
    """The machines of a name, fresh at each call."""
    count = itertools.count()

    def one(name: str) -> Machine:
        if name in ("powercap", "psys"):
            return Rapl(clock, procfs, tmp_path / f"sys{next(count)}", psys=name == "psys")
        if name in ("nvml counter", "nvml power"):
            cards: Cards = request.getfixturevalue("cards")
            return Gpus(clock, procfs, cards, counters=name == "nvml counter")
        if name == "exporter":
            served: Exporter = request.getfixturevalue("served")
            return Exported(clock, procfs, served)
        return Modelled(clock, procfs)

    return lambda names: [one(name) for name in names.split(" + ")]


MACHINES = (
    "powercap",
    "psys",
    "nvml counter",
    "nvml power",
    "model",
    "exporter",
    "powercap + nvml counter",
    "model + nvml power",
    "exporter + nvml counter",
)
LEARNT_WATTS = 35.0


def quiet(power: IdlePower) -> IdlePower:
    """The same after ten minutes of a quiet machine: it has learnt."""
    for second in range(600):
        load = (second % 60) / 600
        power.observe(energy_joules=LEARNT_WATTS + 80.0 * load**0.7, seconds=1.0, utilisation=load)
    assert power.watts()[1] == "learnt"
    return power


IDLE: Mapping[str, Callable[[], IdlePower | None]] = {
    "usage ratio": lambda: None,
    "set": lambda: IdlePower(20.0),
    "learnt": lambda: quiet(IdlePower()),
    "learning": IdlePower,
}


@pytest.mark.parametrize("idle", IDLE)
@pytest.mark.parametrize("names", MACHINES)
@given(
    schedule=st.lists(stretches, min_size=1, max_size=6).map(now_and_then),
    policy=st.sampled_from(["none", "by_cpu", "reserved"]),
)
@settings(
    max_examples=6, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_joule_of_every_meter_is_booked_once(
    built: Callable[[str], list[Machine]],
    procfs: ProcfsTree,
    clock: Clock,
    names: str,
    idle: str,
    schedule: list[Stretch],
    policy: IdlePolicy,
) -> None:
    """Spans, background, rest, idle and unattributed are what was measured; that is what was used; nothing is negative.

    A stretch that was not read at both of its ends is a gap, and its joules are nowhere.
    """
    machines = built(names)
    ledger = Ledger(idle_power=IDLE[idle](), idle_policy=policy, reserved_share=0.5)
    pages = pages_of(machines, procfs, clock, ledger, schedule)

    for page in pages:
        for domain, joules in page.measured.items():
            if joules is None:
                assert page.gaps[domain]
                continue
            parts = booked(page, domain)
            assert sum(parts) == pytest.approx(joules, rel=1e-9, abs=1e-9)
            assert min(parts) >= -1e-9
    for machine in machines:
        slack = machine.slack_joules * (1 + len(schedule))
        for domain in machine.domains:
            measured = sum(page.measured.get(domain) or 0.0 for page in pages)
            if machine.knows_watts:
                assert measured == pytest.approx(truth(machine, schedule, domain), rel=1e-6, abs=slack)


even = st.builds(
    Stretch,
    seconds=st.integers(2, 40).map(lambda tenths: tenths * 2 / 10),
    watts=st.fixed_dictionaries(
        {"package": st.floats(1.0, 400.0), "dram": st.floats(0.0, 40.0), "gpu": st.floats(1.0, 250.0)}
    ),
    load=st.integers(0, 20).map(lambda share: share / 20),
    own=st.floats(0.0, 1.0),
    spans=st.tuples(st.floats(0.0, 0.5), st.floats(0.0, 0.5)),
    gpu_seconds=st.tuples(st.just(0.0) | st.floats(1e-3, 1.0), st.just(0.0) | st.floats(1e-3, 1.0)),
)
"""Stretches whose halves are whole ticks of /proc/stat, so that both halves have the load of the whole."""


def halves(stretch: Stretch) -> list[Stretch]:
    """The same in two windows."""
    gpu = (stretch.gpu_seconds[0] / 2, stretch.gpu_seconds[1] / 2)
    return [replace(stretch, seconds=stretch.seconds / 2, gpu_seconds=gpu)] * 2


@pytest.mark.parametrize("names", [name for name in MACHINES if "nvml power" not in name])
@given(schedule=st.lists(even, min_size=1, max_size=4))
@some_schedules
def test_cutting_a_window_changes_nothing(
    built: Callable[[str], list[Machine]], procfs: ProcfsTree, clock: Clock, names: str, schedule: list[Stretch]
) -> None:
    """Neither a domain's joules nor an account's, where power and CPU rates are constant; integrated power excepted."""
    once = pages_of(built(names), procfs, clock, Ledger(), schedule)
    cut = [half for stretch in schedule for half in halves(stretch)]
    twice = pages_of(built(names), procfs, clock, Ledger(), cut)

    for domain in once[0].measured:
        slack = 2e-2 * len(cut)
        whole, parts = (sum(page.measured.get(domain) or 0.0 for page in pages) for pages in (once, twice))
        assert parts == pytest.approx(whole, rel=1e-6, abs=slack)
        if domain == "gpu":
            continue  # its idle is the lowest power seen so far: more windows see lower
        for account in (A, B, BACKGROUND):
            own, own_parts = (
                sum(page.entries[account].joules.get(domain, 0.0) for page in pages) for pages in (once, twice)
            )
            assert own_parts == pytest.approx(own, rel=1e-6, abs=slack)
