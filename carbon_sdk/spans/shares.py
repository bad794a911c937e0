"""Who gets which share of a window's joules: pure rules, no clock and no state.

`by_cpu_time` is the rule for CPU domains: active joules go by CPU seconds. Two pieces of code with the same CPU time
can draw different power (vector units, memory traffic, frequency, the sibling hyperthread); CPU seconds cannot see
that. A rule by hardware counters would stand beside this one and answer the same `Shares`.
"""

import math
from collections.abc import Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Shares(NamedTuple, Generic[Key]):
    """Fractions of a window's active joules; with a positive total they add up to 1.

    Args:
        accounts: By account.
        background: What the process used outside any account.
        rest: What others at the meter's scope used.
        unattributed: What cannot be told apart.
        overcount_cpu_seconds: CPU booked beyond what the process used, scaled away.
    """

    accounts: Mapping[Key, float]
    background: float = 0.0
    rest: float = 0.0
    unattributed: float = 0.0
    overcount_cpu_seconds: float = 0.0


def by_cpu_time(
    account_cpu_seconds: Mapping[Key, float], *, process_cpu_seconds: float, busy_cpu_seconds: float | None
) -> Shares[Key]:
    """Divide active joules by CPU seconds.

    Args:
        account_cpu_seconds: CPU seconds c of each account; their sum is S.
        process_cpu_seconds: CPU seconds P of the process.
        busy_cpu_seconds: CPU seconds B of everything at the meter's scope; None when it cannot be known, and then
            nothing can be attributed.
    """
    total = math.fsum(account_cpu_seconds.values())  # exact, so that the order of accounts never matters
    overcount = max(total - process_cpu_seconds, 0.0)
    if busy_cpu_seconds is None:
        return Shares(accounts={}, unattributed=1.0, overcount_cpu_seconds=overcount)
    whole = max(busy_cpu_seconds, process_cpu_seconds)
    if whole <= 0.0:
        return Shares(accounts={}, rest=1.0, overcount_cpu_seconds=overcount)
    own = min(total, process_cpu_seconds) / whole
    accounts = {key: seconds / total * own for key, seconds in account_cpu_seconds.items() if seconds > 0.0}
    return Shares(
        accounts=accounts,
        background=max(process_cpu_seconds - total, 0.0) / whole,
        rest=(whole - process_cpu_seconds) / whole,
        overcount_cpu_seconds=overcount,
    )


def by_gpu_time(account_gpu_seconds: Mapping[Key, float], *, process_share: float | None) -> Shares[Key]:
    """Divide the joules of GPUs above their idle: this process's part by the time that spans said to use a GPU.

    Args:
        account_gpu_seconds: Seconds in this window in which spans of an account said `gpu=True`.
        process_share: The part that this process used, 0 to 1; None when the driver does not say.
    """
    if process_share is None:
        return Shares(accounts={}, unattributed=1.0)
    total = sum(account_gpu_seconds.values())
    accounts = {key: process_share * (seconds / total) for key, seconds in account_gpu_seconds.items() if seconds > 0.0}
    return Shares(accounts=accounts, background=0.0 if accounts else process_share, rest=1.0 - process_share)


def idle_by_usage_ratio(energy_joules: float, *, busy_cpu_seconds: float, cpus: float, seconds: float) -> float:
    """Idle joules where the idle power is not known: `E x (1 - B / (N x T))`.

    The ratio that Kepler uses. It gives a fully loaded machine no idle energy at all, so records name it.
    """
    capacity = cpus * seconds
    if capacity <= 0.0:
        return 0.0
    return energy_joules * (1.0 - min(busy_cpu_seconds / capacity, 1.0))
