"""Statements: pages of an interval, priced, as records."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.cpu.clock import Account, Cut, Origin, Use
from carbon_sdk.emission import PROCESS_KINDS, Emission
from carbon_sdk.identity import Identity
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.sampler import Energy, Window
from carbon_sdk.spans.ledger import Ledger
from carbon_sdk.statement import Statement, Terms
from carbon_sdk.testing import FixedIntensity

START = datetime(2026, 3, 29, 12, tzinfo=UTC)
A = Account("request", "GET /a", "GET /a")
IDENTITY = Identity(service="shop", release="1.2", instance="0" * 16, machine="m" * 16)
CHEAP, DEAR = FixedIntensity(100.0).answer, FixedIntensity(300.0, zone="PL", quality="estimated").answer


def terms(**more: object) -> Terms:
    return Terms(identity=IDENTITY, meter="fake", meter_scope="machine", basis="watts", **more)  # type: ignore[arg-type]


def window(joules: float | None, *, at: int = 0, cpu: float = 1.0, **use: object) -> Window:
    return Window(
        started_at=START + timedelta(seconds=at),
        ended_at=START + timedelta(seconds=at + 1),
        seconds=1.0,
        energies=(
            Energy(domain="package", joules=joules, method="model", idle_joules=0.0, low_joules=None, high_joules=None),
        ),
        busy_cpu_seconds=4.0,
        cpus=4.0,
        container_cpu_seconds=2.0,
        cut=Cut(
            accounts={A: Use(cpu_seconds=cpu, **use)} if cpu or use else {},  # type: ignore[arg-type]
            spans=(),
            process_cpu_seconds=2.0,
            late_cpu_seconds=0.0,
        ),
    )


def records(*pages: tuple[Window, Intensity], ledger: Ledger | None = None, **more: object) -> dict[str, Emission]:
    statement = Statement(terms(**more))
    for read, intensity in pages:
        statement.add((ledger or Ledger()).book(read), intensity)
    return {emission.name: emission for emission in statement.close()}


def test_a_record_carries_its_joules_its_grams_and_how_both_are_known() -> None:
    """A quarter of 36 J at 100 g/kWh and PUE 1.5."""
    record = records((window(36.0, requests=2, errors=1, duration_seconds=0.5), CHEAP), pue=1.5)["GET /a"]

    assert record.energy_joules == pytest.approx(9.0)
    assert record.energy_package_joules == pytest.approx(9.0)
    assert record.energy_dram_joules is None
    assert record.emissions_g == pytest.approx(9.0 / 3.6e6 * 100.0 * 1.5)
    assert record.emissions_g_per_request == pytest.approx(record.emissions_g / 2)  # type: ignore[operator]
    assert record.intensity_g_per_kwh == pytest.approx(100.0)
    assert (record.energy_method, record.intensity_quality, record.zone) == ("model", "measured", "DE")
    assert (record.requests, record.errors, record.duration_seconds) == (2, 1, 0.5)
    assert (record.endpoint, record.method, record.service, record.release) == ("GET /a", "GET", "shop", "1.2")


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.sampled_from([CHEAP, DEAR])), min_size=1, max_size=20))
def test_the_books_of_an_interval_balance(pages: list[tuple[float, Intensity]]) -> None:
    """Process book + rest + idle + unattributed = measured, in joules and in grams."""
    statement = Statement(terms())
    for at, (joules, intensity) in enumerate(pages):
        statement.add(Ledger().book(window(joules, at=at)), intensity)
    rest = sum(statement.rest_joules().values())
    by_name = {record.name: record for record in statement.close()}
    booked = [by_name[name].energy_joules or 0.0 for name in ("GET /a", "background", "idle", "unattributed")]

    assert sum(booked) + rest == pytest.approx(by_name["measured"].energy_joules, rel=1e-9)


def test_an_interval_is_priced_window_by_window() -> None:
    """Its intensity is emissions over energy; quality and zone are those with most joules, and mixed is said."""
    record = records((window(10.0), CHEAP), (window(30.0, at=1), DEAR))["GET /a"]

    assert record.intensity_g_per_kwh == pytest.approx((10 * 100 + 30 * 300) / 40)
    assert (record.zone, record.intensity_quality, record.mixed) == ("PL", "estimated", True)


def test_an_account_whose_every_window_was_a_gap_has_null_energy() -> None:
    """Unknown is not zero; the CPU seconds are known."""
    record = records((window(None), CHEAP))["GET /a"]

    assert record.energy_joules is None
    assert record.emissions_g is None
    assert record.cpu_seconds == pytest.approx(1.0)
    assert record.gap_seconds == 1.0
    assert record.gap_cpu_seconds == pytest.approx(1.0)


def test_a_gap_beside_a_reading_is_told_in_seconds() -> None:
    """The joules are those of the window that was read."""
    record = records((window(None), CHEAP), (window(36.0, at=1), CHEAP))["GET /a"]

    assert record.energy_joules == pytest.approx(9.0)
    assert record.gap_seconds == 1.0
    assert record.gap_cpu_seconds == pytest.approx(1.0)


def test_sequence_counts_without_holes_over_intervals() -> None:
    """(instance, sequence) is the key: a store knows a repetition by the highest that it holds."""
    statement, numbers = Statement(terms()), []
    for at in range(3):
        statement.add(Ledger().book(window(1.0, at=at)), CHEAP)
        numbers += [record.sequence for record in statement.close()]

    assert numbers == list(range(len(numbers)))


def test_sci_takes_reserved_idle_and_the_share_of_the_machines_making() -> None:
    """((E x I) + M) / R: half of the container's quarter is this process's, half of that the account's."""
    ledger = Ledger(reserved_share=0.25)
    read = window(36.0, requests=2)
    read = read._replace(energies=(read.energies[0]._replace(idle_joules=4.0),))
    record = records((read, CHEAP), ledger=ledger, embodied_g_per_second=8.0)["GET /a"]

    assert record.energy_joules == pytest.approx(8.0)
    assert record.emissions_embodied_g == pytest.approx(8.0 * 0.25 * 0.5)
    assert record.sci_g == pytest.approx((8.0 + 4.0 * 0.25 * 0.5) / 3.6e6 * 100.0 + 1.0, rel=1e-12)
    assert record.sci_g_per_request == pytest.approx(record.sci_g / 2)  # type: ignore[operator]


def test_the_sci_of_an_endpoint_is_in_the_records_of_its_spans_too() -> None:
    """Spread over own part and a nested span, the grams are those of an endpoint without one."""
    read, span = window(36.0, requests=1), Account("span", "GET /a", "resize")
    alone = records((read, CHEAP), ledger=Ledger(reserved_share=0.25), embodied_g_per_second=8.0)["GET /a"]
    parts = {A: Use(cpu_seconds=0.25, requests=1), span: Use(cpu_seconds=0.75)}
    nested = records(
        (read._replace(cut=read.cut._replace(accounts=parts)), CHEAP),
        ledger=Ledger(reserved_share=0.25),
        embodied_g_per_second=8.0,
    )

    assert nested["GET /a"].sci_g == pytest.approx(alone.sci_g / 4)  # type: ignore[operator]
    assert nested["resize"].sci_g == pytest.approx(alone.sci_g * 3 / 4)  # type: ignore[operator]
    assert nested["resize"].sci_g_per_request is None


@given(cpu=st.lists(st.floats(0.01, 4.0), min_size=1, max_size=6), idle=st.floats(0.0, 40.0))
def test_workers_of_one_container_carry_its_making_and_its_idle_once(cpu: list[float], idle: float) -> None:
    """Over all accounts of all workers, M and the reserved idle are the container's, however they share the CPU."""
    contained, made, carried = sum(cpu), 0.0, 0.0
    for used in cpu:
        read = window(50.0, requests=1)._replace(
            energies=(Energy(domain="package", joules=50.0, method="model", idle_joules=idle),),
            container_cpu_seconds=contained,
            cut=Cut(
                accounts={A: Use(cpu_seconds=used / 2, requests=1)},
                spans=(),
                process_cpu_seconds=used,
                late_cpu_seconds=0.0,
            ),
        )
        ledger = Ledger(reserved_share=0.25, idle_policy="reserved")
        own = records((read, CHEAP), ledger=ledger, embodied_g_per_second=8.0).values()
        made += sum(one.emissions_embodied_g or 0.0 for one in own)
        carried += sum(one.idle_energy_joules or 0.0 for one in own if one.kind in PROCESS_KINDS)

    assert made == pytest.approx(8.0 * 0.25)
    assert carried == pytest.approx(idle * 0.25)


def test_without_a_reserved_share_sci_is_null() -> None:
    """An unknown share is not the whole machine."""
    record = records((window(36.0, requests=1), CHEAP), embodied_g_per_second=8.0)["GET /a"]

    assert record.sci_g_per_request is None
    assert record.emissions_embodied_g is None


def test_totals_only_grow() -> None:
    """Counters of an exporter never fall when an interval ends."""
    statement = Statement(terms())
    statement.add(Ledger().book(window(36.0, requests=1)), CHEAP)
    before = {total.name: total for total in statement.totals()}
    statement.close()
    statement.add(Ledger().book(window(36.0, requests=1)), CHEAP)
    after = {total.name: total for total in statement.totals()}

    assert before["GET /a"].energy_joules == {"package": pytest.approx(9.0)}
    assert after["GET /a"].energy_joules == {"package": pytest.approx(18.0)}
    assert after["GET /a"].requests == 2


def test_totals_keep_apart_on_whose_behalf_an_endpoint_worked() -> None:
    """One endpoint, called by a stranger and for a checkout."""
    told = A._replace(origin=Origin("web", "POST /checkout"))
    read = window(36.0)
    both = read._replace(cut=read.cut._replace(accounts={A: Use(cpu_seconds=0.5), told: Use(cpu_seconds=1.5)}))
    statement = Statement(terms())
    statement.add(Ledger().book(both), CHEAP)
    joules = {
        (one.origin_service, one.origin_endpoint): one.energy_joules for one in statement.totals() if one.root == A.root
    }

    assert joules == {
        (None, None): {"package": pytest.approx(4.5)},
        ("web", "POST /checkout"): {"package": pytest.approx(13.5)},
    }


def test_accounts_that_did_nothing_leave_no_record() -> None:
    """A quiet endpoint is silent; the process's background always speaks."""
    names = records((window(36.0, cpu=0.0), CHEAP)).keys()

    assert names == {"background", "measured", "idle", "unattributed"}


@pytest.mark.parametrize("use", [{"requests": 1}, {"units": {"tokens": 1.0}}], ids=["request", "unit"])
def test_an_account_that_did_something_without_cpu_that_a_clock_saw_leaves_a_record(use: dict[str, Any]) -> None:
    """Its CPU and joules are zero, and what it did counts."""
    record = records((window(36.0, cpu=0.0, **use), CHEAP))["GET /a"]

    assert (record.cpu_seconds, record.energy_joules) == (0.0, 0.0)
    assert record.requests or record.units


def test_every_gram_is_of_the_wall_socket_where_the_way_there_is_set() -> None:
    """PUE and wall factor multiply all grams, idle ones too, and leave the intensity as the grid's."""
    read = window(36.0, requests=1)._replace(
        energies=(Energy(domain="package", joules=36.0, method="model", idle_joules=4.0),),
    )
    found = records((read, CHEAP), ledger=Ledger(idle_policy="by_cpu"), pue=1.5, wall_factor=1.2)
    a_joule = 100.0 / 3.6e6 * 1.5 * 1.2

    assert found["GET /a"].emissions_g == pytest.approx(8.0 * a_joule)
    assert found["GET /a"].idle_energy_joules == pytest.approx(1.0)
    assert found["GET /a"].idle_emissions_g == pytest.approx(a_joule)
    assert found["idle"].emissions_g == pytest.approx(4.0 * a_joule)
    assert found["measured"].emissions_g == pytest.approx(36.0 * a_joule)
    assert found["GET /a"].intensity_g_per_kwh == pytest.approx(100.0)


def test_what_a_span_counted_is_added_over_the_windows_of_the_interval_and_over_its_life() -> None:
    """Units, grams and CPU in records and in totals."""
    statement = Statement(terms())
    statement.add(Ledger().book(window(36.0, units={"tokens": 5.0})), CHEAP)
    statement.add(Ledger().book(window(36.0, at=1, units={"tokens": 7.0, "images": 1.0})), DEAR)
    (total,) = (one for one in statement.totals() if one.name == "GET /a")
    (record,) = (one for one in statement.close() if one.name == "GET /a")

    assert record.units == total.units == {"tokens": 12.0, "images": 1.0}
    assert record.cpu_seconds == total.cpu_seconds == 2.0
    assert total.emissions_g == pytest.approx(9.0 / 3.6e6 * (100.0 + 300.0))
    assert record.emissions_g == pytest.approx(total.emissions_g)


def test_what_was_late_or_too_much_is_told_once_with_the_machines_joules() -> None:
    """Not in each account's record, where a sum would count it again."""
    read = window(36.0, cpu=3.0)  # one second more than the process used
    found = records((read._replace(cut=read.cut._replace(late_cpu_seconds=0.5)), CHEAP))
    told = {name: (one.late_cpu_seconds, one.cpu_overcount_seconds) for name, one in found.items()}

    assert told.pop("measured") == (0.5, 1.0)
    assert set(told.values()) == {(0.0, 0.0)}


def test_a_record_names_how_idle_was_told_for_most_of_its_time() -> None:
    """One long window against two short ones."""
    ratio = window(36.0)._replace(energies=(Energy(domain="package", joules=36.0, method="counter"),))
    long = window(36.0, at=2)._replace(seconds=3.0, ended_at=START + timedelta(seconds=5))

    assert records((ratio, CHEAP), (ratio, CHEAP), (long, CHEAP))["GET /a"].idle_rule == "model"
    assert records((ratio, CHEAP), (ratio, CHEAP), (window(36.0, at=2), CHEAP))["GET /a"].idle_rule == ("usage_ratio")


def test_a_record_is_mixed_only_where_joules_of_two_kinds_of_price_are_in_it() -> None:
    """A window without joules brings no price of its own."""
    assert records((window(36.0), CHEAP), (window(36.0, at=1), DEAR))["GET /a"].mixed
    assert not records((window(36.0), CHEAP), (window(0.0, at=1), DEAR))["GET /a"].mixed
    assert not records((window(36.0), CHEAP))["GET /a"].mixed


def test_a_models_bounds_are_in_the_records_of_accounts() -> None:
    """A quarter of 36 J, and of its lower and upper bound."""
    bounds = Energy(domain="package", joules=36.0, method="model", idle_joules=0.0, low_joules=24.0, high_joules=48.0)
    record = records((window(36.0)._replace(energies=(bounds,)), CHEAP))["GET /a"]

    assert (record.energy_low_joules, record.energy_high_joules) == pytest.approx((6.0, 12.0))
