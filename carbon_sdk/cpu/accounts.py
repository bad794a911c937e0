"""The values of the CPU account: whose CPU seconds, how many, in which window.

An **account** is what CPU seconds are booked to. Its values are exclusive: a span nested in a request takes its own CPU
out of the request's account, and both have the same root, so the sum over a root is the whole endpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

AccountKind = Literal["request", "worker", "span", "background", "sdk", "other"]
Outcome = Literal["done", "failed", "timed_out", "cancelled"]
"""How a run of a job ended."""


class Origin(NamedTuple):
    """On whose behalf another service called.

    Args:
        service: The service where the chain of calls began.
        endpoint: Its endpoint or job, `POST /checkout`.
    """

    service: str
    endpoint: str


class Account(NamedTuple):
    """One line of the process's book. A tuple: one is made and looked up for each span, which C does faster.

    Args:
        kind: What it stands for.
        root: The endpoint (`GET /items/{id}`) or job in which the CPU was used.
        name: The account itself; equal to root for an outermost one.
        origin: The caller's origin, where it was told and believed; None where this service is the first.
    """

    kind: AccountKind
    root: str
    name: str
    origin: Origin | None = None


OTHER = Account("other", "other", "other")
"""Where CPU goes when there are more accounts than the limit."""
SDK = Account("sdk", "carbon_sdk", "carbon_sdk")
"""What carbon_sdk's own thread uses."""


@dataclass(slots=True)
class Use:
    """What one account used in one window.

    Args:
        cpu_seconds: CPU seconds, exclusive of nested spans.
        requests: Responses (last body byte sent) or outermost tracked jobs that ended.
        errors: Of those, the ones with status 500 or above, or that raised.
        timeouts: Of the errors, the ones that ran out of time.
        cancelled: Of the errors, the ones that were cancelled.
        retries: Runs that repeat an earlier run of the same job, however they ended.
        duration_seconds: Sum of the durations of those that ended.
        gpu_seconds: Seconds of this window in which a span of this account said that it uses a GPU; a moment in which n
            such spans are open counts 1/n for each.
        approximate: Some of the CPU seconds are not exact (docs/cpu.md says when).
        units: Functional units counted by `span.count`, by name.
    """

    cpu_seconds: float = 0.0
    requests: int = 0
    errors: int = 0
    timeouts: int = 0
    cancelled: int = 0
    retries: int = 0
    duration_seconds: float = 0.0
    gpu_seconds: float = 0.0
    approximate: bool = False
    units: dict[str, float] = field(default_factory=dict)


class SpanUse(NamedTuple):
    """What one tracked span used in one window: to be told its joules.

    Args:
        span: The span, the object that `track()` gave out.
        cpu_seconds: Its exclusive CPU seconds in this window.
        gpu_seconds: Its GPU seconds in this window, as in `Use`.
        ended: Its block has ended.
    """

    span: object
    cpu_seconds: float
    gpu_seconds: float
    ended: bool


class Cut(NamedTuple):
    """The CPU book of one window.

    Args:
        accounts: What each account used. The process background is not among them: it is `process_cpu_seconds` less
            their sum.
        spans: Tracked spans that used something, or ended, in this window.
        process_cpu_seconds: CPU seconds of this process (CLOCK_PROCESS_CPUTIME_ID) in this window, and of the child
            processes that a span started.
        late_cpu_seconds: Of the children's CPU seconds, what cannot have been used in this window, because it is more
            than all CPUs have; it is in none of the other figures.
    """

    accounts: Mapping[Account, Use]
    spans: Sequence[SpanUse]
    process_cpu_seconds: float
    late_cpu_seconds: float
