"""For RQ: workers that make each run of a job a span.

```sh
rq worker --worker-class carbon_sdk.integrations.rq.CarbonWorker
```

RQ forks a work-horse for each job, which ends past the interpreter's own exit: it measures itself and hands everything
over first. What it needs is loaded in the worker, before the fork.
"""

import functools
from collections.abc import Callable
from typing import Any

try:
    from rq import Queue, SimpleWorker, SpawnWorker, Worker
    from rq.job import Job
    from rq.timeouts import JobTimeoutException
    from rq.worker import BaseWorker
except ImportError as exc:
    raise ImportError('The RQ integration needs RQ: pip install "carbon-sdk[rq]"') from exc

from carbon_sdk.integrations.jobs import Jobs

META = "baggage"
"""Under which a job says on whose behalf it was sent."""
NAMELESS = "(no name)"
_JOBS = Jobs()


def instrument(queue: Queue) -> Queue:
    """The same queue, the jobs that it makes saying on whose behalf they are sent, where it may learn that."""
    create = queue.create_job

    @functools.wraps(create)
    def create_marked(*args: Any, **kwargs: Any) -> Job:
        job = create(*args, **kwargs)
        baggage = _JOBS.mark(queue.name, job.meta.get(META))
        if baggage is not None:
            job.meta[META] = baggage
        return job

    queue.create_job = create_marked  # type: ignore[method-assign]
    return queue


class Measured(BaseWorker):
    """What makes a worker of RQ measure its jobs: `class Mine(Measured, RoundRobinWorker)`."""

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """As RQ's; what a work-horse needs is loaded before the first is forked."""
        _JOBS.load()
        try:
            return super().work(*args, **kwargs)
        finally:
            _JOBS.close()

    def perform_job(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> bool:
        """As RQ's, the job's own function measured."""
        again = job.started_at is not None and getattr(job, "repeats_left", None) is None
        job.perform = _measured(job, queue.name, repeated=again)  # type: ignore[method-assign]
        try:
            return super().perform_job(job, queue, *args, **kwargs)
        finally:
            if self.is_horse:  # it ends by `os._exit`
                _JOBS.close()


class CarbonWorker(Measured, Worker):
    """RQ's `Worker`, its jobs measured."""


class CarbonSpawnWorker(Measured, SpawnWorker):
    """RQ's `SpawnWorker`, its jobs measured."""


class CarbonSimpleWorker(Measured, SimpleWorker):
    """RQ's `SimpleWorker`, its jobs measured."""


def _measured(job: Job, queue: str, *, repeated: bool) -> Callable[[], Any]:
    perform = job.perform

    def run() -> Any:
        _JOBS.start()
        name = job.func_name or NAMELESS
        measured = _JOBS.begin(queue, name, repeated=repeated, baggage=job.meta.get(META), suspends=False)
        try:
            return perform()
        except JobTimeoutException:
            measured.end("timed_out")
            raise
        except BaseException as exc:
            measured.error = exc
            raise
        finally:
            measured.end()

    return run
