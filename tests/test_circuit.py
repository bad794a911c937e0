"""Which servers may be asked: the pauses of one, and how many are remembered."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.circuit import FAILURES_TO_OPEN, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Circuit, Circuits


@given(st.lists(st.sampled_from(["fails", "answers", "is cancelled"]), max_size=40), st.floats(0, 1))
def test_pauses_of_a_circuit_double_to_a_quarter_of_an_hour(events: Sequence[str], chance: float) -> None:
    """None before the fifth failure in a row; half of each pause is fixed, half is drawn; any answer ends it."""
    circuit, now, failures = Circuit(), 0.0, 0
    for event in events:
        assert circuit.refusal(now) is None
        if event == "answers":
            circuit.succeeded()
            failures = 0
        elif event == "is cancelled":
            circuit.abandoned()
        else:
            circuit.failed(now, chance, "down")
            failures += 1
        pause = circuit.paused_until - now
        if event == "fails" and failures >= FAILURES_TO_OPEN:
            whole = min(FIRST_PAUSE_SECONDS * 2 ** (failures - FAILURES_TO_OPEN), LONGEST_PAUSE_SECONDS)
            assert whole / 2 - 1e-6 <= pause <= whole + 1e-6
        else:
            assert pause <= 0
        now = max(now, circuit.paused_until) + 1e-3


def test_a_thousand_servers_leave_no_more_behind_than_a_hundred() -> None:
    """The first are forgotten."""
    circuits = Circuits()
    first = circuits.of("http://host-0.test/a")
    assert circuits.of("http://host-0.test/b?c") is first
    for number in range(1000):
        circuits.of(f"http://host-{number}.test/")

    assert circuits.of("http://host-999.test/") is not first
    assert circuits.of("http://host-0.test/") is not first
