"""GB Carbon Intensity, Energy-Charts, éCO2mix and Energinet: windows that hold now, lateness, and their quirks."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import respx

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.intensity.intensity import Place, UnknownZoneError
from tests.providers.bench import Bench, body, build

Put = Callable[[str], Bench]
GB = Place(zone="GB")


async def test_gb_takes_the_window_that_holds_now(router: respx.MockRouter) -> None:
    """The API's own "current" one is the last that is over."""
    provider = build("gb_carbon_intensity", {}, now=datetime(2023, 12, 3, 12, 10, tzinfo=UTC))
    router.route().respond(200, content=body("gb_carbon_intensity/intensity_fw48h.json"))

    value = await provider.intensity(GB)

    assert value.observed_at == datetime(2023, 12, 3, 12, tzinfo=UTC)
    assert value.quality == "forecast"
    assert router.calls.last.request.url.path == "/intensity/2023-12-03T11:10Z/2023-12-03T12:40Z"


async def test_gb_forecasts_two_days_in_half_hours(router: respx.MockRouter) -> None:
    """96 rows as recorded; the first is over."""
    provider = build("gb_carbon_intensity", {}, now=datetime(2023, 12, 3, 11, tzinfo=UTC))
    router.route().respond(200, content=body("gb_carbon_intensity/intensity_fw48h.json"))

    values = await provider.forecast(GB)  # type: ignore[attr-defined]

    assert len(values) == 95
    assert {value.quality for value in values} == {"forecast"}
    assert {value.valid_until - value.observed_at for value in values} == {timedelta(minutes=30)}


async def test_gb_reads_a_region_whose_data_is_an_object(router: respx.MockRouter) -> None:
    """The same service answers a list elsewhere."""
    now = datetime(2023, 12, 3, 10, 45, tzinfo=UTC)
    provider = build("gb_carbon_intensity", {"region_id": "13"}, now=now)
    router.route().respond(200, content=body("gb_carbon_intensity/regional_fw48h_regionid_13.json"))

    value = await provider.intensity(GB)

    assert value.g_per_kwh == 134
    assert value.method == "forecast of the running window, region London"
    assert router.calls.last.request.url.path.endswith("/regionid/13")


async def test_gb_reads_a_postcode_whose_data_is_a_list(router: respx.MockRouter) -> None:
    """Regional rows have no measured value at all."""
    now = datetime(2018, 1, 20, 12, 10, tzinfo=UTC)
    provider = build("gb_carbon_intensity", {"postcode": "rg10"}, now=now)
    router.route().respond(200, content=body("gb_carbon_intensity/regional_postcode_rg10.json"))

    value = await provider.intensity(GB)

    assert (value.g_per_kwh, value.quality) == (266, "forecast")


@pytest.mark.parametrize(
    "file", ["empty_data_200", "empty_object_200", "error_in_200_unknown_path", "error_500_not_found"]
)
async def test_gb_says_nothing_in_many_ways(on_bench: Put, file: str) -> None:
    """An outage is an empty object, an empty list, or an error under status 200."""
    bench = on_bench("gb_carbon_intensity")
    bench.answers(body(f"gb_carbon_intensity/{file}.json"))

    with pytest.raises(IntensityError, match=r"^gb_carbon_intensity: "):
        await bench.provider.intensity(GB)


async def test_gb_knows_no_postcode_of_northern_ireland(router: respx.MockRouter) -> None:
    """The service answers 400, and the next provider is asked."""
    provider = build("gb_carbon_intensity", {"postcode": "BT1"}, now=datetime(2026, 8, 30, tzinfo=UTC))
    router.route().respond(400, content=body("gb_carbon_intensity/error_400_postcode.json"))

    with pytest.raises(UnknownZoneError, match="No postcode match"):
        await provider.intensity(GB)


@pytest.mark.parametrize(
    "options", [{"region_id": "0"}, {"region_id": "18"}, {"region_id": "x"}, {"postcode": "RG10 9NY"}]
)
def test_gb_refuses_a_part_that_does_not_exist(options: dict[str, str]) -> None:
    """At start, with the setting's name."""
    with pytest.raises(SettingsError, match=r"^CARBON_SDK_GB_CARBON_INTENSITY_"):
        build("gb_carbon_intensity", options, now=datetime(2026, 8, 30, tzinfo=UTC))


async def test_gb_history_holds_no_forecasts(on_bench: Put) -> None:
    """A window that is not over yet has no measured value."""
    bench = on_bench("gb_carbon_intensity")
    bench.answers(body("gb_carbon_intensity/intensity_actual_null.json"))

    values = await bench.provider.history(  # type: ignore[attr-defined]
        GB, datetime(2020, 5, 24, 20, tzinfo=UTC), datetime(2020, 5, 24, 22, tzinfo=UTC)
    )

    assert values == []


async def test_energy_charts_measured_wins_and_the_end_is_unknown(router: respx.MockRouter) -> None:
    """24 slots measured, 75 forecast, 93 null: nulls are no values."""
    first = datetime.fromtimestamp(1791064800, UTC)
    router.route().respond(200, content=body("energy_charts/co2eq_fr_2026_trailing_nulls.json"))
    provider = build("energy_charts", {}, now=first + timedelta(minutes=15 * 24 + 5))

    forecast = await provider.forecast(Place(zone="FR"))  # type: ignore[attr-defined]
    past = await provider.history(Place(zone="FR"), first, first + timedelta(days=2))  # type: ignore[attr-defined]
    now = await provider.intensity(Place(zone="FR"))

    assert (len(past), len(forecast)) == (24, 75)
    assert {value.quality for value in past} == {"measured"}
    assert now == forecast[0]


@pytest.mark.parametrize(("file", "minutes"), [("co2eq_de_2024", 15), ("co2eq_fr_hourly_2024", 60)])
async def test_energy_charts_step_is_told_by_the_timestamps(router: respx.MockRouter, file: str, minutes: int) -> None:
    """Countries changed from hours to quarters."""
    router.route().respond(200, content=body(f"energy_charts/{file}.json"))
    provider = build("energy_charts", {}, now=datetime.fromtimestamp(1711065600, UTC))

    value = await provider.intensity(Place(zone="DE" if minutes == 15 else "FR"))

    assert value.valid_until - value.observed_at == timedelta(minutes=minutes)


async def test_energy_charts_is_asked_once_even_when_it_fails(on_bench: Put) -> None:
    """Two requests a minute are allowed: no retry."""
    bench = on_bench("energy_charts")
    bench.answers(b"", status=503)

    with pytest.raises(IntensityError):
        await bench.provider.intensity(bench.place)

    assert bench.router.calls.call_count == 1


async def test_eco2mix_skips_the_rows_of_the_future(on_bench: Put) -> None:
    """Rows that hold only a load forecast carry null, and are not asked for either."""
    bench = on_bench("eco2mix")
    bench.answers(body("eco2mix/national_tr_v21_records.composed.json"))

    value = await bench.provider.intensity(bench.place)

    assert value.observed_at == datetime(2023, 9, 21, 2, 45, tzinfo=UTC)
    assert value.method is not None
    assert "2023-09-21T02:45Z" in value.method
    assert bench.router.calls.last.request.url.params["where"] == "taux_co2 is not null"


async def test_eco2mix_quota_is_waited_for(on_bench: Put) -> None:
    """The answer names the moment at which the quota is new."""
    bench = on_bench("eco2mix")
    bench.answers(body("eco2mix/error_429_quota.json").replace(b"2021-01-26T00", b"2023-09-21T04"), status=429)

    with pytest.raises(IntensityError) as caught:
        await bench.provider.intensity(bench.place)

    assert caught.value.retry_after_seconds == 50 * 60


async def test_eco2mix_consolidated_values_come_before_real_time_ones(router: respx.MockRouter) -> None:
    """Where the consolidated set ends, the real-time one goes on; no interval is there twice."""
    start = datetime(2023, 9, 21, 1, tzinfo=UTC)
    rows = [{"date_heure": f"2023-09-21T01:{minute}:00+00:00", "taux_co2": 20} for minute in ("00", "30")]
    router.route(path__regex="cons-def").respond(200, json={"results": rows})
    router.route(path__regex="national-tr").respond(200, content=body("eco2mix/national_tr_v21_records.composed.json"))
    provider = build("eco2mix", {}, now=datetime(2023, 9, 21, 3, 10, tzinfo=UTC))

    values = await provider.history(Place(zone="FR"), start, start + timedelta(hours=1, minutes=30))  # type: ignore[attr-defined]

    assert [value.quality for value in values] == ["measured", "measured", "estimated", "estimated"]
    assert values[1].valid_until == values[2].observed_at


async def test_energinet_asks_for_its_area_alone_and_once(on_bench: Put) -> None:
    """One request a minute is allowed; an answer for the other area is not taken."""
    bench = on_bench("energinet")
    bench.answers(body("energinet/co2emis.trimmed.json").replace(b"DK1", b"DK2"))
    with pytest.raises(IntensityError, match="no interval"):
        await bench.provider.intensity(bench.place)

    asked = bench.router.calls.last.request.url.params
    assert json.loads(asked["filter"]) == {"PriceArea": ["DK1"]}
    assert asked["start"] == "utcnow-PT2H"


async def test_energinet_times_are_utc_without_saying_so(router: respx.MockRouter) -> None:
    """The forecast of a winter evening, in order, for the area asked."""
    router.route(path="/dataset/CO2EmisProg").respond(200, content=body("energinet/co2emisprog.composed.json"))
    provider = build("energinet", {}, now=datetime(2018, 2, 18, 22, 50, tzinfo=UTC))

    values = await provider.forecast(Place(zone="DK-DK2"))  # type: ignore[attr-defined]

    assert [value.observed_at.minute for value in values] == [50, 55]
    assert {value.zone for value in values} == {"DK-DK2"}


@pytest.mark.parametrize(("longitude", "area"), [(9.9, "DK-DK1"), (12.5, "DK-DK2")])
async def test_energinet_tells_the_area_by_the_great_belt(
    router: respx.MockRouter, longitude: float, area: str
) -> None:
    """Denmark without an area has one only where its coordinates are known."""
    row = {"Minutes5UTC": "2026-01-20T16:30:00", "PriceArea": area[3:], "CO2Emission": 160.0}
    router.route().mock(return_value=httpx.Response(200, json={"records": [row]}))
    provider = build("energinet", {}, now=datetime(2026, 1, 20, 16, 40, tzinfo=UTC))

    value = await provider.intensity(Place(zone="DK", latitude=55.5, longitude=longitude))

    assert value.zone == area
    with pytest.raises(UnknownZoneError):
        await provider.intensity(Place(zone="DK"))


async def test_energinet_history_is_asked_in_danish_time_and_trimmed_by_utc(router: respx.MockRouter) -> None:
    """Wall clock is one or two hours ahead: the span asked for is wide enough in summer and in winter."""
    router.route().respond(200, content=body("energinet/co2emis_dk1.composed.json"))
    provider = build("energinet", {}, now=datetime(2019, 12, 16, 5, tzinfo=UTC))
    start = datetime(2019, 12, 16, 4, 30, tzinfo=UTC)

    values = await provider.history(Place(zone="DK-DK1"), start, start + timedelta(minutes=10))  # type: ignore[attr-defined]

    asked = router.calls.last.request.url.params
    assert (asked["start"], asked["end"]) == ("2019-12-16T05:25", "2019-12-16T06:40")
    assert [value.observed_at for value in values] == [start, start + timedelta(minutes=5)]
