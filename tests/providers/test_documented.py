"""The documentation of the providers says what they do, and its worked example keeps the contract."""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import respx

from carbon_sdk import plugins
from carbon_sdk.errors import SettingsError
from carbon_sdk.http import HTTP
from carbon_sdk.intensity.constant import Constant
from carbon_sdk.intensity.intensity import IntensityProvider, Place
from carbon_sdk.intensity.yearly_averages import YearlyAverages
from tests.providers import test_contract as contract
from tests.providers.bench import CASES, GROUP, SECRET, Bench, build, no_sleep

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
README = (ROOT / "providers" / "README.md").read_text(encoding="utf-8")
NAMES = plugins.names(GROUP)
CORE: Mapping[str, IntensityProvider] = {"constant": Constant(1.0), "yearly_averages": YearlyAverages()}


def table(first_column: str, second_column: str) -> list[list[str]]:
    """The rows of the page's table that begins with these columns."""
    _, _, rest = PAGE.partition(f"| {first_column} | {second_column} |")
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" `*") for cell in row.strip("|").split(" | ")] for row in rows]


WHAT = {row[0]: row[1:] for row in table("provider", "key")}
LICENCES = {row[0]: row[1:] for row in table("provider", "licence of the data")}
OPTIONS = [(row[0], row[1]) for row in table("provider", "option")]


def made(name: str) -> IntensityProvider:
    """A provider as its case builds it."""
    case = CASES.get(name)
    return CORE[name] if case is None else build(name, case["options"], now=datetime.fromisoformat(case["now"]))


def test_every_provider_has_a_row_in_each_table() -> None:
    """And no row is left of one that is gone."""
    assert set(WHAT) == set(LICENCES) == {*NAMES, *CORE}


@pytest.mark.parametrize("name", [*NAMES, *CORE])
def test_signal_scope_forecast_history_and_key_are_as_written(name: str) -> None:
    """Somebody chooses a provider by this table."""
    key, _, signal, scope, forecast, history, _ = WHAT[name]
    provider = made(name)
    needed = {option.lower() for option in re.findall(rf"\| `{name}` \| \*\*`(\w+)`", PAGE)}

    if name != "file":
        assert signal.startswith(provider.signal)
        assert scope.startswith(provider.emission_scope)
    assert (forecast == "no") == (not hasattr(provider, "forecast"))
    assert (history == "no") == (not hasattr(provider, "history"))
    assert (key == "none") == (SECRET not in CASES.get(name, {"options": {}})["options"].values())
    assert key == "none" or set(key.split(" and ")) == needed


class Asked(dict[str, str]):
    """Options that remember what was looked for."""

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__(options)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


@pytest.mark.parametrize("name", NAMES)
def test_the_options_of_each_provider_are_those_that_it_reads(name: str) -> None:
    """None missing, none invented; those in bold are the ones it cannot do without."""
    options = Asked(CASES[name]["options"])
    factory: Any = plugins.load(GROUP, name)
    factory(options, HTTP())
    listed = {option for provider, option in OPTIONS if provider == name}

    assert listed == {option.upper() for option in options.names}
    for option in options.names & CASES[name]["options"].keys():
        rest = {key: value for key, value in CASES[name]["options"].items() if key != option}
        bold = f"| `{name}` | **`{option.upper()}`** |" in PAGE
        if bold:
            with pytest.raises(SettingsError, match=option.upper()):
                factory(rest, HTTP())
        else:
            factory(rest, HTTP())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "file"])
async def test_licence_and_attribution_are_those_of_the_values(name: str, on_bench: Callable[[str], Bench]) -> None:
    """What the page says must be shown is what the records carry."""
    bench = on_bench(name)
    licence, attribution, _ = LICENCES[name]

    value = await bench.provider.intensity(bench.place)

    words = set(re.findall(r"\w{3,}", (value.attribution or "").lower())) - {"data", "carbon", "source", "intensity"}
    assert words & set(re.findall(r"\w{3,}", attribution.lower()))
    for name_of_licence in re.findall(r"CC BY(?:-NC)? 4\.0|Licence Ouverte 2\.0|public domain", value.licence or ""):
        assert name_of_licence in licence


def blocks(language: str) -> list[str]:
    """The blocks of one language in the guide."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.fixture
def example(tmp_path: Path, router: respx.MockRouter) -> Bench:
    """The provider of the guide, built as its case says, with its recorded answer."""
    module: dict[str, Any] = {"__name__": "example_grid"}
    exec(compile(blocks("python")[0], str(ROOT / "providers" / "README.md"), "exec"), module)
    answer, case = blocks("json")
    recorded = tmp_path / "now.json"
    recorded.write_text(answer, encoding="utf-8")
    row = json.loads(case)
    row["routes"] = {path: str(recorded) for path in row["routes"]}
    now = datetime.fromisoformat(row["now"])
    provider = module["ExampleGrid"].from_options(row["options"], HTTP(utcnow=lambda: now, sleep=no_sleep))
    return Bench(provider=provider, place=Place(**row["place"]), case=row, router=router)


CONTRACT = {
    name: test
    for name, test in inspect.getmembers(contract, inspect.iscoroutinefunction)
    if name.startswith("test_") and "on_bench" in inspect.signature(test).parameters
}


@pytest.mark.parametrize("law", [name for name in CONTRACT if "history" not in name])
async def test_the_worked_example_keeps_the_contract(law: str, example: Bench) -> None:
    """What a newcomer copies is held to what every provider is held to."""

    def on_bench(_name: str) -> Bench:
        example.recorded()
        return example

    test = CONTRACT[law]
    given = inspect.signature(test).parameters
    asked: list[dict[str, Any]] = [{}]
    if "garbage" in given:
        asked = [{"garbage": garbage} for garbage in contract.GARBAGE.values()]
    elif "status" in given:
        asked = [{"status": status} for status in (401, 403)]
    for more in asked:
        await test(name="example_grid", on_bench=on_bench, **more)


async def test_the_worked_example_s_key_is_missed_by_its_setting(example: Bench) -> None:
    """And goes nowhere but into its header."""
    with pytest.raises(SettingsError, match=r"^CARBON_SDK_EXAMPLE_GRID_KEY: is not set"):
        type(example.provider).from_options({}, HTTP())  # type: ignore[attr-defined]
    example.recorded()
    await example.provider.intensity(example.place)

    (call,) = example.router.calls
    assert call.request.headers["x-key"] == SECRET
    assert SECRET not in str(call.request.url)
