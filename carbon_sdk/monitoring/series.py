"""The definition: what is asked of the metrics of the Prometheus sink, and what is to be told of.

An expression has two gaps. `WINDOW` is the stretch that a rate is taken over: Grafana's own for a panel, five minutes
for a recorded series. `WHERE` is the selection: the services chosen in the dashboard, everything for a recorded series.
"""

from dataclasses import dataclass
from typing import Literal

WINDOW, WHERE = "WINDOW", "WHERE"
RECORDED_WINDOW = "5m"

Shape = Literal["stat", "timeseries", "bargauge"]
Severity = Literal["warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One question.

    Args:
        title: Of its panel.
        text: What it shows, in a sentence.
        expression: PromQL with gaps.
        unit: Grafana's name of the unit.
        legend: Of each line, with labels in braces.
        shape: Of its panel.
        record: Its name as a recorded series; None where it is only shown.
    """

    title: str
    text: str
    expression: str
    unit: str
    legend: str = "{{job}} {{endpoint}}"
    shape: Shape = "timeseries"
    record: str | None = None

    def filled(self, *, window: str, where: str) -> str:
        """The expression without gaps."""
        return self.expression.replace(WINDOW, window).replace(WHERE, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something to be told of.

    Args:
        name: In Prometheus.
        expression: PromQL that answers while it is so.
        wait: How long it must be so.
        severity: A label of it.
        summary: What is so.
        description: What to do about it.
    """

    name: str
    expression: str
    wait: str
    severity: Severity
    summary: str
    description: str


def _rate(metric: str, by: str, where: str = "") -> str:
    selection = f"{WHERE}, {where}" if where else WHERE
    return f"sum by ({by}) (rate({metric}{{{selection}}}[{WINDOW}]))"


GRAMS = "carbon_emissions_grams_total"
JOULES = "carbon_energy_joules_total"
REQUESTS = "carbon_requests_total"
ENDPOINT = "job, endpoint"
ROOT = "root_service, root_endpoint"
ROOT_GRAMS = "carbon_root_emissions_grams_total"
SERVED = 'kind=~"request|worker|span"'

SERIES: tuple[Series, ...] = (
    Series(
        title="Emissions",
        text="Grams CO2e an hour of the active energy, as it goes now.",
        expression=f"sum(rate({GRAMS}{{{WHERE}}}[{WINDOW}])) * 3600",
        unit="suffix: g/h",
        legend="all services",
        shape="stat",
    ),
    Series(
        title="Power",
        text="Active watts of CPU, memory and GPU.",
        expression=f"sum(rate({JOULES}{{{WHERE}}}[{WINDOW}]))",
        unit="watt",
        legend="all services",
        shape="stat",
    ),
    Series(
        title="Per thousand requests",
        text="Grams CO2e of a thousand requests or jobs.",
        expression=f"1000 * sum(rate({GRAMS}{{{WHERE}, {SERVED}}}[{WINDOW}])) "
        f"/ (sum(rate({REQUESTS}{{{WHERE}}}[{WINDOW}])) > 0)",
        unit="massg",
        legend="all services",
        shape="stat",
    ),
    Series(
        title="Grid",
        text="Grams CO2e of a kWh, as it prices now.",
        expression=f"avg by (zone, source) (carbon_intensity_grams_per_kwh{{{WHERE}}})",
        unit="suffix: g/kWh",
        legend="{{zone}}, {{source}}",
        shape="stat",
    ),
    Series(
        title="Emissions by endpoint",
        text="Grams CO2e an hour; nested spans are in their endpoint.",
        expression=f"3600 * {_rate(GRAMS, ENDPOINT)}",
        unit="suffix: g/h",
        record="job_endpoint:carbon_emissions_grams_per_hour:rate5m",
    ),
    Series(
        title="Power by endpoint",
        text="Active watts.",
        expression=_rate(JOULES, ENDPOINT),
        unit="watt",
        record="job_endpoint:carbon_power_watts:rate5m",
    ),
    Series(
        title="Grams per request",
        text="Of each endpoint or job, its nested spans included.",
        expression=f"{_rate(GRAMS, ENDPOINT, SERVED)} / ({_rate(REQUESTS, ENDPOINT)} > 0)",
        unit="massg",
        record="job_endpoint:carbon_emissions_grams_per_request:ratio_rate5m",
    ),
    Series(
        title="Joules per request",
        text="Of each endpoint or job, whatever the grid.",
        expression=f"{_rate(JOULES, ENDPOINT, SERVED)} / ({_rate(REQUESTS, ENDPOINT)} > 0)",
        unit="joule",
        record="job_endpoint:carbon_energy_joules_per_request:ratio_rate5m",
    ),
    Series(
        title="Grams per unit",
        text="Of each functional unit that an endpoint counts: tokens, images, rows.",
        expression=f"{_rate(GRAMS, ENDPOINT, SERVED)} / on ({ENDPOINT}) group_right () "
        f"({_rate('carbon_units_total', f'{ENDPOINT}, unit')} > 0)",
        unit="massg",
        legend="{{job}} {{endpoint}} {{unit}}",
        record="job_endpoint_unit:carbon_emissions_grams_per_unit:ratio_rate5m",
    ),
    Series(
        title="Emissions by root",
        text="Grams CO2e an hour of the chosen services, by the service and endpoint where the chain of calls began.",
        expression=f"3600 * {_rate(ROOT_GRAMS, ROOT)}",
        unit="suffix: g/h",
        legend="{{root_service}} {{root_endpoint}}",
        record="root:carbon_emissions_grams_per_hour:rate5m",
    ),
    Series(
        title="Grams per request, by root",
        text="What the chosen services used for one request that began at a root; all of them: what it costs.",
        expression=f"{_rate(ROOT_GRAMS, ROOT)} / ({_rate('carbon_root_requests_total', ROOT).replace(WHERE, '')} > 0)",
        unit="massg",
        legend="{{root_service}} {{root_endpoint}}",
        record="root:carbon_emissions_grams_per_request:ratio_rate5m",
    ),
    Series(
        title="CPU by endpoint",
        text="CPU seconds a second.",
        expression=_rate("carbon_cpu_seconds_total", ENDPOINT),
        unit="short",
    ),
    Series(
        title="Requests and jobs",
        text="That ended, a second.",
        expression=_rate(REQUESTS, ENDPOINT),
        unit="reqps",
        record="job_endpoint:carbon_requests:rate5m",
    ),
    Series(
        title="Errors",
        text="Share of the requests and jobs that failed.",
        expression=f"{_rate('carbon_request_errors_total', ENDPOINT)} / ({_rate(REQUESTS, ENDPOINT)} > 0)",
        unit="percentunit",
    ),
    Series(
        title="Power by part",
        text="Packages, memory, GPUs: which part of the machine uses it.",
        expression=_rate(JOULES, "job, domain"),
        unit="watt",
        legend="{{job}} {{domain}}",
    ),
    Series(
        title="Power by kind",
        text="Requests, jobs, spans; the process's background; carbon_sdk itself.",
        expression=_rate(JOULES, "job, kind"),
        unit="watt",
        legend="{{job}} {{kind}}",
    ),
    Series(
        title="Intensity of the grid",
        text="Grams CO2e of a kWh, by zone and by who says so.",
        expression=f"avg by (zone, source) (carbon_intensity_grams_per_kwh{{{WHERE}}})",
        unit="suffix: g/kWh",
        legend="{{zone}}, {{source}}",
        record="zone_source:carbon_intensity_grams_per_kwh:avg",
    ),
    Series(
        title="Jobs: retries",
        text="Runs a second that repeat an earlier one.",
        expression=_rate("carbon_job_retries_total", ENDPOINT),
        unit="cps",
    ),
    Series(
        title="Jobs: out of time, cancelled",
        text="Runs a second.",
        expression=f"{_rate('carbon_job_timeouts_total', ENDPOINT)} + "
        f"{_rate('carbon_job_cancellations_total', ENDPOINT)}",
        unit="cps",
    ),
    Series(
        title="Budgets: spent",
        text="Of each budget in its period; the whole bar is its limit.",
        expression=f"max by (job, budget) (carbon_budget_spent_ratio{{{WHERE}}})",
        unit="percentunit",
        legend="{{job}} {{budget}}",
        shape="bargauge",
    ),
    Series(
        title="Budgets: at this rate",
        text="What each budget's period will cost, over its limit.",
        expression=f"max by (job, budget) (carbon_budget_projected_ratio{{{WHERE}}})",
        unit="percentunit",
        legend="{{job}} {{budget}}",
        shape="bargauge",
    ),
)

ALERTS: tuple[Alert, ...] = (
    Alert(
        name="CarbonBudgetExceeded",
        expression="max by (job, budget) (carbon_budget_spent_ratio) > 1",
        wait="0m",
        severity="warning",
        summary="{{ $labels.job }} has spent {{ $value | humanizePercentage }} of the budget {{ $labels.budget }}",
        description="The log has the event carbon.budget_exceeded; the dashboard shows which endpoint spends it.",
    ),
    Alert(
        name="CarbonBudgetWillBeExceeded",
        expression="max by (job, budget) (carbon_budget_projected_ratio) > 1 "
        "and max by (job, budget) (carbon_budget_spent_ratio) <= 1",
        wait="1h",
        severity="info",
        summary="At this rate {{ $labels.job }} will spend {{ $value | humanizePercentage }} of {{ $labels.budget }}",
        description="Look for the endpoint that spends more than before, or raise the limit.",
    ),
    Alert(
        name="CarbonPerRequestRising",
        expression="avg_over_time(job_endpoint:carbon_energy_joules_per_request:ratio_rate5m[1h]) > "
        "1.5 * avg_over_time(job_endpoint:carbon_energy_joules_per_request:ratio_rate5m[1h] offset 1d)",
        wait="30m",
        severity="info",
        summary="A request to {{ $labels.endpoint }} of {{ $labels.job }} takes half as much energy again as a day ago",
        description="In joules, so the grid has no part in it. Compare the releases in the collector.",
    ),
    Alert(
        name="CarbonEnergyUnknown",
        expression="sum by (job) (rate(carbon_requests_total[10m])) > 0 "
        "unless sum by (job) (rate(carbon_energy_joules_total[10m])) > 0",
        wait="15m",
        severity="warning",
        summary="{{ $labels.job }} serves, and no joule of it is read",
        description="carbon-sdk doctor on that machine says which meter fails and what helps.",
    ),
)
