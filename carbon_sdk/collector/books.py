"""Where the measured joules went: the process book held against the machine book."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from carbon_sdk.collector.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Where the measured joules went. Parts are None where they are unknown.

    Args:
        measured: All joules of the machines' domains.
        idle: Used by doing nothing, whoever carries them.
        unattributed: Measured, but nobody's share can be known.
        accounts: Active joules of the process book by kind: request, worker, span, background, sdk, other.
    """

    measured: float | None
    idle: float | None
    unattributed: float | None
    accounts: Mapping[str, float]

    @property
    def rest(self) -> float | None:
        """Active joules of everything that does not report: measured less all the others."""
        if self.measured is None:
            return None
        return self.measured - (self.idle or 0.0) - (self.unattributed or 0.0) - sum(self.accounts.values())


def books_of(process: Iterable[Figure], machine: Iterable[Figure]) -> Books:
    """The books of the answers to `books` and `machine_books` over the same time."""
    accounts: dict[str, float] = {}
    for figure in process:
        joules = figure.sums["energy_joules"]
        if joules is not None:
            accounts[figure.key["kind"] or "unknown"] = joules
    known = {figure.key["kind"]: figure.sums["energy_joules"] for figure in machine}
    return Books(
        measured=known.get("measured"),
        idle=known.get("idle"),
        unattributed=known.get("unattributed"),
        accounts=accounts,
    )
