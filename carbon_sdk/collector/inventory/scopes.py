"""Into which scopes of the GHG Protocol the grams belong.

Direct factors hold what the power stations emit: scope 2 of whoever runs the machine. Lifecycle factors hold more: the
upstream part and the losses of the grid are scope 3, category 3, and since a source gives one factor, they are not
split here. On machines of a cloud all of it, making included, is scope 3, category 1. Marginal values say what a change
would cause; an inventory adds up what was, so they are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from carbon_sdk.collector.inventory.inventory import Inventory, Line, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoped:
    """Grams that belong somewhere.

    Args:
        scope: Where.
        what: Of what.
        grams: How many; None where they are unknown.
        low_g: Lower bound.
        high_g: Upper bound.
        remark: What to know beside it.
    """

    scope: str
    what: str
    grams: float | None
    low_g: float | None
    high_g: float | None
    remark: str


UNKNOWN_OPERATOR = "not assigned to a scope: say who runs the machines with --operator own or --operator cloud"
PURCHASED = "Scope 3, category 1 (purchased goods and services)"
LOCATION = "Scope 2, location-based"
LOCATION_AND_FUEL = "Scope 2, location-based, together with scope 3, category 3 (upstream and grid losses)"
CAPITAL = "Scope 3, category 2 (capital goods), for information"
NOT_COUNTED = "Not counted"


def scoped(inventory: Inventory) -> list[Scoped]:
    """The grams of a report by scope, one row for each kind of grams, then what idle and making weigh."""
    rows = []
    for kind in inventory.kinds:
        lines = [line for line in inventory.lines if line.kind == kind]
        scope, remark = _scope(kind, inventory)
        grams = total(line.emissions_g for line in lines)
        if grams is None:
            continue
        low, high = (total(getattr(line, f"emissions_{end}_g") for line in lines) for end in ("low", "high"))
        what = f"active energy of the services, {kind.replace('/', ', ')}"
        rows.append(Scoped(scope=scope, what=what, grams=grams, low_g=low, high_g=high, remark=remark))
        idle = total(line.idle_emissions_g for line in lines)
        if idle:
            what = f"idle energy that the services carry, {kind.replace('/', ', ')}"
            rows.append(Scoped(scope=scope, what=what, grams=idle, low_g=None, high_g=None, remark=remark))
    return [*rows, *_embodied(inventory)]


def _scope(kind: str, inventory: Inventory) -> tuple[str, str]:
    signal, _, extent = kind.partition("/")
    if signal == "marginal":
        return NOT_COUNTED, "marginal values answer what a change would cause, and are refused in an inventory"
    if signal != "average":
        return NOT_COUNTED, "no intensity is known"
    if inventory.operator is None:
        return NOT_COUNTED, UNKNOWN_OPERATOR
    if inventory.operator == "cloud":
        return PURCHASED, "use of machines that somebody else runs"
    if extent == "direct":
        return LOCATION, "the upstream part and the losses of the grid (scope 3, category 3) are not in direct factors"
    return LOCATION_AND_FUEL, "the sources give one factor for the whole life of a kilowatt-hour, so it is not split"


def _embodied(inventory: Inventory) -> list[Scoped]:
    grams = total(line.embodied_g for line in inventory.lines)
    if grams is None:
        return []
    scope, remark = {
        "cloud": (PURCHASED, "share of the making of machines that somebody else runs"),
        "own": (CAPITAL, "an inventory counts the making of own machines in the year in which they are bought"),
    }.get(inventory.operator or "", (NOT_COUNTED, UNKNOWN_OPERATOR))
    return [
        Scoped(scope=scope, what="making of the machines, shared", grams=grams, low_g=None, high_g=None, remark=remark)
    ]


def market_based(inventory: Inventory) -> tuple[float | None, str]:
    """Grams by the supplier's factor, and what to know beside them."""
    if inventory.supplier is None:
        return None, "Not computed: no supplier's factor was given (--supplier-g-per-kwh with --supplier-source)."
    energy = total(part for line in inventory.lines for part in (line.energy_kwh, line.idle_energy_kwh))
    if energy is None:
        return None, "Not computed: no energy is known."
    factor = inventory.boundary.factor or 1.0
    grams = energy * factor * inventory.supplier.g_per_kwh
    told = f"{inventory.supplier.g_per_kwh:g} g/kWh of {inventory.supplier.source}"
    return total([grams]), f"{told}, times {factor:.4g} for PUE and wall, on the same energy."


def by_service(lines: Sequence[Line], kind: str) -> dict[str, dict[str, Line]]:
    """The lines of one kind by service and month; services with most grams first."""
    services: dict[str, dict[str, Line]] = {}
    for line in lines:
        if line.kind == kind:
            services.setdefault(line.service, {})[line.month] = line

    def weight(service: str) -> tuple[float, str]:
        return -(total(line.emissions_g for line in services[service].values()) or 0.0), service

    return {service: services[service] for service in sorted(services, key=weight)}
