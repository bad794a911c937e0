"""For Celery: each run of a task is a span, in the prefork, threads and solo pools.

```python
app = measured(Celery("shop", broker=url))
```

A run lasts from Celery's signal `task_prerun` to `task_postrun`. A prefork child measures itself and hands everything
over before it ends, also where it lives for one task. Greenlets (gevent, eventlet) take turns within one thread where
nothing tells whose CPU it is: they are not measured, and a warning says so.
"""

import sys
import threading
from typing import Any, TypeVar

try:
    from celery import Celery, Task, signals
    from celery.exceptions import SoftTimeLimitExceeded
    from celery.states import FAILURE, RETRY
except ImportError as exc:
    raise ImportError('The Celery integration needs Celery: pip install "carbon-sdk[celery]"') from exc

from carbon_sdk.carbon import Carbon
from carbon_sdk.integrations.jobs import Job, Jobs
from carbon_sdk.process import default

App = TypeVar("App", bound=Celery)

QUEUE = "celery"
"""Celery's own default."""
HEADER = "baggage"
"""Under which a message says on whose behalf it is sent."""
GREEN = "use the prefork, threads or solo pool"
"""The remedy where tasks run in greenlets."""


def measured(app: App, /, *, carbon: Carbon | None = None) -> App:
    """The application, its tasks measured; Celery's signals are those of the process, and so is this.

    Args:
        app: The application.
        carbon: A `Carbon` built by hand; the process default when None.

    Returns:
        The application.
    """
    tasks = _Tasks(carbon)
    for signal, receiver in (
        (signals.before_task_publish, tasks.mark),
        (signals.worker_init, tasks.before_fork),
        (signals.worker_process_init, tasks.start),
        (signals.task_prerun, tasks.begin),
        (signals.task_postrun, tasks.end),
        (signals.worker_process_shutdown, tasks.close),
        (signals.worker_shutdown, tasks.close),
    ):
        signal.connect(receiver, weak=False, dispatch_uid="carbon_sdk")
    return app


class _Running(threading.local):
    """The runs that are open on this thread, the innermost last: a task may run another in place."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Job]] = []


class _Tasks:
    """Receives Celery's signals.

    Args:
        carbon: A `Carbon` built by hand; the process default when None.
    """

    def __init__(self, carbon: Carbon | None) -> None:
        self._carbon = carbon
        self._jobs = Jobs(carbon)
        self._running = _Running()

    def mark(self, headers: dict[str, Any], routing_key: str | None = None, **_: Any) -> None:
        """The message says on whose behalf it is sent, where its queue may learn it."""
        baggage = self._jobs.mark(str(routing_key or QUEUE), headers.get(HEADER))
        if baggage is not None:
            headers[HEADER] = baggage

    def before_fork(self, **_: Any) -> None:
        """Load in the parent what each child would load."""
        self._jobs.load()

    def start(self, **_: Any) -> None:
        """A child has begun; it reads its meters while it waits for a task."""
        (self._carbon or default()).start()

    def begin(self, task_id: str, task: "Task[Any, Any]", **_: Any) -> None:
        """A run begins on this thread."""
        if _in_greenlet():
            log = (self._carbon or default()).log
            log.fault("celery", "greenlets take turns within one thread, so tasks are not measured", remedy=GREEN)
            log.flush()
            return
        self._jobs.start()
        request = task.request
        delivery = request.delivery_info or {}
        job = self._jobs.begin(
            str(delivery.get("routing_key") or QUEUE),
            task.name,
            repeated=bool(request.retries or delivery.get("redelivered")),
            baggage=request.get(HEADER),
            suspends=False,
        )
        self._running.jobs.append((task_id, job))

    def end(self, task_id: str, retval: object, state: str | None, **_: Any) -> None:
        """The run on this thread has ended."""
        jobs = self._running.jobs
        if not jobs or jobs[-1][0] != task_id:
            return
        job = jobs.pop()[1]
        if state is None:  # neither done nor failed: the process is told to end
            job.abandon()
        elif state not in (FAILURE, RETRY):
            job.end()
        elif isinstance(retval, SoftTimeLimitExceeded):
            job.end("timed_out")
        else:
            job.error = retval if isinstance(retval, BaseException) else RuntimeError(state)
            job.end()

    def close(self, **_: Any) -> None:
        """This process ends, which for a child is without the interpreter's own exit."""
        self._jobs.close()


def _in_greenlet() -> bool:
    """The calling code runs in a greenlet that is not its thread's own."""
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and greenlet.getcurrent().parent is not None
