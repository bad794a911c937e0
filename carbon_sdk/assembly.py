"""Builds the stations of one process from its settings, and takes them down again.

It loads on carbon_sdk's own thread, so that neither importing the package nor the first request pays for it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

from carbon_sdk import cloud, plugins, reserve, sources
from carbon_sdk.budgets import Standing
from carbon_sdk.cpu.clock import Clock
from carbon_sdk.errors import SettingsError, SinkError
from carbon_sdk.http import HTTP
from carbon_sdk.identity import Identity, identify
from carbon_sdk.intensity.constant import Constant
from carbon_sdk.intensity.intensity import IntensityProvider, Place
from carbon_sdk.intensity.pue import Effectiveness, stated
from carbon_sdk.intensity.yearly_averages import YearlyAverages
from carbon_sdk.line import Line, Watcher
from carbon_sdk.log import Log
from carbon_sdk.machine import METER_PLUGINS, Forgive, basis_of, find_meters, find_place, idle_power
from carbon_sdk.meters.detect import Detected, with_instance_type
from carbon_sdk.meters.meter import Meter, Scope
from carbon_sdk.recent import Recent
from carbon_sdk.sampler import Sampler
from carbon_sdk.settings import Settings, unknown_variables
from carbon_sdk.sinks.delivery import Delivery
from carbon_sdk.sinks.sink import Sink, TotalsSink
from carbon_sdk.spans.ledger import Ledger
from carbon_sdk.spending import Spending
from carbon_sdk.statement import Terms
from carbon_sdk.timing import Timing

SINKS = "carbon_sdk.sinks"


@asynccontextmanager
async def assemble(
    settings: Settings,
    *,
    clock: Clock,
    log: Log,
    meters: Sequence[Meter] | None,
    provider: IntensityProvider | None,
    sinks: Mapping[str, Sink | TotalsSink] | None,
    on_budget_exceeded: Callable[[Standing], object] | None,
    timing: Timing,
    watchers: Sequence[Watcher],
    forgive: Forgive,
) -> AsyncIterator[Line]:
    """The line of one process, ready to run; closed when the block ends.

    Args:
        settings: What to build.
        clock: The CPU account, already started.
        log: Takes faults and the start line.
        meters: CPU meter first; found when None.
        provider: Grid intensity; built when None. The static averages stand behind it.
        sinks: By name; built when None.
        on_budget_exceeded: Told of a budget that is exceeded, beside the log.
        timing: The clocks of what asks the network.
        watchers: Told of the line and of each window; more may come later.
        forgive: Told of a setting that cannot be used; it raises, or the default serves instead.

    Raises:
        SettingsError: A setting cannot be used, and `forgive` has raised it.
    """
    async with AsyncExitStack() as stack:
        metered = _find(settings, log, forgive) if meters is None else _Metered(meters=meters)
        sampler = _sampler(stack, settings, metered, clock)
        before = sampler.begin()
        http = _client(stack, settings, timing)
        through_proxy = _client(stack, settings, timing, proxy=settings.http_proxy)
        static = YearlyAverages()
        place = find_place(settings, log, forgive, final=not settings.cloud_metadata)
        chain = sources.build(settings, provider, static, through_proxy, log, forgive, timing)
        stack.push_async_callback(chain.aclose)
        terms = _terms(settings, metered, place, _identity(settings, metered))
        named = _sinks(settings, http, log, forgive) if sinks is None else sinks
        totals = _counters(stack, named, log)
        line = Line(
            sampler=sampler,
            before=before,
            ledger=_ledger(stack, settings, metered, log),
            terms=terms,
            provider=chain,
            static=static,
            place=place,
            delivery=Delivery(_writers(named), fault=log.fault),
            recent=Recent(terms.identity.instance),
            totals=totals,
            watchers=watchers,
            spending=_spending(stack, settings, terms.identity.service, log, on_budget_exceeded),
            log=log,
            emit_interval_seconds=settings.emit_interval_seconds,
            first_record_seconds=settings.first_record_seconds,
        )
        _tell_start(settings, terms, settings.provider_order if provider is None else [provider.name], log)
        if settings.cloud_metadata:
            learning = asyncio.create_task(_learn(line, settings, metered, log))
            stack.push_async_callback(_ended, learning)
        yield line


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metered:
    """The meters, and what was seen of the machine where they were looked for.

    Args:
        meters: CPU meter first.
        found: None where the meters were given.
        container: Whose CPU time the processes that share a reserve divide; None where nothing is reserved.
    """

    meters: Sequence[Meter]
    found: Detected | None = None
    container: Scope | None = None

    @property
    def scope(self) -> Scope | None:
        """Whose joules the CPU meter reads."""
        return self.meters[0].scope if self.meters else None


def _find(settings: Settings, log: Log, forgive: Forgive) -> _Metered:
    found = find_meters(settings, log, forgive)
    return _Metered(meters=found.meters, found=found, container=reserve.container(settings, found))


def _sampler(stack: AsyncExitStack, settings: Settings, metered: _Metered, clock: Clock) -> Sampler:
    """Who reads the meters; they are closed where the stack ends."""
    for meter in metered.meters:
        stack.callback(meter.close)
    return Sampler(
        metered.meters,
        clock,
        container=metered.container,
        interval_seconds=settings.sample_interval_seconds,
        since_ns=clock.started_ns,
    )


def _client(stack: AsyncExitStack, settings: Settings, timing: Timing, *, proxy: str | None = None) -> HTTP:
    http = sources.client(settings, timing, proxy=proxy)
    stack.push_async_callback(http.aclose)
    return http


def _identity(settings: Settings, metered: _Metered) -> Identity:
    return identify(
        service=settings.service,
        release=settings.release,
        procfs_root=settings.procfs_root,
        container=metered.scope is not None and metered.scope.kind == "container",
    )


def _ledger(stack: AsyncExitStack, settings: Settings, metered: _Metered, log: Log) -> Ledger:
    """Who used the joules; what it learns of idle power is kept where the stack ends."""
    basis = None if metered.found is None else basis_of(metered.meters)
    return Ledger(
        idle_power=stack.enter_context(idle_power(settings, basis, log)),
        idle_policy=settings.idle_policy,
        reserved_share=reserve.share(settings, metered.scope, metered.container),
    )


def _terms(settings: Settings, metered: _Metered, place: Place, identity: Identity) -> Terms:
    """What is the same in all records."""
    making = reserve.making(settings, metered.found)
    effectiveness = _effectiveness(settings, place)
    known = [one.basis for one in (making, effectiveness) if one is not None]
    return Terms(
        identity=identity,
        meter="+".join(meter.name for meter in metered.meters) or "none",
        meter_scope="machine" if metered.scope is None else metered.scope.kind,
        basis="; ".join([basis_of(metered.meters), *known]),
        idle_policy=settings.idle_policy,
        place=str(place),
        pue=effectiveness.factor,
        wall_factor=settings.wall_factor,
        embodied_g_per_second=None if making is None else making.g_per_second,
    )


def _tell_start(settings: Settings, terms: Terms, providers: Sequence[str], log: Log) -> None:
    for problem in misspelt(settings):
        log.event("carbon.setting", level="warning", problem=problem)
    log.event(
        "carbon.start",
        meter=terms.meter,
        place=terms.place,
        providers=list(providers),
        first_record_in_seconds=min(settings.first_record_seconds, settings.emit_interval_seconds),
    )
    log.flush()


async def _learn(line: Line, settings: Settings, metered: _Metered, log: Log) -> None:
    """Ask the cloud what the machine did not tell; the line runs meanwhile, and takes it up when it comes."""
    try:
        found = metered.found
        told = await cloud.told(settings, log, None if found is None else found.hardware, patient=True)
        place = cloud.better_place(line.place, told, log)
        if told is not None and told.instance_type is not None and found is not None and found.instance_type is None:
            found = with_instance_type(found, told.instance_type, idle_watts=settings.idle_watts)
            metered = replace(metered, found=found)
        terms = _terms(settings, metered, place, line.terms.identity)
        if (place, terms) != (line.place, line.terms):
            line.amend(place, terms)
            log.event("carbon.cloud", place=str(place), basis=terms.basis)
    except Exception as exc:  # nobody awaits this task before the end: its error is told at once
        log.fault("cloud", exc)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


def misspelt(settings: Settings) -> list[str]:
    """One sentence for each `CARBON_SDK_` variable that means nothing."""
    groups = (sources.PROVIDERS, SINKS, METER_PLUGINS)
    return unknown_variables(settings.source, {Constant.name, *(name for one in groups for name in plugins.names(one))})


def _spending(
    stack: AsyncExitStack,
    settings: Settings,
    service: str,
    log: Log,
    callback: Callable[[Standing], object] | None,
) -> Spending | None:
    """What is spent of the budgets of the settings; None where there are none."""
    if not settings.budgets:
        return None

    def tell(standing: Standing) -> None:
        log.event("carbon.budget_exceeded", level="warning", service=service, **standing.to_fields())
        if callback is not None:
            try:
                callback(standing)
            except Exception as exc:  # the app's own code
                log.fault("budgets.callback", exc)

    spending = Spending(settings.budgets, service=service, folder=settings.state_folder, tell=tell, fault=log.fault)
    stack.callback(log.flush)
    stack.callback(spending.close)
    return spending


def _effectiveness(settings: Settings, place: Place) -> Effectiveness:
    """The PUE of the data centre: as set, as its cloud states it, else 1."""
    if settings.pue is not None:
        return Effectiveness(settings.pue, "PUE as set")
    known = place if place.cloud_provider is not None else settings
    return stated(known.cloud_provider, known.cloud_region) or Effectiveness(1.0, "PUE not known, taken as 1")


def _sinks(settings: Settings, http: HTTP, log: Log, forgive: Forgive) -> dict[str, object]:
    """The sinks of the settings; one that cannot open what it needs is told of, and the others serve."""
    built = {}
    for name in settings.sinks:
        try:
            built[name] = sources.plugin("sinks", SINKS, name, settings, http, state_dir=str(settings.state_folder))
        except SinkError as exc:
            log.fault(f"sink.{name}", exc, remedy="nothing goes to this sink")
        except SettingsError as exc:
            forgive(exc)
    return built


def _writers(named: Mapping[str, object]) -> dict[str, Sink]:
    """Those that take records: all but the ones that take totals alone."""
    return {
        name: cast(Sink, sink) for name, sink in named.items() if hasattr(sink, "write") or not hasattr(sink, "update")
    }


def _counters(stack: AsyncExitStack, named: Mapping[str, object], log: Log) -> list[TotalsSink]:
    """Those that take totals; each is closed where the stack ends."""
    counters = [cast(TotalsSink, sink) for sink in named.values() if hasattr(sink, "update")]
    for sink in counters:
        stack.push_async_callback(_close, sink, log)
    return counters


async def _close(sink: TotalsSink, log: Log) -> None:
    try:
        await sink.aclose()
    except Exception as exc:
        log.fault(f"sink.{type(sink).__name__}", exc)
