"""Settings: from arguments, then the environment, then defaults.

Every field is a variable `CARBON_SDK_<FIELD>`. Variables `CARBON_SDK_<NAME>_<OPTION>` belong to the provider or sink
NAME and are handed to it as they are: `CARBON_SDK_ELECTRICITY_MAPS_TOKEN` reaches `electricity_maps` as its option
`token`. They may hold secrets, so they never show in a repr, a log or an error.
"""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from carbon_sdk.budgets import Budget, budgets_of
from carbon_sdk.environment import environment
from carbon_sdk.errors import SettingsError, nearest
from carbon_sdk.meters.meter import IdlePolicy

PREFIX = "CARBON_SDK_"

Operator = Literal["own", "cloud"]
Check = Callable[[str, Any], Any]


def _refuse(name: str, problem: str, remedy: str) -> SettingsError:
    return SettingsError(f"{PREFIX}{name.upper()} ({name})", problem, remedy)


def _shown(value: object) -> str:
    return repr(str(value)[:60])


def _text(name: str, value: Any) -> str:
    text = str(value).strip()
    if not text or len(text) > 200 or not text.isprintable():
        raise _refuse(name, f"{_shown(value)} is not a name", "Give 1 to 200 printable characters")
    return text


def _path(name: str, value: Any) -> Path:
    text = os.path.expanduser(str(value).strip())
    if not isinstance(value, str | os.PathLike) or not text or "\0" in text:
        raise _refuse(name, f"{_shown(value)} is not a path", "Give the path of a file or folder")
    if text.startswith("~"):
        raise _refuse(name, f"no home is known for {_shown(value)}", "Give a path from / on")
    return Path(text)


def _parts(name: str, value: Any) -> tuple[str, ...]:
    """The texts of a list, or of one text with commas; blank ones are left out. What is refused is not shown."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable) or isinstance(parts, bytes | Mapping):
        raise _refuse(name, f"it is {type(value).__name__}, and no list", "Give a list of texts, or one with commas")
    parts = tuple(parts)
    strange = next((part for part in parts if not isinstance(part, str)), "")
    if strange != "":
        raise _refuse(name, f"it holds {type(strange).__name__}", "Give a list of texts, or one with commas")
    return tuple(part.strip() for part in parts if part.strip())


def _file(name: str, value: Any) -> Path:
    path = _path(name, value)
    if not path.is_file():
        raise _refuse(name, f"there is no file {_shown(path)}", "Give the path of a file that can be read")
    return path


def _truth(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("", "0", "false", "no", "off"):
        return False
    raise _refuse(name, f"{_shown(value)} is neither true nor false", "Write 1 or 0")


def _number(low: float, high: float, unit: str) -> Check:
    def check(name: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as exc:
            hint = ", with a point, not a comma" if "," in str(value) else ""
            raise _refuse(
                name, f"{_shown(value)} is not a number", f"Give {unit} from {low:g} to {high:g}{hint}"
            ) from exc
        if isinstance(value, bool) or not math.isfinite(number) or not low <= number <= high:
            raise _refuse(name, f"{_shown(value)} is out of range", f"Give {unit} from {low:g} to {high:g}")
        return number

    return check


def _whole(low: int, high: int, unit: str) -> Check:
    number = _number(low, high, unit)

    def check(name: str, value: Any) -> int:
        result = number(name, value)
        if result != int(result):
            raise _refuse(name, f"{_shown(value)} is not a whole number", f"Give {unit} from {low} to {high}")
        return int(result)

    return check


def _one_of(*allowed: str) -> Check:
    def check(name: str, value: Any) -> str:
        text = str(value).strip().lower()
        if text not in allowed:
            near = nearest(text, allowed, most=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise _refuse(name, f"{_shown(value)} is not known", f"Choose one of {', '.join(allowed)}{hint}")
        return text

    return check


def _names(name: str, value: Any) -> tuple[str, ...]:
    names = tuple(part.lower().replace("-", "_") for part in _parts(name, value))
    for one in names:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", one):
            raise _refuse(name, f"{_shown(one)} is not a name", "Give names in order, separated by commas")
    return names


def _hosts(name: str, value: Any) -> tuple[str, ...]:
    hosts = tuple(part.lower() for part in _parts(name, value))
    for host in hosts:
        if not re.fullmatch(r"\.?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", host):
            raise _refuse(
                name, f"{_shown(host)} is not a host", "Give hosts without scheme or port: cart.internal,.svc.local"
            )
    return hosts


def _queues(name: str, value: Any) -> tuple[str, ...]:
    queues = _parts(name, value)
    for queue in queues:
        if len(queue) > 200 or not queue.isprintable() or ("*" in queue and queue != "*"):
            raise _refuse(name, f"{_shown(queue)} is not a queue", "Give names of queues: mail,images; or * for all")
    return queues


def _secrets(name: str, value: Any) -> tuple[str, ...]:
    secrets = _parts(name, value)
    if any(len(secret) < 16 for secret in secrets) or len(secrets) > 2:
        raise _refuse(name, "a secret is too short, or there are more than two", "Give one or two of 16 characters")
    return secrets


def _zone(name: str, value: Any) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"[A-Za-z0-9]{2,8}(-[A-Za-z0-9]{1,8}){0,3}", text):
        raise _refuse(name, f"{_shown(value)} is not a zone key", "Write it as Electricity Maps does, DE or DK-DK1")
    return text.upper()


def _budgets(name: str, value: Any) -> tuple[Budget, ...]:
    try:
        return budgets_of(value)
    except ValueError as exc:
        raise _refuse(name, str(exc), "Name a TOML file, or give a list of tables as it would hold") from exc


def _address(name: str, value: Any) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s#@]*)?", text):
        raise _refuse(name, "it is not an http address", "Write it as http://10.0.0.7:9100, without a password")
    return text


def _proxy(name: str, value: Any) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"https?://([^\s/@]+@)?[^\s/@:]+(:\d{1,5})?/?", text):
        raise _refuse(name, "it is not the address of a proxy", "Write it as http://proxy.example.org:3128")
    return text


def _setting(check: Check, default: Any = None, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"check": check}, repr=not secret)


_SHARE = _number(0, 1, "a share")
_TOGETHER = {
    "latitude",
    "longitude",
    "cloud_provider",
    "cloud_region",
    "sample_interval_seconds",
    "emit_interval_seconds",
}
"""Settings that are checked against one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a `Carbon` is built from; every field may be left out.

    Args:
        service: Name of this service in records; the program's name when absent.
        release: Version of the service, to compare releases.
        disabled: All of carbon_sdk does nothing.
        strict: A variable that cannot be used raises, instead of being logged and left at its default.
        sample_interval_seconds: Length of a window, 0.1 to 60 s.
        emit_interval_seconds: Length of a record, 1 s to 1 h, whole windows.
        first_record_seconds: When the first record comes, so that a newcomer sees something.
        meter: `auto`, `powercap`, `exporter`, `model`, or the name of another meter.
        exporter_url: Where an exporter on this machine serves joules: node_exporter, Kepler or Scaphandre.
        gpu: Read GPUs through NVML: `auto`, `on`, `off`.
        psys: Read the platform domain instead of package and DRAM.
        sysfs_root: Where /sys is; `/host/sys` in a Kubernetes pod with a host mount.
        procfs_root: Where /proc is.
        idle_watts: Power of the idle machine at the meter's scope, W; learnt or estimated when absent.
        idle_policy: Who carries idle energy: `none`, `by_cpu`, `reserved`.
        reserved_share: Share of the machine that this process's container reserves, 0 to 1.
        reserved_millicpus: The same in thousandths of a CPU, as Kubernetes' downward API tells `requests.cpu` with the
            divisor `1m`; reserved_share stands above it.
        instance_type: Cloud instance type, `m5.large`, when it cannot be seen.
        cloud_metadata: Ask the cloud's metadata service for instance type and region (off unless set).
        cloud_metadata_url: Where it answers, if not at 169.254.169.254.
        zone: Zone key of the grid, as Electricity Maps writes them.
        country: ISO 3166 alpha-2 country, when the zone is not known better.
        latitude: Degrees north; with longitude.
        longitude: Degrees east.
        cloud_provider: `aws`, `gcp` or `azure`, with cloud_region.
        cloud_region: The cloud's name of the region.
        provider: Providers of grid intensity in order; `electricity_maps` where it has a token, then `yearly_averages`.
        allow_mixed_scope: Let a chain hold providers whose signal or emission scope differ.
        intensity_cache: Folder of an intensity cache shared by the workers of this host; none when absent.
        http_timeout_seconds: Deadline of one request to a provider or a collector, all of it.
        http_proxy: Proxy by which providers are asked, `http://proxy:3128`; it may hold user and password.
        http_ca_file: PEM file of the authorities to trust at providers and the collector, instead of the bundled ones.
        pue: Power usage effectiveness of the data centre, 1 to 3; the cloud's own figure when absent, else 1.0.
        wall_factor: From measured domains to the wall, 1 to 5; not applied when absent.
        operator: Who runs the machine: `own` or `cloud`; decides the scope in reports.
        embodied_g: Grams CO2e of making the machine (a VM: its part of the host); a published default when absent,
            where one fits.
        lifetime_years: Years over which that is spread; 4 when absent.
        sinks: Sinks in order, by name.
        budgets: What may be spent: a TOML file, or in code a list of its tables.
        state_dir: Folder for state that survives a restart (learnt idle power, spool); XDG state when absent.
        close_seconds: How long closing may take to hand over what is left.
        propagate_to: Hosts, or `.domains`, whose calls carry on whose behalf they are made; none unless set.
        propagate_to_queues: Queues whose messages carry on whose behalf they are sent, or `*` for all; none unless set.
        baggage_secrets: Secret shared by the services that believe one another, 16 characters or more; a second one
            is still believed while it is replaced.
        trust_baggage: The gateway strips `baggage` from outside, so callers are believed without a signature.
        source: Where the raw options of providers and sinks come from.
    """

    service: str | None = _setting(_text)
    release: str | None = _setting(_text)
    disabled: bool = _setting(_truth, False)
    strict: bool = _setting(_truth, False)
    sample_interval_seconds: float = _setting(_number(0.1, 60, "seconds"), 1.0)
    emit_interval_seconds: float = _setting(_number(1, 3600, "seconds"), 60.0)
    first_record_seconds: float = _setting(_number(0.1, 3600, "seconds"), 10.0)
    meter: str = _setting(_text, "auto")
    exporter_url: str | None = _setting(_address)
    gpu: str = _setting(_one_of("auto", "on", "off"), "auto")
    psys: bool = _setting(_truth, False)
    sysfs_root: Path = _setting(_path, Path("/sys"))
    procfs_root: Path = _setting(_path, Path("/proc"))
    idle_watts: float | None = _setting(_number(0, 10_000, "watts"))
    idle_policy: IdlePolicy = _setting(_one_of("none", "by_cpu", "reserved"), "none")
    reserved_share: float | None = _setting(_SHARE)
    reserved_millicpus: float | None = _setting(_number(0, 1e7, "thousandths of a CPU"))
    instance_type: str | None = _setting(_text)
    cloud_metadata: bool = _setting(_truth, False)
    cloud_metadata_url: str | None = _setting(_address)
    zone: str | None = _setting(_zone)
    country: str | None = _setting(_zone)
    latitude: float | None = _setting(_number(-90, 90, "degrees"))
    longitude: float | None = _setting(_number(-180, 180, "degrees"))
    cloud_provider: str | None = _setting(_one_of("aws", "gcp", "azure"))
    cloud_region: str | None = _setting(_text)
    provider: tuple[str, ...] = _setting(_names, ())
    allow_mixed_scope: bool = _setting(_truth, False)
    intensity_cache: Path | None = _setting(_path)
    http_timeout_seconds: float = _setting(_number(0.1, 60, "seconds"), 10.0)
    http_proxy: str | None = _setting(_proxy, secret=True)
    http_ca_file: Path | None = _setting(_file)
    pue: float | None = _setting(_number(1, 3, "a factor"))
    wall_factor: float | None = _setting(_number(1, 5, "a factor"))
    operator: Operator | None = _setting(_one_of("own", "cloud"))
    embodied_g: float | None = _setting(_number(0, 1e9, "grams"))
    lifetime_years: float | None = _setting(_number(0.5, 20, "years"))
    sinks: tuple[str, ...] = _setting(_names, ("structlog",))
    budgets: tuple[Budget, ...] = _setting(_budgets, ())
    state_dir: Path | None = _setting(_path)
    close_seconds: float = _setting(_number(0, 60, "seconds"), 5.0)
    propagate_to: tuple[str, ...] = _setting(_hosts, ())
    propagate_to_queues: tuple[str, ...] = _setting(_queues, ())
    baggage_secrets: tuple[str, ...] = _setting(_secrets, (), secret=True)
    trust_baggage: bool = _setting(_truth, False)
    source: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check every value that was given.

        Raises:
            SettingsError: A value cannot be used; the message names the setting and the remedy.
        """
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if "check" in one.metadata and value is not None and value != one.default:
                object.__setattr__(self, one.name, one.metadata["check"](one.name, value))
        if (self.latitude is None) != (self.longitude is None):
            raise _refuse("latitude", "latitude and longitude come together", "Give both, or a zone")
        if (self.cloud_provider is None) != (self.cloud_region is None):
            raise _refuse("cloud_region", "provider and region come together", "Give both, or a zone")
        if self.emit_interval_seconds < self.sample_interval_seconds:
            raise _refuse(
                "emit_interval_seconds", "it is shorter than a window", "Give at least sample_interval_seconds"
            )

    def options(self, name: str) -> dict[str, str]:
        """The options of one provider or sink: its variables, without prefix, in lower case."""
        prefix = f"{PREFIX}{name.upper()}_"
        own = {field.name for field in dataclasses.fields(self)}
        return {
            key[len(prefix) :].lower(): value
            for key, value in self.source.items()
            if key.startswith(prefix) and key[len(PREFIX) :].lower() not in own
        }

    @property
    def provider_order(self) -> tuple[str, ...]:
        """The providers to ask, in order."""
        if self.provider:
            return self.provider
        live = ("electricity_maps",) if self.options("electricity_maps").get("token") else ()
        return (*live, "yearly_averages")

    @property
    def state_folder(self) -> Path:
        """Where state is kept: `state_dir`, else `carbon_sdk` in XDG's folder for state.

        A user without a home has `/`, as in a container.
        """
        if self.state_dir is not None:
            return self.state_dir
        folder = Path(self.source.get("XDG_STATE_HOME", ""))
        if not folder.is_absolute():  # which the specification ignores
            folder = Path("/", os.path.expanduser("~").lstrip("~"), ".local", "state")
        return folder / "carbon_sdk"


def from_environment(
    environ: Mapping[str, str] | None = None,
    *,
    on_error: Callable[[SettingsError], object] | None = None,
    **arguments: Any,
) -> Settings:
    """Settings from arguments, then variables, then defaults.

    Args:
        environ: The variables; the process's own when None.
        on_error: Told of each variable that cannot be used, which then stays at its default. None raises instead, and
            so does `CARBON_SDK_STRICT=1`.
        arguments: Fields that stand above the environment; a bad one always raises.

    Raises:
        SettingsError: A setting cannot be used; the message names it and the remedy.
    """
    environ = environment() if environ is None else environ
    values: dict[str, Any] = {}
    strict = _is_strict(arguments.get("strict", environ.get(f"{PREFIX}STRICT", "")))

    def failed(error: SettingsError) -> None:
        if strict or on_error is None:
            raise error
        on_error(error)

    for one in dataclasses.fields(Settings):
        text = environ.get(f"{PREFIX}{one.name.upper()}")
        if "check" not in one.metadata or not text:
            continue
        try:
            values[one.name] = one.metadata["check"](one.name, text)
        except SettingsError as error:
            failed(error)
    arguments = {name: value for name, value in arguments.items() if value is not None}
    unknown = arguments.keys() - {one.name for one in dataclasses.fields(Settings)}
    if unknown:
        name = min(unknown)
        raise SettingsError(
            name, "there is no such setting", _meant(name, [one.name for one in dataclasses.fields(Settings)])
        )
    try:
        return Settings(**{**values, "source": environ, **arguments})
    except SettingsError as error:
        Settings(**arguments)
        failed(error)
        rest = {name: value for name, value in values.items() if name not in _TOGETHER}
        return Settings(**{**rest, "source": environ, **arguments})


def _is_strict(value: Any) -> bool:
    """One that cannot be read is not: what is told of it is told as of any other."""
    try:
        return _truth("strict", value)
    except SettingsError:
        return False


def unknown_variables(environ: Mapping[str, str], plugins: Collection[str]) -> list[str]:
    """One sentence for each `CARBON_SDK_` variable that means nothing, with the nearest that does.

    Args:
        environ: The variables.
        plugins: Names of the providers and sinks that may own variables.
    """
    known = {f"{PREFIX}{one.name.upper()}" for one in dataclasses.fields(Settings) if "check" in one.metadata}
    owned = tuple(f"{PREFIX}{name.upper()}_" for name in plugins)
    return [
        f"{name} is no setting. {_meant(name, known)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known and not name.startswith(owned)
    ]


def _meant(name: str, known: Collection[str]) -> str:
    near = nearest(name, known, most=1)
    return f"Did you mean {near[0]}?" if near else "See the table of settings in the documentation"
