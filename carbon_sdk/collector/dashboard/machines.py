"""The machine book: each machine once, however many processes report it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from carbon_sdk.collector.dashboard.books import books_picture
from carbon_sdk.collector.dashboard.known import Known, known_of
from carbon_sdk.collector.dashboard.quantity import GRAMS, JOULES, WATTS, Quantity, column, percent, quantity
from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.store import Store

DOMAINS = {"package": "CPU", "dram": "memory", "psys": "platform", "gpu": "GPU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine.

    Args:
        name: What its records call it.
        measured: Its energy, in the unit of the table.
        watts: Mean power while it was measured.
        grams: CO2e of all of it, idle included.
        idle: Share of idle, 0 to 1.
        unattributed: Share that nobody's can be known to be.
        domains: The share of each domain, in words.
        known: How it is known.
    """

    name: str
    measured: str
    watts: Quantity
    grams: Quantity
    idle: float | None
    unattributed: float | None
    domains: str
    known: Known

    @property
    def active(self) -> float:
        """Share of what was used to do something."""
        return max(1.0 - (self.idle or 0.0) - (self.unattributed or 0.0), 0.0)


async def machines(visit: Visit, store: Store) -> dict[str, Any]:
    """What the template `machines.html` shows."""
    async with asyncio.TaskGroup() as tasks:
        measured = tasks.create_task(
            store.figures(visit.query("machine", book="machine", filters={"kind": ("measured",)}))
        )
        parts = tasks.create_task(store.figures(visit.query("machine", "kind", "domain", book="machine")))
        process = tasks.create_task(store.figures(visit.query("service", "kind")))
        kinds = tasks.create_task(store.figures(visit.query("kind", book="machine")))
    if not measured.result():
        return {"nothing": True, "subject": "Machines"}
    ordered = sorted(measured.result(), key=lambda one: -one.rank("energy_joules"))
    unit, texts = column([one.sums["energy_joules"] for one in ordered], JOULES)
    return {
        "unit": unit,
        "machines": [_machine(one, text, parts.result()) for one, text in zip(ordered, texts, strict=True)],
        "picture": books_picture(process.result(), kinds.result(), None),
    }


def _machine(whole: Figure, text: str, parts: Sequence[Figure]) -> Machine:
    own = [one for one in parts if one.key["machine"] == whole.key["machine"]]
    measured = [one for one in own if one.key["kind"] == "measured"]
    joules = whole.sums["energy_joules"]
    seconds = max((one.sums["covered_seconds"] or 0.0 for one in measured), default=0.0)
    return Machine(
        name=whole.key["machine"] or "unknown",
        measured=text,
        watts=quantity(joules / seconds if joules is not None and seconds else None, WATTS),
        grams=quantity(whole.emissions_g, GRAMS),
        idle=_share(own, "idle", joules),
        unattributed=_share(own, "unattributed", joules),
        domains=", ".join(_domains(measured, joules)),
        known=known_of(whole),
    )


def _share(parts: Sequence[Figure], kind: str, whole: float | None) -> float | None:
    joules = [one.sums["energy_joules"] for one in parts if one.key["kind"] == kind]
    known = [one for one in joules if one is not None]
    return sum(known) / whole if known and whole else None


def _domains(measured: Sequence[Figure], whole: float | None) -> list[str]:
    ordered = sorted(measured, key=lambda one: -one.rank("energy_joules"))
    return [
        f"{DOMAINS.get(one.key['domain'] or '', 'unknown')} {percent(one.rank('energy_joules') / whole)}"
        for one in ordered
        if whole
    ]
