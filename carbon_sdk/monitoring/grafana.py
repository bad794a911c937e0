"""Grafana's dashboard: a panel for each series, importable into any Grafana with a Prometheus data source."""

import json
from typing import Any

from carbon_sdk.monitoring.series import SERIES, Series

SCHEMA_VERSION = 39  # of the dashboard JSON, Grafana 10 and later; newer ones migrate it on import
COLUMNS = 24
WIDTHS = {"stat": 6, "timeseries": 12, "bargauge": 12}
HEIGHTS = {"stat": 4, "timeseries": 8, "bargauge": 6}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'job=~"$job"'


def dashboard() -> dict[str, Any]:
    """The dashboard as one JSON-ready object."""
    return {
        "title": "Carbon and energy of services",
        "uid": "carbon-sdk",
        "description": "From the metrics of carbon_sdk. Joules are those of CPU packages, memory and GPUs.",
        "tags": ["carbon", "energy"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [_source(), _job()]},
        "panels": _panels(),
    }


def text() -> str:
    """The dashboard's file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _job() -> dict[str, Any]:
    return {
        "name": "job",
        "label": "Service",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(carbon_cpu_seconds_total, job)", "refId": "job"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels() -> list[dict[str, Any]]:
    """Left to right, then down."""
    panels, x, y, row_height = [], 0, 0, 0
    for number, series in enumerate(SERIES, 1):
        width, height = WIDTHS[series.shape], HEIGHTS[series.shape]
        if x + width > COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        panels.append(_panel(number, series, {"x": x, "y": y, "w": width, "h": height}))
        x, row_height = x + width, max(row_height, height)
    return panels


def _panel(number: int, series: Series, place: dict[str, int]) -> dict[str, Any]:
    now = series.shape != "timeseries"
    limits = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
    defaults: dict[str, Any] = {"unit": series.unit, "min": 0}
    if series.shape == "bargauge":
        defaults |= {"max": 1, "thresholds": {"mode": "absolute", "steps": limits}}
    return {
        "id": number,
        "type": series.shape,
        "title": series.title,
        "description": series.text,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "editorMode": "code",
                "expr": series.filled(window="$__rate_interval", where=CHOSEN),
                "legendFormat": series.legend,
                "instant": now,
                "range": not now,
            }
        ],
    }
