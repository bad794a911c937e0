"""CodeCarbon's trackers over carbon_sdk: one changed import.

```python
from carbon_sdk.integrations.codecarbon import EmissionsTracker, OfflineEmissionsTracker, track_emissions
```

Arguments, methods, files and units are those of CodeCarbon 3.3; docs/codecarbon.md says argument by argument what
happens. What differs is how joules are known, and to whom they belong: with `tracking_mode="process"` trackers that
are open at the same time divide this process's joules among them, and none is counted twice; a reading that failed is a
gap and told as one; a task's energy is the task's.
"""

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from carbon_sdk.integrations.codecarbon_data import EmissionsData, OutputMethod
from carbon_sdk.integrations.codecarbon_tracker import EmissionsTracker, OfflineEmissionsTracker

__all__ = [
    "EmissionsData",
    "EmissionsTracker",
    "OfflineEmissionsTracker",
    "OutputMethod",
    "TaskEmissionsTracker",
    "track_emissions",
    "track_task_emissions",
]

Function = TypeVar("Function", bound=Callable[..., Any])


class TaskEmissionsTracker:
    """A block as a task.

    Args:
        task_name: What it is called.
        tracker: Of which run; a new one when None.
    """

    def __init__(self, task_name: str | None, tracker: EmissionsTracker | None = None) -> None:
        self.task_name = task_name
        self.is_default_tracker = tracker is None
        self.tracker = tracker or EmissionsTracker()

    def __enter__(self) -> "TaskEmissionsTracker":
        self.tracker.start_task(self.task_name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tracker.stop_task()
        if self.is_default_tracker:
            self.tracker.stop()


@overload
def track_emissions(fn: Function, /) -> Function: ...
@overload
def track_emissions(
    fn: None = None, *positional: Any, offline: bool = False, **named: Any
) -> Callable[[Function], Function]: ...
def track_emissions(fn: Function | None = None, *positional: Any, offline: bool = False, **named: Any) -> Any:
    """A decorator: each call of the function is a run.

    Args:
        fn: The function, or the coroutine function; None where the decorator has arguments.
        positional: CodeCarbon's arguments, in its order.
        offline: Use an `OfflineEmissionsTracker`.
        named: CodeCarbon's arguments.
    """
    kind = OfflineEmissionsTracker if offline is True else EmissionsTracker
    return _decorator(fn, lambda: kind(*positional, **named))


@overload
def track_task_emissions(fn: Function, /) -> Function: ...
@overload
def track_task_emissions(
    fn: None = None, tracker: EmissionsTracker | None = None, task_name: str = ""
) -> Callable[[Function], Function]: ...
def track_task_emissions(
    fn: Function | None = None, tracker: EmissionsTracker | None = None, task_name: str = ""
) -> Any:
    """A decorator: each call of the function is a task.

    Args:
        fn: The function, or the coroutine function; None where the decorator has arguments.
        tracker: Of which run; a new one for each call when None.
        task_name: What it is called; a random name when empty.
    """
    return _decorator(fn, lambda: TaskEmissionsTracker(task_name or None, tracker))


def _decorator(fn: Function | None, open_tracker: Callable[[], Any]) -> Any:
    def decorate(function: Function) -> Function:
        if inspect.iscoroutinefunction(function):

            async def call_coroutine(*args: Any, **kwargs: Any) -> Any:
                with open_tracker():
                    return await function(*args, **kwargs)

            return cast(Function, functools.wraps(function)(call_coroutine))

        def call(*args: Any, **kwargs: Any) -> Any:
            with open_tracker():
                return function(*args, **kwargs)

        return cast(Function, functools.wraps(function)(call))

    return decorate if fn is None else decorate(fn)
