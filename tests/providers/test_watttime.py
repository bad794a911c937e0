"""WattTime: login and its renewal, regions, units, and what 403 may mean."""

from datetime import UTC, datetime, timedelta
from typing import cast

import httpx
import pytest
import respx

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.http import HTTP
from carbon_sdk.intensity.intensity import IntensityProvider, Place, RefusedCredentialsError, UnknownZoneError
from carbon_sdk_providers.watttime import WattTime
from tests.providers.bench import body, build, no_sleep

DENVER = Place(latitude=39.74, longitude=-104.99)


class Watch:
    """A clock for tokens."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    """Stands still until told."""
    return Watch()


@pytest.fixture
def watttime(watch: Watch, router: respx.MockRouter) -> WattTime:
    """WattTime on 15 July 2022 at two past midnight, with a login that works."""
    now = datetime(2022, 7, 15, 0, 2, tzinfo=UTC)
    http = HTTP(utcnow=lambda: now, monotonic=watch, sleep=no_sleep)
    login = httpx.Response(200, content=body("watttime/login.json"))
    router.route(path="/login", name="login").mock(return_value=login)
    return WattTime("someone", "secret-of-the-user", http=http, region="CAISO_NORTH")


async def ask(provider: IntensityProvider, router: respx.MockRouter, content: bytes | str, status: int = 200) -> None:
    """One question that gets this answer."""
    router.route(path="/v3/forecast", name="data").mock(return_value=httpx.Response(status, content=content))
    await provider.intensity(Place(zone="US-CAL-CISO"))


async def test_one_login_serves_until_it_is_nearly_over(
    watttime: WattTime, watch: Watch, router: respx.MockRouter
) -> None:
    """A token lives 30 minutes; it is renewed after 25, and sent as a bearer."""
    for seconds, logins in ((0, 1), (60, 1), (1499, 1), (1501, 2)):
        watch.seconds = seconds
        await ask(watttime, router, body("watttime/forecast_caiso_north.composed.json"))
        assert router["login"].call_count == logins

    assert router["data"].calls.last.request.headers["authorization"].startswith("Bearer ")


async def test_an_expired_token_is_renewed_once(watttime: WattTime, router: respx.MockRouter) -> None:
    """401, or a web server's 403, means: log in again."""
    good = httpx.Response(200, content=body("watttime/forecast_caiso_north.composed.json"))
    for refusal in (httpx.Response(401, text="Jwt is expired"), httpx.Response(403, html="<h1>403 Forbidden</h1>")):
        router.route(path="/v3/forecast", name="data").mock(side_effect=[refusal, good])
        await watttime.intensity(Place(zone="US-CAL-CISO"))

    assert router["login"].call_count == 3


async def test_a_fresh_token_that_is_refused_is_an_error(watttime: WattTime, router: respx.MockRouter) -> None:
    """No third login follows."""
    with pytest.raises(RefusedCredentialsError, match="fresh token"):
        await ask(watttime, router, "Jwt is missing", 401)

    assert router["login"].call_count == 2


async def test_a_region_outside_the_plan_needs_no_new_login(watttime: WattTime, router: respx.MockRouter) -> None:
    """403 in JSON that speaks of scope."""
    with pytest.raises(UnknownZoneError, match="plan"):
        await ask(watttime, router, body("watttime/error_403_invalid_scope_v3.composed.json"), 403)

    assert router["login"].call_count == 1


@pytest.mark.parametrize(("status", "text"), [(401, "Unauthorized"), (403, "Forbidden")])
async def test_a_wrong_password_is_refused_credentials(
    watttime: WattTime, router: respx.MockRouter, status: int, text: str
) -> None:
    """A bare word that calls itself JSON."""
    router["login"].respond(status, text=text)

    with pytest.raises(RefusedCredentialsError, match=text):
        await ask(watttime, router, b"")


async def test_a_percentile_is_never_taken_for_grams(watttime: WattTime, router: respx.MockRouter) -> None:
    """96 % of the dirtiest hour is no 96 g."""
    answer = body("watttime/signal_index_psco.json").replace(b"PSCO", b"CAISO_NORTH")

    with pytest.raises(IntensityError, match="units is 'percentile'"):
        await ask(watttime, router, answer)


async def test_pounds_per_megawatt_hour_become_grams_per_kilowatt_hour(router: respx.MockRouter) -> None:
    """498.3 lb/MWh are 226.0 g/kWh, average and hourly for the accounting signal."""
    now = datetime(2024, 6, 18, 19, 30, tzinfo=UTC)
    provider = build("watttime", {"user": "u", "password": "p", "region": "PSCO", "signal_type": "co2_aoer"}, now=now)
    router.route(path="/login").respond(200, content=body("watttime/login.json"))
    router.route(path="/v3/historical").respond(200, content=body("watttime/historical_aoer_hourly.composed.json"))

    value = await provider.intensity(Place(zone="US-NW-PSCO"))

    assert value.g_per_kwh == pytest.approx(498.3 * 0.45359237)
    assert (value.signal, value.quality) == ("average", "measured")
    assert value.valid_until - value.observed_at == timedelta(hours=1)


async def test_the_region_of_coordinates_is_asked_for_once(router: respx.MockRouter) -> None:
    """Regions differ by signal and rarely move."""
    now = datetime(2022, 7, 15, 0, 2, tzinfo=UTC)
    provider = cast(WattTime, build("watttime", {"user": "u", "password": "p"}, now=now))
    forecast = body("watttime/forecast_caiso_north.composed.json").replace(b"CAISO_NORTH", b"PSCO")
    router.route(path="/login").respond(200, content=body("watttime/login.json"))
    router.route(path="/v3/region-from-loc", name="region").respond(
        200, content=body("watttime/region_from_loc_psco.json")
    )
    router.route(path="/v3/forecast").respond(200, content=forecast)

    for _ in range(3):
        value = await provider.intensity(DENVER)

    assert router["region"].call_count == 1
    assert value.zone == "PSCO"
    assert (value.signal, value.emission_scope) == ("marginal", "direct")


async def test_coordinates_outside_coverage_are_unknown(router: respx.MockRouter) -> None:
    """So is a place without coordinates, which costs no request."""
    provider = build("watttime", {"user": "u", "password": "p"}, now=datetime.now(UTC))
    with pytest.raises(UnknownZoneError, match="coordinates"):
        await provider.intensity(Place(zone="US-CAL-CISO"))
    assert not router.calls

    router.route(path="/login").respond(200, content=body("watttime/login.json"))
    router.route(path="/v3/region-from-loc").respond(404, content=body("watttime/error_404_coordinates_not_found.json"))
    with pytest.raises(UnknownZoneError, match="No coverage"):
        await provider.intensity(Place(latitude=0.0, longitude=0.0))


async def test_imputed_values_are_estimates(watttime: WattTime, router: respx.MockRouter) -> None:
    """The past says which of its values were measured."""
    router.route(path="/v3/historical").respond(200, content=body("watttime/historical_caiso_north.json"))

    values = await watttime.history(
        Place(zone="US-CAL-CISO"), datetime(2022, 7, 15, tzinfo=UTC), datetime(2022, 7, 15, 0, 10, tzinfo=UTC)
    )

    assert [value.quality for value in values] == ["estimated", "estimated"]
    assert values[0].g_per_kwh == pytest.approx(870 * 0.45359237)


def test_a_signal_that_is_no_carbon_is_refused() -> None:
    """Health damage is money, not grams."""
    with pytest.raises(SettingsError, match="SIGNAL_TYPE"):
        build("watttime", {"user": "u", "password": "p", "signal_type": "health_damage"}, now=datetime.now(UTC))
