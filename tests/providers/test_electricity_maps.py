"""Electricity Maps: its envelopes, its ways to say no, and what it must never be believed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.intensity.intensity import Place, RefusedCredentialsError, UnknownZoneError
from tests.providers.bench import Bench, body, build

Put = Callable[[str], Bench]


@pytest.fixture
def maps(on_bench: Put) -> Bench:
    """Electricity Maps on the bench, in DK-DK1."""
    return on_bench("electricity_maps")


def sent(bench: Bench) -> dict[str, str]:
    """The query of the last request."""
    return dict(bench.router.calls.last.request.url.params)


async def test_a_caller_is_never_looked_up_by_address(maps: Bench) -> None:
    """Without that parameter the API answers for the IP address of whoever asks."""
    await maps.provider.intensity(maps.place)

    assert sent(maps) == {"zone": "DK-DK1", "emissionFactorType": "lifecycle", "disableCallerLookup": "true"}


async def test_a_cloud_region_is_asked_for_by_its_own_name(maps: Bench) -> None:
    """The provider knows best which grid a data centre hangs on."""
    place = Place(zone="DK", cloud_provider="azure", cloud_region="denmarkeast", known_by="cloud_region")

    value = await maps.provider.intensity(place)

    assert sent(maps)["dataCenterProvider"] == "azure"
    assert sent(maps)["dataCenterRegion"] == "denmarkeast"
    assert value.zone == "DK-DK1"


async def test_another_country_is_refused(maps: Bench) -> None:
    """An answer for a zone that was not asked for is no answer."""
    with pytest.raises(IntensityError, match="'DK-DK1' answered for SE"):
        await maps.provider.intensity(Place(zone="SE"))


async def test_coordinates_serve_where_there_is_no_zone(maps: Bench) -> None:
    """With a decimal point, whatever the locale."""
    await maps.provider.intensity(Place(latitude=56.46, longitude=9.4))

    assert (sent(maps)["lat"], sent(maps)["lon"]) == ("56.4600", "9.4000")


async def test_nowhere_is_not_asked_for(maps: Bench) -> None:
    """A place without zone, cloud or coordinates costs no request."""
    with pytest.raises(UnknownZoneError):
        await maps.provider.intensity(Place())

    assert not maps.router.calls


@pytest.mark.parametrize(
    ("file", "quality", "minutes"),
    [
        ("latest_v4_estimated", "estimated", 60),
        ("latest_v4_measured", "measured", 60),
        ("latest_v4_5_minutes", "estimated", 5),
    ],
)
async def test_quality_and_validity_are_the_provider_s_own(maps: Bench, file: str, quality: str, minutes: int) -> None:
    """`isEstimated` decides, and the granularity says how long a value holds."""
    maps.answers(body(f"electricity_maps/{file}.composed.json"))

    value = await maps.provider.intensity(maps.place)

    assert value.quality == quality
    assert value.valid_until - value.observed_at == timedelta(minutes=minutes)


async def test_sandbox_numbers_are_refused(maps: Bench) -> None:
    """A sandbox token gets random numbers that look real."""
    maps.answers(body("electricity_maps/latest_sandbox.composed.json"))

    with pytest.raises(RefusedCredentialsError, match="sandbox"):
        await maps.provider.intensity(Place(zone="FR"))


async def test_a_zone_outside_the_plan_is_unknown_and_a_wrong_token_is_not(maps: Bench) -> None:
    """Both come as 401; only the body tells them apart."""
    maps.answers('{"error":"Request unauthorized for zoneKey=PT,requestType=latest"}', status=401)
    with pytest.raises(UnknownZoneError, match="plan"):
        await maps.provider.intensity(maps.place)

    maps.answers('{"error":"Invalid auth-token"}', status=401)
    with pytest.raises(RefusedCredentialsError):
        await maps.provider.intensity(maps.place)


@pytest.mark.parametrize("status", [200, 404])
async def test_no_recent_data_is_said_with_either_status(maps: Bench, status: int) -> None:
    """Some clients saw that error under 200."""
    maps.answers('{"error":"No recent data for zone \\"DK-DK1\\""}', status=status)

    with pytest.raises(IntensityError, match="no recent data"):
        await maps.provider.intensity(maps.place)


async def test_direct_values_are_not_taken_for_lifecycle_ones(maps: Bench) -> None:
    """They differ by a factor of several in clean zones."""
    answer = json.loads(body("electricity_maps/latest_v4_measured.composed.json"))
    maps.answers(json.dumps({**answer, "emissionFactorType": "direct"}))

    with pytest.raises(IntensityError, match="emissionFactorType"):
        await maps.provider.intensity(maps.place)


async def test_the_forecast_is_hourly_and_has_both_ends(maps: Bench) -> None:
    """24 hours are 25 rows; the one that is over by now is left to others."""
    values = await maps.provider.forecast(maps.place)  # type: ignore[attr-defined]

    assert len(values) == 25
    assert values[0].observed_at == datetime(2026, 8, 22, 17, tzinfo=UTC)
    assert values[0].g_per_kwh == 100


async def test_the_recent_past_comes_from_history_and_the_older_from_ranges_of_ten_days(maps: Bench) -> None:
    """Every plan may read the last day."""
    await maps.provider.history(  # type: ignore[attr-defined]
        maps.place, datetime(2026, 8, 22, 10, tzinfo=UTC), datetime(2026, 8, 22, 15, tzinfo=UTC)
    )
    assert maps.router.calls.last.request.url.path.endswith("/history")

    maps.answers(body("electricity_maps/past_range_v4.composed.json"))
    values = await maps.provider.history(  # type: ignore[attr-defined]
        Place(zone="IN"), datetime(2026, 7, 29, tzinfo=UTC), datetime(2026, 8, 15, tzinfo=UTC)
    )
    assert [call.request.url.params["start"] for call in list(maps.router.calls)[-2:]] == [
        "2026-07-29T00:00:00Z",
        "2026-08-08T00:00:00Z",
    ]
    assert values == []


async def test_an_hour_without_a_value_is_left_out_of_the_past(maps: Bench) -> None:
    """Null is unknown, not 0."""
    maps.answers(body("electricity_maps/history_null_value.composed.json"))

    values = await maps.provider.history(  # type: ignore[attr-defined]
        Place(zone="NL"), datetime(2098, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    )

    assert values == []


def test_a_scope_that_does_not_exist_is_refused_at_once() -> None:
    """The message names the setting and the choice."""
    with pytest.raises(SettingsError, match=r"EMISSION_SCOPE.*lifecycle or direct"):
        build("electricity_maps", {"token": "t", "emission_scope": "scope3"}, now=datetime.now(UTC))
