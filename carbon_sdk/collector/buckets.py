"""Time cut into quarters, hours, days, weeks and months of a time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from carbon_sdk.collector.report import MOST_BUCKETS, SLOT_SECONDS, Bucket


def bucket_edges(start: datetime, end: datetime, bucket: Bucket, zone: ZoneInfo) -> tuple[datetime, ...]:
    """The ends of the buckets that cover a stretch of time; the first and the last may be cut short by it.

    Args:
        start: From here, UTC.
        end: Up to here, UTC.
        bucket: Their width. Days, weeks (from Monday) and months are those of the time zone; a day on which clocks
            change has 23 or 25 hours.
        zone: The time zone.

    Raises:
        ValueError: There would be too many.
    """
    edges = [start]
    inner = _later_edges(start, bucket, zone)
    while (edge := next(inner)) < end:
        edges.append(edge)
        if len(edges) > MOST_BUCKETS:
            raise ValueError(f"more than {MOST_BUCKETS} buckets; ask for wider ones, or a shorter time")
    return (*edges, end)


def _later_edges(start: datetime, bucket: Bucket, zone: ZoneInfo) -> Iterator[datetime]:
    """The borders of buckets after a moment, without end."""
    if bucket in ("quarter", "hour"):
        step = timedelta(seconds=SLOT_SECONDS if bucket == "quarter" else 3600)
        offset = start.astimezone(zone).utcoffset() or timedelta()
        edge = start - (start + offset - datetime(1970, 1, 1, tzinfo=UTC)) % step
        while True:
            edge += step
            yield edge
    local = start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if bucket == "week":
        local -= timedelta(days=local.weekday())
    elif bucket == "month":
        local = local.replace(day=1)
    while True:
        if bucket == "month":
            local = (local + timedelta(days=32)).replace(day=1)
        else:
            local += timedelta(days=7 if bucket == "week" else 1)
        yield local.replace(tzinfo=zone).astimezone(UTC)
