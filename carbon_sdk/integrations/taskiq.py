"""The middleware for taskiq: each run of a task is a span.

```python
broker = RedisStreamBroker(url).with_middlewares(CarbonTaskiqMiddleware())
```

A run lasts from this middleware's `pre_execute` to its `post_execute`, so what stands after it in the list is inside.
"""

import asyncio
from contextvars import ContextVar
from typing import Any, TypeAlias

try:
    from taskiq import NoResultError, TaskiqMessage, TaskiqMiddleware, TaskiqResult
except ImportError as exc:
    raise ImportError('The taskiq middleware needs taskiq: pip install "carbon-sdk[taskiq]"') from exc

from carbon_sdk.carbon import Carbon
from carbon_sdk.integrations.jobs import Job, Jobs

QUEUE = "default"
"""The queue's name where the broker has none."""
LABEL = "baggage"
"""Under which a message says on whose behalf it is sent."""
REPEATED = frozenset(("_retries", "X-Taskiq-requeue"))
"""Labels in which taskiq counts a task's earlier runs."""


_Running: TypeAlias = "tuple[Job, asyncio.Task[Any] | None, _Running] | None"
"""A run, its task, and the run around it where a job runs another in place."""
_RUNNING: ContextVar[_Running] = ContextVar("carbon_sdk_taskiq", default=None)


class CarbonTaskiqMiddleware(TaskiqMiddleware):
    """Measures each run of a task; nothing of a run is kept on it.

    Args:
        carbon: A `Carbon` built by hand; the process default when None.
    """

    def __init__(self, *, carbon: Carbon | None = None) -> None:
        super().__init__()
        self._jobs = Jobs(carbon)

    async def startup(self) -> None:
        """Start with the worker, before its loop makes the tasks that run jobs."""
        if self.broker.is_worker_process:
            await self._jobs.astart()

    async def shutdown(self) -> None:
        """Hand everything over: a worker's process ends without the interpreter's own exit."""
        if self.broker.is_worker_process:
            await self._jobs.aclose()

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """The message says on whose behalf it is sent, where its queue may learn it."""
        baggage = self._jobs.mark(self._queue(message), message.labels.get(LABEL))
        if baggage is not None:
            message.labels[LABEL] = baggage
        return message

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """A run begins."""
        labels = message.labels
        repeated = not REPEATED.isdisjoint(labels) and any(str(labels.get(one) or "0") != "0" for one in REPEATED)
        job = self._jobs.begin(self._queue(message), message.task_name, repeated=repeated, baggage=labels.get(LABEL))
        task = asyncio.current_task()
        if task is not None:  # the end of the task ends a run for which `post_execute` was never called
            task.add_done_callback(job.abandon)
        _RUNNING.set((job, task, _RUNNING.get()))
        return message

    def on_error(self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException) -> None:
        """The run has raised; one that only wants no result has not failed."""
        running = _RUNNING.get()
        if running is not None and not isinstance(exception, NoResultError):
            running[0].error = exception

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """The run has ended."""
        running = _RUNNING.get()
        if running is None:
            return
        job, task, outer = running
        _RUNNING.set(outer)
        if task is not None:
            task.remove_done_callback(job.abandon)
        job.end()

    def _queue(self, message: TaskiqMessage) -> str:
        return str(message.labels.get("queue_name") or getattr(self.broker, "queue_name", None) or QUEUE)
