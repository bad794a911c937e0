"""What the documentation lists is what there is, and what it shows in Python runs as it is."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from carbon_sdk import Carbon, Settings, plugins, track
from carbon_sdk.assembly import SINKS
from carbon_sdk.emission import Emission
from carbon_sdk.intensity.location import locate
from carbon_sdk.settings import from_environment, unknown_variables
from carbon_sdk.sources import PROVIDERS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def rows(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables, by the name in their first cell."""
    found = {}
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            found[cells[0].strip("` ")] = cells
    return found


def test_every_setting_is_listed_with_its_variable_and_default() -> None:
    """Nobody reads the source to find a setting."""
    listed = rows("settings.md")
    settings = [one for one in dataclasses.fields(Settings) if "check" in one.metadata]

    assert list(listed) == [one.name for one in settings]
    for one in settings:
        _, variable, default, _ = listed[one.name]
        assert variable == f"`CARBON_SDK_{one.name.upper()}`"
        if isinstance(one.default, float):
            assert float(default.strip("`")) == one.default
        elif isinstance(one.default, bool):
            assert default == f"`{int(one.default)}`"


def test_every_field_of_a_record_is_listed() -> None:
    """Whoever reads a log line finds each of its names."""
    fields = [one.name for one in dataclasses.fields(Emission)]

    assert [name for name in rows("record.md") if name in fields] == fields


@pytest.mark.anyio
async def test_the_meter_provider_and_sink_of_the_documentation_measure_price_and_count() -> None:
    """Pasted as they stand into a program."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, names)
    counting = names["Counting"].from_options({}, None)
    dam = names["OurDam"].from_options({}, None)
    async with Carbon(meters=[names["Plug"]()], provider=dam, sinks={"counting": counting}, zone="NO") as carbon:
        with track("job") as span:
            sum(range(100_000))

    assert span.energy_joules is not None
    assert span.intensity is not None
    assert span.intensity.source in ("our_dam", "yearly_averages"), "by night the next in the chain is asked"
    assert counting.records >= 4
    assert set(carbon.log.faults) <= {"intensity.our_dam"}, "which is told and counted"


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    """A reader who follows a link arrives."""
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


NAME = re.compile(r"CARBON_SDK_[A-Z0-9_]*[A-Z0-9]")
PLUGINS = {*plugins.names(PROVIDERS), *plugins.names(SINKS), "constant"}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_every_variable_that_a_page_names_is_one(page: Path) -> None:
    """What is copied from a page does something; `CARBON_SDK_<NAME>_*` stands for a plugin's own."""
    own = {"CARBON_SDK_NAME", "CARBON_SDK_OUR_DAM_URL"}
    named = set(NAME.findall(page.read_text(encoding="utf-8"))) - own

    assert unknown_variables(dict.fromkeys(named, "1"), PLUGINS) == []


def test_the_manifest_for_kubernetes_sets_what_it_says() -> None:
    """Its variables, as a node's kubelet would fill them in, are settings: address, place, sinks."""
    page = (DOCS / "kubernetes.md").read_text(encoding="utf-8")
    deployment, mount = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.S))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    labels = {"app": "shop", "topology.kubernetes.io/region": "eu-central-1"}
    variables: dict[str, str] = {}
    for one in (*container["env"], *mount["env"]):
        path = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        label = re.fullmatch(r"metadata\.labels\['(.+)'\]", path or "")
        value = labels[label[1]] if label else "10.1.2.3" if path == "status.hostIP" else str(one["value"])
        variables[one["name"]] = re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], value)
    settings = from_environment(variables)

    assert settings.exporter_url == "http://10.1.2.3:9100/metrics"
    assert str(settings.sysfs_root) == "/host/sys" == mount["volumeMounts"][0]["mountPath"]
    assert str(settings.state_folder) == container["volumeMounts"][0]["mountPath"]
    assert (settings.service, settings.release, settings.sinks) == ("shop", "1.4.2", ("structlog", "collector"))
    assert locate(environment=variables).zone == "DE"


def blocks() -> list[tuple[str, str]]:
    """Every Python block of the pages, and where it stands."""
    return [
        (f"{page.relative_to(DOCS)}:{text.count(chr(10), 0, match.start()) + 1}", match[1])
        for page in sorted(DOCS.rglob("*.md"))
        for text in [page.read_text(encoding="utf-8")]
        for match in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize("code", [code for _, code in blocks()], ids=[place for place, _ in blocks()])
def test_each_block_of_python_runs(code: str, tmp_path: Path) -> None:
    """On its own, in an empty folder, without a setting."""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


RUNS = re.findall(r"^carbon-sdk (run .*?)-- ", (DOCS / "run.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("words", RUNS)
def test_each_run_of_the_page_measures_a_program(words: str, tmp_path: Path) -> None:
    """Its options as they stand there, with a program that is everywhere."""
    command = [sys.executable, "-m", "carbon_sdk.cli", *words.split(), "--", "true"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)

    told = done.stderr if "--csv" not in words else (tmp_path / "runs.csv").read_text(encoding="utf-8")
    assert "true" in told
    assert "nothing is measured" not in done.stderr
