"""The books of a command: the machine's joules, shared by the same laws as those of a service.

What the command used is one account, what this process itself used another; what else ran on the machine, and what the
machine draws when idle, is charged to neither.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from carbon_sdk.command.prices import Prices
from carbon_sdk.command.program import Program
from carbon_sdk.cpu.accounts import SDK, Account, Cut, Use
from carbon_sdk.emission import Emission
from carbon_sdk.errors import SettingsError
from carbon_sdk.identity import identify
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.log import Log
from carbon_sdk.machine import basis_of, find_meters, find_place, idle_power
from carbon_sdk.meters.baseline import Baseline
from carbon_sdk.meters.meter import Scope
from carbon_sdk.meters.scope import busy_seconds
from carbon_sdk.recent import Recent
from carbon_sdk.sampler import Sampler, Window
from carbon_sdk.settings import Settings
from carbon_sdk.sinks.sink import Total
from carbon_sdk.spans.ledger import Ledger, Page
from carbon_sdk.statement import Statement, Terms

NANOSECONDS = 1_000_000_000


class CommandClock:
    """CPU of the command and of this process since the last boundary.

    Args:
        account: The command's.
        cpu_ns: CPU nanoseconds of the command so far.
        own_cpu_ns: CPU nanoseconds of this process when the command began.
    """

    def __init__(self, account: Account, cpu_ns: Callable[[], int], own_cpu_ns: int) -> None:
        self._account = account
        self._cpu_ns = cpu_ns
        self._command_ns = 0
        self._own_ns = own_cpu_ns
        self._ended: tuple[float, bool] | None = None

    def end(self, duration_seconds: float, *, failed: bool) -> None:
        """The command has ended: the next cut says so."""
        self._ended = duration_seconds, failed

    def cut(self) -> Cut:
        """What both have used since the last cut; what its processes used of the GPUs is all the command's."""
        command_ns = max(self._cpu_ns(), self._command_ns)  # one that is just being reaped is in neither reading
        own_ns = time.process_time_ns()
        used = {
            self._account: Use(cpu_seconds=(command_ns - self._command_ns) / NANOSECONDS, gpu_seconds=1.0),
            SDK: Use(cpu_seconds=(own_ns - self._own_ns) / NANOSECONDS),
        }
        if self._ended is not None:
            command = used[self._account]
            command.requests, (command.duration_seconds, failed) = 1, self._ended
            command.errors, self._ended = int(failed), None
        self._command_ns, self._own_ns = command_ns, own_ns
        return Cut(
            accounts=used,
            spans=(),
            process_cpu_seconds=sum(use.cpu_seconds for use in used.values()),
            late_cpu_seconds=0.0,
        )


class Books:
    """Windows of a command, booked, priced and added up.

    Args:
        sampler: Yields windows; it has begun.
        clock: The sampler's.
        ledger: Books them.
        statement: Adds them up.
        prices: Tell what a kilowatt-hour weighs.
        terms: What stands in the records.
        account: The command's.
        log: Told of gaps.
    """

    def __init__(
        self,
        *,
        sampler: Sampler,
        clock: CommandClock,
        ledger: Ledger,
        statement: Statement,
        prices: Prices,
        terms: Terms,
        account: Account,
        log: Log,
    ) -> None:
        self._sampler = sampler
        self._clock = clock
        self._ledger = ledger
        self._statement = statement
        self._prices = prices
        self._terms = terms
        self._account = account
        self._log = log
        self._unpriced: deque[Page] = deque()
        self.recent = Recent(terms.identity.instance)
        """Remembers the last windows."""

    def begin(self) -> None:
        """Take the meters' first reading. The first window, up to here, began with the baseline.

        Of a meter that is not in the baseline it is a gap.
        """
        self._take(self._sampler.close())

    def seconds_to_boundary(self) -> float:
        """How long until the next window closes."""
        return self._sampler.seconds_to_boundary()

    def tick(self) -> None:
        """Close a window, unless a meter's counters have not moved: then it goes on."""
        self._take(self._sampler.close_if_moved())

    def cut(self) -> None:
        """Close the window at once: the command stops or goes on here."""
        self._take(self._sampler.close())

    def total(self) -> Total | None:
        """What the command has used so far; None before the first window has its price."""
        return next((total for total in self._statement.totals() if total.name == self._account.name), None)

    def close(self, *, duration_seconds: float, failed: bool) -> list[Emission]:
        """The command has ended: close the last window, price what has no price yet.

        Returns:
            The records of the whole run.
        """
        self._clock.end(duration_seconds, failed=failed)
        self.cut()
        last = self._prices.last() if self._unpriced else None
        while self._unpriced and last is not None:
            self._book(self._unpriced.popleft(), last)
        return self._statement.close()

    def _take(self, window: Window | None) -> None:
        if window is not None:
            page = self._ledger.book(window)
            for domain, gap in page.gaps.items():
                self._log.fault(f"meter.{domain}", gap)
            self._unpriced.append(page)
        price = self._prices.latest
        while self._unpriced and price is not None:
            self._book(self._unpriced.popleft(), price)
        self._log.flush()

    def _book(self, page: Page, price: Intensity) -> None:
        self._statement.add(page, price)
        self.recent.add(page, price, pue=self._terms.pue, wall_factor=self._terms.wall_factor)


@contextmanager
def open_books(settings: Settings, name: str, log: Log, *, program: Program) -> Iterator[Books]:
    """The books of a program that runs; meters are closed at the end.

    Args:
        settings: Meters, place, price.
        name: What the account is called.
        log: Takes problems.
        program: The program: where its first window begins, its CPU time, its part of the GPUs.
    """

    def forgive(problem: SettingsError) -> None:
        log.fault(problem.setting, problem)

    baseline = program.baseline
    with ExitStack() as stack:
        meters = find_meters(settings, log, forgive, pids=program.family.pids, baseline=baseline).meters
        for meter in meters:
            stack.callback(meter.close)
        place = find_place(settings, log, forgive)
        basis = basis_of(meters)
        idle = stack.enter_context(idle_power(settings, basis, log))
        prices = stack.enter_context(Prices(settings, place, log))
        account = Account("worker", name, name)
        scope = meters[0].scope if meters else None
        terms = Terms(
            identity=identify(
                service=settings.service or name,
                release=settings.release,
                procfs_root=settings.procfs_root,
                container=scope is not None and scope.kind == "container",
            ),
            meter="+".join(meter.name for meter in meters) or "none",
            meter_scope=scope.kind if scope else "machine",
            basis=basis,
            idle_policy=settings.idle_policy,
            place=str(place),
            pue=settings.pue or 1.0,
            wall_factor=settings.wall_factor,
        )

        clock = CommandClock(account, program.cpu_ns, program.own_cpu_ns)
        sampler = Sampler(
            meters,
            clock,
            interval_seconds=settings.sample_interval_seconds,
            since_ns=baseline.monotonic_ns,
            busy_before=_busy_before(scope, baseline),
        )
        yield Books(
            sampler=sampler,
            clock=clock,
            ledger=Ledger(idle_power=idle, idle_policy=settings.idle_policy),
            statement=Statement(terms),
            prices=prices,
            terms=terms,
            account=account,
            log=log,
        )


def _busy_before(scope: Scope | None, baseline: Baseline) -> float | None:
    """Busy CPU seconds of the meters' scope at the baseline; None where only its own file tells, a container's."""
    if scope is None or scope.kind != "machine":
        return None
    return busy_seconds(baseline.get(baseline.stat))
