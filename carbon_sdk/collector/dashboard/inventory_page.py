"""The report for the sustainability department, from the dashboard: a form, and the files that it asks for."""

import base64
import hashlib
import json
from typing import Any, get_args

from starlette.responses import Response

from carbon_sdk.collector.dashboard.visit import Visit
from carbon_sdk.collector.export import MEDIA
from carbon_sdk.collector.inventory import page, sheets
from carbon_sdk.collector.inventory.gather import Asked, gather
from carbon_sdk.collector.inventory.inventory import Operator
from carbon_sdk.collector.store import Store

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMATS = {"html": "to read and to print", "xlsx": "workbook", "csv": "lines", "json": "everything"}


async def report(visit: Visit, store: Store) -> dict[str, Any] | Response:
    """What the template `report.html` shows, or the file that its form asks for."""
    if visit.asked.get("format"):
        return await _report_file(visit, store, visit.asked["format"])
    period = visit.period.whole_days
    given = {"tz": period.zone.key}
    if visit.asked.get("project"):
        given["project"] = visit.asked["project"]
    return {"first": period.first_day, "last": period.last_day, "formats": FORMATS, "given": given}


async def _report_file(visit: Visit, store: Store, form: str) -> Response:
    """The report in one format.

    Raises:
        ValueError: There is no such format, or nobody can run machines so.
    """
    operator = visit.asked.get("operator") or None
    if operator not in (None, *get_args(Operator)):
        raise ValueError(f"operator must be one of {', '.join(get_args(Operator))}")
    asked = Asked(project=visit.project, period=visit.period.whole_days, operator=operator)  # type: ignore[arg-type]
    inventory = await gather(store, asked)
    name = f"carbon-{visit.project}-{inventory.first_day}-{inventory.last_day}.{form}"
    if form == "html":
        return Response(page.html(inventory), media_type="text/html", headers={"content-security-policy": _policy()})
    if form == "xlsx":
        return _file(sheets.workbook(inventory), XLSX, name)
    if form == "csv":
        return _file(sheets.lines_csv(inventory), MEDIA["csv"], name)
    if form == "json":
        return _file(json.dumps(inventory.to_object(), indent=2).encode(), MEDIA["json"], name)
    raise ValueError(f"format must be one of {', '.join(FORMATS)}")


def _policy() -> str:
    """The file holds its styles, and nothing else is allowed in it: they are named by their hash."""
    digest = base64.b64encode(hashlib.sha256(page.style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"


def _file(body: bytes, media: str, name: str) -> Response:
    return Response(body, media_type=media, headers={"content-disposition": f'attachment; filename="{name}"'})
