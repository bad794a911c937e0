"""Stored energy priced again on one shard, beside the first price, never instead of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carbon_sdk.collector import clickhouse_sums
from carbon_sdk.collector.clickhouse_report import moment, slots_of
from carbon_sdk.collector.clickhouse_server import Shard, literal
from carbon_sdk.collector.columns import ACCOUNT, PROVENANCE
from carbon_sdk.collector.report import PROCESS_MEASURES, SLOT_SECONDS
from carbon_sdk.collector.store import NewPrice, Repricing, SecondPrice
from carbon_sdk.emission import JOULES_PER_KWH

_KEYS = ("zone", "place", "signal", "scope", "quality")
_OF_RECORDS = ("zone", "place", "intensity_signal", "intensity_scope", "intensity_quality")
_MEASURES = tuple(one for one in PROCESS_MEASURES if one.name in ("energy_joules", "emissions_g"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A repricing that is being made.

    Args:
        repricing_id: Its number.
        project: Whose records.
        source: Whose intensities these are.
        made_us: When, microseconds since 1970.
        prices: What a kWh weighed, by zone and quarter of an hour.
    """

    repricing_id: int
    project: str
    source: str
    made_us: int
    prices: Sequence[NewPrice]


async def newest(shard: Shard) -> int:
    """The number of the newest repricing; 0 before the first."""
    return int(await shard.value("select max(repricing_id) from repricings"))


async def reprice(shard: Shard, made: Made) -> None:
    """Price the shard's energy; the same again changes nothing."""
    number = made.repricing_id
    starts = [int(price.slot.timestamp()) for price in made.prices]
    rows = [
        "\t".join((str(number), str(start), *(_cell(getattr(price, name)) for name in _KEYS), repr(price.g_per_kwh)))
        for start, price in zip(starts, made.prices, strict=True)
    ]
    columns = ("repricing_id", "slot", *_KEYS, "g_per_kwh")
    await shard.insert("prices", columns, ("\n".join(rows) + "\n").encode())
    slots = await slots_of(shard, min(starts), max(starts) + SLOT_SECONDS)
    texts = ("project", "account", *ACCOUNT, "provenance", *PROVENANCE)
    inner = clickhouse_sums.process(slots, _MEASURES, texts, f"project = {literal(made.project)}")
    names = ", ".join(f"`{name}`" for name in texts)
    keyed = ", ".join(f"ifNull(`{name}`, '') as j_{key}" for name, key in zip(_OF_RECORDS, _KEYS, strict=True))
    offered = ", ".join(f"{key} as j_{key}" for key in _KEYS)
    joined = ", ".join(("slot", *(f"j_{key}" for key in _KEYS)))
    await shard.execute(
        f"insert into repriced (repricing_id, slot, {names}, first_g, new_g) "
        f"select toUInt64({number}), slot, {names}, sum(v_emissions_g), "
        f"sum(v_energy_joules) / {JOULES_PER_KWH} * any(g_per_kwh) * any(pue) * any(ifNull(wall_factor, 1)) "
        f"from (select slot, {names}, v_energy_joules, v_emissions_g, {keyed} from ({inner}) "
        f"where v_energy_joules is not null) as stored "
        f"all inner join "
        f"(select slot, {offered}, g_per_kwh from prices final where repricing_id = {number}) as offered "
        f"using ({joined}) group by slot, {names}"
    )
    await shard.execute(
        "insert into repricings (repricing_id, made_us, project, source, start_slot, end_slot, slots) "
        f"select toUInt64({number}), {made.made_us}, {literal(made.project)}, {literal(made.source)}, {min(starts)}, "
        f"{max(starts) + SLOT_SECONDS}, count() from repriced final where repricing_id = {number}"
    )


async def repricings(shard: Shard, project: str) -> list[Repricing]:
    """The repricings of a project as the shard knows them."""
    rows = await shard.rows(
        "select repricing_id, made_us, source, start_slot, end_slot, slots from repricings final "
        f"where project = {literal(project)}"
    )
    return [
        Repricing(
            repricing_id=int(number),
            made_at=moment(made_us // 1_000_000),
            source=source,
            start=moment(start),
            end=moment(end),
            slots=int(slots),
        )
        for number, made_us, source, start, end, slots in rows
    ]


def merged(parts: Iterable[Iterable[Repricing]]) -> list[Repricing]:
    """Repricings of all shards, newest first; their slots add up."""
    found: dict[int, list[Repricing]] = {}
    for part in parts:
        for one in part:
            found.setdefault(one.repricing_id, []).append(one)
    return [
        Repricing(
            repricing_id=number,
            made_at=same[0].made_at,
            source=same[0].source,
            start=same[0].start,
            end=same[0].end,
            slots=sum(one.slots for one in same),
        )
        for number, same in sorted(found.items(), reverse=True)
    ]


async def second_price(shard: Shard, project: str, instance: str, sequence: int) -> SecondPrice | None:
    """What a record would weigh by its newest repricing."""
    where = f"project = {literal(project)} and instance = {literal(instance)} and sequence = {sequence}"
    key = "slot, account, provenance"
    rows = await shard.rows(
        f"select repricing_id, new_g, pue, wall_factor, {key} from repriced final where project = {literal(project)} "
        f"and ({key}) in (select {key} from records where {where})"
    )
    if not rows:
        return None
    number, new_g, pue, wall_factor, slot, account, provenance = rows[0]
    told = await shard.rows(f"select made_us, source from repricings where repricing_id = {number} limit 1")
    slots = await slots_of(shard, slot, slot + SLOT_SECONDS)
    of_key = f"project = {literal(project)} and account = {account} and provenance = {provenance}"
    inner = clickhouse_sums.process(slots, _MEASURES, ("account",), of_key)
    joules = await shard.value(f"select sum(v_energy_joules) from ({inner})")
    if not joules or new_g is None or not told:
        return None
    return SecondPrice(
        repricing_id=int(number),
        made_at=moment(told[0][0] // 1_000_000),
        source=told[0][1],
        g_per_kwh=new_g / joules * JOULES_PER_KWH / (pue * (1.0 if wall_factor is None else wall_factor)),
    )


def _cell(value: str | None) -> str:
    return (value or "").replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
