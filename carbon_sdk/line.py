"""The line from windows to records, as it runs on carbon_sdk's own thread.

Windows are closed on time whatever the network does: pages wait for their price in a queue of their own, and records
wait for their sinks in another.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import anyio

from carbon_sdk.emission import grams
from carbon_sdk.intensity.intensity import Intensity, IntensityProvider, Place
from carbon_sdk.log import Log
from carbon_sdk.recent import Recent
from carbon_sdk.sampler import Sampler, Window
from carbon_sdk.sinks.delivery import CLOSE_SECONDS, Delivery
from carbon_sdk.sinks.sink import Totals, TotalsSink
from carbon_sdk.spans.ledger import Ledger, Page
from carbon_sdk.spans.span import Span, SpanShare
from carbon_sdk.spending import Spending
from carbon_sdk.statement import Statement, Terms

WAITING_PAGES = 600
"""Pages that wait for a price at most; the oldest is then priced by the static averages."""
LAST_PRICE_SECONDS = 2.0
"""How long closing waits for a price before it takes the static one."""


class Watcher(Protocol):
    """Sees each window as it closes, priced or not."""

    def attach(self, line: "Line") -> None:
        """The line stands; it may be told more than once."""

    def window_closed(self, page: Page) -> None:
        """A window has closed; called on carbon_sdk's own thread."""


class Line:
    """Closes windows, prices pages, emits records.

    Args:
        sampler: Yields windows; it has begun.
        before: What lies before its first window.
        ledger: Books them.
        terms: What is the same in all records.
        provider: Tells the intensity now.
        static: Always answers at once, should the provider not.
        place: Where the energy is used.
        delivery: Carries records.
        recent: Remembers windows.
        totals: Take the running totals at each window.
        watchers: See each window as it closes.
        spending: Knows how the budgets stand; None where there are none.
        log: Takes faults.
        emit_interval_seconds: Length of a record.
        first_record_seconds: When the first record comes.
    """

    def __init__(
        self,
        *,
        sampler: Sampler,
        before: Window,
        ledger: Ledger,
        terms: Terms,
        provider: IntensityProvider,
        static: IntensityProvider,
        place: Place,
        delivery: Delivery,
        recent: Recent,
        totals: Iterable[TotalsSink],
        watchers: Sequence[Watcher],
        spending: Spending | None = None,
        log: Log,
        emit_interval_seconds: float,
        first_record_seconds: float,
    ) -> None:
        self._sampler = sampler
        self._ledger = ledger
        self._terms = terms
        self._statement = Statement(terms)
        self.provider = provider
        self._static = static
        self.place = place
        self._delivery = delivery
        self.recent = recent
        self._totals = tuple(totals)
        self._watchers = watchers
        self._spending = spending
        self._log = log
        self._emit_interval_seconds = emit_interval_seconds
        self._first_record_seconds: float | None = first_record_seconds
        self._unpriced: deque[Page] = deque()
        self._more = anyio.Event()
        self._priced = anyio.Event()
        self._delivered = anyio.Event()
        self._pricing = anyio.CancelScope()
        page = ledger.book(before, learn=False)
        self._unpriced.append(page)
        self._process_cpu_ns = time.process_time_ns()
        self._rate: float | None = None
        self.intensity: Intensity | None = None
        """The last price; None before the first."""
        for watcher in watchers:
            watcher.attach(self)
        self._show(page)

    async def run(self, stopping: asyncio.Event, *, close_seconds: Callable[[], float]) -> None:
        """Run until `stopping` is set; then close the last window and hand everything over.

        Args:
            stopping: Set when the line is to end.
            close_seconds: How long handing over may take.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._deliver)
            tasks.start_soon(self._price)
            while not stopping.is_set():
                with anyio.move_on_after(self._sampler.seconds_to_boundary()):
                    await stopping.wait()
                    break
                self._close_window(self._sampler.close_if_moved)
                self._log.flush()
            self._close_window(self._sampler.close)
            with anyio.move_on_after(max(close_seconds() - CLOSE_SECONDS, 0.0)) as limit:
                await self._finish()
            if limit.cancelled_caught:
                self._log.fault("delivery.close", "not all records could be handed over in time")
            tasks.cancel_scope.cancel()

    @property
    def terms(self) -> Terms:
        """What is the same in all records from now on."""
        return self._terms

    def amend(self, place: Place, terms: Terms) -> None:
        """Another place and other terms from now on; what was priced so far goes out under the old ones.

        Args:
            place: Where the energy is used.
            terms: What is the same in all records.
        """
        if self._statement.started_at is not None:
            self._delivery.offer(self._statement.close())
        self.place, self._terms = place, terms
        self._statement.amend(terms)

    def estimate(self, cpu_seconds: float, *, in_request: bool) -> SpanShare | None:
        """A provisional answer for CPU used since the last boundary; asked from any thread.

        Args:
            cpu_seconds: CPU seconds of the span.
            in_request: A request waits: no reading is taken for it, the last window answers.
        """
        rate = self._rate
        if not in_request:
            page = self.peek()
            if page is not None:
                rate = page.joules_per_cpu_second or rate
        if rate is None:
            return None
        joules = rate * cpu_seconds
        price = self.intensity
        return SpanShare(
            cpu_seconds=cpu_seconds,
            energy_joules=joules,
            emissions_g=None if price is None else self._grams(joules, price),
            intensity=price,
        )

    def peek(self) -> Page | None:
        """The open window so far, without accounts, which goes on; None where the last reading is too fresh."""
        used = (time.process_time_ns() - self._process_cpu_ns) / 1e9
        window = self._sampler.peek(used)
        return None if window is None else self._ledger.book(window, learn=False)

    def _show(self, page: Page) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher.window_closed(page)
            except Exception as exc:  # an integration of ours: the window is booked all the same
                self._log.fault("watcher", exc)

    def _close_window(self, close: Callable[[], Window | None]) -> None:
        try:
            window = close()
            if window is None:
                return
            self._process_cpu_ns = time.process_time_ns()
            page = self._ledger.book(window)
        except Exception as exc:  # a meter or a rule of ours: the window is lost, the app goes on
            self._log.fault("sampler", exc)
            return
        self._rate = page.joules_per_cpu_second
        for domain, gap in page.gaps.items():
            self._log.fault(f"meter.{domain}", gap)
        self._unpriced.append(page)
        self._show(page)
        self._priced = anyio.Event()
        self._more.set()

    async def _deliver(self) -> None:
        await self._delivery.run()
        self._delivered.set()

    async def _price(self) -> None:
        with self._pricing:
            while True:
                while self._unpriced:
                    static = len(self._unpriced) > WAITING_PAGES
                    intensity = await self._intensity(self._static if static else self.provider)
                    self._book(self._unpriced.popleft(), intensity)
                self._priced.set()
                await self._more.wait()
                self._more = anyio.Event()

    async def _intensity(self, provider: IntensityProvider) -> Intensity:
        try:
            self.intensity = await provider.intensity(self.place)
        except Exception as exc:
            self._log.fault("intensity", exc)
            self.intensity = await self._static.intensity(self.place)
        return self.intensity

    def _book(self, page: Page, intensity: Intensity) -> None:
        """Price one page: into the statement, to the spans, to the totals."""
        begun = self._statement.started_at
        if begun is not None and self._interval(begun) != self._interval(page.started_at):
            self._emit()
        self._statement.add(page, intensity)
        self.recent.add(page, intensity, pue=self._terms.pue, wall_factor=self._terms.wall_factor)
        first = self._first_record_seconds
        begun = self._statement.started_at
        if first is not None and begun is not None and (page.ended_at - begun).total_seconds() >= first:
            self._emit()
        for figure in page.spans:
            if isinstance(figure.span, Span):
                joules = figure.energy_joules
                figure.span.settle(
                    SpanShare(
                        cpu_seconds=figure.cpu_seconds,
                        energy_joules=joules,
                        low_joules=figure.low_joules,
                        high_joules=figure.high_joules,
                        method=page.method,
                        emissions_g=None if joules is None else self._grams(joules, intensity),
                        intensity=intensity,
                        gap_cpu_seconds=figure.cpu_seconds if joules is None else 0.0,
                    ),
                    final=figure.ended,
                )
        if self._totals or self._spending is not None:
            self._tell_totals(page, intensity)

    def _tell_totals(self, page: Page, intensity: Intensity) -> None:
        totals = Totals(
            instance=self._terms.identity.instance,
            service=self._terms.identity.service,
            at=page.ended_at,
            intensity=intensity,
            accounts=self._statement.totals(),
        )
        if self._spending is not None:
            try:
                totals = replace(totals, budgets=self._spending.update(totals))
            except Exception as exc:  # an error of ours: the counters go on
                self._log.fault("budgets", exc)
        for sink in self._totals:
            try:
                sink.update(totals)
            except Exception as exc:
                self._log.fault(f"sink.{type(sink).__name__}", exc)

    def _emit(self) -> None:
        self._first_record_seconds = None
        self._delivery.offer(self._statement.close())

    def _interval(self, moment: datetime) -> int:
        return math.floor(moment.timestamp() / self._emit_interval_seconds)

    def _grams(self, joules: float, intensity: Intensity) -> float:
        return grams(joules, intensity.g_per_kwh, self._terms.pue) * (self._terms.wall_factor or 1.0)

    async def _finish(self) -> None:
        """Price what is left, emit the last records, wait for the sinks."""
        with anyio.move_on_after(LAST_PRICE_SECONDS):
            await self._priced.wait()
        self._pricing.cancel()
        while self._unpriced:
            self._book(self._unpriced.popleft(), await self._intensity(self._static))
        if self._statement.started_at is not None:
            self._emit()
        self._log.flush()
        self._delivery.close()
        await self._delivered.wait()
