"""OpenTelemetry: metrics through its API, so that they go where the app's own metrics go.

| instrument | kind | unit | attributes |
|---|---|---|---|
| `carbon.emissions` | counter | g | `carbon.kind`, `carbon.endpoint`, `carbon.span` |
| `carbon.energy` | counter | J | the same, and `carbon.domain` |
| `carbon.cpu.time` | counter | s | `carbon.kind`, `carbon.endpoint`, `carbon.span` |
| `carbon.requests` | counter | {request} | `carbon.kind`, `carbon.endpoint` |
| `carbon.request.errors` | counter | {request} | `carbon.kind`, `carbon.endpoint` |
| `carbon.request.duration` | counter | s | `carbon.kind`, `carbon.endpoint` |
| `carbon.job.timeouts`, `carbon.job.cancellations`, `carbon.job.retries` | counter | {job} | the same |
| `carbon.units` | counter | {unit} | `carbon.kind`, `carbon.endpoint`, `carbon.span`, `carbon.unit` |
| `carbon.root.emissions` | counter | g | `carbon.root.service`, `carbon.root.endpoint` |
| `carbon.root.energy` | counter | J | the same |
| `carbon.root.requests` | counter | {request} | the same |
| `carbon.intensity` | gauge | g/kW.h | `carbon.zone`, `carbon.source` |
| `carbon.budget.spent`, `carbon.budget.projected` | gauge | 1 (over the limit) | `carbon.budget` |

The semantic conventions have no names for energy or emissions of code; where they have a name for what an attribute
says, a request carries it too: `http.request.method`, `http.route`.

The `carbon.root.` counters hold the same joules and grams once more, by the service and endpoint where the chain of
calls began, so that they can be added over services: a sum goes by these or by the others, never by both. Both
attributes are empty for what no request asked for, and a request counts where its chain began. There are at most as
many sets of attributes as accounts (1,000).

Adding to an instrument never touches the network: the exporter of the app's MeterProvider does that on a thread of its
own.
"""

from collections.abc import Mapping

try:
    from opentelemetry.metrics import Counter, MeterProvider, get_meter
except ImportError as exc:
    raise ImportError('The OpenTelemetry sink needs its API: pip install "carbon-sdk[opentelemetry]"') from exc

from carbon_sdk.sinks.growth import Growth
from carbon_sdk.sinks.sink import OUTERMOST, Total, Totals

Attributes = dict[str, str]


class OpenTelemetrySink:
    """Adds to instruments of the meter `carbon_sdk`.

    Args:
        provider: Whose instruments; the app's global one when None, also where it is set later.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = get_meter("carbon_sdk", meter_provider=provider)

        def counter(name: str, unit: str, says: str) -> Counter:
            return meter.create_counter(name, unit=unit, description=says)

        self._emissions = counter("carbon.emissions", "g", "Grams CO2e of the active energy used.")
        self._energy = counter("carbon.energy", "J", "Active energy used.")
        self._cpu = counter("carbon.cpu.time", "s", "CPU time used.")
        self._requests = counter("carbon.requests", "{request}", "Responses or jobs that ended.")
        self._errors = counter("carbon.request.errors", "{request}", "Responses or jobs that failed.")
        self._duration = counter("carbon.request.duration", "s", "Time that responses or jobs took.")
        self._jobs = {
            "timeouts": counter("carbon.job.timeouts", "{job}", "Jobs that ran out of time."),
            "cancelled": counter("carbon.job.cancellations", "{job}", "Jobs that were cancelled."),
            "retries": counter("carbon.job.retries", "{job}", "Runs of a job that repeated an earlier one."),
        }
        self._units = counter("carbon.units", "{unit}", "Functional units counted by the service.")
        self._root_emissions = counter("carbon.root.emissions", "g", "Grams CO2e, by where a chain of calls began.")
        self._root_energy = counter("carbon.root.energy", "J", "Active energy, by where a chain of calls began.")
        self._root_requests = counter(
            "carbon.root.requests", "{request}", "Responses or jobs that ended where a chain began."
        )
        self._intensity = meter.create_gauge(
            "carbon.intensity", unit="g/kW.h", description="Grams CO2e of a kWh from the grid, as it prices now."
        )
        self._spent = meter.create_gauge(
            "carbon.budget.spent", unit="1", description="Spent of a budget in its period, over its limit."
        )
        self._projected = meter.create_gauge(
            "carbon.budget.projected", unit="1", description="What its period will cost at this rate, over its limit."
        )
        self._growth = Growth()

    @classmethod
    def from_options(cls, options: Mapping[str, str], http: object) -> "OpenTelemetrySink":
        """Built by settings; the exporter is that of the app's other metrics, set up by `OTEL_*` variables or code."""
        return cls()

    def update(self, totals: Totals, /) -> None:
        """Add what came since the last window."""
        for grown in self._growth.since_last(totals):
            self._add(grown)
            self._add_to_root(grown, totals.service)
        self._intensity.set(
            totals.intensity.g_per_kwh,
            {"carbon.zone": totals.intensity.zone, "carbon.source": totals.intensity.source},
        )
        for standing in totals.budgets:
            for gauge, ratio in ((self._spent, standing.ratio), (self._projected, standing.projected_ratio)):
                if ratio is not None:
                    gauge.set(ratio, {"carbon.budget": standing.budget.name})

    async def aclose(self) -> None:
        """Nothing is held: the provider belongs to the app, which shuts it down."""

    def _add(self, grown: Total) -> None:
        account = _attributes_of(grown)
        own = {**account, "carbon.span": grown.name}
        self._cpu.add(grown.cpu_seconds, own)
        if grown.energy_joules:
            self._emissions.add(grown.emissions_g, own)
        for domain, joules in grown.energy_joules.items():
            self._energy.add(joules, {**own, "carbon.domain": domain})
        if grown.kind in OUTERMOST and grown.name == grown.root:
            self._requests.add(grown.requests, account)
            self._errors.add(grown.errors, account)
            self._duration.add(grown.duration_seconds, account)
            if grown.kind == "worker":
                for name, instrument in self._jobs.items():
                    instrument.add(getattr(grown, name), account)
        for unit, amount in grown.units.items():
            self._units.add(amount, {**own, "carbon.unit": unit})

    def _add_to_root(self, grown: Total, service: str) -> None:
        """The same joules by where the chain of calls began."""
        root = dict(zip(("carbon.root.service", "carbon.root.endpoint"), grown.chain(service), strict=True))
        if grown.energy_joules:
            self._root_emissions.add(grown.emissions_g, root)
            self._root_energy.add(sum(grown.energy_joules.values()), root)
        if grown.begins_chains:
            self._root_requests.add(grown.requests, root)


def _attributes_of(total: Total) -> Attributes:
    attributes = {"carbon.kind": total.kind, "carbon.endpoint": total.root}
    method, space, route = total.root.partition(" ")
    if total.kind == "request" and space:
        attributes |= {"http.request.method": method, "http.route": route}
    return attributes
