"""Which grams belong in which scope."""

from dataclasses import replace

import pytest

from carbon_sdk.collector.inventory.gather import licences
from carbon_sdk.collector.inventory.inventory import Boundary, Inventory, Line, Supplier, from_object, rounded, total
from carbon_sdk.collector.inventory.scopes import market_based, scoped
from carbon_sdk.plugins import names

LINE = Line(
    service="shop",
    month="2026-03",
    kind="average/lifecycle",
    requests=10,
    energy_kwh=2.0,
    idle_energy_kwh=None,
    emissions_g=600.0,
    emissions_low_g=500.0,
    emissions_high_g=800.0,
    idle_emissions_g=None,
    embodied_g=40.0,
    repriced_g=None,
)
REPORT = Inventory(
    project="default",
    first_day="2026-03-01",
    last_day="2026-03-31",
    zone="UTC",
    version="0",
    operator="own",
    supplier=None,
    lines=(LINE,),
    quality={},
    methods=(),
    factors=(),
    sci=(),
    boundary=Boundary(domains_kwh={}, measured_kwh=None, idle_kwh=None, unattributed_kwh=None, machines=0, factor=1.2),
    gaps=(),
    repriced=(),
)


@pytest.mark.parametrize(
    ("kind", "operator", "scope"),
    [
        ("average/direct", "own", "Scope 2, location-based"),
        (
            "average/lifecycle",
            "own",
            "Scope 2, location-based, together with scope 3, category 3 (upstream and grid losses)",
        ),
        ("average/direct", "cloud", "Scope 3, category 1 (purchased goods and services)"),
        ("average/lifecycle", "cloud", "Scope 3, category 1 (purchased goods and services)"),
        ("average/lifecycle", None, "Not counted"),
        ("marginal/lifecycle", "own", "Not counted"),
        ("marginal/direct", "cloud", "Not counted"),
        ("unknown/unknown", "own", "Not counted"),
    ],
)
def test_signal_scope_and_operator_decide(kind: str, operator: str | None, scope: str) -> None:
    """As the GHG Protocol has it; marginal values enter nothing."""
    first, making = scoped(replace(REPORT, operator=operator, lines=(replace(LINE, kind=kind),)))  # type: ignore[arg-type]

    assert (first.scope, first.grams, first.low_g, first.high_g) == (scope, 600.0, 500.0, 800.0)
    assert making.grams == 40.0


def test_the_market_has_a_figure_only_with_a_suppliers_factor() -> None:
    """On the same energy, PUE and wall included."""
    assert market_based(REPORT)[0] is None
    grams, words = market_based(replace(REPORT, supplier=Supplier(g_per_kwh=10.0, source="Green Power Ltd")))

    assert grams == pytest.approx(2.0 * 1.2 * 10.0)
    assert "Green Power Ltd" in words


def test_what_is_unknown_stays_unknown_in_sums() -> None:
    """Nothing and nothing is nothing known; a sum is the same in every order."""
    assert total([None, None]) is None
    assert total([1e16, 1.0, -1e16]) == total([1.0, -1e16, 1e16]) == 1.0
    assert rounded(None) is None


def test_a_report_comes_back_from_its_json() -> None:
    """The command and the collector are two processes."""
    again = from_object(REPORT.to_object())

    assert again == REPORT
    assert again.sha256 == REPORT.sha256
    assert replace(REPORT, lines=(replace(LINE, emissions_g=600.0001),)).sha256 != REPORT.sha256


def test_every_provider_has_a_licence_and_a_credit() -> None:
    """A provider that is added must say under which licence its factors stand."""
    known = licences()

    assert set(names("carbon_sdk.providers")) <= known.keys()
    assert all(licence and credit for licence, credit in known.values())
