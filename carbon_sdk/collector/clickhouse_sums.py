"""Sums over the records on one shard: from the roll-ups where a slot is closed, from the records where it is not.

Sums of closed slots lie in `rollup`, written once they have come to rest. Slots behind `rolled_until`, and slots into
which a record came late, are read from the records: `final` leaves one record of each key, whoever wrote it how often.
So a figure never waits for a roll-up, and no record is counted twice. The measures' expressions are those of `report`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carbon_sdk.collector.clickhouse_server import literal
from carbon_sdk.collector.columns import ACCOUNT, PROVENANCE
from carbon_sdk.collector.decode import LONGEST_MACHINE_RECORD_SECONDS
from carbon_sdk.collector.report import (
    DAY_SECONDS,
    MACHINE_MEASURES,
    PROCESS_MEASURES,
    SLOT_SECONDS,
    WEIGHABLE,
    Measure,
)

CELL_US = 60_000_000
"""The machine book is chosen minute by minute, as in the embedded store."""


OF_SERVICES = frozenset({"project", "service", "kind", "provenance", *PROVENANCE})
"""What the roll-up without endpoints and names knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Some quarters of an hour.

    Args:
        start: From here, seconds since 1970.
        end: Up to here.
        rolled_until: Before this, sums lie in the roll-ups.
        late: But not for these, which are read from the records.
        coarse_until: Before this, sums are kept by day.
        days_until: Before this, sums of whole days may be read instead of those of their quarters.
        stale: But not those of the days in which these quarters lie: their sums have changed since.
    """

    start: int
    end: int
    rolled_until: int
    late: tuple[int, ...] = ()
    coarse_until: int = 0
    days_until: int = 0
    stale: tuple[int, ...] = ()

    @property
    def closed(self) -> str:
        """SQL: those whose sums are in the roll-ups."""
        but = f" and slot not in ({_listed(self.late)})" if self.late else ""
        return f"slot >= {self.start} and slot < {min(self.end, self.rolled_until)}{but}"

    @property
    def days(self) -> str | None:
        """SQL: the days whose sums stand for all of their quarters; None where there are none."""
        first, end = self._whole_days
        if first >= end:
            return None
        but = f" and slot not in ({_listed(self._late_days)})" if self._late_days else ""
        return f"slot >= {first} and slot < {end}{but}"

    @property
    def beside_days(self) -> str:
        """SQL: those closed ones that are in none of `days`."""
        first, end = self._whole_days
        if first >= end:
            return self.closed
        late = "".join(f" or (slot >= {day} and slot < {day + DAY_SECONDS})" for day in self._late_days)
        return f"{self.closed} and (slot < {first} or slot >= {end}{late})"

    @property
    def _whole_days(self) -> tuple[int, int]:
        return -(-self.start // DAY_SECONDS) * DAY_SECONDS, min(self.end, self.days_until) // DAY_SECONDS * DAY_SECONDS

    @property
    def _late_days(self) -> list[int]:
        return sorted({slot // DAY_SECONDS * DAY_SECONDS for slot in (*self.late, *self.stale)})

    @property
    def open(self) -> str:
        """SQL: those that are read from the records."""
        known = f" or slot in ({_listed(self.late)})" if self.late else ""
        return f"slot >= {self.start} and slot < {self.end} and (slot >= {self.rolled_until}{known})"

    @property
    def before_open(self) -> str:
        """SQL: those in which a record of the machine book may begin that reaches into an open slot."""
        back = LONGEST_MACHINE_RECORD_SECONDS
        near = "".join(f" or (slot >= {slot - back} and slot <= {slot})" for slot in self.late)
        return f"slot >= {self.start - back} and slot < {self.end} and (slot >= {self.rolled_until - back}{near})"


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _values(measures: Sequence[Measure], *, kept: bool) -> str:
    return ", ".join(f"toFloat64({f'`{one.name}`' if kept else one.expression}) as v_{one.name}" for one in measures)


def process(slots: Slots, measures: Sequence[Measure], texts: Sequence[str], where: str) -> str:
    """Rows of the process book with `slot`, texts, `v_` columns and `by_g`, to be summed.

    `by_g` is what the newest repricing adds to the first price; null where there was none.

    Args:
        slots: Which.
        measures: What of.
        texts: Which of the account's and the provenance's texts; the smallest roll-up that has them is read.
        where: SQL over the project and these texts.
    """
    keys = f"slot, {_quoted(texts)}" if texts else "slot"
    table = "service_rollup" if OF_SERVICES.issuperset(texts) else "rollup"
    unpriced = "toFloat64(null) as by_g"
    kept = f"select {keys}, {_values(measures, kept=True)}, {unpriced}"
    nothing = ", ".join(f"toFloat64(null) as v_{one.name}" for one in measures)
    days = f"{kept} from day_{table} final where {slots.days} and {where} union all " if slots.days else ""
    return (
        f"{days}"
        f"{kept} from {table} final where {slots.beside_days} and {where} "
        f"union all "
        f"select {keys}, {_values(measures, kept=False)}, {unpriced} from records final "
        f"where {slots.open} and machine_book = 0 and {where} "
        f"union all "
        f"select {keys}, {nothing}, ifNull(new_g, 0) - ifNull(first_g, 0) as by_g from repriced final "
        f"where slot >= {slots.start} and slot < {slots.end} and {where}"
    )


def units(slots: Slots, texts: Sequence[str], where: str) -> str:
    """Rows with `slot`, texts, `unit` and `amount`, to be summed."""
    keys = f"slot, {_quoted(texts)}" if texts else "slot"
    kept = f"select {keys}, unit, amount from"
    days = f"{kept} day_unit_rollup final where {slots.days} and {where} union all " if slots.days else ""
    return (
        f"{days}"
        f"{kept} unit_rollup final where {slots.beside_days} and {where} "
        f"union all "
        f"select {keys}, unit, amount from records final array join unit_names as unit, unit_amounts as amount "
        f"where {slots.open} and machine_book = 0 and {where}"
    )


def machine(slots: Slots, texts: Sequence[str], where: str) -> str:
    """Rows of the machine book with `slot`, texts and `v_` columns, to be summed; each machine once.

    Args:
        slots: Which.
        texts: Of `machine`, `kind`, `domain` and the provenance.
        where: SQL over the project alone: the choice among copies looks at all of a machine.
    """
    keys = f"slot, {_quoted(texts)}" if texts else "slot"
    newest = "select project, slot, machine, max(version) from machine_rollup"
    return (
        f"select {keys}, {_values(MACHINE_MEASURES, kept=True)} from machine_rollup final "
        f"where {slots.closed} and {where} and (project, slot, machine, version) in "
        f"({newest} where {slots.closed} and {where} group by project, slot, machine) "
        f"union all select {keys}, {_values(MACHINE_MEASURES, kept=False)} from ({_chosen(slots, where)})"
    )


def _chosen(slots: Slots, where: str) -> str:
    """Of the copies of a machine's minute, that of the instance which covers most of it, of equals the first by name.

    A record is laid out over the minutes that it covers, then over its domains.
    """
    domains = ("package", "dram", "psys", "gpu")
    minutes = f"""
        select project, machine, instance, kind, provenance, {_quoted(PROVENANCE)},
            intensity_g_per_kwh, if({WEIGHABLE}, emissions_g / energy_joules, null) as g_per_joule,
            assumeNotNull(window_start) as begun, assumeNotNull(window_end) as ended,
            greatest((ended - begun) / 1e6 - ifNull(gap_seconds, 0), 0) as known_seconds,
            [{", ".join(f"energy_{one}_joules" for one in domains)}] as joules_of,
            intDiv(begun, {CELL_US}) as first,
            first + toInt64(arrayJoin(range(toUInt64(intDiv(greatest(ended - 1, begun), {CELL_US}) - first + 1))))
                as minute,
            if(ended > begun,
                (least(ended, (minute + 1) * {CELL_US}) - greatest(begun, minute * {CELL_US})) / (ended - begun), 1)
                as share
        from records final where {slots.before_open} and machine_book = 1 and {where}
    """
    copies = f"""
        select project, intDiv(minute * 60, {SLOT_SECONDS}) * {SLOT_SECONDS} as slot, minute, machine, instance, kind,
            provenance, {_quoted(PROVENANCE)}, domain, joules * share as energy_joules,
            energy_joules * g_per_joule as emissions_g, intensity_g_per_kwh, known_seconds * share as covered_seconds
        from ({minutes})
        array join {list(domains)} as domain, joules_of as joules where joules is not null and {slots.open}
    """
    covered = f"""
        select project, minute, machine, kind, domain, instance, -sum(covered_seconds) as place
        from ({copies}) group by project, minute, machine, kind, domain, instance
    """
    best = f"""
        select project, minute, machine, kind, domain, arraySort(groupArray((place, instance)))[1].2
        from ({covered}) group by project, minute, machine, kind, domain
    """
    return f"select * from ({copies}) where (project, minute, machine, kind, domain, instance) in ({best})"


def roll(slots: Sequence[int]) -> tuple[str, ...]:
    """Statements that sum these slots up anew from the records."""
    end = max(slots) + SLOT_SECONDS
    only = Slots(start=min(slots), end=end, rolled_until=end, late=tuple(slots))
    inside = f"slot in ({_listed(slots)})"
    names = _quoted(one.name for one in PROCESS_MEASURES)
    fresh = ", ".join(
        f"toUInt64(sum({one.expression}))" if one.name == "records" else f"toFloat64(sum({one.expression}))"
        for one in PROCESS_MEASURES
    )
    kept = ", ".join(f"sum(`{one.name}`)" for one in PROCESS_MEASURES)
    chosen = ", ".join(f"sum({one.expression})" for one in MACHINE_MEASURES)
    account, provenance = f"account, {_quoted(ACCOUNT)}", f"provenance, {_quoted(PROVENANCE)}"
    any_account, any_provenance = f"account, {_any(ACCOUNT)}", f"provenance, {_any(PROVENANCE)}"
    service_keys, machine_keys = "project, slot, service, kind", "project, slot, machine, kind, domain"
    copies = f"""
        select project, machine, slot, uniqExact((instance, sequence)) as version from (
            select project, machine, instance, sequence, intDiv(assumeNotNull(window_start), 1000000) as begun,
                intDiv(greatest(assumeNotNull(window_end) - 1, assumeNotNull(window_start)), 1000000) as ended,
                intDiv(begun, {SLOT_SECONDS}) as first,
                (first + toInt64(arrayJoin(range(toUInt64(intDiv(ended, {SLOT_SECONDS}) - first + 1)))))
                    * {SLOT_SECONDS} as slot
            from records where {only.before_open} and machine_book = 1
        ) group by project, machine, slot
    """
    return (
        f"insert into rollup (project, slot, {account}, {provenance}, {names}) "
        f"select project, slot, {any_account}, {any_provenance}, {fresh} from records final "
        f"where {inside} and machine_book = 0 group by project, slot, account, provenance",
        f"insert into service_rollup ({service_keys}, {provenance}, {names}) "
        f"select {service_keys}, {any_provenance}, {kept} from rollup final "
        f"where {inside} group by {service_keys}, provenance",
        f"insert into unit_rollup (project, slot, {account}, unit, amount, records) "
        f"select project, slot, {any_account}, unit, sum(amount), count() from records final "
        f"array join unit_names as unit, unit_amounts as amount where {inside} and machine_book = 0 "
        f"group by project, slot, account, unit",
        f"insert into machine_rollup ({machine_keys}, {provenance}, {_quoted(one.name for one in MACHINE_MEASURES)}, "
        f"version) select {machine_keys}, {any_provenance}, {chosen}, any(version) "
        f"from ({_chosen(only, '1')}) as c all inner join ({copies}) as v using (project, machine, slot) "
        f"where {inside} group by {machine_keys}, provenance",
    )


def roll_days(days: Sequence[int]) -> tuple[str, ...]:
    """Statements that sum these days up anew from the sums of their quarters."""
    inside = f"slot >= {min(days)} and slot < {max(days) + DAY_SECONDS} and day in ({_listed(days)})"
    day = f"intDiv(slot, {DAY_SECONDS}) * {DAY_SECONDS} as day"
    names = _quoted(one.name for one in PROCESS_MEASURES)
    kept = ", ".join(f"sum(`{one.name}`)" for one in PROCESS_MEASURES)
    account, provenance = f"account, {_quoted(ACCOUNT)}", f"provenance, {_quoted(PROVENANCE)}"
    any_account, any_provenance = f"account, {_any(ACCOUNT)}", f"provenance, {_any(PROVENANCE)}"
    return (
        f"insert into day_rollup (project, slot, {account}, {provenance}, {names}) "
        f"select project, {day}, {any_account}, {any_provenance}, {kept} from rollup final "
        f"where {inside} group by project, day, account, provenance",
        f"insert into day_service_rollup (project, slot, service, kind, {provenance}, {names}, first_slot, last_slot) "
        f"select project, {day}, service, kind, {any_provenance}, {kept}, min(slot), max(slot) "
        f"from service_rollup final where {inside} group by project, day, service, kind, provenance",
        f"insert into day_unit_rollup (project, slot, {account}, unit, amount, records) "
        f"select project, {day}, {any_account}, unit, sum(amount), sum(records) from unit_rollup final "
        f"where {inside} group by project, day, account, unit",
    )


def services(slots: Slots) -> str:
    """Rows with `project`, `service`, `counted` records, and the `first` and `last` slot that they lie in."""
    keys = "select project, service"
    days = (
        f"{keys}, toInt64(records) as counted, first_slot as first, last_slot as last from day_service_rollup final "
        f"where {slots.days} union all "
    )
    quarter = "slot as first, slot as last"
    return (
        f"{days if slots.days else ''}"
        f"{keys}, toInt64(records) as counted, {quarter} from service_rollup final where {slots.beside_days} "
        f"union all "
        f"{keys}, toInt64(1) as counted, {quarter} from records final where {slots.open} and machine_book = 0"
    )


def _any(names: Iterable[str]) -> str:
    """Texts that their number stands for."""
    return ", ".join(f"any(`{name}`)" for name in names)


def in_words(values: Iterable[str]) -> str:
    """Texts of a condition."""
    return ", ".join(map(literal, values))
