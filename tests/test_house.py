"""The rules of the house, checked from the source: who may import whom, and what is read where."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SDK = ROOT / "carbon_sdk"
PROVIDERS = ROOT / "providers" / "carbon_sdk_providers"

STATIONS = ["meters", "cpu", "sampler", "spans", "intensity", "emission", "sinks"]
DOORS = {
    "meters": ("carbon_sdk.meters.meter",),
    "cpu": ("carbon_sdk.cpu.clock", "carbon_sdk.cpu.accounts"),  # who only books the accounts loads no event loop
    "spans": ("carbon_sdk.spans.span",),
    "intensity": ("carbon_sdk.intensity.intensity",),
    "sinks": ("carbon_sdk.sinks.sink",),
}
COLLECTOR_SEES = (
    "budgets",
    "cells",
    "emission",
    "wire",
    "settings",
    "errors",
    "http",
    "collector",
    "intensity.intensity",
)
PROVIDERS_SEE = ("carbon_sdk.intensity.intensity", "carbon_sdk.http", "carbon_sdk.errors", "carbon_sdk_providers")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module of ours that a file names in an import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def station(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "carbon_sdk" and parts[1] in STATIONS else None


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files(SDK), ids=name_of)
def test_downstream_imports_upstream_and_only_through_doors(path: Path) -> None:
    """A station never looks back, and sees of another only the file that is named like its noun."""
    relative = path.relative_to(SDK)
    own = relative.parts[0].removesuffix(".py")
    if own not in STATIONS:
        return
    for module in imports(path):
        other = station(module)
        if other is None or other == own:
            continue
        assert STATIONS.index(other) < STATIONS.index(own), f"{relative} looks back at {module}"
        if other in DOORS:
            assert module in DOORS[other], f"{relative} enters {other} past its door: {module}"


@pytest.mark.parametrize("path", files(SDK / "meters") + files(SDK / "intensity"), ids=name_of)
def test_meters_and_intensity_do_not_know_each_other(path: Path) -> None:
    """Joules and grams per kWh first meet in the emission."""
    other = "intensity" if path.is_relative_to(SDK / "meters") else "meters"

    assert not [module for module in imports(path) if station(module) == other]


@pytest.mark.parametrize("path", files(PROVIDERS), ids=name_of)
def test_providers_see_three_modules_of_the_core(path: Path) -> None:
    """A provider can move to a distribution of its own."""
    ours = [module for module in imports(path) if module.startswith("carbon_sdk")]

    assert [module for module in ours if not module.startswith(PROVIDERS_SEE)] == []


@pytest.mark.parametrize("path", files(SDK), ids=name_of)
def test_the_core_imports_no_provider_and_nobody_imports_an_integration(path: Path) -> None:
    """Providers are found by entry points; integrations are front doors, which the demo goes in by as users do."""
    named = list(imports(path))

    assert not [module for module in named if module.startswith("carbon_sdk_providers")]
    if not {"integrations", "demo"} & set(path.parts) and path.name != "__init__.py":
        assert not [module for module in named if module.startswith("carbon_sdk.integrations")]


@pytest.mark.parametrize("path", files(SDK / "collector"), ids=name_of)
def test_the_collector_runs_without_meters(path: Path) -> None:
    """The collector sees the record and its codec, not the stations that make it."""
    for module in imports(path):
        if module.startswith("carbon_sdk."):
            assert module.removeprefix("carbon_sdk.").startswith(COLLECTOR_SEES), module


@pytest.mark.parametrize("path", files(SDK) + files(PROVIDERS), ids=name_of)
def test_the_environment_is_read_in_one_file(path: Path) -> None:
    """All others take arguments."""
    if path == SDK / "environment.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
            assert not (isinstance(node.value, ast.Name) and node.value.id == "os"), f"line {node.lineno}"


@pytest.mark.parametrize("path", files(SDK) + files(PROVIDERS), ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    """A module docstring, and no room named after nothing."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert path.stem not in {"utils", "helpers", "common", "manager", "misc", "core"}


def test_importing_the_package_loads_the_standard_library_only() -> None:
    """`import carbon_sdk` costs a service next to nothing."""
    code = (
        "import sys, asyncio; before = set(sys.modules); import carbon_sdk; "
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "['carbon_sdk']"


def test_every_public_name_exists_and_is_read_from_its_own_module() -> None:
    """`__all__` holds the public names, each of which can be had."""
    import carbon_sdk

    for name in carbon_sdk.__all__:
        assert getattr(carbon_sdk, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        carbon_sdk.no_such_name  # noqa: B018
