"""The stretch of time that a page shows, in the time zone of whoever looks at it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from carbon_sdk.collector.buckets import bucket_edges
from carbon_sdk.collector.report import MOST_BUCKETS, SLOT_SECONDS, Bucket

PRESETS: Mapping[str, str] = {
    "1h": "Last hour",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "12m": "Last 12 months",
}
DEFAULT = "24h"
QUARTER = timedelta(seconds=SLOT_SECONDS)
_LONGEST_DAYS = 3_700
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A stretch of time and how it is cut.

    Args:
        start: From here, UTC.
        end: Up to here, UTC.
        bucket: How a time series cuts it.
        zone: In whose days, weeks and months.
        preset: The name of the preset; None where two dates were given.
    """

    start: datetime
    end: datetime
    bucket: Bucket
    zone: ZoneInfo
    preset: str | None

    @property
    def title(self) -> str:
        """`Last 7 days`, or the dates."""
        return self.words if self.preset is None else PRESETS[self.preset]

    @property
    def words(self) -> str:
        """`18 Nov 2026, 00:00 – 25 Nov 2026, 00:00`; whole days without their hours."""
        first, last = self.start.astimezone(self.zone), self.end.astimezone(self.zone)
        if first.time() == last.time() == datetime.min.time():
            through = last.date() - timedelta(days=1)
            return day_text(first.date()) if through <= first.date() else f"{_span(first.date(), through)}"
        return f"{day_text(first.date())}, {first:%H:%M} – {day_text(last.date())}, {last:%H:%M}"

    @property
    def first_day(self) -> date:
        """The day in which it starts."""
        return self.start.astimezone(self.zone).date()

    @property
    def last_day(self) -> date:
        """The day in which it ends."""
        return (self.end - timedelta(microseconds=1)).astimezone(self.zone).date()

    @property
    def edges(self) -> tuple[datetime, ...]:
        """The ends of its buckets."""
        return bucket_edges(self.start, self.end, self.bucket, self.zone)

    @property
    def parameters(self) -> dict[str, str]:
        """What a link carries so that the next page shows the same."""
        if self.preset is not None:
            return {"period": self.preset, "tz": self.zone.key}
        return {"from": self.first_day.isoformat(), "to": self.last_day.isoformat(), "tz": self.zone.key}

    @property
    def moments(self) -> dict[str, str]:
        """The same for the API."""
        return {"from": f"{self.start:%Y-%m-%dT%H:%M:%SZ}", "to": f"{self.end:%Y-%m-%dT%H:%M:%SZ}", "tz": self.zone.key}

    @property
    def whole_days(self) -> "Period":
        """All of the days that it touches."""
        start, end = _midnight(self.first_day, self.zone), _midnight(self.last_day + timedelta(days=1), self.zone)
        return Period(start=start, end=end, bucket=_bucket(end - start), zone=self.zone, preset=None)

    def earlier(self, now: datetime) -> "Period":
        """As much time right before it; of a period that is not over yet, as much as has passed of it.

        Args:
            now: The present, UTC.
        """
        end = min(self.end, _above(now, QUARTER, timedelta()))
        if self.preset in ("1h", "24h"):
            length = self.end - self.start
            return replace(self, start=self.start - length, end=end - length, preset=None)
        days = timedelta(days=(self.last_day - self.first_day).days + 1)
        start, until = (
            (moment.astimezone(self.zone).replace(tzinfo=None) - days).replace(tzinfo=self.zone).astimezone(UTC)
            for moment in (self.start, end)
        )
        return replace(self, start=start, end=until, preset=None)

    def hours(self, least_days: int) -> "Period":
        """This period by the hour, or the whole days that end with it where it is shorter; cut to what can be asked."""
        end = _midnight(self.last_day + timedelta(days=1), self.zone)
        start = min(self.start, _midnight(self.last_day - timedelta(days=least_days - 1), self.zone))
        start = max(start, end - (MOST_BUCKETS - 24) * _HOUR)
        return Period(start=start, end=end, bucket="hour", zone=self.zone, preset=None)

    @property
    def finely(self) -> "Period":
        """This period in the smallest steps that are few enough to be shown one by one."""
        bucket: Bucket = "quarter" if self.end - self.start <= timedelta(days=32) else "hour"
        return self.hours(0) if bucket == "hour" else replace(self, bucket=bucket)


def period_of(asked: Mapping[str, str], zone: ZoneInfo, now: datetime) -> Period:
    """The period that a request asks for.

    Args:
        asked: `period`, the name of a preset, or `from` and `to`, the first and the last day.
        zone: In whose days.
        now: The present, UTC.

    Raises:
        ValueError: It asks for none; the message says how it is written.
    """
    if asked.get("from") or asked.get("to"):
        first, last = _day("from", asked.get("from")), _day("to", asked.get("to"))
        if not first <= last <= first + timedelta(days=_LONGEST_DAYS):
            raise ValueError("from must not lie after to, and both within ten years")
        start, end = _midnight(first, zone), _midnight(last + timedelta(days=1), zone)
        return Period(start=start, end=end, bucket=_bucket(end - start), zone=zone, preset=None)
    name = asked.get("period") or DEFAULT
    if name not in PRESETS:
        raise ValueError(f"period must be one of {', '.join(PRESETS)}, or give from and to as 2026-03-01")
    start, end, bucket = _preset(name, zone, now)
    return Period(start=start, end=end, bucket=bucket, zone=zone, preset=name)


def _preset(name: str, zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime, Bucket]:
    if name == "1h":
        end = _above(now, QUARTER, timedelta())
        return end - 4 * QUARTER, end, "quarter"
    if name == "24h":
        end = _above(now, _HOUR, now.astimezone(zone).utcoffset() or timedelta())
        return end - 24 * _HOUR, end, "hour"
    today = now.astimezone(zone).date()
    end = _midnight(today + timedelta(days=1), zone)
    if name == "12m":
        return _midnight(date(today.year - (today.month < 12), today.month % 12 + 1, 1), zone), end, "month"
    days = int(name.removesuffix("d"))
    return _midnight(today - timedelta(days=days - 1), zone), end, "hour" if days <= 7 else "day"


def _above(moment: datetime, step: timedelta, offset: timedelta) -> datetime:
    """The next moment on a grid, or the one after where it lies on it."""
    return moment + step - (moment + offset - datetime(1970, 1, 1, tzinfo=UTC)) % step


def _bucket(length: timedelta) -> Bucket:
    for days, bucket in ((8, "hour"), (93, "day"), (400, "week")):
        if length <= timedelta(days=days, hours=1):
            return bucket  # type: ignore[return-value]
    return "month"


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _day(name: str, text: str | None) -> date:
    try:
        day = date.fromisoformat(text or "")
    except ValueError as exc:
        raise ValueError(f"{name} must be a day, written as 2026-03-01") from exc
    if not 2000 <= day.year < 2100:
        raise ValueError(f"{name} must lie between the years 2000 and 2100")
    return day


def day_text(day: date) -> str:
    """`5 Mar 2026`."""
    return f"{day.day} {day:%b %Y}"


def _span(first: date, last: date) -> str:
    if first.year != last.year:
        return f"{day_text(first)} – {day_text(last)}"
    begin = f"{first.day}" if first.month == last.month else f"{first.day} {first:%b}"
    return f"{begin} – {day_text(last)}"


def bucket_text(start: datetime, end: datetime, bucket: Bucket, zone: ZoneInfo) -> str:
    """What a bucket is called, in words: `Wed 25 Nov 2026, 14:00 – 15:00`."""
    first, last = start.astimezone(zone), end.astimezone(zone)
    if bucket in ("quarter", "hour"):
        return f"{first:%a} {day_text(first.date())}, {first:%H:%M} – {last:%H:%M}"
    through = (last - timedelta(microseconds=1)).date()
    if through == first.date():
        return f"{first:%a} {day_text(first.date())}"
    return _span(first.date(), through)
