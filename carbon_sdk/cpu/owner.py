"""Whose steps they are, and what these have used: an **owner** is a request's or a span's, a **tally** counts too."""

from typing import Protocol

from carbon_sdk.cpu.accounts import Account, Outcome
from carbon_sdk.cpu.faults import Touched


class Running(Protocol):
    """A thread's slot, as its owner sees it."""

    owner: "Owner | None"

    def open_ns(self) -> int:
        """CPU nanoseconds of the running stretch so far."""


class Owner:
    """Whose steps they are: CPU nanoseconds of one request or span.

    Only the thread of `slot` adds to `ns`; others add to `other_ns` under the lock. The cut never writes to either: it
    remembers in `taken_ns` what it has given out.

    Args:
        account: Where it counts; None while that is not known, and for good where nobody wants to know.
        touched: Where it announces that it has something to give.
        slot: The slot of the thread that it was made on.
    """

    __slots__ = (
        "account",
        "approximate",
        "dirty",
        "ended",
        "nested_ns",
        "ns",
        "other_ns",
        "slot",
        "taken_ns",
        "touched",
    )

    def __init__(self, account: Account | None, touched: Touched, slot: Running) -> None:
        self.account = account
        self.touched = touched
        self.slot = slot
        self.ns = 0
        self.other_ns = 0
        self.nested_ns = 0  # what spans used that were opened in it and have ended; it is in their books, not in its
        self.taken_ns = 0
        self.approximate = False
        self.dirty = False
        self.ended = False

    @property
    def total_ns(self) -> int:
        """All nanoseconds booked so far."""
        return self.ns + self.other_ns

    @property
    def shown(self) -> object:
        """The span that its joules are told to; None where there is none."""
        return None

    def touch(self) -> None:
        """Tell the next cut to look here."""
        self.dirty = True
        self.touched.append(self)

    def resolve(self) -> Account | None:
        """Where it counts, if that is known by now."""
        return self.account

    def spoil(self, where: str, exc: Exception) -> bool:
        """Something of ours has failed around its code: its figures are not exact, and the code goes on.

        Args:
            where: What failed.
            exc: With what.

        Returns:
            False where the exception is the app's, and has to be raised again.
        """
        self.approximate = True
        return self.touched.fault(where, exc)


_NO_UNITS: dict[str, float] = {}
"""Of a tally that has counted none, as most have: it is never written to."""


class Tally(Owner):
    """An owner that also counts what has ended: of a span, or of an endpoint on one thread.

    Args:
        account: Where it counts.
        touched: Where it announces that it has something to give.
        slot: The slot of the thread that it was made on.
    """

    __slots__ = (
        "cancelled",
        "duration_ns",
        "errors",
        "outer",
        "requests",
        "retries",
        "span",
        "taken",
        "taken_units",
        "timeouts",
        "units",
    )

    def __init__(self, account: Account | None, touched: Touched, slot: Running) -> None:
        super().__init__(account, touched, slot)
        self.requests = self.errors = self.timeouts = self.cancelled = self.retries = 0
        self.duration_ns = 0
        self.taken = (0, 0, 0, 0, 0, 0)
        self.outer: Owner | None = None  # of a span: who owned its thread before it
        self.span: object = None
        self.units = self.taken_units = _NO_UNITS

    @property
    def shown(self) -> object:
        """The span that its joules are told to."""
        return self.span

    def count(self, unit: str, amount: float) -> None:
        """So many functional units more."""
        if self.units is _NO_UNITS:
            self.units, self.taken_units = {}, {}
        self.units[unit] = self.units.get(unit, 0.0) + amount
        if not self.dirty:
            self.touch()

    def finish(self, duration_ns: int, outcome: Outcome, *, repeated: bool = False) -> None:
        """Something of this account has ended, which may have been a repetition."""
        self.requests += 1
        self.errors += outcome != "done"
        self.timeouts += outcome == "timed_out"
        self.cancelled += outcome == "cancelled"
        self.retries += repeated
        self.duration_ns += duration_ns
        if not self.dirty:
            self.touch()


def outlasting(owner: Owner, whose: Owner) -> Owner:
    """Whose steps they are when blocks that a coroutine left open were closed by somebody else.

    Args:
        owner: Of the last step.
        whose: Of the coroutine: its steps stay its own when it has ended.
    """
    while owner is not whose and owner.ended:
        owner = (owner.outer if isinstance(owner, Tally) else None) or whose
    return owner
