"""The chain: the first that answers, one kind of number, each trouble told once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.intensity.constant import Constant
from carbon_sdk.intensity.fallback import Fallback
from carbon_sdk.intensity.intensity import Place, RefusedCredentialsError, UnknownZoneError
from carbon_sdk.intensity.yearly_averages import YearlyAverages
from carbon_sdk.log import Log
from carbon_sdk.testing import ManualClock
from tests.intensity.sources import DE, HOUR, Source, cached, seconds, value


class Told:
    """What a chain told, and the log that counts its faults."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.written: list[dict[str, Any]] = []
        self.log = Log(lambda _level, _event, fields: self.written.append(dict(fields)))

    def __call__(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The lines about faults."""
        self.log.flush()
        return self.written


def chain(*providers: Any, clock: ManualClock, told: Told | None = None) -> Fallback:
    """A chain by this clock."""
    told = told or Told()
    return Fallback(*providers, utcnow=clock.utcnow, monotonic=seconds(clock), tell=told, fault=told.log.fault)


async def test_the_order_is_fresh_stale_next_static(clock: ManualClock) -> None:
    """A five-minute-old measured value is worth more than a yearly average."""
    first, second = Source(clock, name="first"), Source(clock, name="second")
    links = chain(cached(first), cached(second), YearlyAverages(), clock=clock)
    seen = []
    for hours in (0, 2, 3):
        clock.advance(hours * 3600)
        answer = await links.intensity(DE)
        seen.append((answer.source, answer.quality))
        first.fails(IntensityError("first", "down"))
    second.fails(IntensityError("second", "down"))
    clock.advance(5 * 3600)
    answer = await links.intensity(DE)

    assert seen == [("first", "measured"), ("first", "stale"), ("second", "measured")]
    assert (answer.source, answer.quality, answer.zone) == ("yearly_averages", "static", "DE")
    assert [link.answered for link in links.state()] == [2, 1, 1]


async def test_a_wrong_token_is_told_once_with_its_remedy_and_counted(clock: ManualClock) -> None:
    """A static answer each time, one line that says what to do, a few calls."""
    source, told = Source(clock), Told()
    source.fails(RefusedCredentialsError("live", "HTTP 401", remedy="Check CARBON_SDK_LIVE_TOKEN"))
    links = chain(cached(source, fault=told.log.fault), YearlyAverages(), clock=clock, told=told)
    for _ in range(3600):
        assert (await links.intensity(DE)).quality == "static"
        clock.advance(1)

    assert told.faults == [
        {
            "fault": "intensity.live.credentials",
            "problem": "live: HTTP 401",
            "remedy": "Check CARBON_SDK_LIVE_TOKEN",
        }
    ]
    assert told.log.faults == {"intensity.live.credentials": len(source.asked)}
    assert 2 <= len(source.asked) <= 4
    assert not told.lines
    live, averages = links.state()
    assert (live.failed, averages.answered) == (3600, 3600)
    assert (live.last_problem, live.last_remedy) == ("live: HTTP 401", "Check CARBON_SDK_LIVE_TOKEN")
    assert live.cache is not None
    assert live.cache.failed == len(source.asked)


async def test_a_day_of_flapping_is_told_once_an_hour_at_most(clock: ManualClock) -> None:
    """Up and down every five minutes: always an answer, few lines, few questions."""
    source, told = Source(clock), Told()
    links = chain(cached(source), YearlyAverages(), clock=clock, told=told)
    qualities = set()
    for minute in range(24 * 60):
        if minute % 10 < 5:
            source.answer = source.hourly
        else:
            source.fails(IntensityError("live", "HTTP 502"))
        qualities.add((await links.intensity(DE)).quality)
        await asyncio.sleep(0)
        clock.advance(60)

    assert qualities <= {"measured", "stale", "static"}
    assert len(told.lines) <= 25
    assert len(source.asked) <= 24 * 8


@pytest.mark.parametrize(
    ("problem", "kind", "remedy"),
    [
        (IntensityError("live", "x"), "intensity.live", "CARBON_SDK_PROVIDER"),
        (IntensityError("live", "x", remedy="Wait"), "intensity.live", "Wait"),
        (UnknownZoneError("live", "x"), "intensity.live.zone", "CARBON_SDK_ZONE"),
        (RefusedCredentialsError("live", "x"), "intensity.live.credentials", "CARBON_SDK_LIVE_"),
        (RuntimeError("a key in a URL"), "intensity.live", "CARBON_SDK_PROVIDER"),
    ],
)
@pytest.mark.parametrize("with_cache", [True, False])
async def test_each_kind_of_trouble_has_a_line_and_a_remedy(
    problem: Exception, kind: str, remedy: str, with_cache: bool, clock: ManualClock
) -> None:
    """A key that is refused does not hide behind a network that failed before; what the source says comes first."""
    source, told = Source(clock), Told()
    link = cached(source, fault=told.log.fault) if with_cache else source
    links = chain(link, YearlyAverages(), clock=clock, told=told)
    source.fails(IntensityError("live", "down"))
    await links.intensity(DE)
    clock.advance(3600)
    source.fails(problem)
    await links.intensity(DE)

    assert told.log.faults == ({kind: 1, "intensity.live": 1} if kind != "intensity.live" else {kind: 2})
    assert told.faults[0]["problem"] == "live: down"
    if kind != "intensity.live":
        assert (told.faults[1]["fault"], told.faults[1]["problem"]) == (kind, "live: x")
        assert remedy in told.faults[1]["remedy"]
    assert remedy in (links.state()[0].last_remedy or "")


async def test_a_failure_behind_a_fresh_value_is_told_too(clock: ManualClock) -> None:
    """The next value is fetched ahead; that it cannot be had is known before anyone misses it."""
    source, told = Source(clock), Told()
    links = chain(cached(source, fault=told.log.fault), YearlyAverages(), clock=clock, told=told)
    await links.intensity(DE)
    source.fails(IntensityError("live", "down"))
    clock.advance(3600 + 20)
    ahead = await links.intensity(DE)
    await asyncio.sleep(0.01)

    assert ahead.quality == "measured"
    assert [line["problem"] for line in told.faults] == ["live: down"]


async def test_a_stale_answer_and_the_recovery_are_told(clock: ManualClock) -> None:
    """So that whoever reads the log knows why records say stale."""
    source, told = Source(clock), Told()
    links = chain(cached(source), YearlyAverages(), clock=clock, told=told)
    await links.intensity(DE)
    source.fails(IntensityError("live", "down"))
    clock.advance(2 * 3600)
    await links.intensity(DE)
    source.answer = source.hourly
    clock.advance(2 * 3600)
    await links.intensity(DE)

    assert [level for level, _ in told.lines] == ["warning", "info"]
    assert "serves on" in told.lines[0][1]
    assert "answers again" in told.lines[1][1]


def test_one_chain_gives_one_kind_of_number(clock: ManualClock) -> None:
    """Marginal and average, direct and lifecycle do not meet; the static end may differ."""
    lifecycle, direct = Source(clock, name="a"), Source(clock, name="b", emission_scope="direct")
    marginal = Source(clock, name="c", signal="marginal")
    for other in (direct, marginal):
        with pytest.raises(SettingsError, match=r"^CARBON_SDK_PROVIDER: a gives average/lifecycle values"):
            Fallback(lifecycle, other, YearlyAverages())
    with pytest.raises(SettingsError):
        Fallback(direct, YearlyAverages(), direct)

    assert Fallback(direct, YearlyAverages()).name == "b,yearly_averages"
    assert Fallback(lifecycle, direct, allow_mixed_scope=True).name == "a,b"
    with pytest.raises(SettingsError, match="names no provider"):
        Fallback()


async def test_a_provider_without_a_cache_is_checked_too(clock: ManualClock) -> None:
    """A value outside its bounds never comes through, however the chain was built."""
    source = Source(clock)
    source.says(value(1e6, start=clock.utcnow()))

    answer = await chain(source, Constant(42.0), clock=clock).intensity(DE)

    assert (answer.source, answer.g_per_kwh) == ("constant", 42.0)


failures = st.sampled_from(
    [
        None,
        IntensityError("live", "x"),
        UnknownZoneError("live", "x"),
        RefusedCredentialsError("live", "x"),
        RuntimeError("x"),
        OSError(5, "x"),
        "not an intensity",
    ]
)


@given(
    st.lists(st.tuples(failures, st.integers(0, 20_000)), min_size=1, max_size=12), st.sampled_from([None, "DE", "XK"])
)
def test_there_is_always_an_answer(steps: list[tuple[Any, int]], zone: str | None) -> None:
    """Whatever a source does, and for however long, the chain answers, with its true quality."""
    clock = ManualClock()
    source = Source(clock)
    links = chain(cached(source), source, YearlyAverages(), clock=clock)

    async def run() -> None:
        for failure, wait in steps:
            if failure is None:
                source.answer = source.hourly
            elif isinstance(failure, str):
                source.says(failure)
            else:
                source.fails(failure)
            answer = await links.intensity(Place(zone=zone))
            assert 0 <= answer.g_per_kwh <= 2000
            late = clock.utcnow() - answer.valid_until
            if answer.quality not in ("static", "stale"):
                assert late <= timedelta(seconds=60)
            if answer.quality == "stale":
                assert late <= 3 * HOUR
            clock.advance(wait)

    asyncio.run(run())


async def test_known_asks_nobody(clock: ManualClock) -> None:
    """For those who must not wait: what is remembered, else the static end."""
    source = Source(clock)
    links = chain(cached(source), YearlyAverages(), clock=clock)

    before = links.known(DE)
    await links.intensity(DE)
    after = links.known(DE)

    assert before is not None
    assert after is not None
    assert (before.quality, after.quality) == ("static", "measured")
    assert len(source.asked) == 1
    assert chain(source, clock=clock).known(DE) is None


async def test_series_come_from_the_first_that_has_them(clock: ManualClock) -> None:
    """And where nobody has one, each says so at once."""
    with_series, without = Source(clock, name="with"), Constant(10.0)
    with_series.series = [value(start=clock.utcnow(), quality="forecast", source="with")]

    assert (await chain(without, with_series, clock=clock).forecast(DE))[0].source == "with"
    assert (await chain(with_series, clock=clock).history(DE, clock.utcnow(), clock.utcnow() + HOUR))[0].zone == "DE"
    with pytest.raises(IntensityError, match="constant: has no forecast; yearly_averages: has no forecast"):
        await Fallback(without, YearlyAverages()).forecast(DE)


async def test_closing_closes_all(clock: ManualClock) -> None:
    """Twice is fine."""
    sources = [Source(clock, name="a"), Source(clock, name="b")]
    links = chain(*map(cached, sources), YearlyAverages(), clock=clock)

    await links.aclose()
    await links.aclose()

    assert [source.closed for source in sources] == [1, 1]
