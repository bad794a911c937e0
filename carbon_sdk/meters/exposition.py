"""Joules in the text that an exporter serves to Prometheus: which counters, of which domain, in which unit.

- node_exporter: `node_rapl_package_joules_total`, likewise dram and psys; with its zone label
  `node_rapl_joules_total{rapl_zone="package"}` (collector/rapl_linux.go)
- Kepler since 0.10: `kepler_node_cpu_joules_total{zone="package"}`, all sockets in one (docs/user/metrics.md)
- Kepler before: `kepler_node_package_joules_total{mode="idle"}` and `{mode="dynamic"}`, likewise dram and platform
- Scaphandre: `scaph_socket_energy_microjoules` and `scaph_domain_energy_microjoules{domain_name="dram"}`; else
  `scaph_host_energy_microjoules`, which stands for the whole host (docs_src/references/metrics.md)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from carbon_sdk.meters.meter import Domain, Method

MICROJOULES = 1e6
MIRROR_MICROJOULES = 1_000_000
"""Two dies whose counters read within a joule of each other at once show one counter."""

_LABELS = rb'\{((?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*)\}'
_LINE = re.compile(
    rb"^(node_rapl_[a-z0-9_]*joules_total|kepler_node_[a-z_]+_joules_total"
    rb"|scaph_(?:host|socket|domain)_energy_microjoules(?:_total)?"
    rb"|node_boot_time_seconds|node_scrape_collector_success)(?:" + _LABELS + rb")?[ \t]+(\S+)",
    re.MULTILINE,
)
_LABEL = re.compile(rb'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_NODE = re.compile(r"node_rapl_(package(?:_\d+_die)?|dram|psys)_joules_total")
_KEPLER = re.compile(r"kepler_node_(package|dram|platform)_joules_total")
_SCAPHANDRE = re.compile(r"scaph_(host|socket|domain)_energy_microjoules(?:_total)?")
_ZONES: Mapping[str, Domain] = {"package": "package", "dram": "dram", "psys": "psys", "platform": "psys"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One counter.

    Args:
        exporter: Who keeps it: `node_exporter`, `kepler`, `scaphandre`.
        key: Name and labels, which tell it from the others.
        domain: Whose joules.
        microjoules: What it shows.
        method: `model` where the exporter says that it guesses.
        wraps: It starts again at 0 when the hardware's counter does.
        whole: It stands for all sockets of the machine.
    """

    exporter: str
    key: str
    domain: Domain
    microjoules: int
    method: Method = "counter"
    wraps: bool = True
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """What one answer holds.

    Args:
        series: The counters of one exporter, each joule once.
        boot_time_seconds: When the exporter's machine booted, Unix time; None where it does not say.
        refused: node_exporter's RAPL collector runs and could not read: it is not root, or there is no RAPL.
    """

    series: tuple[Series, ...]
    boot_time_seconds: float | None = None
    refused: bool = False


def parse(body: bytes, *, psys: bool = False) -> Exposition:
    """Read one answer.

    Args:
        body: Prometheus' text format.
        psys: Take the platform instead of package and DRAM.

    Raises:
        ValueError: A counter of ours is no number.
    """
    found: list[Series] = []
    boot: float | None = None
    refused = False
    for name, labels, value in _LINE.findall(body):
        metric = name.decode("ascii")
        tags = {key.decode(): text.decode("utf-8", "replace") for key, text in _LABEL.findall(labels)}
        if metric == "node_boot_time_seconds":
            boot = float(value)
        elif metric == "node_scrape_collector_success":
            refused |= tags.get("collector") == "rapl" and float(value) == 0.0
        else:
            series = _series(metric, tags, f"{metric}{{{labels.decode('utf-8', 'replace')}}}", value)
            if series is not None:
                found.append(series)
    return Exposition(series=_once(found, psys=psys), boot_time_seconds=boot, refused=refused)


def _series(metric: str, tags: Mapping[str, str], key: str, value: bytes) -> Series | None:
    """The counter of one line; None where it is no domain's, or lies inside another's."""
    if metric == "node_rapl_joules_total":
        zone = tags.get("rapl_zone", "").partition("-")[0]
    elif match := _NODE.fullmatch(metric):
        zone = match[1].partition("_")[0]
    elif metric == "kepler_node_cpu_joules_total":
        return _counted("kepler", key, tags.get("zone", "").partition("-")[0], _micro(value), wraps=False, whole=True)
    elif match := _KEPLER.fullmatch(metric):
        method: Method = "model" if "model" in tags.get("source", "") else "counter"
        return _counted("kepler", key, match[1], _micro(value), method=method, wraps=False, whole=True)
    elif match := _SCAPHANDRE.fullmatch(metric):
        zone = {"host": "psys", "socket": "package", "domain": tags.get("domain_name", "").lower()}[match[1]]
        zone = "" if match[1] == "domain" and zone != "dram" else zone
        return _counted("scaphandre", key, zone, round(_finite(value)), whole=match[1] == "host")
    else:
        return None
    return _counted("node_exporter", key, zone, _micro(value))


def _counted(
    exporter: str,
    key: str,
    zone: str,
    microjoules: int,
    *,
    method: Method = "counter",
    wraps: bool = True,
    whole: bool = False,
) -> Series | None:
    domain = _ZONES.get(zone)
    if domain is None:
        return None
    return Series(
        exporter=exporter, key=key, domain=domain, microjoules=microjoules, method=method, wraps=wraps, whole=whole
    )


def _finite(value: bytes) -> float:
    number = float(value)
    if not 0.0 <= number < 2.0**63:
        raise ValueError(f"{value[:40]!r} is no amount of energy")
    return number


def _micro(value: bytes) -> int:
    return round(_finite(value) * MICROJOULES)


def _once(found: list[Series], *, psys: bool) -> tuple[Series, ...]:
    """The counters of the first exporter that has what is asked for, without doubles."""
    for exporter in ("node_exporter", "kepler", "scaphandre"):
        own = [series for series in found if series.exporter == exporter]
        platform = tuple(series for series in own if series.domain == "psys")
        parts = [series for series in own if series.domain != "psys"]
        if platform and (psys or not any(series.domain == "package" for series in parts)):
            return platform
        if any(series.domain == "package" for series in parts):
            return _without_mirrors(_without_second_interface(parts))
    return ()


def _without_second_interface(parts: list[Series]) -> list[Series]:
    """A package that is shown through MSR and through MMIO counts once."""
    first = [series for series in parts if "intel-rapl-mmio" not in series.key]
    return first if any(series.domain == "package" for series in first) else parts


def _without_mirrors(parts: list[Series]) -> tuple[Series, ...]:
    """Dies of one socket that show the same counter (AMD under older kernels) count once."""
    kept: list[Series] = []
    for series in parts:
        mirrored = "_die_joules" in series.key and any(
            series.key.partition("{")[0] == other.key.partition("{")[0]
            and abs(series.microjoules - other.microjoules) <= MIRROR_MICROJOULES
            for other in kept
        )
        if not mirrored:
            kept.append(series)
    return tuple(kept)
