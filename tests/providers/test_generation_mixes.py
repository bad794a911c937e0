"""ENTSO-E, EIA and Open Electricity: mixes and sums that become g/kWh, and what makes them no number."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import EmissionScope, Place, RefusedCredentialsError, UnknownZoneError
from carbon_sdk_providers.fuels import complete, weigh
from tests.providers.bench import Bench, body, build

Put = Callable[[str], Bench]

WORKED = [
    # answer, zone, instant, lifecycle, direct: worked by hand with the table's factors
    ("generation_be", "BE", datetime(2024, 1, 1, 0, tzinfo=UTC), 92.36, 59.25),
    ("generation_be", "BE", datetime(2024, 1, 1, 1, tzinfo=UTC), 88.24, 56.15),
    ("generation_se4_curve_a03", "SE-SE4", datetime(2025, 10, 20, 11, tzinfo=UTC), 80.47, 52.86),
    ("generation_se4_curve_a03", "SE-SE4", datetime(2025, 10, 20, 15, tzinfo=UTC), 80.64, 57.30),
    ("generation_no5_curve_a01", "NO-NO5", datetime(2023, 5, 9, 9, tzinfo=UTC), 26.86, 0.0),
]


@pytest.mark.parametrize(("file", "zone", "instant", "lifecycle", "direct"), WORKED)
async def test_entsoe_mixes_weigh_what_was_worked_by_hand(
    router: respx.MockRouter, file: str, zone: str, instant: datetime, lifecycle: float, direct: float
) -> None:
    """Pumping and storage left out, omitted points repeated in curve A03 and missing in A01."""
    router.route().respond(200, content=body(f"entsoe/{file}.composed.xml"))
    for scope, expected in (("lifecycle", lifecycle), ("direct", direct)):
        provider = build("entsoe", {"token": "t", "emission_scope": scope}, now=instant + timedelta(hours=1))
        values = await provider.history(Place(zone=zone), instant, instant + timedelta(hours=1))  # type: ignore[attr-defined]
        assert [value.g_per_kwh for value in values] == [pytest.approx(expected, abs=0.005)]


@pytest.mark.parametrize(
    ("file", "status", "error"),
    [
        ("ack_no_data_200.xml", 200, "no data for BE"),
        ("ack_no_data_200.xml", 400, "no data for BE"),
        ("ack_too_many_documents.xml", 200, "exceeds the allowed maximum"),
        ("error_503_body.xml", 503, "HTTP 503"),
        ("ack_unauthorized_401.composed.xml", 200, "security token"),
        ("ack_unauthorized_401.composed.xml", 401, "HTTP 401"),
    ],
)
async def test_entsoe_says_no_in_xml(on_bench: Put, file: str, status: int, error: str) -> None:
    """No data comes under 200 today, under 400 before; the code is always 999, the text tells."""
    bench = on_bench("entsoe")
    bench.answers(body(f"entsoe/{file}"), status=status)

    with pytest.raises(IntensityError, match=error):
        await bench.provider.intensity(bench.place)


async def test_entsoe_is_left_alone_for_its_ban(on_bench: Put) -> None:
    """After too many requests it answers nobody for ten minutes, and does not say so."""
    bench = on_bench("entsoe")
    bench.answers(b"Max allowed requests", status=429)

    with pytest.raises(IntensityError) as caught:
        await bench.provider.intensity(bench.place)

    assert caught.value.retry_after_seconds == 600


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"<psrType>B14</psrType>", b"<psrType>B99</psrType>", "no lifecycle factor for fuel 'B99'"),
        (b">MAW<", b">KWH<", "not MAW"),
        (b"PT60M", b"P1Y", "resolution is 'P1Y'"),
        (b"2024-01-01T02:00Z", b"2054-01-01T02:00Z", "spans"),
        (b"<quantity>", b"<amount>", "not XML"),
        (b"<type>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><type>", "no XML document of its own"),
        (b"<start>2024", b"<start>in 2024", "no ISO 8601 time"),
    ],
)
async def test_entsoe_refuses_what_it_does_not_know(on_bench: Put, old: bytes, new: bytes, error: str) -> None:
    """An unknown fuel, unit or resolution is an error, not a guess."""
    bench = on_bench("entsoe")
    bench.answers(body("entsoe/generation_be.composed.xml").replace(old, new))

    with pytest.raises(IntensityError, match=error):
        await bench.provider.intensity(bench.place)


async def test_entsoe_drops_an_instant_without_its_nuclear(on_bench: Put) -> None:
    """The newest hour that lacks a kind is passed over for the one before."""
    bench = on_bench("entsoe")
    head, nuclear, tail = body("entsoe/generation_be.composed.xml").partition(b"<psrType>B14</psrType>")
    tail = tail.replace(b"<Point><position>2</position>", b"<Point><position>9</position>", 1)
    bench.answers(head + nuclear + tail)

    value = await bench.provider.intensity(bench.place)

    assert value.observed_at == datetime(2024, 1, 1, 0, tzinfo=UTC)
    assert value.g_per_kwh == pytest.approx(92.36, abs=0.005)


def eia_rows(*rows: tuple[str, str, Any]) -> str:
    """An answer of PGE with these hours, fuels and values."""
    data = [{"period": period, "respondent": "PGE", "fueltype": fuel, "value": value} for period, fuel, value in rows]
    return json.dumps({"response": {"total": str(len(data)), "data": data}, "apiVersion": "2.1.12"})


async def eia(router: respx.MockRouter, answer: str | bytes, status: int = 200) -> Any:
    """Portland's newest hour on 31 October 2022 at half past noon."""
    router.route().respond(status, content=answer)
    provider = build("eia", {"key": "secret-of-the-user"}, now=datetime(2022, 10, 31, 12, 30, tzinfo=UTC))
    return await provider.intensity(Place(zone="US-NW-PGE"))


async def test_eia_energy_belongs_to_the_hour_before_its_stamp(router: respx.MockRouter) -> None:
    """Text or number, negative as nothing, storage apart, null as not reported."""
    value = await eia(
        router,
        eia_rows(
            ("2022-10-31T12", "NG", "100"),
            ("2022-10-31T12", "WAT", -5),
            ("2022-10-31T12", "WND", 100),
            ("2022-10-31T12", "BAT", "900"),
            ("2022-10-31T13", "NG", None),
            ("2022-10-31T13", "WND", "70"),
        ),
    )

    assert value.observed_at == datetime(2022, 10, 31, 11, tzinfo=UTC)
    assert value.g_per_kwh == pytest.approx((490 + 11) / 2)
    assert "0% of unknown fuel" in value.method


async def test_eia_is_asked_for_values_by_authority_with_a_hidden_key(router: respx.MockRouter) -> None:
    """Without data[] the rows have no value; the key is added where nothing logs it."""
    await eia(router, eia_rows(("2022-10-31T12", "NG", "1")))

    asked = router.calls.last.request.url.params
    assert asked["data[]"] == "value"
    assert asked["facets[respondent][]"] == "PGE"
    assert "api_key" not in asked


@pytest.mark.parametrize("file", ["fuel_type_truncated_warning", "fuel_type_truncated_warning_toplevel"])
async def test_eia_answers_that_were_cut_are_refused(router: respx.MockRouter, file: str) -> None:
    """A mix that lost rows is a wrong number."""
    with pytest.raises(IntensityError, match="incomplete"):
        await eia(router, body(f"eia/{file}.composed.json"))


@pytest.mark.parametrize(
    ("file", "status", "kind"),
    [
        ("error_403_key_missing.json", 403, RefusedCredentialsError),
        ("error_403_key_invalid.composed.json", 403, RefusedCredentialsError),
        ("error_429_over_rate_limit.composed.json", 429, IntensityError),
        ("error_400_frequency.json", 400, IntensityError),
        ("error_400_frequency.json", 200, IntensityError),
        ("error_404.json", 404, IntensityError),
    ],
)
async def test_eia_says_no(router: respx.MockRouter, file: str, status: int, kind: type[IntensityError]) -> None:
    """`error` is an object or a text, and once was sent under 200."""
    with pytest.raises(IntensityError) as caught:
        await eia(router, body(f"eia/{file}"), status)

    assert type(caught.value) is kind


@pytest.mark.parametrize("zone", ["US", "US-CAL", "DE", None])
async def test_eia_regions_that_count_twice_are_not_asked_for(on_bench: Put, zone: str | None) -> None:
    """Only balancing authorities; the totals share their facet."""
    bench = on_bench("eia")

    with pytest.raises(UnknownZoneError):
        await bench.provider.intensity(Place(zone=zone))


def nem(change: Callable[[dict[str, Any]], None]) -> str:
    """The recorded answer of New South Wales, changed."""
    answer = json.loads(body("openelectricity/emissions_energy_5m_nsw1.composed.json"))
    change(answer)
    return json.dumps(answer)


async def test_openelectricity_is_asked_in_market_time_without_offset(on_bench: Put) -> None:
    """An offset is a 400; there is no summer time in the market."""
    bench = on_bench("openelectricity")

    await bench.provider.intensity(bench.place)

    asked = bench.router.calls.last.request.url.params
    assert (asked["date_start"], asked["date_end"]) == ("2026-08-05T08:12:00", "2026-08-05T12:12:00")
    assert asked.get_list("metrics") == ["emissions", "energy"]


async def test_openelectricity_folds_case_and_leaves_storage_out(on_bench: Put) -> None:
    """Fuel names were upper case in 2025; `battery` is a net that would count twice."""

    def change(answer: dict[str, Any]) -> None:
        for metric in answer["data"]:
            for group in metric["results"]:
                group["columns"]["fueltech"] = group["columns"]["fueltech"].upper()
            battery = json.loads(json.dumps(metric["results"][0]))
            battery["columns"]["fueltech"] = "BATTERY"
            metric["results"].append(battery)

    bench = on_bench("openelectricity")
    bench.answers(nem(change))

    value = await bench.provider.intensity(bench.place)

    assert value.g_per_kwh == pytest.approx(180.75, abs=0.005)


async def test_openelectricity_passes_over_an_interval_that_holds_solar_alone(on_bench: Put) -> None:
    """Rooftop solar runs ahead of the plants; null is no data."""

    def change(answer: dict[str, Any]) -> None:
        for metric in answer["data"]:
            for group in metric["results"]:
                if group["columns"]["fueltech"] == "coal_black":
                    group["data"][-1][1] = None

    bench = on_bench("openelectricity")
    bench.answers(nem(change))

    value = await bench.provider.intensity(bench.place)

    assert value.g_per_kwh == pytest.approx(181.51, abs=0.005)


async def test_openelectricity_times_without_offset_are_market_time(on_bench: Put) -> None:
    """Older versions sent them so."""
    bench = on_bench("openelectricity")
    bench.answers(body("openelectricity/emissions_energy_5m_nsw1.composed.json").replace(b":00+10:00", b":00"))

    value = await bench.provider.intensity(bench.place)

    assert value.observed_at == datetime(2026, 8, 5, 2, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("file", "status", "error"),
    [
        ("error_404_no_data.composed", 404, "has no data"),
        ("error_416_no_data", 416, "has no data"),
        ("error_401.composed", 401, "Invalid API key"),
        ("error_400_range_docs", 400, "Date range too large"),
        ("error_422_docs", 422, "validation_error"),
        ("error_401.composed", 200, "Invalid API key"),
    ],
)
async def test_openelectricity_says_no_in_four_shapes(on_bench: Put, file: str, status: int, error: str) -> None:
    """Whatever the shape, the message holds the server's words."""
    bench = on_bench("openelectricity")
    bench.answers(body(f"openelectricity/{file}.json"), status=status)

    with pytest.raises(IntensityError, match=error):
        await bench.provider.intensity(bench.place)


def test_oil_emits_what_a_plant_burns() -> None:
    """Its direct factor is one of combustion, as a grid operator publishes it; a blend gave half of that."""
    assert weigh("x", "entsoe_psr", "direct", {"B06": 1.0}).g_per_kwh == 777
    assert weigh("x", "eia_fueltype", "direct", {"OIL": 1.0}).g_per_kwh == 777


codes = st.sampled_from(["B01", "B02", "B04", "B05", "B06", "B10", "B11", "B14", "B16", "B18", "B19", "B20", "B25"])
megawatts = st.floats(-1e3, 1e5).map(lambda power: round(power, 3))
mixes = st.dictionaries(codes, megawatts, min_size=1)
scopes = st.sampled_from(["lifecycle", "direct"])


@given(mix=mixes, scope=scopes)
def test_a_mix_weighs_between_its_cleanest_and_its_dirtiest_fuel(
    mix: Mapping[str, float], scope: EmissionScope
) -> None:
    """An average lies within; storage and negative output change nothing."""
    produced = {code: power for code, power in mix.items() if power > 0 and code not in ("B10", "B25")}
    if not produced:
        with pytest.raises(IntensityError):
            weigh("x", "entsoe_psr", scope, mix)
        return
    alone = [weigh("x", "entsoe_psr", scope, {code: 1.0}).g_per_kwh for code in produced]

    weight = weigh("x", "entsoe_psr", scope, mix)

    assert min(alone) - 1e-9 <= weight.g_per_kwh <= max(alone) + 1e-9
    assert 0 <= weight.unknown_share <= 1
    assert weight == weigh("x", "entsoe_psr", scope, produced)


@given(st.lists(st.sets(codes, min_size=1), min_size=1, max_size=8))
def test_an_instant_with_fewer_kinds_than_the_fullest_has_no_value(kinds: list[set[str]]) -> None:
    """What is left has as many kinds as any, storage aside, and something is always left."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    given_mixes = {start + timedelta(hours=hour): dict.fromkeys(kind, 1.0) for hour, kind in enumerate(kinds)}

    kept = complete("entsoe_psr", given_mixes)

    count = {len(set(mix) - {"B10", "B25"}) for mix in given_mixes.values()}
    assert {len(set(mix) - {"B10", "B25"}) for mix in kept.values()} == {max(count)}
