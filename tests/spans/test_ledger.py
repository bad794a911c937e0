"""The books balance, whatever a window holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.cpu.clock import Account, Cut, SpanUse, Use
from carbon_sdk.meters.meter import Domain, IdleRule
from carbon_sdk.sampler import Energy, Window
from carbon_sdk.spans.ledger import BACKGROUND, Ledger, Page

START = datetime(2026, 3, 29, 12, tzinfo=UTC)
A, B = Account("request", "GET /a", "GET /a"), Account("span", "GET /a", "resize")


class Watts:
    """An idle power that is what it was set to."""

    def __init__(self, watts: float | None, rule: IdleRule = "set") -> None:
        self.answer = watts, rule
        self.observed: list[float] = []

    def observe(self, *, energy_joules: float, seconds: float, utilisation: float) -> None:
        self.observed.append(utilisation)

    def watts(self) -> tuple[float | None, IdleRule]:
        return self.answer


def window(
    *energies: Energy,
    accounts: dict[Account, float] | None = None,
    process: float = 0.0,
    busy: float | None = 0.0,
    seconds: float = 1.0,
    cpus: float = 4.0,
    spans: tuple[SpanUse, ...] = (),
    contained: float | None = None,
    gpu: dict[Account, float] | None = None,
) -> Window:
    uses = {
        account: Use(cpu_seconds=used, gpu_seconds=(gpu or {}).get(account, 0.0))
        for account, used in (accounts or {}).items()
    }
    return Window(
        started_at=START,
        ended_at=START + timedelta(seconds=seconds),
        seconds=seconds,
        energies=energies,
        busy_cpu_seconds=busy,
        cpus=cpus,
        container_cpu_seconds=contained,
        cut=Cut(accounts=uses, spans=spans, process_cpu_seconds=process, late_cpu_seconds=0.0),
    )


def joules(domain: Domain, amount: float | None, **more: float | None) -> Energy:
    return Energy(domain=domain, joules=amount, method="counter", **more)  # type: ignore[arg-type]


def booked(page: Page, domain: Domain) -> float:
    own = sum(entry.joules.get(domain, 0.0) for entry in page.entries.values())
    return own + page.rest[domain] + page.idle[domain] + page.unattributed[domain]


amounts = st.just(0.0) | st.floats(1e-3, 1e6)
cpu = st.just(0.0) | st.floats(1e-6, 50)
windows = st.builds(
    window,
    st.builds(joules, st.just("package"), amounts),
    st.builds(joules, st.just("dram"), amounts),
    st.builds(
        joules, st.just("gpu"), amounts, process_share=st.none() | st.floats(0, 1), idle_joules=st.none() | amounts
    ),
    accounts=st.dictionaries(st.sampled_from([A, B, Account("other", "other", "other")]), cpu),
    process=cpu,
    busy=st.none() | cpu,
    seconds=st.floats(0.01, 60),
    cpus=st.sampled_from([0.5, 1.5, 4.0, 128.0]),
    gpu=st.dictionaries(st.sampled_from([A, B]), st.just(0.0) | st.floats(1e-6, 1)),
    contained=st.none() | cpu,
)
idle_powers = st.none() | st.builds(
    Watts, st.none() | st.floats(0, 500), st.sampled_from(["set", "learnt", "usage_ratio"])
)


@given(windows, idle_powers, st.sampled_from(["none", "by_cpu", "reserved"]), st.none() | st.floats(0, 1))
def test_every_joule_is_booked_once(read: Window, idle: Watts | None, policy: str, reserved: float | None) -> None:
    """Spans, background, rest, idle and unattributed add up to what was measured; no entry is negative."""
    page = Ledger(idle_power=idle, idle_policy=policy, reserved_share=reserved).book(read)  # type: ignore[arg-type]

    for energy in read.energies:
        assert booked(page, energy.domain) == pytest.approx(energy.joules, rel=1e-9, abs=1e-9)
        parts = [page.rest[energy.domain], page.idle[energy.domain], page.unattributed[energy.domain]]
        parts += [entry.joules.get(energy.domain, 0.0) for entry in page.entries.values()]
        assert min(parts) >= -1e-9


@given(windows, st.floats(0.05, 0.95))
def test_splitting_a_window_changes_no_total(read: Window, part: float) -> None:
    """Where power and CPU rates are constant, two windows give each account what one gives."""

    def piece(fraction: float) -> Window:
        return read._replace(
            seconds=read.seconds * fraction,
            energies=tuple(
                energy._replace(
                    joules=(energy.joules or 0.0) * fraction,
                    idle_joules=None if energy.idle_joules is None else energy.idle_joules * fraction,
                )
                for energy in read.energies
            ),
            busy_cpu_seconds=None if read.busy_cpu_seconds is None else read.busy_cpu_seconds * fraction,
            cut=read.cut._replace(
                process_cpu_seconds=read.cut.process_cpu_seconds * fraction,
                accounts={
                    account: replace(
                        use, cpu_seconds=use.cpu_seconds * fraction, gpu_seconds=use.gpu_seconds * fraction
                    )
                    for account, use in read.cut.accounts.items()
                },
            ),
        )

    whole = Ledger(idle_power=Watts(10.0)).book(read)
    first, second = (Ledger(idle_power=Watts(10.0)).book(piece(fraction)) for fraction in (part, 1 - part))

    for account, entry in whole.entries.items():
        for domain, own in entry.joules.items():
            halves = first.entries[account].joules.get(domain, 0.0) + second.entries[account].joules.get(domain, 0.0)
            assert halves == pytest.approx(own, rel=1e-6, abs=1e-6)


def test_idle_does_not_melt_away_under_load() -> None:
    """40 W idle over 10 s of a fully loaded machine: 400 J idle and 1,100 J active, not 0 and 1,500."""
    read = window(joules("package", 1500.0), accounts={A: 40.0}, process=40.0, busy=40.0, seconds=10.0)

    page = Ledger(idle_power=Watts(40.0)).book(read)

    assert page.idle["package"] == pytest.approx(400.0)
    assert page.entries[A].joules["package"] == pytest.approx(1100.0)
    assert page.idle_rule == "set"


def test_unknown_idle_power_is_the_usage_ratio_by_name() -> None:
    """The record can say that idle went by the ratio."""
    page = Ledger().book(window(joules("package", 100.0), process=1.0, busy=1.0))

    assert page.idle["package"] == pytest.approx(75.0)
    assert page.idle_rule == "usage_ratio"


def test_a_models_own_idle_watts_are_used_and_named() -> None:
    """A model knows its idle; only a power that was set stands above it."""
    read = window(joules("package", 100.0, idle_joules=30.0), process=1.0, busy=1.0)

    assert (Ledger().book(read).idle["package"], Ledger().book(read).idle_rule) == (30.0, "model")
    assert Ledger(idle_power=Watts(50.0)).book(read).idle["package"] == pytest.approx(50.0)


def test_a_gap_gives_nobody_joules_and_says_so() -> None:
    """Unknown is not zero: entries have no joules, the page has gap seconds and the reason."""
    read = window(Energy(domain="package", joules=None, method="counter", gap="EINVAL"), accounts={A: 1.0}, process=1.0)

    page = Ledger().book(read)

    assert page.entries[A].joules == {}
    assert page.measured == {"package": None}
    assert page.gap_seconds == 1.0
    assert page.gaps == {"package": "EINVAL"}


def test_one_domain_in_a_gap_makes_the_page_partial() -> None:
    """Package joules without the DRAM's are a part of the whole, and never smaller in silence."""
    lost = Energy(domain="dram", joules=None, method="counter", gap="EIO")

    page = Ledger().book(window(joules("package", 10.0), lost, process=1.0, busy=1.0))

    assert page.partial
    assert page.gap_seconds == 0.0


def test_the_hosts_joules_without_the_hosts_cpu_are_unattributed() -> None:
    """A container's own /proc/stat must not charge it the host's 200 W."""
    page = Ledger().book(window(joules("package", 200.0), accounts={A: 1.0}, process=1.0, busy=None))

    assert page.unattributed["package"] == pytest.approx(200.0)
    assert page.entries[A].joules == {}


def test_cpu_that_arrives_late_gets_no_joules_of_others() -> None:
    """A child's hundred seconds, told at its end, do not fit into one second of four CPUs."""
    page = Ledger().book(window(joules("package", 40.0), accounts={A: 100.0}, process=100.0, busy=4.0))

    assert page.late_cpu_seconds == pytest.approx(100.0 - 4.0 * 1.02)
    assert booked(page, "package") == pytest.approx(40.0)


@given(windows)
def test_every_cpu_second_of_the_process_is_in_an_account_in_the_background_or_late(read: Window) -> None:
    """And what accounts hold beyond what the process used is told as such."""
    page = Ledger().book(read)

    held = sum(entry.use.cpu_seconds for entry in page.entries.values())
    assert held + page.late_cpu_seconds == pytest.approx(read.cut.process_cpu_seconds + page.overcount_cpu_seconds)


def test_a_span_is_told_between_which_joules_a_model_puts_it() -> None:
    """As far below and above its joules as the reading's bounds are."""
    read = window(
        joules("package", 100.0, idle_joules=20.0, low_joules=90.0, high_joules=140.0),
        accounts={A: 1.0},
        process=4.0,
        busy=4.0,
        spans=(SpanUse(object(), 1.0, 0.0, True),),
    )

    (figure,) = Ledger().book(read).spans

    assert (figure.low_joules, figure.high_joules) == pytest.approx((18.0, 28.0))


def test_a_span_is_told_its_joules() -> None:
    """A tracked span gets the window's joules per CPU second for its CPU seconds."""
    span = object()
    read = window(
        joules("package", 100.0, idle_joules=20.0),
        accounts={A: 1.0, B: 1.0},
        process=4.0,
        busy=4.0,
        spans=(SpanUse(span, 1.0, 0.0, True),),
    )

    (figure,) = Ledger().book(read).spans

    assert figure.energy_joules == pytest.approx(20.0)
    assert figure.ended


def test_a_gpu_span_is_told_the_gpus_joules_too() -> None:
    """The span that said `gpu=True` gets the process's part of the GPU."""
    span = object()
    read = window(
        joules("package", 10.0, idle_joules=10.0),
        joules("gpu", 300.0, process_share=0.5, idle_joules=100.0),
        accounts={A: 0.0},
        gpu={A: 0.5},
        process=0.0,
        spans=(SpanUse(span, 0.0, 0.5, False),),
    )

    page = Ledger().book(read)

    assert page.entries[A].joules["gpu"] == pytest.approx(100.0)
    assert page.spans[0].energy_joules == pytest.approx(100.0)
    assert page.rest["gpu"] == pytest.approx(100.0)


def test_idle_is_carried_by_cpu_where_the_policy_says_so() -> None:
    """The field's meaning does not change: active joules are the same under every policy."""
    read = window(joules("package", 100.0, idle_joules=40.0), accounts={A: 1.0}, process=2.0, busy=4.0)

    nobody, by_cpu = Ledger().book(read), Ledger(idle_policy="by_cpu").book(read)

    assert by_cpu.entries[A].joules == nobody.entries[A].joules
    assert nobody.entries[A].idle_joules == 0.0
    assert by_cpu.entries[A].idle_joules == pytest.approx(10.0)
    assert by_cpu.entries[BACKGROUND].idle_joules == pytest.approx(10.0)


def test_workers_of_one_container_reserve_it_once_together() -> None:
    """Each of two workers carries its part of the container's reserved quarter."""
    read = window(joules("package", 100.0, idle_joules=40.0), accounts={A: 0.5}, process=0.5, busy=4.0, contained=1.0)

    page = Ledger(idle_policy="reserved", reserved_share=0.25).book(read)

    carried = sum(entry.idle_joules or 0.0 for entry in page.entries.values())
    assert carried == pytest.approx(40.0 * 0.25 / 2)


def test_an_unknown_reserved_share_is_unknown() -> None:
    """Without r nobody can say what is reserved."""
    page = Ledger(idle_policy="reserved").book(
        window(joules("package", 100.0), accounts={A: 1.0}, process=1.0, busy=1.0)
    )

    assert page.entries[A].idle_joules is None
    assert page.entries[A].reserved_share is None


def test_a_provisional_window_teaches_nothing() -> None:
    """Idle power learns from whole windows only."""
    idle = Watts(None, "usage_ratio")

    Ledger(idle_power=idle).book(window(joules("package", 10.0), busy=0.4), learn=False)
    assert idle.observed == []
    Ledger(idle_power=idle).book(window(joules("package", 10.0), busy=0.4))
    assert idle.observed == [pytest.approx(0.1)]


@given(
    processes=st.lists(cpu, min_size=1, max_size=6),
    others=cpu,
    package=amounts,
    idle=st.none() | st.floats(0, 500),
    policy=st.sampled_from(["none", "by_cpu"]),
)
def test_processes_of_one_window_never_book_more_than_the_machine(
    processes: list[float], others: float, package: float, idle: float | None, policy: str
) -> None:
    """Together they book what is not idle and not the rest's; idle joules are carried once, whoever carries them."""
    busy = sum(processes) + others
    pages = [
        Ledger(idle_power=Watts(idle), idle_policy=policy).book(  # type: ignore[arg-type]
            window(
                joules("package", package), accounts={A: used / 2}, process=used, busy=busy, seconds=10.0, cpus=128.0
            )
        )
        for used in processes
    ]
    own = sum(entry.joules.get("package", 0.0) for page in pages for entry in page.entries.values())
    carried = sum(entry.idle_joules or 0.0 for page in pages for entry in page.entries.values())
    active = package - pages[0].idle["package"]

    assert {page.idle["package"] for page in pages} == {pages[0].idle["package"]}
    assert own == pytest.approx(active * (sum(processes) / busy if busy else 0.0), rel=1e-9, abs=1e-9)
    assert own + pages[0].idle["package"] <= package * (1 + 1e-9) + 1e-9
    assert carried <= pages[0].idle["package"] * (1 + 1e-9) + 1e-9
