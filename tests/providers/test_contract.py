"""One contract for all providers: each installed entry point is held to it, with what was recorded for it."""

import copy
import json
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from carbon_sdk import plugins
from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.intensity.intensity import Intensity, Place, RefusedCredentialsError, UnknownZoneError
from carbon_sdk.intensity.plausible import checked
from carbon_sdk.intensity.remedy import remedy_of
from tests.providers.bench import CASES, GROUP, SECRET, Bench, body, build

NAMES = plugins.names(GROUP)
LIVE = [name for name in NAMES if CASES[name]["routes"]]
JSON = [name for name in LIVE if not any(file.endswith(".xml") for file in CASES[name]["routes"].values())]

on_every_provider = pytest.mark.parametrize("name", NAMES)
on_every_live_provider = pytest.mark.parametrize("name", LIVE)

GARBAGE = {
    "empty": b"",
    "html": b"<!DOCTYPE html><html><body>Down for maintenance</body></html>",
    "null": b"null",
    "number": b"4",
    "list": b"[]",
    "object": b"{}",
    "text": b'"ok"',
    "nan": b'{"carbonIntensity": NaN, "data": NaN, "results": NaN}',
    "deep": b"[" * 100_000,
    "bytes": bytes(range(256)),
    "empty lists": b'{"data": [], "results": [], "records": [], "unix_seconds": [], "co2eq": [], "success": true}',
}


def believed(bench: Bench, value: Intensity) -> Intensity:
    """The value, held against what its provider says of itself."""
    return checked(
        value,
        source=bench.provider.name,
        signal=bench.provider.signal,
        emission_scope=bench.provider.emission_scope,
        place=bench.place,
        now=datetime.fromisoformat(bench.case["now"]),
        when="now",
    )


def test_every_entry_point_has_a_recorded_case_and_the_other_way_round() -> None:
    """A provider without a recording, or a recording without its provider, is not finished."""
    assert set(NAMES) == set(CASES)


@on_every_provider
async def test_it_reads_what_was_recorded(name: str, on_bench: Callable[[str], Bench]) -> None:
    """The recorded answer gives the number worked out by hand, with all that a record must show."""
    bench = on_bench(name)

    value = believed(bench, await bench.provider.intensity(bench.place))

    assert value.g_per_kwh == pytest.approx(bench.case["g_per_kwh"], abs=0.005)
    assert value.quality == bench.case["quality"]
    assert value.source == name == bench.provider.name
    assert value.valid_until > datetime.fromisoformat(bench.case["now"])
    assert value.licence
    assert value.attribution


@on_every_provider
async def test_a_place_that_it_does_not_serve_is_said_to_be_unknown(
    name: str, on_bench: Callable[[str], Bench]
) -> None:
    """The next provider is asked, and this one not again soon."""
    bench = on_bench(name)
    if name == "electricity_maps":
        bench.answers(b'{"status":"error","message":"Zone \'AQ\' does not exist."}', status=400)
    if name == "watttime":
        bench = on_bench(name)
        bench.answers(b'{"error":"INVALID_SCOPE","message":"Invalid scope."}', status=403)

    with pytest.raises(UnknownZoneError):
        await bench.provider.intensity(Place(zone="AQ"))


@on_every_live_provider
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_is_an_error_that_names_the_provider(
    name: str, garbage: bytes, on_bench: Callable[[str], Bench]
) -> None:
    """Whatever a server sends with status 200, nothing but an IntensityError comes of it."""
    bench = on_bench(name)
    bench.answers(garbage)

    with pytest.raises(IntensityError, match=f"^{name}: "):
        await bench.provider.intensity(bench.place)


@on_every_live_provider
@pytest.mark.parametrize("status", [204, 301, 302, 400, 401, 403, 404, 418, 429, 500, 502, 503])
async def test_a_bad_status_is_an_error_that_names_the_provider(
    name: str, status: int, on_bench: Callable[[str], Bench]
) -> None:
    """A status other than 200 is no data, with or without a body."""
    bench = on_bench(name)
    bench.answers(b"", status=status)

    with pytest.raises(IntensityError, match=f"^{name}: "):
        await bench.provider.intensity(bench.place)


@on_every_live_provider
async def test_a_wait_that_the_server_asks_for_is_passed_on(name: str, on_bench: Callable[[str], Bench]) -> None:
    """Retry-After reaches the cache, which then leaves the provider alone for so long."""
    bench = on_bench(name)
    bench.answers(b"{}", status=429, headers={"retry-after": "77"})

    with pytest.raises(IntensityError) as caught:
        await bench.provider.intensity(bench.place)

    assert caught.value.retry_after_seconds == 77


@on_every_live_provider
async def test_a_truncated_answer_is_an_error(name: str, on_bench: Callable[[str], Bench]) -> None:
    """A body that stops in the middle is no data."""
    bench = on_bench(name)
    whole = body(next(iter(bench.case["routes"].values())))
    for share in (0.2, 0.5, 0.9):
        bench.answers(whole[: int(len(whole) * share)])
        with pytest.raises(IntensityError, match=f"^{name}: "):
            await bench.provider.intensity(bench.place)


@pytest.mark.parametrize("name", [name for name in NAMES if SECRET in CASES[name]["options"].values()])
async def test_secrets_stay_secret(name: str, on_bench: Callable[[str], Bench]) -> None:
    """No key, token or password in an error, its chain or a repr, even when the server repeats it."""
    bench = on_bench(name)
    shown = [repr(bench.provider), str(vars(bench.provider).get("_http"))]
    for status in (200, 401, 403, 500):
        bench.answers(f'{{"error": "you sent {SECRET}", "data": "{SECRET}"}}', status=status)
        with pytest.raises(IntensityError) as caught:
            await bench.provider.intensity(bench.place)
        shown += traceback.format_exception(caught.value)

    assert SECRET not in "".join(shown)


@pytest.mark.parametrize("name", [name for name in NAMES if SECRET in CASES[name]["options"].values()])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_says_which_setting_holds_it(
    name: str, status: int, on_bench: Callable[[str], Bench]
) -> None:
    """The log's one line is enough to mend it. A status by which this source refuses no key says something else."""
    bench = on_bench(name)
    bench.answers(b'{"error": {"code": "API_KEY_INVALID"}}', status=status)

    with pytest.raises(IntensityError) as caught:
        await bench.provider.intensity(bench.place)

    secret = next(option for option, value in bench.case["options"].items() if value == SECRET)
    refused = isinstance(caught.value, RefusedCredentialsError)
    assert refused == (f"CARBON_SDK_{name.upper()}_{secret.upper()}" in remedy_of(caught.value))
    assert refused or (name, status) in {("eia", 401), ("electricity_maps", 403), ("entsoe", 403)}


@on_every_live_provider
@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
async def test_every_failure_has_a_remedy_that_names_a_setting(
    name: str, status: int, on_bench: Callable[[str], Bench]
) -> None:
    """Nobody is left with an error alone."""
    bench = on_bench(name)
    bench.answers(b"{}", status=status)

    with pytest.raises(IntensityError) as caught:
        await bench.provider.intensity(bench.place)

    assert "CARBON_SDK_" in remedy_of(caught.value)


def mutations(value: Any) -> Iterator[Any]:
    """The JSON value with one part missing or of another kind, for every part."""
    if isinstance(value, dict):
        for key in value:
            yield {other: kept for other, kept in value.items() if other != key}
            for changed in mutations(value[key]):
                yield {**value, key: changed}
    elif isinstance(value, list):
        for index, part in enumerate(value[:3]):
            for changed in mutations(part):
                yield [*value[:index], changed, *value[index + 1 :]]
    yield from (None, "x", True, -1e9, [], {})


@pytest.mark.parametrize("name", JSON)
async def test_no_part_of_an_answer_is_replaced_by_a_guess(name: str, on_bench: Callable[[str], Bench]) -> None:
    """One part missing or of another kind: an error that says so, or a value that the rest still supports."""
    bench = on_bench(name)
    whole = json.loads(body(next(iter(bench.case["routes"].values()))))
    for changed in mutations(copy.deepcopy(whole)):
        bench.answers(json.dumps(changed))
        try:
            believed(bench, await bench.provider.intensity(bench.place))
        except IntensityError as exc:
            said = str(exc)
        else:
            continue
        assert said.startswith(f"{name}: ")


@pytest.mark.parametrize("name", JSON)
async def test_a_missing_field_is_named(name: str, on_bench: Callable[[str], Bench]) -> None:
    """An answer without its number says which provider and which field."""
    bench = on_bench(name)
    field = bench.case["field"]
    whole = body(next(iter(bench.case["routes"].values())))
    bench.answers(whole.replace(f'"{field}"'.encode(), b'"renamed"'))

    with pytest.raises(IntensityError, match=rf"^{name}: .*\b{field} is missing"):
        await bench.provider.intensity(bench.place)


@on_every_provider
async def test_a_forecast_is_in_order_and_marked(name: str, on_bench: Callable[[str], Bench]) -> None:
    """Whoever has a forecast gives it from now on, oldest first, without overlaps, each value marked as one."""
    bench = on_bench(name)
    ask = getattr(bench.provider, "forecast", None)
    if ask is None:
        return
    values = await ask(bench.place) if name != "energinet" else []

    assert all(value.quality == "forecast" for value in values)
    assert all(value.valid_until > datetime.fromisoformat(bench.case["now"]) for value in values)
    assert all(earlier.valid_until <= later.observed_at for earlier, later in pairwise(values))


@on_every_provider
async def test_history_overlaps_the_span_asked_for(name: str, on_bench: Callable[[str], Bench]) -> None:
    """Whoever knows the past gives the intervals of the span alone, oldest first, and no forecast."""
    bench = on_bench(name)
    end = datetime.fromisoformat(bench.case["now"])
    start = end - timedelta(hours=6)
    if name == "watttime":
        bench.answers(body("watttime/historical_caiso_north.json"))

    values = await bench.provider.history(bench.place, start, end)  # type: ignore[attr-defined]

    assert all(value.valid_until > start and value.observed_at < end for value in values)
    assert [value.observed_at for value in values] == sorted({value.observed_at for value in values})
    assert "forecast" not in {value.quality for value in values}


@on_every_provider
async def test_closing_twice_is_fine(name: str, on_bench: Callable[[str], Bench]) -> None:
    """The second close does nothing."""
    bench = on_bench(name)

    await bench.provider.aclose()
    await bench.provider.aclose()


@pytest.mark.parametrize("name", [name for name in NAMES if CASES[name]["options"]])
def test_a_missing_secret_names_the_setting_and_where_to_get_one(name: str) -> None:
    """Without what it needs a provider is not built."""
    with pytest.raises(SettingsError, match=rf"^CARBON_SDK_{name.upper()}_\w+: is not set\. \w+"):
        build(name, {}, now=datetime.fromisoformat(CASES[name]["now"]))
