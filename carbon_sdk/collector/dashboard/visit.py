"""Who looks at a page, at which project, which period, in which time zone; and the links that keep all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request

from carbon_sdk.budgets import Budget
from carbon_sdk.collector.access import OPEN_PROJECT, Caller, project_name
from carbon_sdk.collector.dashboard.period import Period, period_of
from carbon_sdk.collector.report import Book, Dimension, Query
from carbon_sdk.collector.store import Project, Store

ROOT = "/dashboard/"
ZONE_COOKIE = "carbon_sdk_tz"
"""The browser's time zone, as its script says it once; used where a link names none."""
THEME_COOKIE = "carbon_sdk_theme"
THEMES = ("light", "dark")
_CARRIED = frozenset({"period", "from", "to", "tz", "project"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What one request wants to see.

    Args:
        caller: Who.
        project: Which project; its name.
        projects: The projects that the caller may see.
        period: When.
        page: The page's name, which is its path below the dashboard's root; empty for the overview.
        asked: The query parameters.
        now: The present, UTC.
        theme: `light` or `dark`; None follows the system.
        budgets: What may be spent, by project and service.
    """

    caller: Caller
    project: str
    projects: Sequence[Project]
    period: Period
    page: str
    asked: Mapping[str, str]
    now: datetime
    theme: str | None
    budgets: Mapping[tuple[str, str], Sequence[Budget]] = field(default_factory=dict)

    @property
    def has_records(self) -> bool:
        """Whether the project has any record at all."""
        return any(one.name == self.project for one in self.projects)

    def wanted(self, name: str) -> str:
        """A parameter that the page cannot do without.

        Raises:
            ValueError: It is missing.
        """
        value = self.asked.get(name)
        if not value:
            raise ValueError(f"{name} is missing: follow a link of the overview")
        return value

    @property
    def held(self) -> Project | None:
        """What the project has; None where it has no record."""
        return next((one for one in self.projects if one.name == self.project), None)

    def query(
        self,
        *by: Dimension,
        book: Book = "process",
        filters: Mapping[Dimension, tuple[str | None, ...]] | None = None,
        period: Period | None = None,
        series: bool = False,
        detail: bool = False,
        only: frozenset[str] = frozenset(),
    ) -> Query:
        """A question about this project and period; `series` cuts it into the period's buckets."""
        period = period or self.period
        return Query(
            project=self.project,
            start=period.start,
            end=period.end,
            book=book,
            by=by,
            edges=period.edges if series else (),
            filters=filters or {},
            detail=detail,
            only=only,
        )

    def link(self, page: str | None = None, **parameters: str | None) -> str:
        """The address of a page with this project and period, unless parameters say otherwise; None takes one away."""
        carried: dict[str, str | None] = dict(self.period.parameters)
        if "from" in parameters or "period" in parameters:
            carried = {"tz": carried["tz"]}
        if self.caller.project is None and self.project != OPEN_PROJECT:
            carried["project"] = self.project
        return self._address(self.page if page is None else page, {**carried, **parameters})

    def here(self, **parameters: str | None) -> str:
        """The address of this page with some parameters changed."""
        own = {name: value for name, value in self.asked.items() if name not in _CARRIED}
        return self.link(None, **{**own, **parameters})

    def api(self, path: str, parameters: Mapping[str, str | None], period: Period | None = None) -> str:
        """The address of an answer as data, for this project and period."""
        project = None if self.caller.project is not None or self.project == OPEN_PROJECT else self.project
        return self._address(path, {"project": project, **(period or self.period).moments, **parameters})

    @staticmethod
    def _address(page: str, parameters: Mapping[str, str | None]) -> str:
        given = {name: value for name, value in parameters.items() if value is not None}
        return f"{ROOT}{page}{'?' if given else ''}{urlencode(given)}"


async def visit_of(request: Request, page: str, caller: Caller, store: Store) -> Visit:
    """What a request wants to see.

    Raises:
        ValueError: It asks for what there is not; the message says how to ask.
    """
    asked = dict(request.query_params)
    projects = [one for one in await store.projects() if caller.project in (None, one.name)]
    project = caller.project or asked.get("project")
    if project is None:
        names = [one.name for one in projects]
        project = OPEN_PROJECT if OPEN_PROJECT in names or not names else names[0]
    zone = zone_of(asked.get("tz") or request.cookies.get(ZONE_COOKIE), strict="tz" in asked)
    theme = request.cookies.get(THEME_COOKIE)
    now = datetime.fromtimestamp(store.now(), UTC)
    return Visit(
        caller=caller,
        project=project_name(project),
        projects=projects,
        period=period_of(asked, zone, now),
        page=page,
        asked=asked,
        now=now,
        theme=theme if theme in THEMES else None,
    )


def zone_of(name: str | None, *, strict: bool) -> ZoneInfo:
    """A time zone; UTC where none is named.

    Raises:
        ValueError: It is none, and `strict`: what a cookie says is passed over, what an address says is not.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ValueError, OSError, KeyError) as exc:
        if strict:
            raise ValueError("tz must be a time zone such as Europe/Berlin") from exc
        return ZoneInfo("UTC")
