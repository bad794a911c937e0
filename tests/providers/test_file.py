"""A file that a company keeps: its two formats, its changes, and its mistakes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.intensity.intensity import Place, UnknownZoneError
from carbon_sdk_providers.file import File
from tests.providers.bench import RECORDED, build

NOON = datetime(2026, 3, 29, 12, 30, tzinfo=UTC)
DE = Place(zone="DE")


def kept(path: Path, text: str) -> File:
    """A provider of a file with this text, at half past noon."""
    path.write_text(text, encoding="utf-8")
    return File(path, utcnow=lambda: NOON)


async def test_a_row_without_an_end_holds_until_the_next_one() -> None:
    """The last one holds as long as the one before; other zones do not count; offsets are read."""
    provider = File(RECORDED / "file" / "site.csv", utcnow=lambda: NOON)

    values = await provider.history(DE, NOON - timedelta(days=1), NOON + timedelta(days=1))

    assert [(value.observed_at.hour, value.valid_until.hour) for value in values] == [(11, 12), (12, 13), (13, 14)]
    assert [value.g_per_kwh for value in values] == [210.5, 180.25, 175]


async def test_json_rows_without_a_zone_serve_every_place() -> None:
    """Unless the setting names the zone that they are of."""
    everywhere = File(RECORDED / "file" / "site.json", utcnow=lambda: NOON)
    there = File(RECORDED / "file" / "site.json", zone="FR", utcnow=lambda: NOON)

    assert (await everywhere.intensity(DE)).g_per_kwh == 180.25
    assert (await there.intensity(Place(zone="FR"))).zone == "FR"
    with pytest.raises(UnknownZoneError):
        await there.intensity(DE)


async def test_the_rows_to_come_are_the_forecast() -> None:
    """The running one included."""
    provider = File(RECORDED / "file" / "site.csv", utcnow=lambda: NOON)

    values = await provider.forecast(DE)

    assert [(value.g_per_kwh, value.quality) for value in values] == [(180.25, "forecast"), (175, "forecast")]


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """No restart, and no watching."""
    path = tmp_path / "site.csv"
    provider = kept(path, "start,end,g_per_kwh\n2026-03-29T12:00Z,2026-03-29T13:00Z,100\n")
    assert (await provider.intensity(DE)).g_per_kwh == 100

    path.write_text("start,end,g_per_kwh\n2026-03-29T12:00Z,2026-03-29T13:00Z,95.5\n", encoding="utf-8")

    assert (await provider.intensity(DE)).g_per_kwh == 95.5


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("start,end,g_per_kwh\n2026-03-29T12:00Z,2026-03-29T13:00Z,\n", "line 2: g_per_kwh is missing"),
        ("start,end,g_per_kwh\n2026-03-29T12:00Z,2026-03-29T13:00Z,1,5\n2026,,x\n", "line 3: g_per_kwh is 'x'"),
        ("start,end,g_per_kwh\n2026-03-29T12:00,2026-03-29T13:00,1\n", "line 2: start has no offset"),
        ("start,end,g_per_kwh\nnoon,,1\n", "line 2: start is no ISO 8601 time"),
        ("start,g_per_kwh\n2026-03-29T12:00Z,1\n", "end is missing"),
        ("start,end,g_per_kwh\n2026-03-29T12:00Z,2026-03-29T11:00Z,1\n", "is empty"),
        ("start,end,g_per_kwh\n0001-01-01T00:00+14:00,2026-03-29T13:00Z,1\n", "line 2: start lies outside the years"),
        (f"start,end,g_per_kwh\n2026-03-29T12:00Z,2026-03-29T13:00Z,{'1' * 200_000}\n", "line .: field larger than"),
        ("time;g\n1;2\n", "start is missing"),
        ("", "no row for DE"),
    ],
)
async def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, error: str) -> None:
    """No part of a broken file is used."""
    with pytest.raises(IntensityError, match=error):
        await kept(tmp_path / "site.csv", text).intensity(DE)


async def test_a_missing_file_is_an_error_and_comes_back(tmp_path: Path) -> None:
    """A deployment that writes it later needs no restart."""
    path = tmp_path / "site.json"
    provider = File(path, utcnow=lambda: NOON)
    with pytest.raises(IntensityError, match="cannot be read: No such file"):
        await provider.intensity(DE)

    path.write_text((RECORDED / "file" / "site.json").read_text(encoding="utf-8"), encoding="utf-8")

    assert (await provider.intensity(DE)).g_per_kwh == 180.25


async def test_json_that_is_none_is_an_error(tmp_path: Path) -> None:
    """Neither are bytes that are no UTF-8."""
    with pytest.raises(IntensityError, match="is not JSON"):
        await kept(tmp_path / "site.json", "{").intensity(DE)
    with pytest.raises(IntensityError, match=r"list\[0\] is int, not an object"):
        await kept(tmp_path / "site.json", "[1]").intensity(DE)
    (tmp_path / "site.csv").write_bytes(b"start\xff\n")
    with pytest.raises(IntensityError, match="is not UTF-8"):
        await File(tmp_path / "site.csv", utcnow=lambda: NOON).intensity(DE)


async def test_a_time_that_no_row_covers_has_no_value() -> None:
    """An old file does not serve its last row for ever."""
    provider = File(RECORDED / "file" / "site.csv", utcnow=lambda: NOON + timedelta(days=9))

    with pytest.raises(IntensityError, match="no row that holds now"):
        await provider.intensity(DE)


@pytest.mark.parametrize("options", [{"path": "x.xlsx"}, {"path": "x.csv", "signal": "loud"}])
def test_a_setting_that_cannot_be_used_is_refused_at_start(options: dict[str, str]) -> None:
    """With its name."""
    with pytest.raises(SettingsError, match=r"^CARBON_SDK_FILE_"):
        build("file", options, now=NOON)
