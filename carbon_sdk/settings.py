"""Settings: from arguments, then the environment, then defaults.

Every field is a variable `CARBON_SDK_<FIELD>`. Variables `CARBON_SDK_<NAME>_<OPTION>` belong to the provider or sink
NAME and are handed to it as they are: `CARBON_SDK_ELECTRICITY_MAPS_TOKEN` reaches `electricity_maps` as its option
`token`. They may hold secrets, so they never show in a repr, a log or an error.
"""

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from carbon_sdk import checks
from carbon_sdk.budgets import Budget
from carbon_sdk.checks import PREFIX, Check
from carbon_sdk.environment import environment
from carbon_sdk.errors import SettingsError, nearest
from carbon_sdk.meters.meter import IdlePolicy

Operator = Literal["own", "cloud"]


def _setting(check: Check, default: Any = None, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"check": check}, repr=not secret)


_SHARE = checks.number(0, 1, "a share")
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

    service: str | None = _setting(checks.text)
    release: str | None = _setting(checks.text)
    disabled: bool = _setting(checks.truth, False)
    strict: bool = _setting(checks.truth, False)
    sample_interval_seconds: float = _setting(checks.number(0.1, 60, "seconds"), 1.0)
    emit_interval_seconds: float = _setting(checks.number(1, 3600, "seconds"), 60.0)
    first_record_seconds: float = _setting(checks.number(0.1, 3600, "seconds"), 10.0)
    meter: str = _setting(checks.text, "auto")
    exporter_url: str | None = _setting(checks.address)
    gpu: str = _setting(checks.one_of("auto", "on", "off"), "auto")
    psys: bool = _setting(checks.truth, False)
    sysfs_root: Path = _setting(checks.path, Path("/sys"))
    procfs_root: Path = _setting(checks.path, Path("/proc"))
    idle_watts: float | None = _setting(checks.number(0, 10_000, "watts"))
    idle_policy: IdlePolicy = _setting(checks.one_of("none", "by_cpu", "reserved"), "none")
    reserved_share: float | None = _setting(_SHARE)
    reserved_millicpus: float | None = _setting(checks.number(0, 1e7, "thousandths of a CPU"))
    instance_type: str | None = _setting(checks.text)
    cloud_metadata: bool = _setting(checks.truth, False)
    cloud_metadata_url: str | None = _setting(checks.address)
    zone: str | None = _setting(checks.zone)
    country: str | None = _setting(checks.zone)
    latitude: float | None = _setting(checks.number(-90, 90, "degrees"))
    longitude: float | None = _setting(checks.number(-180, 180, "degrees"))
    cloud_provider: str | None = _setting(checks.one_of("aws", "gcp", "azure"))
    cloud_region: str | None = _setting(checks.text)
    provider: tuple[str, ...] = _setting(checks.names, ())
    allow_mixed_scope: bool = _setting(checks.truth, False)
    intensity_cache: Path | None = _setting(checks.path)
    http_timeout_seconds: float = _setting(checks.number(0.1, 60, "seconds"), 10.0)
    http_proxy: str | None = _setting(checks.proxy, secret=True)
    http_ca_file: Path | None = _setting(checks.file)
    pue: float | None = _setting(checks.number(1, 3, "a factor"))
    wall_factor: float | None = _setting(checks.number(1, 5, "a factor"))
    operator: Operator | None = _setting(checks.one_of("own", "cloud"))
    embodied_g: float | None = _setting(checks.number(0, 1e9, "grams"))
    lifetime_years: float | None = _setting(checks.number(0.5, 20, "years"))
    sinks: tuple[str, ...] = _setting(checks.names, ("structlog",))
    budgets: tuple[Budget, ...] = _setting(checks.budgets, ())
    state_dir: Path | None = _setting(checks.path)
    close_seconds: float = _setting(checks.number(0, 60, "seconds"), 5.0)
    propagate_to: tuple[str, ...] = _setting(checks.hosts, ())
    propagate_to_queues: tuple[str, ...] = _setting(checks.queues, ())
    baggage_secrets: tuple[str, ...] = _setting(checks.secrets, (), secret=True)
    trust_baggage: bool = _setting(checks.truth, False)
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
            raise checks.refuse("latitude", "latitude and longitude come together", "Give both, or a zone")
        if (self.cloud_provider is None) != (self.cloud_region is None):
            raise checks.refuse("cloud_region", "provider and region come together", "Give both, or a zone")
        if self.emit_interval_seconds < self.sample_interval_seconds:
            raise checks.refuse(
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
        return checks.truth("strict", value)
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
