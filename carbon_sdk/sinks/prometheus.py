"""Prometheus: counters that move as each window closes.

| metric | type | labels |
|---|---|---|
| `carbon_emissions_grams_total` | counter | `kind`, `endpoint`, `span` |
| `carbon_energy_joules_total` | counter | `kind`, `endpoint`, `span`, `domain` |
| `carbon_cpu_seconds_total` | counter | `kind`, `endpoint`, `span` |
| `carbon_requests_total` | counter | `kind`, `endpoint` |
| `carbon_request_errors_total` | counter | `kind`, `endpoint` |
| `carbon_request_duration_seconds_total` | counter | `kind`, `endpoint` |
| `carbon_job_timeouts_total` | counter | `kind`, `endpoint` |
| `carbon_job_cancellations_total` | counter | `kind`, `endpoint` |
| `carbon_job_retries_total` | counter | `kind`, `endpoint` |
| `carbon_units_total` | counter | `kind`, `endpoint`, `span`, `unit` |
| `carbon_root_emissions_grams_total` | counter | `root_service`, `root_endpoint` |
| `carbon_root_energy_joules_total` | counter | `root_service`, `root_endpoint` |
| `carbon_root_requests_total` | counter | `root_service`, `root_endpoint` |
| `carbon_intensity_grams_per_kwh` | gauge | `zone`, `source` |
| `carbon_budget_spent_ratio` | gauge | `budget` |
| `carbon_budget_projected_ratio` | gauge | `budget` |

`endpoint` is the account's root and `span` the account: values are exclusive, so a sum over an endpoint is the whole of
it. The `carbon_root_` counters hold the same joules and grams once more, by the service and endpoint where the chain of
calls began, so that they can be added over services; both labels are empty for what no request asked for. A request
counts there where its chain began. There are at most as many label sets as accounts (1,000). In the multi-process
mode of prometheus_client (`PROMETHEUS_MULTIPROC_DIR`) each worker adds to its own file, and what a worker counted stays
after its end; exemplars do not exist there.
"""

import threading
from collections.abc import Callable, Mapping

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
    from prometheus_client.values import MutexValue, ValueClass
except ImportError as exc:
    raise ImportError('The Prometheus sink needs prometheus_client: pip install "carbon-sdk[prometheus]"') from exc

from carbon_sdk import traces
from carbon_sdk.budgets import Standing
from carbon_sdk.errors import SettingsError, SinkError
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.sinks.growth import Growth
from carbon_sdk.sinks.prometheus_counters import Counted, SampledCounter
from carbon_sdk.sinks.prometheus_text import expose, start_server
from carbon_sdk.sinks.sink import OUTERMOST, Total, Totals

__all__ = ["PrometheusSink", "expose"]

ADDRESS = "127.0.0.1"

ExemplarOf = Callable[[str], Mapping[str, str] | None]
AnyCounter = Counter | SampledCounter
"""prometheus_client's own in its multi-process mode, which keeps values in files; else ours, which cost a third."""


class PrometheusSink:
    """Adds to counters of one registry; several sinks on one registry share them.

    Args:
        registry: Where the metrics stand; the app's default registry when None.
        exemplar: Tells an endpoint's exemplar, `{"trace_id": "..."}`, or None; OpenMetrics shows it. The trace that
            the middleware saw last (`CarbonMiddleware(traces=True)`) when None.
        server: Called once on closing, to take down a server that was started for this sink.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        exemplar: ExemplarOf | None = None,
        server: Callable[[], None] | None = None,
    ) -> None:
        self._metrics = _metrics_of(REGISTRY if registry is None else registry)
        self._exemplar = exemplar or traces.exemplar
        self._server = server
        self._growth = Growth()

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: object) -> "PrometheusSink":
        """Built by settings.

        Without `CARBON_SDK_PROMETHEUS_PORT` the metrics stand in the app's default registry, which the app exposes.
        With it they have a registry and a server of their own at that port of `CARBON_SDK_PROMETHEUS_ADDRESS`
        (127.0.0.1 unless set).

        Raises:
            SettingsError: The port is not one.
            SinkError: The server cannot listen there.
        """
        text = options.get("port")
        if not text:
            return cls()
        if not (text.isascii() and text.isdigit() and int(text) < 65536):
            raise SettingsError("CARBON_SDK_PROMETHEUS_PORT", f"{text[:20]!r} is not a port", "Give 1 to 65535")
        registry = CollectorRegistry()
        address = options.get("address") or ADDRESS
        try:
            stop = start_server(registry, address, int(text))
        except OSError as exc:
            raise SinkError(f"prometheus cannot listen at {address}:{text}: {exc.strerror}") from exc
        return cls(registry, server=stop)

    def update(self, totals: Totals, /) -> None:
        """Add what came since the last window."""
        for grown in self._growth.since_last(totals):
            exemplar = self._exemplar(grown.root)
            self._metrics.add(grown, dict(exemplar) if exemplar else None)
            self._metrics.add_to_root(grown, totals.service)
        self._metrics.price(totals.intensity)
        for standing in totals.budgets:
            self._metrics.stand(standing)

    async def aclose(self) -> None:
        """Take down the server, if there is one; the counters stay where they are."""
        server, self._server = self._server, None
        if server is not None:
            server()


class _Metrics:
    """The metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counted = Counted() if ValueClass is MutexValue else None

        def labelled(name: str, says: str, *names: str) -> AnyCounter:
            return Counter(name, says, names, registry=registry) if counted is None else counted.add(name, says, names)

        def counter(name: str, says: str, *labels: str) -> AnyCounter:
            return labelled(name, says, "kind", "endpoint", *labels)

        def by_root(name: str, says: str) -> AnyCounter:
            return labelled(name, says, "root_service", "root_endpoint")

        self.emissions = counter("carbon_emissions_grams_total", "Grams CO2e of the active energy used.", "span")
        self.energy = counter("carbon_energy_joules_total", "Active energy used.", "span", "domain")
        self.cpu = counter("carbon_cpu_seconds_total", "CPU time used.", "span")
        self.requests = counter("carbon_requests_total", "Responses or jobs that ended.")
        self.errors = counter("carbon_request_errors_total", "Responses or jobs that failed.")
        self.duration = counter("carbon_request_duration_seconds_total", "Time that responses or jobs took.")
        self.jobs = {
            "timeouts": counter("carbon_job_timeouts_total", "Jobs that ran out of time."),
            "cancelled": counter("carbon_job_cancellations_total", "Jobs that were cancelled."),
            "retries": counter("carbon_job_retries_total", "Runs of a job that repeated an earlier one."),
        }
        self.units = counter("carbon_units_total", "Functional units counted by the service.", "span", "unit")
        self.root_emissions = by_root(
            "carbon_root_emissions_grams_total", "Grams CO2e, by where a chain of calls began."
        )
        self.root_energy = by_root("carbon_root_energy_joules_total", "Active energy, by where a chain of calls began.")
        self.root_requests = by_root("carbon_root_requests_total", "Responses or jobs that ended where a chain began.")
        if counted is not None:
            registry.register(counted)

        def gauge(name: str, says: str, *labels: str) -> Gauge:
            return Gauge(name, says, labels, registry=registry, multiprocess_mode="mostrecent")

        self.intensity = gauge(
            "carbon_intensity_grams_per_kwh", "Grams CO2e of a kWh from the grid, as it prices now.", "zone", "source"
        )
        self.spent = gauge("carbon_budget_spent_ratio", "Spent of a budget in its period, over its limit.", "budget")
        self.projected = gauge(
            "carbon_budget_projected_ratio", "What a budget's period will cost at this rate, over its limit.", "budget"
        )
        self._priced_by: tuple[str, str] | None = None

    def add(self, grown: Total, exemplar: dict[str, str] | None) -> None:
        account = (grown.kind, grown.root)
        own = (*account, grown.name)
        self.cpu.labels(*own).inc(grown.cpu_seconds)
        if grown.energy_joules:
            self.emissions.labels(*own).inc(grown.emissions_g, exemplar)
        for domain, joules in grown.energy_joules.items():
            self.energy.labels(*own, domain).inc(joules, exemplar)
        if grown.kind in OUTERMOST and grown.name == grown.root:
            self.requests.labels(*account).inc(grown.requests, exemplar if grown.requests else None)
            self.errors.labels(*account).inc(grown.errors)
            self.duration.labels(*account).inc(grown.duration_seconds)
            if grown.kind == "worker":
                for name, metric in self.jobs.items():
                    metric.labels(*account).inc(getattr(grown, name))
        for unit, amount in grown.units.items():
            self.units.labels(*own, unit).inc(amount)

    def add_to_root(self, grown: Total, service: str) -> None:
        """The same joules by where the chain of calls began."""
        root = grown.chain(service)
        if grown.energy_joules:
            self.root_emissions.labels(*root).inc(grown.emissions_g)
            self.root_energy.labels(*root).inc(sum(grown.energy_joules.values()))
        if grown.begins_chains:
            self.root_requests.labels(*root).inc(grown.requests)

    def stand(self, standing: Standing) -> None:
        for gauge, ratio in ((self.spent, standing.ratio), (self.projected, standing.projected_ratio)):
            if ratio is not None:
                gauge.labels(standing.budget.name).set(ratio)

    def price(self, intensity: Intensity) -> None:
        priced_by = (intensity.zone, intensity.source)
        if self._priced_by not in (None, priced_by):
            if ValueClass is MutexValue:
                self.intensity.remove(*self._priced_by)
            else:  # a file of the multi-process mode keeps its lines
                self.intensity.labels(*self._priced_by).set(float("nan"))
        self._priced_by = priced_by
        self.intensity.labels(*priced_by).set(intensity.g_per_kwh)


_lock = threading.Lock()


def _metrics_of(registry: CollectorRegistry) -> _Metrics:
    """The registry's metrics, made once: a registry refuses a second metric of one name."""
    with _lock:
        metrics: _Metrics | None = getattr(registry, "_carbon_sdk", None)
        if metrics is None:
            metrics = _Metrics(registry)
            registry._carbon_sdk = metrics  # type: ignore[attr-defined]  # lives as long as the registry
        return metrics
