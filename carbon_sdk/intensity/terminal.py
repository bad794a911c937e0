"""The intensity in a terminal: what holds now, which source said so, and the coming hours. Needs the extra `cli`."""

import asyncio
import json
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import IO, Any

try:
    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(f'{exc.name} is missing: pip install "carbon-sdk[cli]"', name=exc.name) from exc

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.fallback import Fallback, LinkState
from carbon_sdk.intensity.intensity import Intensity, Place

EIGHTHS = " ▁▂▃▄▅▆▇█"
LABEL_COLUMNS = 12
"""Every twelfth bar has its hour below it."""
WATCH_SECONDS = 5.0
"""How often the view is drawn anew; the cache decides when a source is asked."""


async def show(
    chain: Fallback,
    place: Place,
    *,
    forecast: bool = False,
    watch: bool = False,
    as_json: bool = False,
    stream: IO[str] | None = None,
    utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Show the intensity of a place.

    Args:
        chain: Whom to ask.
        place: Where.
        forecast: Draw the coming hours too.
        watch: Go on until interrupted; in place on a terminal, one below the other elsewhere.
        as_json: Write one JSON object, a line for each look when watching, instead of drawing.
        stream: Where to; standard output unless given.
        utcnow: Clock.
        sleep: How to wait between two looks.

    Returns:
        The exit code: 0, or 1 where a forecast was asked for and there is none.
    """
    out = stream or sys.stdout
    console = Console(file=out)
    live = Live(console=console, auto_refresh=False) if watch and not as_json and console.is_terminal else None
    if live is not None:
        live.start()
    try:
        while True:
            now = utcnow()
            value = await chain.intensity(place)
            coming, problem = await _coming(chain, place) if forecast else ((), None)
            if as_json:
                out.write(json.dumps(_object(chain, place, value, coming, problem, now)) + "\n")
                out.flush()
            else:
                view = _view(chain, place, value, coming, problem, now)
                if live is None:
                    console.print(view)
                else:
                    live.update(view, refresh=True)
            if not watch:
                return 1 if problem else 0
            await sleep(WATCH_SECONDS)
    finally:
        if live is not None:
            live.stop()


async def _coming(chain: Fallback, place: Place) -> tuple[Sequence[Intensity], str | None]:
    try:
        return await chain.forecast(place), None
    except IntensityError as exc:
        return (), str(exc)


def bars(values: Sequence[Intensity], *, width: int = 60) -> tuple[str, str]:
    """A forecast as a line of bars, from 0 to its highest value, and the hours below it.

    Args:
        values: In order, of equal length; where there are more than `width`, each bar is the mean of some.
        width: Characters.
    """
    step = max(1, -(-len(values) // width))
    groups = [values[index : index + step] for index in range(0, len(values), step)]
    means = [math.fsum(value.g_per_kwh for value in group) / len(group) for group in groups]
    highest = max(means, default=0.0) or 1.0
    drawn = "".join(EIGHTHS[round(mean / highest * (len(EIGHTHS) - 1))] for mean in means)
    hours = (group[0].observed_at.astimezone(UTC).strftime("%H:%M") for group in groups[::LABEL_COLUMNS])
    return drawn, "".join(hour.ljust(LABEL_COLUMNS) for hour in hours).rstrip()[: max(len(drawn), 5)]


def _view(
    chain: Fallback,
    place: Place,
    value: Intensity,
    coming: Sequence[Intensity],
    problem: str | None,
    now: datetime,
) -> RenderableType:
    head = Text.assemble(
        (f"{value.g_per_kwh:.0f} g CO2e/kWh", "bold"),
        f"  {value.zone}  {value.quality}, {value.signal}, {value.emission_scope}, by {value.source}",
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_row("place", f"{place} (known by {place.known_by})")
    facts.add_row("interval", f"{_clock(value.observed_at)} to {_clock(value.valid_until)}, {_age(value, now)}")
    facts.add_row("method", value.method or "-")
    facts.add_row("licence", value.licence or "-")
    facts.add_row("credit", value.attribution or "-")
    links = Table("source", "kind", "answered", "failed", "asked", "again in", box=None, pad_edge=False)
    for column in links.columns:
        column.no_wrap = True
    for link in chain.state():
        links.add_row(*_link(link))
    parts: list[RenderableType] = [head, facts, Text(), links]
    for link in chain.state():
        if not link.well and link.last_problem is not None:
            parts += [Text(), Text(link.last_problem, style="yellow"), Text(f"{link.last_remedy}.")]
    if coming:
        parts += [Text(), Text(_span(coming)), *map(Text, bars(coming))]
    elif problem is not None:
        parts += [Text(), Text(f"no forecast: {problem}", style="yellow")]
    return Group(*parts)


def _link(link: LinkState) -> tuple[str, ...]:
    cache = link.cache
    return (
        link.name,
        f"{link.signal}, {link.emission_scope}",
        str(link.answered),
        str(link.failed),
        "-" if cache is None else str(cache.asked),
        "-" if cache is None or cache.asks_again_in_seconds == 0 else f"{cache.asks_again_in_seconds:.0f} s",
    )


def _span(coming: Sequence[Intensity]) -> str:
    lowest = min(coming, key=lambda value: value.g_per_kwh)
    highest = max(coming, key=lambda value: value.g_per_kwh)
    return (
        f"{_clock(coming[0].observed_at)} to {_clock(coming[-1].valid_until)}, by {coming[0].source}: "
        f"{lowest.g_per_kwh:.0f} at {_clock(lowest.observed_at)}, "
        f"{highest.g_per_kwh:.0f} at {_clock(highest.observed_at)}"
    )


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def _age(value: Intensity, now: datetime) -> str:
    seconds = (now - value.observed_at).total_seconds()
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min old"
    return f"{seconds / 3600:.0f} h old" if seconds < 3 * 86400 else f"{seconds / 86400:.0f} days old"


def _object(
    chain: Fallback,
    place: Place,
    value: Intensity,
    coming: Sequence[Intensity],
    problem: str | None,
    now: datetime,
) -> dict[str, Any]:
    return {
        "place": str(place),
        "known_by": place.known_by,
        "asked_at": _iso(now),
        **_fields(value),
        "age_seconds": round((now - value.observed_at).total_seconds(), 1),
        "signal": value.signal,
        "emission_scope": value.emission_scope,
        "source": value.source,
        "zone": value.zone,
        "method": value.method,
        "licence": value.licence,
        "attribution": value.attribution,
        "chain": [
            {
                "source": link.name,
                "signal": link.signal,
                "emission_scope": link.emission_scope,
                "answered": link.answered,
                "failed": link.failed,
                "last_problem": link.last_problem,
                "last_remedy": link.last_remedy,
            }
            for link in chain.state()
        ],
        "forecast": [_fields(one) for one in coming],
        "forecast_problem": problem,
    }


def _fields(value: Intensity) -> dict[str, Any]:
    return {
        "g_per_kwh": value.g_per_kwh,
        "quality": value.quality,
        "observed_at": _iso(value.observed_at),
        "valid_until": _iso(value.valid_until),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
