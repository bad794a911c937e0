"""The sources of grid intensity that the settings name, built as one chain; and whatever else an entry point names."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from carbon_sdk import cloud, plugins
from carbon_sdk.errors import SettingsError
from carbon_sdk.http import HTTP
from carbon_sdk.intensity.cached import Cached
from carbon_sdk.intensity.constant import Constant
from carbon_sdk.intensity.fallback import Fallback
from carbon_sdk.intensity.intensity import HistoryProvider, IntensityProvider, Place
from carbon_sdk.intensity.shared import Shared
from carbon_sdk.intensity.yearly_averages import YearlyAverages
from carbon_sdk.log import Log
from carbon_sdk.machine import Forgive, find_place, refuse
from carbon_sdk.metadata import Metadata
from carbon_sdk.settings import Settings
from carbon_sdk.timing import Timing

PROVIDERS = "carbon_sdk.providers"


@asynccontextmanager
async def intensity_chain(
    settings: Settings, log: Log, *, timing: Timing | None = None, told: Metadata | None = None
) -> AsyncIterator[tuple[Fallback, Place]]:
    """Whom the line would ask for the grid intensity, and where; closed when the block ends.

    Args:
        settings: What to build; the cloud is asked where they let us, and waited for.
        log: Takes warnings.
        told: What the cloud has said already.
        timing: Clocks; the machine's own when None.

    Raises:
        SettingsError: A setting cannot be used.
    """
    async with AsyncExitStack() as stack:
        timing = timing or Timing()
        http = client(settings, timing, proxy=settings.http_proxy)
        stack.push_async_callback(http.aclose)
        asks = settings.cloud_metadata
        place = find_place(settings, log, refuse, final=not asks and told is None)
        if asks or told is not None:
            place = cloud.better_place(place, told or await cloud.told(settings, log), log)
        chain = build(settings, None, YearlyAverages(), http, log, refuse, timing)
        stack.push_async_callback(chain.aclose)
        yield chain, place


@asynccontextmanager
async def history_of(settings: Settings, name: str) -> AsyncIterator[HistoryProvider]:
    """A provider that knows the past; closed when the block ends.

    Args:
        settings: Its options.
        name: Which.

    Raises:
        SettingsError: There is none of this name, or it knows no past.
    """
    async with AsyncExitStack() as stack:
        http = client(settings, Timing(), proxy=settings.http_proxy)
        stack.push_async_callback(http.aclose)
        provider = cast(HistoryProvider, plugin("provider", PROVIDERS, name, settings, http))
        stack.push_async_callback(provider.aclose)
        if not hasattr(provider, "history"):
            raise SettingsError("--reprice", f"{name} knows no past", "Name a provider that does")
        yield provider


def build(
    settings: Settings,
    provider: IntensityProvider | None,
    static: YearlyAverages,
    http: HTTP,
    log: Log,
    forgive: Forgive,
    timing: Timing,
) -> Fallback:
    """`Fallback(Cached(A), Cached(B), ..., YearlyAverages())`.

    Args:
        settings: Whom to ask.
        provider: Asked instead, where it is not None.
        static: Asked last.
        http: By which they ask.
        log: Told what they did.
        forgive: Told of a setting that cannot be used; it raises, or the others are asked.
        timing: Clocks.
    """

    def tell(level: str, text: str) -> None:
        log.event("carbon.intensity", level=level, problem=text)

    def chain(*links: IntensityProvider, allow_mixed_scope: bool = False) -> Fallback:
        return Fallback(
            *links,
            allow_mixed_scope=allow_mixed_scope,
            utcnow=timing.utcnow,
            monotonic=timing.monotonic,
            tell=tell,
            fault=log.fault,
        )

    if provider is not None:
        remembers = isinstance(provider, (Cached, Fallback, Constant, YearlyAverages))
        return chain(provider if remembers else _cached(provider, log, timing), static, allow_mixed_scope=True)
    links: list[IntensityProvider] = []
    for name in settings.provider_order:
        try:
            links.append(_provider(name, settings, static, http, log, timing))
        except SettingsError as exc:
            forgive(exc)
    if static not in links:
        links.append(static)
    ends = [index for index, link in enumerate(links) if isinstance(link, (Constant, YearlyAverages))]
    for late in links[ends[0] + 1 :]:
        if late is not static:
            problem = (
                f"{late.name} stands behind {links[ends[0]].name}, which always answers: it is never asked for now"
            )
            log.event("carbon.setting", level="warning", problem=problem, remedy="Change CARBON_SDK_PROVIDER")
    try:
        return chain(*links, allow_mixed_scope=settings.allow_mixed_scope)
    except SettingsError as exc:
        forgive(exc)
        return chain(links[0], *([] if links[0] is static else [static]))


def _provider(
    name: str, settings: Settings, static: YearlyAverages, http: HTTP, log: Log, timing: Timing
) -> IntensityProvider:
    if name == static.name:
        return static
    if name == Constant.name:
        return _constant(settings)
    live = cast(IntensityProvider, plugin("provider", PROVIDERS, name, settings, http))
    if settings.intensity_cache is not None:
        live = Shared(live, settings.intensity_cache, utcnow=timing.utcnow, chance=timing.chance, fault=log.fault)
    return _cached(live, log, timing)


def _cached(provider: IntensityProvider, log: Log, timing: Timing) -> Cached:
    return Cached(provider, utcnow=timing.utcnow, monotonic=timing.monotonic, chance=timing.chance, fault=log.fault)


def _constant(settings: Settings) -> Constant:
    text = settings.options(Constant.name).get("g_per_kwh", "")
    try:
        return Constant(float(text))
    except ValueError as exc:
        raise SettingsError(
            "CARBON_SDK_CONSTANT_G_PER_KWH", f"{text[:40]!r} is not a number", "Give grams CO2e per kWh, 0 to 2000"
        ) from exc


def client(settings: Settings, timing: Timing, *, proxy: str | None = None) -> HTTP:
    """An HTTP client as the settings want it.

    Args:
        settings: Its limits.
        timing: Its clocks.
        proxy: By which it asks; none when None.
    """
    return HTTP(
        proxy=proxy,
        timeout_seconds=settings.http_timeout_seconds,
        ca_file=None if settings.http_ca_file is None else str(settings.http_ca_file),
        monotonic=timing.monotonic,
        utcnow=timing.utcnow,
        sleep=timing.sleep,
        chance=timing.chance,
    )


def plugin(setting: str, group: str, name: str, settings: Settings, http: HTTP, **more: str) -> object:
    """What an entry point names, built from its own options.

    Args:
        setting: In which it is named.
        group: Of entry points.
        name: In that group.
        settings: Hold its options.
        http: Handed to it.
        more: Options beside its own.

    Raises:
        SettingsError: It is not installed.
    """
    try:
        build: Any = plugins.load(group, name)
    except plugins.PluginError as exc:
        raise SettingsError(f"CARBON_SDK_{setting.upper()}", str(exc), "Install it or correct the name") from exc
    return build({**settings.options(name), **more}, http)
