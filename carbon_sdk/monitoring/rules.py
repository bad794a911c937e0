"""Prometheus' rules: recorded series and alerts, as the YAML of a rule file."""

import json

from carbon_sdk.monitoring.series import ALERTS, RECORDED_WINDOW, SERIES

HEAD = "# Recorded series and alerts for the metrics of carbon_sdk: carbon-sdk monitoring rules\n"


def rules() -> str:
    """The rule file. Texts are quoted as in JSON, which YAML reads."""
    lines = [HEAD.rstrip(), "groups:", "  - name: carbon_sdk", "    rules:"]
    for series in SERIES:
        if series.record is not None:
            expression = series.filled(window=RECORDED_WINDOW, where="").replace("{, ", "{").replace("{}", "")
            lines += [f"      - record: {series.record}", f"        expr: {json.dumps(expression)}"]
    lines += ["  - name: carbon_sdk_alerts", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expression)}",
            f"        for: {alert.wait}",
            f"        labels: {{severity: {alert.severity}}}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          description: {json.dumps(alert.description)}",
        ]
    return "\n".join(lines) + "\n"
