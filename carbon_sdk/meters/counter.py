"""Counters of joules that start again at 0: what was used between two readings of one."""

from typing import NamedTuple

SLACK_SECONDS = 0.05
"""Counters move in steps (RAPL 1 ms, GPUs up to 100 ms), so that a short stretch may look too powerful."""


class Difference(NamedTuple):
    """What lies between two readings of a counter.

    Args:
        joules: What was used; None where that cannot be known.
        problem: Why not.
    """

    joules: float | None = None
    problem: str | None = None


def difference(
    before: int,
    after: int,
    *,
    joules_per_count: float,
    counts: float | None,
    seconds: float,
    maximum_watts: float,
) -> Difference:
    """The joules between two readings of a counter.

    Args:
        before: The earlier reading, in counts.
        after: The later one.
        joules_per_count: Joules of one count.
        counts: How many counts it takes to come back to the same reading; None where the counter never starts again or
            nobody knows when.
        seconds: Time between the readings.
        maximum_watts: More than this cannot be.
    """
    step: float = after - before
    wrapped = step < 0
    if wrapped:
        step += counts or 0.0
    joules = step * joules_per_count
    if joules < 0:
        return Difference(problem="the counter went back")
    if joules > maximum_watts * (seconds + SLACK_SECONDS):
        too_much = f"{joules:.0f} J in {seconds:.3g} s is more than {maximum_watts:.0f} W"
        return Difference(problem="the counter went back" if wrapped else too_much)
    return Difference(joules=joules)
