"""Coroutines that nobody drives: the interpreter itself tells when they go on and when they suspend. Python 3.12.

A task that was already running when a span opened in it cannot be given a driver. `sys.monitoring` has events that are
local to a code object, so that other code pays nothing: the outermost coroutine of the task tells each step's begin and
end. Those who share its code are told apart by their frame. A step that begins with an exception thrown in is told by
an event that is global, but happens with exceptions alone, and of the innermost frame alone; whichever of the frames
between it and the outermost yields first ends that step.
"""

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from carbon_sdk.cpu.driver import THREAD, Slot
from carbon_sdk.cpu.faults import Touched
from carbon_sdk.cpu.owner import Owner

_monitoring: Any = getattr(sys, "monitoring", None)
TOOL_IDS = (4, 3)
"""Those that are nobody's by name (library reference, sys.monitoring)."""
TOOL = "carbon_sdk"
COROUTINE = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
PASSED_ON = "async_generator_wrapped_value"
"""What an asynchronous generator yields to its consumer, and not to the loop: CPython's own name of the type."""

_tool: int | None = None
_watched: dict[FrameType, "Watch"] = {}
_told: dict[CodeType, int] = {}


def coroutines(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost coroutine that called a frame, directly or not, to the outermost that is resumed with it."""
    while frame is not None and not frame.f_code.co_flags & COROUTINE:
        frame = frame.f_back
    while frame is not None and frame.f_code.co_flags & COROUTINE:
        yield frame
        frame = frame.f_back


class Watch:
    """One running coroutine: its owner goes when it suspends, and comes back when it goes on.

    Args:
        frame: The outermost one of the coroutines that run.
        slot: Of the thread that they run on.
        touched: Of the span's clock.
    """

    __slots__ = ("_before", "_driven", "_frames", "_owner", "_slot", "_touched", "running", "spans")

    def __init__(self, frame: FrameType, slot: Slot, touched: Touched) -> None:
        self._touched = touched
        self.spans = 0
        self.running = True
        self._owner: Owner | None = None
        self._slot = slot
        self._before: Owner | None = slot.owner
        self._driven = slot.driven
        self._frames = [frame]
        _tell(frame.f_code, 1)  # it may fail, and nothing is changed yet
        slot.driven = self
        _watched[frame] = self

    @property
    def frame(self) -> FrameType:
        """The outermost coroutine's."""
        return self._frames[0]

    def resume(self) -> None:
        """A step begins."""
        if not self.running:
            slot = self._slot = THREAD.slot
            self._before, self._driven = slot.switch(self._owner), slot.driven
            slot.driven = self
            self.running = True

    def suspend(self) -> None:
        """The step ends; whoever runs now owns the next one."""
        if self.running:
            slot = self._slot
            self._owner = slot.switch(self._before)
            slot.driven = self._driven
            self.running = False
            self._let_go(1)

    def borrow(self, frames: list[FrameType]) -> None:
        """Be told by these too, until the step ends."""
        for frame in frames:
            if frame not in _watched:
                self._frames.append(frame)
                _watched[frame] = self
                self._tell(frame.f_code, 1)

    def release(self, owner: Owner | None, outer: Owner | None) -> bool:
        """A span of its has ended; with the last one it ends too.

        Args:
            owner: The span's.
            outer: Who owns what comes after it.

        Returns:
            Whether the step that runs was seen to begin; if not, CPU of it has been missed.
        """
        seen = self.running
        if not seen and self._owner is owner:
            self._owner = outer
        self.spans -= 1
        if self.spans <= 0:
            self.end()
        return seen

    def end(self) -> None:
        """Watch no more."""
        if self.running:
            self._slot.driven = self._driven
            self.running = False
        self._let_go(0)

    def abandon(self) -> None:
        """Watch no more, from whatever thread and in the midst of a step."""
        if self.running:
            self._slot.owner = self._before
        self.end()

    def _let_go(self, kept: int) -> None:
        for frame in self._frames[kept:]:
            if _watched.pop(frame, None) is not None:
                self._tell(frame.f_code, -1)
        del self._frames[kept:]

    def _tell(self, code: CodeType, more: int) -> None:
        try:
            _tell(code, more)
        except Exception as exc:  # somebody else has given our tool's id away
            if not self._touched.fault("cpu.watch", exc):
                raise


def in_loop() -> bool:
    """A loop of asyncio runs on the calling thread."""
    return asyncio._get_running_loop() is not None  # the public one raises, which costs ten times that


def follow(frame: FrameType | None, slot: Slot, touched: Touched) -> Watch | bool:
    """Who takes the slot's owner along when the running code suspends.

    Args:
        frame: The caller's.
        slot: Of the calling thread.
        touched: Of the span's clock.

    Returns:
        A watch, to be released; true where there is no need of one; false where nobody can tell.
    """
    driven = slot.driven
    if driven:
        return driven if isinstance(driven, Watch) else True
    outermost = None
    for outermost in coroutines(frame):  # noqa: B007  # the last one counts
        pass
    if outermost is None:
        return not (in_loop() and asyncio.current_task() is not None)  # its coroutine has no frame: not of Python
    if not _has_tool() and not _take_tool():
        return False
    known = _watched.get(outermost)
    if known is None:
        return Watch(outermost, slot, touched)
    if known.frame is not outermost:
        return False
    known.resume()  # a step that was not seen to begin
    return known


def stop() -> None:
    """Give everything back to the interpreter."""
    global _tool  # noqa: PLW0603
    for each in list(_watched.values()):
        each.abandon()
    if _has_tool():
        _monitoring.set_events(_tool, 0)
        for event in _callbacks():
            _monitoring.register_callback(_tool, event, None)
        _monitoring.free_tool_id(_tool)
    _tool = None


def _has_tool() -> bool:
    """Anybody may give an id away, or take one that was."""
    return _tool is not None and _monitoring.get_tool(_tool) == TOOL


def _take_tool() -> bool:
    global _tool  # noqa: PLW0603
    if _monitoring is None:
        return False
    free = [number for number in TOOL_IDS if _monitoring.get_tool(number) is None]
    if not free:
        return False
    _monitoring.use_tool_id(free[0], TOOL)
    for event, callback in _callbacks().items():
        _monitoring.register_callback(free[0], event, callback)
    _monitoring.set_events(free[0], _monitoring.events.PY_THROW)
    _tool = free[0]
    for code in _told:
        _monitoring.set_local_events(_tool, code, _local_events())
    return True


def _callbacks() -> dict[int, Callable[..., None]]:
    events = _monitoring.events
    return {
        events.PY_RESUME: _resumed,
        events.PY_YIELD: _yielded,
        events.PY_RETURN: _returned,
        events.PY_THROW: _thrown,
    }


def _tell(code: CodeType, more: int) -> None:
    """Have a code object tell its steps for as long as somebody listens."""
    count = _told.pop(code, 0) + more
    if count > 0:
        _told[code] = count
    if _tool is not None and count <= 1:
        _monitoring.set_local_events(_tool, code, _local_events() if count > 0 else 0)


def _local_events() -> int:
    events = _monitoring.events
    local: int = events.PY_RESUME | events.PY_YIELD | events.PY_RETURN
    return local


def _resumed(_code: CodeType, _offset: int) -> None:
    frame = sys._getframe(1)
    watched = _watched.get(frame)
    if watched is not None and watched.frame is frame:
        watched.resume()


def _yielded(_code: CodeType, _offset: int, value: object) -> None:
    watched = _watched.get(sys._getframe(1))
    if watched is not None and type(value).__name__ != PASSED_ON:
        watched.suspend()


def _returned(_code: CodeType, _offset: int, _value: object) -> None:
    frame = sys._getframe(1)
    watched = _watched.get(frame)
    if watched is not None and watched.frame is frame:
        watched.suspend()
        watched.end()


def _thrown(_code: CodeType, _offset: int, _exc: BaseException) -> None:
    if _watched:
        frames = list(coroutines(sys._getframe(1)))
        watched = _watched.get(frames[-1]) if frames else None
        if watched is not None and not watched.running:
            watched.borrow(frames[:-1])
            watched.resume()
