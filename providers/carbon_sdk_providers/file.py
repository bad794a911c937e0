"""A series that a company keeps itself: a CSV or JSON file of g/kWh over time.

CSV has a header with `start` and `g_per_kwh`, and if wanted `end`, `zone`. JSON is a list of objects with those fields.
Times are ISO 8601 with their offset. A row without an end holds until the next row of its zone, the last one for as
long as the one before. The file is read again when it changes; rows in the future are the forecast. A file that cannot
be read, or one bad row, is an error that names the line: no part of a broken file is used.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread

from carbon_sdk.errors import IntensityError, SettingsError
from carbon_sdk.http import HTTP
from carbon_sdk.intensity.intensity import EmissionScope, Intensity, Place, Signal, UnknownZoneError
from carbon_sdk_providers.answers import Record, required, scope_of

LONGEST_BYTES = 16 * 1024 * 1024
"""A year of five-minute rows is about 4 MB."""
INSTANT = timedelta(microseconds=1)
_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    zone: str | None
    start: datetime
    end: datetime
    g_per_kwh: float


class File:
    """A file of intensities.

    Args:
        path: A `.csv` or `.json` file.
        zone: The zone that all rows without one are of; the zone asked for unless given.
        signal: What the numbers are: average or marginal.
        emission_scope: Lifecycle or direct.
        licence: Of the data.
        attribution: What must be shown beside them.
        utcnow: Clock, to know which row holds now.
    """

    name = "file"

    def __init__(
        self,
        path: Path,
        *,
        zone: str | None = None,
        signal: Signal = "average",
        emission_scope: EmissionScope = "lifecycle",
        licence: str | None = None,
        attribution: str | None = None,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path = path
        self._zone = zone
        self._signal: Signal = signal
        self._emission_scope: EmissionScope = emission_scope
        self._licence = licence
        self._attribution = attribution
        self._utcnow = utcnow
        self._seen: tuple[int, int] | None = None
        self._rows: Sequence[_Row] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: HTTP) -> "File":
        """Built from `CARBON_SDK_FILE_PATH`, and if wanted `_ZONE`, `_SIGNAL`, `_EMISSION_SCOPE`, `_LICENCE`,
        `_ATTRIBUTION`.

        Raises:
            SettingsError: The path is missing or no .csv or .json, or signal or scope is not known.
        """
        path = Path(required("CARBON_SDK_FILE_PATH", options, "path", "Name a .csv or .json file"))
        if path.suffix.lower() not in (".csv", ".json"):
            raise SettingsError("CARBON_SDK_FILE_PATH", f"is {path.name[:60]!r}", "Name a .csv or .json file")
        signal = options.get("signal", "average").strip().lower()
        if signal not in ("average", "marginal"):
            raise SettingsError("CARBON_SDK_FILE_SIGNAL", f"is {signal[:40]!r}", "Choose average or marginal")
        return cls(
            path,
            zone=options.get("zone") or None,
            signal="marginal" if signal == "marginal" else "average",
            emission_scope=scope_of("CARBON_SDK_FILE_EMISSION_SCOPE", options),
            licence=options.get("licence"),
            attribution=options.get("attribution"),
            utcnow=http.utcnow,
        )

    @property
    def signal(self) -> Signal:
        """As set."""
        return self._signal

    @property
    def emission_scope(self) -> EmissionScope:
        """As set."""
        return self._emission_scope

    async def intensity(self, place: Place) -> Intensity:
        """The row that holds now.

        Raises:
            IntensityError: There is none, or the file cannot be read.
        """
        now = self._utcnow()
        values = await anyio.to_thread.run_sync(self._overlapping, place, now, now + INSTANT)
        if not values:
            raise IntensityError(self.name, f"{self._path} has no row that holds now for {place}")
        return values[-1]

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """The rows that are not over.

        Raises:
            IntensityError: The file cannot be read.
        """
        values = await anyio.to_thread.run_sync(self._overlapping, place, self._utcnow(), _END)
        return [replace(value, quality="forecast") for value in values]

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The rows that overlap [start, end).

        Raises:
            IntensityError: The file cannot be read.
        """
        return await anyio.to_thread.run_sync(self._overlapping, place, start, end)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _overlapping(self, place: Place, start: datetime, end: datetime) -> list[Intensity]:
        self._read_if_changed()
        rows = [row for row in self._rows if self._answers(row.zone or self._zone, place)]
        if not rows:
            raise UnknownZoneError(self.name, f"{self._path} has no row for {place}")
        return [self._value(row, place) for row in rows if row.end > start and row.start < end]

    def _answers(self, zone: str | None, place: Place) -> bool:
        return zone is None or zone == place.zone

    def _read_if_changed(self) -> None:
        try:
            with self._path.open("rb") as file:
                facts = os.fstat(file.fileno())
                seen = (facts.st_mtime_ns, facts.st_size)
                if seen == self._seen:
                    return
                body = file.read(LONGEST_BYTES + 1)
        except OSError as exc:
            raise IntensityError(self.name, f"{self._path} cannot be read: {exc.strerror}") from exc
        if len(body) > LONGEST_BYTES:
            raise IntensityError(self.name, f"{self._path} is longer than {LONGEST_BYTES} bytes")
        records = self._json(body) if self._path.suffix.lower() == ".json" else self._csv(body)
        self._rows = self._in_order(records)
        self._seen = seen

    def _json(self, body: bytes) -> Iterator[Record]:
        try:
            rows = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise IntensityError(self.name, f"{self._path} is not JSON") from exc
        return Record(source=self.name, path=f"{self._path} ", fields={"list": rows}).records("list")

    def _csv(self, body: bytes) -> Iterator[Record]:
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise IntensityError(self.name, f"{self._path} is not UTF-8") from exc
        rows = csv.DictReader(text.splitlines())
        try:
            yield from self._records(rows)
        except csv.Error as exc:
            raise IntensityError(self.name, f"{self._path} line {rows.line_num}: {exc}") from exc

    def _records(self, rows: "csv.DictReader[str]") -> Iterator[Record]:
        for row in rows:
            path = f"{self._path} line {rows.line_num}: "
            fields: dict[str, Any] = {name: value for name, value in row.items() if name and value}
            if "g_per_kwh" in fields:
                fields["g_per_kwh"] = self._number(path, fields["g_per_kwh"])
            yield Record(source=self.name, path=path, fields=fields)

    def _number(self, path: str, text: str) -> float:
        try:
            return float(text)
        except ValueError as exc:
            raise IntensityError(self.name, f"{path}g_per_kwh is {text[:20]!r}, not a number") from exc

    def _in_order(self, records: Iterable[Record]) -> list[_Row]:
        by_zone: dict[str | None, list[Record]] = {}
        for record in records:
            zone = record.text("zone") if record.has("zone") else None
            by_zone.setdefault(zone, []).append(record)
        return [row for zone, rows in by_zone.items() for row in self._ended(zone, rows)]

    def _ended(self, zone: str | None, records: list[Record]) -> list[_Row]:
        """The rows of one zone, each with its end: its own, the next row's start, or as long as the row before."""
        records.sort(key=lambda record: record.moment("start"))
        rows: list[_Row] = []
        for record, following in zip(records, [*records[1:], None], strict=True):
            start = record.moment("start")
            if record.has("end"):
                end = record.moment("end")
            elif following is not None:
                end = following.moment("start")
            elif rows:
                end = start + (rows[-1].end - rows[-1].start)
            else:
                raise IntensityError(self.name, f"{record.path}end is missing, and no second row tells the step")
            if end <= start:
                raise IntensityError(self.name, f"{record.path}the interval from {start.isoformat()} is empty")
            rows.append(_Row(zone=zone, start=start, end=end, g_per_kwh=record.number("g_per_kwh")))
        return rows

    def _value(self, row: _Row, place: Place) -> Intensity:
        return Intensity(
            g_per_kwh=row.g_per_kwh,
            source=self.name,
            signal=self._signal,
            emission_scope=self._emission_scope,
            zone=row.zone or self._zone or str(place),
            quality="measured",
            observed_at=row.start,
            valid_until=row.end,
            method=f"row of {self._path.name}",
            licence=self._licence,
            attribution=self._attribution,
        )
