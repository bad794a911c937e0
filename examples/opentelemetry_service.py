"""Metrics over OTLP to `OTEL_EXPORTER_OTLP_ENDPOINT`: `uvicorn examples.opentelemetry_service:app`."""

from fastapi import FastAPI
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from carbon_sdk import Carbon, CarbonMiddleware

metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
app = FastAPI()
app.add_middleware(CarbonMiddleware, carbon=Carbon(sinks=["opentelemetry"]))


@app.get("/squares/{count}")
def squares(count: int) -> int:
    """The sum of so many squares."""
    return sum(number * number for number in range(count))
