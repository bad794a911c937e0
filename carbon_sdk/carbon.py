"""`Carbon`: builds the line from settings, starts it on a thread of its own, and stops it.

Nothing starts at import. It survives the error of any station, is safe after a fork, and closes twice without
complaint.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar

from carbon_sdk.budgets import Standing
from carbon_sdk.claim import Claim
from carbon_sdk.cpu.clock import Clock
from carbon_sdk.errors import CarbonSDKError, SettingsError
from carbon_sdk.intensity import forecast
from carbon_sdk.intensity.intensity import IntensityProvider, Place
from carbon_sdk.interpreter import unsupported
from carbon_sdk.log import Log, to_host
from carbon_sdk.meters.meter import Meter
from carbon_sdk.settings import Settings, from_environment
from carbon_sdk.sinks.sink import Sink, TotalsSink
from carbon_sdk.spans.span import SpanShare
from carbon_sdk.thread import Thread
from carbon_sdk.timing import Timing

Result = TypeVar("Result")


def _names(sinks: Sequence[str], settings: Settings | None) -> Sequence[str]:
    """Names of sinks that were given in place of sinks.

    Raises:
        SettingsError: They are no names, or stand beside settings, which have names already.
    """
    if settings is not None:
        raise SettingsError("CARBON_SDK_SINKS", "names stand beside settings=", "Name the sinks in those settings")
    if not isinstance(sinks, Sequence) or not all(isinstance(one, str) for one in sinks):
        raise SettingsError(
            "CARBON_SDK_SINKS",
            "sinks= holds something that is no name",
            'Give sinks built by hand under names of your own: sinks={"mine": sink}',
        )
    return sinks


class Carbon:
    """Measures this process from `start` to `close`.

    ```python
    async with Carbon(service="shop", zone="DE"):
        ...
    ```

    Args:
        settings: Built from the environment and `arguments` when None.
        meters: CPU meter first; found by looking at the machine when None.
        provider: Grid intensity, asked once for each interval that it names; built from settings when None. The static
            averages always stand behind it.
        sinks: Sinks built by hand, by name; or names alone, as in `CARBON_SDK_SINKS`; those of the settings when None.
        on_budget_exceeded: Called on carbon_sdk's own thread with a budget's standing, where the event
            `carbon.budget_exceeded` is logged too.
        timing: The clocks by which providers are asked and waited for, and steps are clocked.
        unsupported: Says why this interpreter cannot be measured; None where it can. The app runs on unmeasured then.
        arguments: Fields of `Settings`, above the environment.

    Raises:
        SettingsError: A setting cannot be used.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        meters: Sequence[Meter] | None = None,
        provider: IntensityProvider | None = None,
        sinks: Mapping[str, Sink | TotalsSink] | Sequence[str] | None = None,
        on_budget_exceeded: Callable[[Standing], object] | None = None,
        timing: Timing | None = None,
        unsupported: Callable[[], str | None] = unsupported,
        **arguments: Any,
    ) -> None:
        named = None if sinks is None or isinstance(sinks, Mapping) else _names(sinks, settings)
        self.settings = settings if settings is not None else from_environment(sinks=named, **arguments)
        self.log = Log(to_host())
        self.timing = timing or Timing()
        self.clock = Clock(
            on_error=self.log.fault,
            monotonic_ns=self.timing.monotonic_ns,
            thread_time_ns=self.timing.thread_time_ns,
        )
        self.meters = meters
        self.provider = provider
        self.sinks = sinks if isinstance(sinks, Mapping) else None
        self.on_budget_exceeded = on_budget_exceeded
        self.forgiving = False
        """A setting that cannot be used is told once and left at its default, instead of raised."""
        self._unsupported = unsupported
        self._refused = False
        self._lock = threading.Lock()
        self._thread: Thread | None = None
        self._watchers: list[Any] = []
        self.recent: Any = None
        """Remembers the last windows (`recent.of(record)`), also after the end; None before the line stands."""
        CLAIM.know(self)

    def forgive(self, problem: SettingsError) -> None:
        """Tell of a setting that cannot be used.

        Raises:
            SettingsError: The problem itself, unless this `Carbon` was built from the environment alone.
        """
        if not self.forgiving or self.settings.strict:
            raise problem
        self.log.fault(f"settings.{problem.setting}", problem)

    @property
    def disabled(self) -> bool:
        """`CARBON_SDK_DISABLED=1`, or an interpreter that cannot be measured: nothing of this does anything."""
        return self.settings.disabled or self._refused

    @property
    def running(self) -> bool:
        """The line runs in this process."""
        return self._thread is not None

    def start(self, *, wait_seconds: float = 0.0) -> None:
        """Start measuring; it does nothing where it runs already.

        Args:
            wait_seconds: How long to wait for the meters' first reading; it returns at once unless set.

        Raises:
            CarbonSDKError: Another `Carbon` runs in this process.
        """
        if self.disabled:
            return
        thread = self._thread or self._begin()
        if thread is not None and wait_seconds > 0.0 and not thread.ready.is_set():
            thread.ready.wait(wait_seconds)

    def _begin(self) -> Thread | None:
        with self._lock:
            if self._thread is not None or self._refused:
                return self._thread
            problem = self._unsupported()
            if problem is not None:
                self._refused = True
                self._cannot_start(problem)
                return None
            CLAIM.take(self)
            self.clock.start()
            thread = Thread(self._assembled, clock=self.clock, log=self.log, close_seconds=self.settings.close_seconds)
            try:
                thread.start()
            except RuntimeError as exc:  # the interpreter is ending, or the machine has no more threads
                self.clock.stop()
                CLAIM.release(self)
                self._cannot_start(exc)
                return None
            self._thread = thread
            return thread

    def _cannot_start(self, problem: BaseException | str) -> None:
        self.log.fault("start", problem, remedy="nothing is measured in this process; the application runs on")
        self.log.flush()  # no thread of ours will

    @asynccontextmanager
    async def _assembled(self) -> AsyncIterator[Any]:
        """The line; called on the thread of ours."""
        from carbon_sdk.assembly import assemble  # noqa: PLC0415  # the stations load here, off the app's threads

        async with assemble(
            self.settings,
            clock=self.clock,
            log=self.log,
            meters=self.meters,
            provider=self.provider,
            sinks=self.sinks,
            on_budget_exceeded=self.on_budget_exceeded,
            timing=self.timing,
            watchers=self._watchers,
            forgive=self.forgive,
        ) as line:
            self.recent = line.recent
            yield line

    def close(self, seconds: float | None = None) -> None:
        """Close the last window, hand everything over and stop; a second call does nothing.

        Args:
            seconds: How long handing over may take; `close_seconds` of the settings when None.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self.clock.stop()
            thread.end(self.settings.close_seconds if seconds is None else seconds)
            CLAIM.release(self)

    async def aclose(self) -> None:
        """`close`, without blocking the loop that awaits it."""
        if self._thread is not None:
            from anyio import to_thread  # noqa: PLC0415  # our own thread has loaded it; it serves trio too

            await to_thread.run_sync(self.close)

    def estimate(self, cpu_seconds: float, *, in_request: bool) -> SpanShare | None:
        """What CPU seconds used since the last window closed cost, provisionally; None before anything is known."""
        thread = self._thread
        line = thread.line if thread is not None else None
        return None if line is None else line.estimate(cpu_seconds, in_request=in_request)

    def watch(self, watcher: Any) -> None:
        """Tell a `Watcher` of the line, now or as soon as it stands, and of each window."""
        if watcher not in self._watchers:
            self._watchers.append(watcher)
        line = None if self._thread is None else self._thread.line
        if line is not None:
            watcher.attach(line)

    def wait_ready(self, seconds: float = 10.0) -> None:
        """Wait until the meters have been read for the first time.

        Raises:
            SettingsError: The line cannot be built from these settings.
        """
        thread = self._thread
        if thread is not None:
            thread.ready.wait(seconds)
            if isinstance(thread.failure, SettingsError):
                raise thread.failure

    async def greenest_window(
        self, duration: timedelta, *, before: datetime, zones: Sequence[str] = ()
    ) -> forecast.Greenest:
        """When, and of several zones where, work of this length is greenest; the provider is asked on our own thread.

        Args:
            duration: How long the work takes.
            before: When it must be done, with a time zone.
            zones: Where it may run, the first where it would run at once; this service's own place when empty.

        Raises:
            IntensityError: No provider has a forecast, or none is long enough: said at once.
            ValueError: The duration is not positive, the deadline has no time zone, or the work does not fit before it.
            SettingsError: There is no such zone; the message names the nearest.
            CarbonSDKError: Nothing runs here.
        """

        async def ask(line: Any) -> forecast.Greenest:
            from carbon_sdk.intensity.location import known_zone  # noqa: PLC0415  # our own thread has loaded it

            places = [Place(zone=known_zone(zone, setting="zones")) for zone in zones]
            return await forecast.greenest_window(
                line.provider,
                places or [line.place],
                duration=duration,
                before=before,
                utcnow=self.timing.utcnow,
            )

        return await self._on_thread(ask)

    async def wait_until_green(self, *, max_g_per_kwh: float, at_most: timedelta) -> forecast.Waited:
        """Wait until the grid here is as clean as wanted, or the time is up; the caller's loop goes on meanwhile.

        Args:
            max_g_per_kwh: The limit, grams CO2e per kWh.
            at_most: The longest wait.

        Raises:
            IntensityError: It is not green now, and there is no forecast by which to wait: said at once.
            CarbonSDKError: Nothing runs here, or it was closed while waiting.
        """
        return await self._on_thread(
            lambda line: forecast.wait_until_green(
                line.provider,
                line.place,
                max_g_per_kwh=max_g_per_kwh,
                at_most=at_most,
                utcnow=self.timing.utcnow,
                sleep=self.timing.sleep,
            )
        )

    async def _on_thread(self, ask: Callable[[Any], Coroutine[Any, Any, Result]]) -> Result:
        """What our own thread's loop answers, awaited from any other loop; it starts where it does not run yet."""
        self.start()
        thread = self._thread
        if thread is None:
            raise CarbonSDKError("carbon_sdk does not run in this process, so no provider can be asked")
        await asyncio.get_running_loop().run_in_executor(None, self.wait_ready)
        answer = asyncio.wrap_future(thread.submit(ask))
        try:
            await asyncio.wait([answer])
        finally:
            answer.cancel()
        if answer.cancelled():
            raise CarbonSDKError("carbon_sdk was closed before the provider had answered")
        return answer.result()

    async def __aenter__(self) -> "Carbon":
        self.start()
        await asyncio.get_running_loop().run_in_executor(None, self._enter)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> "Carbon":
        self.start()
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enter(self) -> None:
        try:
            self.wait_ready()
        except SettingsError:
            self.close()
            raise

    def rest(self) -> Thread | None:
        """Before a fork: our thread, brought to rest; None where none runs, or it works on and on."""
        thread = self._thread
        return thread if thread is not None and thread.rest() else None

    def after_fork(self) -> None:
        """In a child: begin anew at the next span; the parent's thread, queue and locks are not ours."""
        self._lock = threading.Lock()
        self._thread, self.recent = None, None
        self.log = Log(to_host())
        self.clock.after_fork(on_error=self.log.fault)


CLAIM: Claim[Carbon] = Claim()
"""Which `Carbon` runs in this process."""
