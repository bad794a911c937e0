"""Questions that cut through what is kept more coarsely."""

from datetime import UTC, datetime

from carbon_sdk.collector.report import DAY_SECONDS, Query
from carbon_sdk.collector.store import QueryError


def check_cuts(query: Query, coarse_until: int, offset_seconds: int) -> None:
    """Refuse a question that cuts through days of which only the sums are kept.

    Args:
        query: The question.
        coarse_until: Records before this have been summed by day, seconds since 1970.
        offset_seconds: Where the kept days begin, seconds east of UTC.

    Raises:
        QueryError: It does; the message says how to ask.
    """
    for edge in query.edges or (query.start, query.end):
        seconds = int(edge.timestamp() // 1)
        if seconds < coarse_until and (seconds + offset_seconds) % DAY_SECONDS:
            raise QueryError(
                f"before {datetime.fromtimestamp(coarse_until, UTC):%Y-%m-%d} only days are kept, at "
                f"UTC{offset_seconds / 3600:+g} h; ask for whole days of that offset"
            )
