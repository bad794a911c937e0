"""An open span on its thread: it owns what runs until it closes."""

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
    Origin,
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
    if error is None or isinstance(error, GeneratorExit):  # whoever took from a generator has had enough
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
        origin: Where the chain of calls began that it ends, if elsewhere.
    """

    def __init__(
        self,
        name: str,
        found: tuple[Clock, Estimator] | None,
        kind: AccountKind,
        *,
        gpu: bool,
        origin: Origin | None = None,
    ) -> None:
        self._clock = found[0] if found is not None else None
        self._running = False
        self._gpu = gpu
        self._around: Owner | None = None
        if found is None:
            self.span = Span(None)
            return
        try:
            self.span = self._opened(name, *found, kind, origin)
        except Exception as exc:
            self.span = Span(None)
            if not found[0].touched.fault("span.open", exc):
                raise

    def _opened(self, name: str, clock: Clock, estimator: Estimator, kind: AccountKind, origin: Origin | None) -> Span:
        if in_loop():
            clock.follow_loop()
        outer = self._around = current()
        parent = outer.shown if outer is not None else None
        span = Span(
            _account(clock, name, kind, outer, origin),
            clock=clock,
            estimator=estimator,
            parent=parent if isinstance(parent, Span) else None,
        )
        if self._gpu:
            clock.move_gpu(span.tally, opened=True)
        return span

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
        try:
            self._take(tally, frame)
            self._running = True
        except Exception as exc:
            if not tally.spoil("span.resume", exc):
                raise

    def _take(self, tally: Tally, frame: FrameType | None) -> None:
        slot = THREAD.slot
        self._followed = True if frame is None else follow(frame, slot, tally.touched)
        if not self._followed:
            tally.approximate = True
            self._outer = current()
            self._slot, self._cpu_ns, self._booked_ns = slot, self._thread_time_ns(), slot.total_ns
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
        try:
            self._give_back(tally)
        except Exception as exc:
            if not tally.spoil("span.pause", exc):
                raise

    def _give_back(self, tally: Tally) -> None:
        slot = THREAD.slot
        if not self._followed:
            LOOSE.set(self._outer)
            if slot is self._slot:
                others_ns = slot.total_ns - self._booked_ns
                own_ns = max(self._thread_time_ns() - self._cpu_ns - others_ns, 0)
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
        tally = self.span.tally
        if tally is None or self._clock is None:
            self.span.end(outcome, repeated=repeated)
            return
        try:
            if self._gpu:
                self._clock.move_gpu(tally)
            if self._around is not None:
                self._around.nested_ns += tally.total_ns + tally.nested_ns
            self.span.end(outcome, repeated=repeated)
        except Exception as exc:
            tally.ended = True
            tally.touch()
            if not tally.spoil("span.close", exc):
                raise

    def _thread_time_ns(self) -> int:
        assert self._clock is not None, "only an open span of a running clock reads clocks"
        return self._clock.thread_time_ns()


def _account(clock: Clock, name: str, kind: AccountKind, outer: Owner | None, origin: Origin | None) -> Account:
    if outer is None or outer.touched is not clock.touched:  # nobody's step, or another life's
        return clock.account(Account(kind, name, name, origin))
    around = outer.resolve()
    if around is None:
        return clock.account(Account("span", name, name))
    return clock.account(Account("span", around.root, name, around.origin))
