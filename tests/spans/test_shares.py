"""The rules that divide active joules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.spans.shares import by_cpu_time, by_gpu_time, idle_by_usage_ratio

seconds = st.floats(0, 100, allow_nan=False)
uses = st.dictionaries(st.integers(0, 20), seconds, max_size=20)


@given(uses, seconds, st.none() | seconds)
def test_no_joule_is_made_or_lost_by_cpu_time(used: dict[int, float], process: float, busy: float | None) -> None:
    """Whatever was used, the shares add up to one and none is negative."""
    shares = by_cpu_time(used, process_cpu_seconds=process, busy_cpu_seconds=busy)
    parts = [*shares.accounts.values(), shares.background, shares.rest, shares.unattributed]

    assert sum(parts) == pytest.approx(1.0, rel=1e-9)
    assert min(parts) >= 0.0


@given(uses, seconds, seconds)
def test_an_account_without_cpu_time_gets_nothing(used: dict[int, float], process: float, busy: float) -> None:
    """Waiting is free."""
    shares = by_cpu_time({**used, -1: 0.0}, process_cpu_seconds=process, busy_cpu_seconds=busy)

    assert -1 not in shares.accounts


@given(uses, seconds, seconds)
def test_the_order_of_accounts_does_not_matter(used: dict[int, float], process: float, busy: float) -> None:
    """Shares are the same whichever account comes first."""
    one = by_cpu_time(used, process_cpu_seconds=process, busy_cpu_seconds=busy)
    other = by_cpu_time(dict(reversed(used.items())), process_cpu_seconds=process, busy_cpu_seconds=busy)

    assert one.accounts == pytest.approx(other.accounts, rel=1e-12)


def test_a_container_of_ten_watts_is_charged_its_own_watts() -> None:
    """One CPU second of one busy second is all of it, however busy the node is."""
    shares = by_cpu_time({"a": 1.0}, process_cpu_seconds=1.0, busy_cpu_seconds=1.0)

    assert shares.accounts == {"a": 1.0}


def test_more_cpu_booked_than_used_is_scaled_and_counted() -> None:
    """Clock noise never makes joules."""
    shares = by_cpu_time({"a": 3.0, "b": 1.0}, process_cpu_seconds=2.0, busy_cpu_seconds=4.0)

    assert shares.accounts == {"a": 0.375, "b": 0.125}
    assert shares.overcount_cpu_seconds == 2.0
    assert shares.background == 0.0
    assert shares.rest == 0.5


def test_without_busy_time_nothing_can_be_attributed() -> None:
    """A container's /proc/stat beside the host's joules tells no shares."""
    assert by_cpu_time({"a": 1.0}, process_cpu_seconds=1.0, busy_cpu_seconds=None).unattributed == 1.0


@given(uses, st.none() | st.floats(0, 1))
def test_no_gpu_joule_is_made_or_lost(used: dict[int, float], process_share: float | None) -> None:
    """The GPU's shares add up to one as well."""
    shares = by_gpu_time(used, process_share=process_share)
    parts = [*shares.accounts.values(), shares.background, shares.rest, shares.unattributed]

    assert sum(parts) == pytest.approx(1.0, rel=1e-9)
    assert min(parts) >= 0.0


def test_gpu_joules_of_a_process_without_gpu_spans_are_background() -> None:
    """Nobody said that it used the GPU."""
    shares = by_gpu_time({"a": 0.0}, process_share=0.75)

    assert (shares.background, shares.rest) == (0.75, 0.25)


def test_the_usage_ratio_gives_a_full_machine_no_idle() -> None:
    """And an idle one all of it: which is why records name the rule."""
    assert idle_by_usage_ratio(100.0, busy_cpu_seconds=40.0, cpus=4, seconds=10.0) == 0.0
    assert idle_by_usage_ratio(100.0, busy_cpu_seconds=0.0, cpus=4, seconds=10.0) == 100.0
    assert idle_by_usage_ratio(100.0, busy_cpu_seconds=1.0, cpus=0, seconds=10.0) == 0.0
