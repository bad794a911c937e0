"""What is summed up with age: single records go, and no total changes by it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_sdk.collector.decode import Bounds, decode
from carbon_sdk.collector.duckdb_store import DuckDBStore
from carbon_sdk.collector.duckdb_upkeep import Retention
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.report import REPORTS, Query
from carbon_sdk.collector.store import NewPrice, QueryError, Store, StoreError
from carbon_sdk.emission import Emission
from carbon_sdk.wire import to_json
from tests.collector.engines import Engine
from tests.collector.inside import inside
from tests.collector.service import HOUR, LONG, emission

EVER = Bounds(records=10_000, oldest_us=0, newest_us=2**62)
MIDNIGHT = HOUR.replace(hour=0)
START, END = MIDNIGHT - timedelta(days=500), MIDNIGHT + timedelta(days=2)
PRICE = NewPrice(
    zone="DE", place="DE", signal="average", scope="lifecycle", quality="measured", slot=HOUR, g_per_kwh=111.0
)
JOULES = st.one_of(st.none(), st.floats(0.0, 1e6))


@st.composite
def made(draw: st.DrawFn) -> list[Emission]:
    """Records of two services and three zones over 500 days, some without energy, and copies of a machine book."""
    records = [emission(0, instance="one", window_start=HOUR)]
    for sequence in range(1, draw(st.integers(2, 25))):
        joules = draw(JOULES)
        machine_book = draw(st.booleans())
        kind = draw(st.sampled_from(("measured", "idle") if machine_book else ("request", "background")))
        root = kind if machine_book else draw(st.sampled_from(("GET /a", "GET /b")))
        zone = draw(st.sampled_from(("DE", "FR", None)))
        records.append(
            emission(
                sequence,
                instance=draw(st.sampled_from(("one", "two"))),
                service=draw(st.sampled_from(("shop", "mail"))),
                joules=joules or 0.0,
                kind=kind,
                root=root,
                name=root,
                window_start=HOUR - timedelta(minutes=draw(st.integers(0, 499 * 24 * 60))),
                energy_joules=joules,
                energy_package_joules=joules,
                emissions_g=None if joules is None or zone is None else joules * 0.07,
                intensity_g_per_kwh=None if zone is None else 250.0,
                zone=zone,
                intensity_scope=draw(st.sampled_from(("lifecycle", "direct"))),
                units={"images": draw(st.floats(0.0, 100.0))} if draw(st.booleans()) else {},
            )
        )
    return records


async def answers(store: Store) -> list[tuple[str, Sequence[Figure]]]:
    """Every report over all of the time, and the days of one."""
    days = tuple(START + timedelta(days=number) for number in range((END - START).days + 1))
    asked = [
        (name, Query(project="p", start=START, end=END, by=one.by, book=one.book, detail=one.book == "process"))
        for name, one in REPORTS.items()
    ]
    asked.append(("days", Query(project="p", start=START, end=END, by=("service",), edges=days)))
    figures = await asyncio.gather(*(store.figures(query) for _, query in asked))
    return [(name, one) for (name, _), one in zip(asked, figures, strict=True)]


def known(sums: Mapping[str, float | None]) -> dict[str, float]:
    """Without what is unknown."""
    return {name: value for name, value in sums.items() if value is not None}


def assert_equal(before: list[tuple[str, Sequence[Figure]]], after: list[tuple[str, Sequence[Figure]]]) -> None:
    """The same figures, to 1e-9."""
    for (name, first), (_, second) in zip(before, after, strict=True):
        assert [(one.key, one.start) for one in first] == [(one.key, one.start) for one in second], name
        for one, other in zip(first, second, strict=True):
            assert known(one.sums) == pytest.approx(known(other.sums), rel=1e-9, abs=1e-12), name
            assert one.emissions == pytest.approx(other.emissions, rel=1e-9), name
            assert one.quality == pytest.approx(other.quality, rel=1e-9), name
            assert (one.repriced_g or {}) == pytest.approx(other.repriced_g or {}, rel=1e-9), name


@settings(max_examples=12 if LONG else 2)
@given(records=made(), days=st.tuples(st.integers(1, 600), st.integers(1, 600)))
def test_no_total_changes_by_age(
    fresh: Callable[[], Awaitable[Engine]], records: list[Emission], days: tuple[int, int]
) -> None:
    """Records deleted, quarters summed into days, deltas into one: every report says what it said, twice over."""
    raw, fine = sorted(days)

    async def run() -> None:
        store = await (await fresh()).store(raw_days=raw, fine_days=fine)
        try:
            for begin in range(0, len(records), 10):
                lines = "\n".join(map(to_json, records[begin : begin + 10])).encode()
                await store.ingest("p", decode(lines, "ndjson", EVER))
                await store.settled()
            await store.reprice("p", "later", [PRICE])
            before = await answers(store)
            for _ in range(2):
                await store.retain()
                assert_equal(before, await answers(store))
        finally:
            await store.aclose()

    anyio.run(run)


async def test_single_records_go_with_age_and_the_young_stay(engine: Engine) -> None:
    """Thirty days, counted in whole days."""
    async with engine.inside(raw_days=200) as collector:
        ages = (0, 29, 32, 100)
        await collector.send(*(emission(n, window_start=HOUR - timedelta(days=age)) for n, age in enumerate(ages)))
    async with engine.inside(raw_days=30) as collector:
        await collector.store.retain()
        asked = {"from": (START).isoformat(), "to": END.isoformat()}
        lines = (await collector.ask("/v1/records", **asked)).splitlines()
        (total,) = (await collector.ask("/v1/reports/totals", **asked))["rows"]

    assert len(lines) == 2
    assert total["records"] == 4


async def test_a_question_that_cuts_through_a_summed_day_is_refused_and_says_how_to_ask(tmp_path: Path) -> None:
    """A wrong figure is worse than none."""
    async with inside(tmp_path, retention=Retention(raw_days=5, fine_days=10)) as collector:
        await collector.send(emission(0, window_start=HOUR - timedelta(days=50)), emission(1))
        await collector.store.retain()
        start = datetime.combine((HOUR - timedelta(days=50)).date(), datetime.min.time(), UTC)
        whole = {"from": start.isoformat(), "to": (start + timedelta(days=1)).isoformat()}
        (day,) = (await collector.ask("/v1/reports/totals", **whole))["rows"]
        cut = await collector.client.get(
            "/v1/reports/totals", params={**whole, "from": (start + timedelta(hours=6)).isoformat()}
        )

    assert day["records"] == 1
    assert cut.status_code == 400
    assert "only days are kept" in cut.json()["error"]


async def test_the_folded_day_can_be_asked_in_the_offset_in_which_it_was_kept_alone(tmp_path: Path) -> None:
    """Days of another time zone cannot be cut out of it any more."""
    store = DuckDBStore(tmp_path, retention=Retention(raw_days=5, fine_days=10))
    lines = "\n".join(to_json(emission(n, window_start=HOUR - timedelta(days=60 * n))) for n in range(2)).encode()
    await store.ingest("p", decode(lines, "ndjson", EVER))
    await store.retain()
    with pytest.raises(QueryError, match="only days are kept"):
        await store.figures(Query(project="p", start=START + timedelta(hours=5), end=END))
    await store.aclose()
    with pytest.raises(StoreError):
        await store.retain()
