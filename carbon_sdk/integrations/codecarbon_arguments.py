"""The arguments of CodeCarbon's trackers: those that mean something here, and what serves instead of the others.

They come from where CodeCarbon takes them: the call, then `CODECARBON_*` variables, then `./.codecarbon.config`, then
`~/.codecarbon.config`. An argument that means nothing here warns once in a process's life, and names what serves.
"""

import configparser
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from carbon_sdk.environment import environment
from carbon_sdk.errors import SettingsError
from carbon_sdk.integrations.codecarbon_data import OutputMethod, Writing
from carbon_sdk.stretch import Mode

PREFIX = "codecarbon_"
FILE = ".codecarbon.config"
SECTION = "codecarbon"

INSTEAD = {
    "api_call_interval": "records are delivered as they come: CARBON_SDK_EMIT_INTERVAL_SECONDS",
    "api_endpoint": "CARBON_SDK_SINKS=collector and CARBON_SDK_COLLECTOR_URL",
    "api_key": "CARBON_SDK_COLLECTOR_TOKEN",
    "save_to_api": "CARBON_SDK_SINKS=collector and CARBON_SDK_COLLECTOR_URL",
    "emissions_endpoint": "CARBON_SDK_SINKS=collector and CARBON_SDK_COLLECTOR_URL",
    "save_to_prometheus": "CARBON_SDK_SINKS=prometheus",
    "prometheus_url": "CARBON_SDK_SINKS=prometheus, from which Prometheus scrapes",
    "save_to_logfire": "CARBON_SDK_SINKS=opentelemetry",
    "gpu_ids": "CUDA_VISIBLE_DEVICES; all GPUs are read, and CARBON_SDK_GPU=off reads none",
    "log_level": "logging.getLogger('carbon_sdk').setLevel(...)",
    "logger_preamble": "the formatter of your own logging",
    "force_cpu_power": "CARBON_SDK_METER and CARBON_SDK_INSTANCE_TYPE, from which the model takes its watts",
    "force_ram_power": "CARBON_SDK_METER; memory is measured, or modelled by its size",
    "force_mode_cpu_load": "CARBON_SDK_METER=model",
    "rapl_include_dram": "nothing: where DRAM has a counter it is read, and stands in ram_energy",
    "allow_multiple_runs": "nothing: any number of trackers may run at once",
    "metadata": "CARBON_SDK_SERVICE and CARBON_SDK_RELEASE, which stand in every record",
    "country_2letter_iso_code": "CARBON_SDK_ZONE",
}
"""What serves instead of an argument that means nothing here."""
METHODS_INSTEAD = {
    OutputMethod.API: INSTEAD["save_to_api"],
    OutputMethod.PROMETHEUS: INSTEAD["save_to_prometheus"],
    OutputMethod.LOGFIRE: INSTEAD["save_to_logfire"],
    OutputMethod.BOAMPS: INSTEAD["metadata"],
}
warned: set[str] = set()
"""Arguments that have warned in this process."""


ORDER = (
    "project_name",
    "measure_power_secs",
    "api_call_interval",
    "api_endpoint",
    "api_key",
    "output_dir",
    "output_file",
    "output_methods",
    "save_to_file",
    "save_to_api",
    "save_to_logger",
    "logging_logger",
    "save_to_prometheus",
    "save_to_logfire",
    "prometheus_url",
    "output_handlers",
    "gpu_ids",
    "emissions_endpoint",
    "experiment_id",
    "experiment_name",
    "electricitymaps_api_token",
    "co2_signal_api_token",
    "tracking_mode",
    "log_level",
    "on_csv_write",
    "logger_preamble",
    "force_cpu_power",
    "force_ram_power",
    "pue",
    "wue",
    "force_carbon_intensity_g_co2e_kwh",
    "force_mode_cpu_load",
    "allow_multiple_runs",
    "rapl_include_dram",
    "rapl_prefer_psys",
    "metadata",
)
"""CodeCarbon 3.3's arguments, as its trackers take them by position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What a tracker was told; the defaults are CodeCarbon's."""

    project_name: str = "codecarbon"
    measure_power_secs: float = 15.0
    output_dir: Path = Path()
    output_file: str = "emissions.csv"
    save_to_file: bool = True
    save_to_logger: bool = False
    logging_logger: Any = None
    output_handlers: tuple[Any, ...] = ()
    experiment_id: str = "5b0fa12a-3dd7-45bb-9766-cc326314d9f1"
    experiment_name: str = "base"
    tracking_mode: Mode = "machine"
    on_csv_write: Writing = "append"
    pue: float = 1.0
    wue: float = 0.0
    force_carbon_intensity_g_co2e_kwh: float | None = None
    electricitymaps_api_token: str | None = None
    rapl_prefer_psys: bool = False
    country_iso_code: str | None = None
    region: str | None = None
    cloud_provider: str | None = None
    cloud_region: str | None = None


def by_name(positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call, by name.

    Raises:
        TypeError: There are too many, or one was given twice.
    """
    if len(positional) > len(ORDER):
        raise TypeError(f"at most {len(ORDER)} arguments by position")
    placed = dict(zip(ORDER, positional, strict=False))
    twice = placed.keys() & named.keys()
    if twice:
        raise TypeError(f"{min(twice)} was given twice")
    return placed | dict(named)


def resolve(given: Mapping[str, Any]) -> Arguments:
    """What was given, and what was set.

    Args:
        given: Arguments of the call, by CodeCarbon's names.

    Raises:
        SettingsError: A value cannot be used; the message names the argument and the remedy.
        TypeError: There is no such argument.
    """
    told = _files() | _variables() | dict(given)
    if "co2_signal_api_token" in told:
        told.setdefault("electricitymaps_api_token", told.pop("co2_signal_api_token"))
    told |= _methods(told.pop("output_methods", None))
    known = {field.name for field in fields(Arguments)}
    for name in told.keys() - known:
        if name not in INSTEAD:
            if name in given:
                raise TypeError(f"there is no argument {name!r}")
            continue
        if told[name] not in (None, False, "False", "false", ""):
            _warn(name, f"{name} means nothing to carbon_sdk; what serves is {INSTEAD[name]}")
    values = {name: _CHECKS.get(name, _same)(name, told[name]) for name in known & told.keys()}
    return Arguments(**{name: value for name, value in values.items() if value is not None})


def _methods(value: Any) -> dict[str, bool]:
    """`output_methods` as the flags that it stands for."""
    if value is None:
        return {}
    names = value.split(",") if isinstance(value, str) else value
    try:
        methods = {OutputMethod(name.strip() if isinstance(name, str) else name) for name in names}
    except ValueError as exc:
        raise _refused("output_methods", value, f"one of {', '.join(OutputMethod)}") from exc
    for method in methods & METHODS_INSTEAD.keys():
        instead = METHODS_INSTEAD[method]
        _warn(method, f"OutputMethod.{method.name} means nothing to carbon_sdk; what serves is {instead}")
    return {"save_to_file": OutputMethod.CSV in methods, "save_to_logger": OutputMethod.LOGGER in methods}


def _warn(name: str, text: str) -> None:
    if name not in warned:
        warned.add(name)
        warnings.warn(text, UserWarning, stacklevel=5)


def _variables() -> dict[str, Any]:
    found = environment().items()
    return {name.lower().removeprefix(PREFIX): text for name, text in found if name.lower().startswith(PREFIX)}


def _files() -> dict[str, Any]:
    """CodeCarbon's own files; one that cannot be read is none."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([Path.home() / FILE, Path(FILE)], encoding="utf-8")
    except (configparser.Error, OSError, UnicodeError, RuntimeError):
        return {}
    return dict(parser[SECTION]) if parser.has_section(SECTION) else {}


def _refused(name: str, value: Any, wanted: str) -> SettingsError:
    return SettingsError(name, f"{str(value)[:60]!r} cannot be used", f"Give {wanted}")


def _same(_name: str, value: Any) -> Any:
    return value


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    if len(text) > 500 or not text.isprintable():
        raise _refused(name, value, "at most 500 printable characters")
    return text


def _number(least: float, most: float) -> Callable[[str, Any], float | None]:
    def check(name: str, value: Any) -> float | None:
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError) as exc:
            raise _refused(name, value, f"a number from {least:g} to {most:g}") from exc
        if not (math.isfinite(number) and least <= number <= most):
            raise _refused(name, value, f"a number from {least:g} to {most:g}")
        return number

    return check


def _truth(_name: str, value: Any) -> bool | None:
    return None if value is None else str(value).strip().lower() in ("true", "1", "yes", "on")


def _one_of(*allowed: str) -> Callable[[str, Any], str | None]:
    def check(name: str, value: Any) -> str | None:
        if value is not None and value not in allowed:
            raise _refused(name, value, f"one of {', '.join(allowed)}")
        return None if value is None else str(value)

    return check


def _folder(name: str, value: Any) -> Path | None:
    if value is None:
        return None
    folder = Path(value)
    if not folder.is_dir():
        raise SettingsError(name, f"there is no folder {str(value)[:200]!r}", "Make it, or name another")
    return folder


def _handlers(_name: str, value: Any) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "project_name": _text,
    "experiment_id": _text,
    "experiment_name": _text,
    "measure_power_secs": _number(0.001, 1e9),
    "output_dir": _folder,
    "output_file": _text,
    "save_to_file": _truth,
    "save_to_logger": _truth,
    "output_handlers": _handlers,
    "tracking_mode": _one_of("machine", "process"),
    "on_csv_write": _one_of("append", "update"),
    "pue": _number(1.0, 10.0),
    "wue": _number(0.0, 1e6),
    "force_carbon_intensity_g_co2e_kwh": _number(0.0, 2000.0),
    "rapl_prefer_psys": _truth,
    "country_iso_code": _text,
    "region": _text,
    "cloud_provider": _text,
    "cloud_region": _text,
}
