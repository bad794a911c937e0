"""An open span on its thread: it owns what runs until it closes."""

import time
from asyncio import CancelledError
from collections.abc import Awaitable
from types import FrameType
from typing import Any, TypeVar, cast

from carbon_sdk.cpu.clock import (
    LOOSE,
    THREAD,
    Account,
    AccountKind,
    Clock,
    Outcome,
    Owner,
    Tally,
    Watch,
    current,
    drive,
    follow,
    in_loop,
)
from carbon_sdk.spans.span import Estimator, Span

Result = TypeVar("Result")


def outcome_of(error: BaseException | None) -> Outcome:
    """How a block ended that let this error out."""
    if error is None:
        return "done"
    if isinstance(error, CancelledError):
        return "cancelled"
    return "timed_out" if isinstance(error, TimeoutError) else "failed"


class Opening:
    """A span from its begin to its end, through pauses in which others run.

    Args:
        name: The span's.
        found: The CPU account of this process and who estimates; None where nothing is measured.
        kind: What it counts as where it is outermost.
        gpu: It uses a GPU.
    """

    def __init__(self, name: str, found: tuple[Clock, Estimator] | None, kind: AccountKind, *, gpu: bool) -> None:
        self._clock = found[0] if found is not None else None
        self._running = False
        self._gpu = gpu
        self._around: Owner | None = None
        if found is None or self._clock is None:
            self.span = Span(None)
            return
        if in_loop():
            self._clock.follow_loop()
        outer = self._around = current()
        parent = outer.shown if outer is not None else None
        self.span = Span(
            self._account(name, kind, outer),
            clock=self._clock,
            estimator=found[1],
            parent=parent if isinstance(parent, Span) else None,
        )
        if gpu:
            self._clock.move_gpu(self.span.tally, opened=True)

    def _account(self, name: str, kind: AccountKind, outer: Owner | None) -> Account:
        assert self._clock is not None, "only an open span of a running clock has an account"
        if outer is None or outer.touched is not self._clock.touched:  # nobody's step, or another life's
            return self._clock.account(Account(kind, name, name))
        around = outer.resolve()
        if around is None:
            return self._clock.account(Account("span", name, name))
        return self._clock.account(Account("span", around.root, name, around.origin))

    async def run(self, coro: Awaitable[Result]) -> Result:
        """Await a coroutine of the span's own: it can be driven, whoever drives the task."""
        tally = self.span.tally
        if tally is not None and THREAD.slot.driven is not True:  # what watches the task may end before this does
            return cast(Result, await drive(cast(Any, coro), tally))
        self.resume(None)
        try:
            return await coro
        finally:
            self.pause()

    def resume(self, frame: FrameType | None) -> None:
        """It owns its thread from here.

        Args:
            frame: Of the code that may suspend before the next pause; None where it cannot, or is driven.
        """
        tally = self.span.tally
        if tally is None or self._running:
            return
        self._running = True
        slot = THREAD.slot
        self._followed = True if frame is None else follow(frame, slot)
        if not self._followed:
            tally.approximate = True
            self._outer = current()
            self._slot, self._cpu_ns, self._booked_ns = slot, time.thread_time_ns(), slot.total_ns
            LOOSE.set(tally)
            return
        if isinstance(self._followed, Watch):
            self._followed.spans += 1
        tally.outer = slot.switch(tally)

    def pause(self) -> None:
        """It gives its thread back."""
        tally = self.span.tally
        if tally is None or not self._running:
            return
        self._running = False
        slot = THREAD.slot
        if not self._followed:
            LOOSE.set(self._outer)
            if slot is self._slot:
                others_ns = slot.total_ns - self._booked_ns
                own_ns = max(time.thread_time_ns() - self._cpu_ns - others_ns, 0)
                tally.ns += own_ns
                slot.total_ns += own_ns
                tally.touch()
            return
        outer = tally.outer
        while isinstance(outer, Tally) and outer.ended:  # a block that was opened before this one, and closed within it
            outer = outer.outer
        if slot.owner is tally:
            slot.switch(outer)
        if isinstance(self._followed, Watch) and not self._followed.release(tally, outer):
            tally.approximate = True

    def close(self, outcome: Outcome, *, repeated: bool = False) -> None:
        """The block has ended, which may have been a repetition."""
        self.pause()
        if self._clock is not None and self._gpu:
            self._clock.move_gpu(self.span.tally)
        tally = self.span.tally
        if self._around is not None and tally is not None:
            self._around.nested_ns += tally.total_ns + tally.nested_ns
        self.span.end(outcome, repeated=repeated)
