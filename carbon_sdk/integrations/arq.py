"""For arq: each run of a job is a span.

```python
@measured
class WorkerSettings:
    functions = [send_mail]
```

arq's hooks do not see how a job ended, so the functions themselves are wrapped; their names stay what they were.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from dataclasses import replace
from typing import Any, TypeVar
from uuid import uuid4

try:
    from arq import ArqRedis, Worker, func
    from arq.constants import default_queue_name
    from arq.cron import CronJob
    from arq.utils import to_seconds
    from arq.worker import Function
except ImportError as exc:
    raise ImportError('The arq integration needs arq: pip install "carbon-sdk[arq]"') from exc

from carbon_sdk.carbon import Carbon
from carbon_sdk.integrations.baggage import QUEUE_FRESH_SECONDS
from carbon_sdk.integrations.jobs import Jobs

Pool = TypeVar("Pool", bound=ArqRedis)
Settings = TypeVar("Settings", bound=type | dict[str, Any])
Hook = Callable[[dict[Any, Any]], Awaitable[Any]]

KEY = "carbon_sdk:baggage:"
"""Of Redis, before the job's id."""
TIMER_SECONDS = 0.001
"""A loop's timer may be early by its clock's resolution; uvloop counts milliseconds."""
DEFAULT_TIMEOUT = inspect.signature(Worker).parameters["job_timeout"].default


def instrument(pool: Pool) -> Pool:
    """The same pool, its jobs saying on whose behalf they are sent, where their queue may learn that.

    arq's messages have no room for it, so it stands in Redis beside them, for a week at most.
    """
    jobs = Jobs()
    enqueue = pool.enqueue_job

    @functools.wraps(enqueue)
    async def enqueue_marked(
        function: str, *args: Any, _job_id: str | None = None, _queue_name: str | None = None, **options: Any
    ) -> Any:
        baggage = jobs.mark(_queue_name or pool.default_queue_name)
        if baggage is not None:
            _job_id = _job_id or uuid4().hex
            try:
                await pool.set(KEY + _job_id, baggage, ex=QUEUE_FRESH_SECONDS, nx=True)
            except Exception as exc:  # a user of Redis may write arq's keys alone
                jobs.fault("arq.baggage", exc)
        return await enqueue(function, *args, _job_id=_job_id, _queue_name=_queue_name, **options)

    pool.enqueue_job = enqueue_marked  # type: ignore[method-assign]
    return pool


def measured(settings: Settings, /, *, carbon: Carbon | None = None) -> Settings:
    """The settings of a worker, its functions and cron jobs measured.

    Args:
        settings: The class, or the dictionary of arguments of `Worker`; it is changed in place.
        carbon: A `Carbon` built by hand; the process default when None.

    Returns:
        The settings.
    """
    given: Any = settings if isinstance(settings, MutableMapping) else vars(settings)
    jobs = Jobs(carbon)
    queue = given.get("queue_name") or default_queue_name
    timeout_seconds = to_seconds(given.get("job_timeout", DEFAULT_TIMEOUT))

    def wrapped(function: Function | CronJob) -> Any:
        limit = timeout_seconds if function.timeout_s is None else function.timeout_s
        return replace(function, coroutine=_measured(function, jobs, queue, limit))

    changed = {
        "functions": [wrapped(func(function)) for function in given.get("functions", ())],
        "on_startup": _before(jobs.astart, given.get("on_startup")),
        "on_shutdown": _after(jobs.aclose, given.get("on_shutdown")),
    }
    if given.get("cron_jobs"):
        changed["cron_jobs"] = [wrapped(job) for job in given["cron_jobs"]]
    for name, value in changed.items():
        if isinstance(settings, MutableMapping):
            settings[name] = value
        else:
            setattr(settings, name, value)
    return settings


def _measured(function: Function | CronJob, jobs: Jobs, queue: str, timeout_seconds: float) -> Callable[..., Any]:
    coroutine = function.coroutine

    @functools.wraps(coroutine)
    async def run(called: float, ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:
        baggage = await _baggage(jobs, ctx)
        job = jobs.begin(queue, function.name, repeated=ctx.get("job_try", 1) > 1, baggage=baggage)
        try:
            return await coroutine(ctx, *args, **kwargs)
        except asyncio.CancelledError as exc:
            late = asyncio.get_running_loop().time() - called >= timeout_seconds - TIMER_SECONDS
            job.error = TimeoutError() if late else exc  # arq cancels what runs too long
            raise
        except BaseException as exc:
            job.error = exc
            raise
        finally:
            job.end()

    @functools.wraps(coroutine)
    def called_now(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """The time limit runs from the call, not from the first step."""
        return run(asyncio.get_running_loop().time(), *args, **kwargs)

    return called_now


async def _baggage(jobs: Jobs, ctx: dict[Any, Any]) -> str | None:
    """What stands in Redis beside the job's message; nothing where nobody would believe it."""
    if jobs.reader is None or "redis" not in ctx:
        return None
    try:
        found: bytes | None = await ctx["redis"].get(KEY + str(ctx.get("job_id")))
    except Exception as exc:  # a user of Redis may read arq's keys alone
        jobs.fault("arq.baggage", exc)
        return None
    return None if found is None else found.decode(errors="replace")


def _before(first: Callable[[], Awaitable[None]], hook: Hook | None) -> Hook:
    async def on_startup(ctx: dict[Any, Any]) -> None:
        await first()
        if hook is not None:
            await hook(ctx)

    return on_startup


def _after(last: Callable[[], Awaitable[None]], hook: Hook | None) -> Hook:
    async def on_shutdown(ctx: dict[Any, Any]) -> None:
        try:
            if hook is not None:
                await hook(ctx)
        finally:
            await last()

    return on_shutdown
