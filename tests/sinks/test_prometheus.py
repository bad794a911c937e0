"""The Prometheus sink: counters that move at each window, read back through prometheus_client's own formats."""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from carbon_sdk import Carbon, track
from carbon_sdk.errors import SettingsError, SinkError
from carbon_sdk.sinks.prometheus import PrometheusSink, expose
from carbon_sdk.sinks.prometheus_counters import Counted
from carbon_sdk.testing import FakeMeter, FixedIntensity
from tests.servers.serving import COMMANDS, PATIENCE_SECONDS, Server
from tests.sinks.totals import standing, total, totals

OWN = {"kind": "request", "endpoint": "GET /a", "span": "GET /a"}
ACCOUNT = {"kind": "request", "endpoint": "GET /a"}


def value(registry: CollectorRegistry, name: str, labels: Mapping[str, str]) -> float | None:
    return registry.get_sample_value(name, dict(labels))


def test_counters_hold_what_the_totals_say() -> None:
    """Each figure of an account stands under the name and the labels of the table."""
    registry = CollectorRegistry()

    PrometheusSink(registry).update(
        totals(total(requests=3, errors=1, seconds=0.6, cpu=0.2, package=4.0, dram=1.0, grams=0.5, tokens=512.0))
    )

    assert value(registry, "carbon_emissions_grams_total", OWN) == 0.5
    assert value(registry, "carbon_energy_joules_total", {**OWN, "domain": "package"}) == 4.0
    assert value(registry, "carbon_energy_joules_total", {**OWN, "domain": "dram"}) == 1.0
    assert value(registry, "carbon_cpu_seconds_total", OWN) == 0.2
    assert value(registry, "carbon_requests_total", ACCOUNT) == 3
    assert value(registry, "carbon_request_errors_total", ACCOUNT) == 1
    assert value(registry, "carbon_request_duration_seconds_total", ACCOUNT) == 0.6
    assert value(registry, "carbon_units_total", {**OWN, "unit": "tokens"}) == 512.0
    assert value(registry, "carbon_intensity_grams_per_kwh", {"zone": "DE", "source": "fixed"}) == 400.0


def test_a_name_of_any_characters_spoils_no_scrape() -> None:
    """A file's name that is no UTF-8, say: the application's own metrics are read on the same page."""
    registry = CollectorRegistry()
    names = ("caf\udce9.csv", "a\0b", "x" * 5000, 'q"\\\n')
    with Carbon(
        meters=[FakeMeter()], provider=FixedIntensity(400.0), sinks={"scraped": PrometheusSink(registry)}
    ) as it:
        it.wait_ready()
        for name in names:
            with track(name):
                sum(range(100_000))
    spans = {
        sample.labels.get("span")
        for family in parse_text(generate_latest(registry).decode())
        for sample in family.samples
    }

    assert {"caf?.csv", "a\ufffdb", "x" * 511 + "…", 'q"\\\n'} <= spans


def test_a_later_window_adds_only_what_came_since() -> None:
    """Totals are running: 3 J and then 5 J are 5 J."""
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)

    sink.update(totals(total(package=3.0)))
    sink.update(totals(total(package=5.0)))

    assert value(registry, "carbon_energy_joules_total", {**OWN, "domain": "package"}) == 5.0


def test_a_new_life_of_the_line_goes_on_where_the_last_one_ended() -> None:
    """Another instance's totals begin at zero and another sink shares the registry's counters: nothing is lost."""
    registry = CollectorRegistry()

    PrometheusSink(registry).update(totals(total(package=3.0)))
    second = PrometheusSink(registry)
    second.update(totals(total(package=4.0), instance="b" * 16))
    second.update(totals(total(package=6.0), instance="c" * 16))

    assert value(registry, "carbon_energy_joules_total", {**OWN, "domain": "package"}) == 13.0


def test_a_counter_has_one_line_and_only_grows() -> None:
    """No `_created` beside it, which would double the text; what would make it shrink is refused."""
    registry = CollectorRegistry()
    PrometheusSink(registry).update(totals(total(requests=3)))
    counter = Counted().add("carbon_x_total", "X.", ("kind",)).labels("request")

    assert b"carbon_requests_total{" in generate_latest(registry)
    assert b"_created" not in generate_latest(registry)
    with pytest.raises(ValueError, match="grow"):
        counter.inc(-1.0)
    with pytest.raises(ValueError, match="128"):
        counter.inc(1.0, {"trace_id": "a" * 128})
    assert counter.sample().value == 0.0


def test_energy_that_was_never_read_has_no_line() -> None:
    """Unknown is not zero: without a reading there are CPU seconds and requests alone."""
    registry = CollectorRegistry()

    PrometheusSink(registry).update(totals(total(cpu=1.0)))

    assert value(registry, "carbon_cpu_seconds_total", OWN) == 1.0
    assert value(registry, "carbon_emissions_grams_total", OWN) is None
    assert b"carbon_energy_joules_total{" not in generate_latest(registry)


def test_the_view_by_root_holds_each_joule_once_and_says_what_has_no_root() -> None:
    """A request of its own, calls on behalf of a checkout elsewhere, and the background, which nobody asked for."""
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    checkout = ("web", "POST /checkout")
    sink.update(totals(total(requests=2, package=1.0), total(requests=5, package=2.0, dram=1.0, origin=checkout)))
    sink.update(
        totals(
            total(requests=3, package=1.5, grams=0.1),
            total(kind="span", name="resize", package=0.5),
            total(requests=9, package=4.0, dram=2.0, grams=0.5, origin=checkout),
            total(kind="background", root="background", package=8.0),
        )
    )

    def of(service: str, endpoint: str, what: str = "energy_joules") -> float | None:
        return value(registry, f"carbon_root_{what}_total", {"root_service": service, "root_endpoint": endpoint})

    assert of("shop", "GET /a") == 2.0
    assert of(*checkout) == 6.0
    assert of("", "") == 8.0
    assert of(*checkout, "emissions_grams") == 0.5
    assert of("shop", "GET /a", "requests") == 3
    assert of(*checkout, "requests") is None, "they began in another service, which counts them"


def test_nested_spans_have_lines_of_their_own_and_count_no_request() -> None:
    """A sum over an endpoint is the whole of it; its requests are counted once."""
    registry = CollectorRegistry()

    PrometheusSink(registry).update(
        totals(total(requests=2, cpu=1.0), total(kind="span", name="resize", requests=4, cpu=0.5))
    )

    resize = {"kind": "span", "endpoint": "GET /a", "span": "resize"}
    assert value(registry, "carbon_cpu_seconds_total", resize) == 0.5
    assert value(registry, "carbon_requests_total", {"kind": "span", "endpoint": "GET /a"}) is None


def test_the_gauge_of_the_grid_follows_zone_and_source() -> None:
    """When another zone answers, the line of the first one goes."""
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)

    sink.update(totals())
    sink.update(totals(intensity=FixedIntensity(50.0, zone="FR").answer))

    assert value(registry, "carbon_intensity_grams_per_kwh", {"zone": "FR", "source": "fixed"}) == 50.0
    assert value(registry, "carbon_intensity_grams_per_kwh", {"zone": "DE", "source": "fixed"}) is None


def test_budgets_stand_as_shares_of_their_limit() -> None:
    """What is not known yet has no line."""
    registry = CollectorRegistry()

    PrometheusSink(registry).update(
        totals(budgets=[standing(spent=12.0, projected=None), standing(name="all", spent=5.0, projected=30.0)])
    )

    assert value(registry, "carbon_budget_spent_ratio", {"budget": "day"}) == 1.2
    assert value(registry, "carbon_budget_projected_ratio", {"budget": "day"}) is None
    assert value(registry, "carbon_budget_projected_ratio", {"budget": "all"}) == 3.0


def test_exemplars_lead_from_a_counter_to_a_trace() -> None:
    """The trace of an endpoint's latest request stands beside its joules and grams in OpenMetrics."""
    registry = CollectorRegistry()
    trace = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    sink = PrometheusSink(registry, exemplar=lambda endpoint: trace if endpoint == "GET /a" else None)

    sink.update(totals(total(requests=1, package=4.0), total(root="GET /b", requests=1, package=2.0)))
    lines = generate_openmetrics(registry).decode().splitlines()  # type: ignore[no-untyped-call]

    energy = [line for line in lines if line.startswith("carbon_energy_joules_total{")]
    assert [trace["trace_id"] in line for line in energy] == [True, False]


@given(
    counted=st.lists(st.tuples(st.text(max_size=12), st.floats(0.0, 1e12), st.booleans()), max_size=5),
    openmetrics=st.booleans(),
)
def test_what_a_scrape_is_answered_reads_as_what_the_client_library_would_write(
    counted: list[tuple[str, float, bool]], openmetrics: bool
) -> None:
    """Whatever the names hold, in both formats, with exemplars, and with metrics of the app beside ours."""
    registry = CollectorRegistry()
    Gauge("app_gauge", "The app's own.", ["name"], registry=registry).labels('a "b"').set(1.5)
    families = Counted()
    counter = families.add("carbon_x_joules_total", "Joules.", ("span", "endpoint"))
    registry.register(families)
    for name, amount, seen in counted:
        counter.labels(name, "GET /a").inc(amount, {"trace_id": "4bf92f35"} if seen else None)
    accept = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain"
    encode, content_type = choose_encoder(accept)
    parse = parse_openmetrics if openmetrics else parse_text

    body, told = expose(registry, accept)

    assert told == content_type
    assert [(family.name, family.type, family.documentation, family.samples) for family in parse(body.decode())] == [
        (family.name, family.type, family.documentation, family.samples)
        for family in sorted(parse(encode(registry).decode()), key=lambda family: family.name == "app_gauge")
    ]


async def test_a_scrape_is_compressed_where_the_scraper_takes_it_and_only_reads(free_port: int) -> None:
    """Prometheus asks for OpenMetrics in gzip; who would write is told what he may do."""
    sink = PrometheusSink.from_options({"port": str(free_port)}, None)
    sink.update(totals(total(requests=7)))
    accept = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "accept-encoding": "gzip"}

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}") as client:
        read = await client.get("/metrics", headers=accept)
        written = await client.post("/metrics")
    await sink.aclose()

    assert read.headers["content-encoding"] == "gzip"
    assert read.headers["content-type"].startswith("application/openmetrics-text")
    assert read.text.endswith("# EOF\n")
    assert 'carbon_requests_total{endpoint="GET /a",kind="request"} 7.0' in read.text
    assert (written.status_code, written.headers["allow"]) == (405, "GET")


async def test_a_port_in_the_settings_opens_a_server_with_a_registry_of_its_own(free_port: int) -> None:
    """It answers a scrape, and closing the sink twice frees the port."""
    sink = PrometheusSink.from_options({"port": str(free_port)}, None)
    sink.update(totals(total(requests=7)))

    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{free_port}/metrics")).text
    await sink.aclose()
    await sink.aclose()

    assert 'carbon_requests_total{endpoint="GET /a",kind="request"} 7.0' in text
    await PrometheusSink.from_options({"port": str(free_port)}, None).aclose()


def test_the_example_shows_its_endpoint_to_a_scrape(free_port: int, tmp_path: Path) -> None:
    """Under a real server, once a window has closed after the request."""
    server = Server(COMMANDS["uvicorn"]("examples.prometheus_service:app", free_port), free_port, tmp_path)
    shown: dict[str, float] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not shown.get("carbon_energy_joules_total") and time.monotonic() < deadline:
        server.ask("GET", "/squares/2000000")
        time.sleep(0.2)
        text = server.ask("GET", "/metrics").partition(b"\r\n\r\n")[2].decode()
        samples = [sample for family in parse_text(text) for sample in family.samples]
        shown = {one.name: one.value for one in samples if one.labels.get("endpoint") == "GET /squares/{count}"}
    server.stop()

    assert shown["carbon_energy_joules_total"] > 0.0
    assert shown["carbon_requests_total"] >= 1.0


async def test_a_port_that_cannot_be_had_is_said(free_port: int) -> None:
    """No number, out of range, in use: each names the setting or the address."""
    for text in ("http", "70000", "-1"):
        with pytest.raises(SettingsError, match="CARBON_SDK_PROMETHEUS_PORT"):
            PrometheusSink.from_options({"port": text}, None)
    sink = PrometheusSink.from_options({"port": str(free_port)}, None)
    with pytest.raises(SinkError, match=str(free_port)):
        PrometheusSink.from_options({"port": str(free_port)}, None)
    await sink.aclose()


WORKER = """
import sys
from carbon_sdk.sinks.prometheus import PrometheusSink, expose
from carbon_sdk.sinks.prometheus_counters import Counted
from carbon_sdk.testing import FixedIntensity
from tests.servers.serving import COMMANDS, PATIENCE_SECONDS, Server
from tests.sinks.totals import total, totals
sink = PrometheusSink()
for joules in range(1, 6):
    sink.update(totals(total(requests=joules, package=float(joules))))
sink.update(totals(total(requests=5, package=5.0), intensity=FixedIntensity(50.0, zone="FR").answer))
"""
SCRAPE = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def run(code: str, folder: Path) -> str:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_what_workers_counted_stays_after_their_end(tmp_path: Path) -> None:
    """Three lives of a worker in multi-process mode add up, and the gauge shows the grid as seen last."""
    for _ in range(3):
        run(WORKER, tmp_path)

    lines = run(SCRAPE, tmp_path).splitlines()

    assert 'carbon_requests_total{endpoint="GET /a",kind="request"} 15.0' in lines
    assert 'carbon_energy_joules_total{domain="package",endpoint="GET /a",kind="request",span="GET /a"} 15.0' in lines
    assert 'carbon_intensity_grams_per_kwh{source="fixed",zone="FR"} 50.0' in lines


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here: apt-get install prometheus")
def test_promtool_has_nothing_to_say() -> None:
    """Names, units and help texts are as Prometheus asks."""
    registry = CollectorRegistry()
    PrometheusSink(registry).update(totals(total(requests=3, package=4.0, tokens=3.0)))

    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_without_prometheus_client_the_sink_says_what_to_install() -> None:
    """The exact words for pip."""
    code = "import sys; sys.modules['prometheus_client'] = None\nimport carbon_sdk.sinks.prometheus"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr

    assert 'pip install "carbon-sdk[prometheus]"' in said
