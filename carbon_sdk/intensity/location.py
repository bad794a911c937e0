"""Where am I: from what was set, else the cloud's own name of its region, else the country, else the world.

No address is looked up anywhere. The environment is handed in, and only variables that a cloud itself sets inside its
machines are believed: `AWS_REGION` on a laptop says where its owner's buckets are, not where the laptop is.

Tables, beside this file: `data/cloud_regions.csv` (location of each region, with its source; the zone is the one in
whose service area the named city lies, or the country where that is not certain) and `data/zones.csv` (zone keys as
Electricity Maps writes them, and the ISO 3166 countries with states or provinces that are taken for their country).
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pkgutil import get_data
from typing import NamedTuple, cast

from carbon_sdk.errors import SettingsError, nearest
from carbon_sdk.intensity.intensity import Place
from carbon_sdk.intensity.yearly_averages import WORLD

AWS_MARKS = (
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "ECS_CONTAINER_METADATA_URI_V4",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""Set by Lambda, ECS, EKS; not on a developer's machine."""
GCP_REGION_VARIABLES = ("GOOGLE_CLOUD_REGION", "FUNCTION_REGION", "CLOUD_ML_REGION")
"""Cloud Run jobs and buildpacks, Cloud Functions, Vertex AI. Cloud Run services tell it through the metadata only."""
NODE_REGION_VARIABLE = "KUBERNETES_NODE_REGION"
"""Our name for what a pod's downward API takes from the label `topology.kubernetes.io/region`."""
WORLD_WARNING = (
    "the place is not known, so the average of the world is used. "
    "Set CARBON_SDK_ZONE (DE, DK-DK1), or CARBON_SDK_CLOUD_PROVIDER with CARBON_SDK_CLOUD_REGION, or CARBON_SDK_COUNTRY"
)


class Region(NamedTuple):
    """One region of a cloud.

    Args:
        provider: `aws`, `gcp`, `azure` and others.
        region: The cloud's own name.
        location: The place that it names.
        country: ISO 3166 alpha-2.
        zone: The zone of the grid there, the country where it is not known better.
        latitude: Degrees north; None where unknown.
        longitude: Degrees east; None where unknown.
    """

    provider: str
    region: str
    location: str
    country: str
    zone: str
    latitude: float | None
    longitude: float | None


def locate(
    *,
    zone: str | None = None,
    country: str | None = None,
    latitude: float | None = None,
    longitude: float | None = None,
    cloud_provider: str | None = None,
    cloud_region: str | None = None,
    environment: Mapping[str, str] | None = None,
    warn: Callable[[str], None] = lambda _text: None,
) -> Place:
    """Where the energy is used.

    Args:
        zone: A zone key, set by the user.
        country: ISO 3166 alpha-2, set by the user.
        latitude: Degrees north, set by the user, with longitude.
        longitude: Degrees east.
        cloud_provider: `aws`, `gcp`, `azure`, set by the user.
        cloud_region: The cloud's own name of its region.
        environment: The process's environment.
        warn: Told when nothing is known.

    Returns:
        A place, whose `known_by` says from what.

    Raises:
        SettingsError: A zone, country or region that does not exist; the message names the nearest.
    """
    if zone is not None:
        return Place(zone=known_zone(zone), latitude=latitude, longitude=longitude)
    if cloud_region is not None:
        return _in_cloud(_known_region(cloud_provider, cloud_region), latitude, longitude)
    if latitude is not None and longitude is not None:
        inside = None if country is None else known_zone(country, setting="CARBON_SDK_COUNTRY")
        return Place(zone=inside, latitude=latitude, longitude=longitude)
    found = _from_environment(environment or {})
    if found is not None:
        return _in_cloud(found, None, None)
    if country is not None:
        return Place(zone=known_zone(country, setting="CARBON_SDK_COUNTRY"), known_by="country")
    warn(WORLD_WARNING)
    return Place(zone=WORLD, known_by="default")


def told_place(provider: str, region: str) -> Place | None:
    """The place that a cloud's metadata service names; None where the table does not hold its region.

    Args:
        provider: `aws`, `gcp` or `azure`.
        region: The cloud's own name of the region.
    """
    found = region_of(provider, region)
    return None if found is None else replace(_in_cloud(found, None, None), known_by="metadata")


def known_zone(zone: str, *, setting: str = "CARBON_SDK_ZONE") -> str:
    """The zone key as it is written, in whatever case it was given.

    Args:
        zone: What was given.
        setting: Where, for the message.

    Raises:
        SettingsError: There is no such zone.
    """
    key = zone.strip().upper().replace("_", "-")
    zones = _zones()
    if key in zones:
        return key
    country = key.split("-")[0]
    parts = [known for known in zones if known.startswith(f"{country}-")]
    near = nearest(key, parts or zones, most=5, alike=0.5) or parts[:5]
    raise SettingsError(
        setting,
        f"there is no zone {zone[:40]!r}",
        f"Did you mean {', '.join(near)}?" if near else "Write a country such as DE, or a zone such as DK-DK1",
    )


def region_of(provider: str, region: str) -> Region | None:
    """A cloud region in the bundled table; None when it is not there.

    Args:
        provider: `aws`, `gcp`, `azure` and others.
        region: The cloud's own name of the region, or Azure's display name, `West Europe`.
    """
    return _regions().get((provider.strip().lower(), region.strip().lower().replace(" ", "")))


def _known_region(provider: str | None, region: str) -> Region:
    if provider is not None:
        found = region_of(provider, region)
        if found is not None:
            return found
    same = {known.provider: known for known in _regions().values() if known.region == region.strip().lower()}
    if provider is None and len(same) == 1:
        return next(iter(same.values()))
    if provider is None and same:
        raise SettingsError(
            "CARBON_SDK_CLOUD_PROVIDER",
            f"is not set, and {', '.join(sorted(same))} each have a region {region[:40]!r}",
            "Say which one it is",
        )
    names = sorted(known.region for known in _regions().values() if provider in (None, known.provider))
    near = nearest(region.lower(), names) or names[:3]
    remedy = f"Did you mean {', '.join(near)}? Else set CARBON_SDK_ZONE" if near else "Set CARBON_SDK_ZONE instead"
    raise SettingsError("CARBON_SDK_CLOUD_REGION", f"{provider or 'no cloud'} has no region {region[:40]!r}", remedy)


def _in_cloud(region: Region, latitude: float | None, longitude: float | None) -> Place:
    place = Place(
        zone=region.zone,
        latitude=region.latitude,
        longitude=region.longitude,
        cloud_provider=region.provider,
        cloud_region=region.region,
        known_by="cloud_region",
    )
    return place if latitude is None or longitude is None else replace(place, latitude=latitude, longitude=longitude)


def _from_environment(environment: Mapping[str, str]) -> Region | None:
    """The region that a cloud tells its machines; one that the table does not know is passed over."""
    for provider, region in _told_by(environment):
        found = region_of(provider, region)
        if found is not None:
            return found
    return None


def _told_by(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    if any(environment.get(mark) for mark in AWS_MARKS):
        told += [("aws", environment[name]) for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if environment.get(name)]
    told += [("gcp", environment[name]) for name in GCP_REGION_VARIABLES if environment.get(name)]
    if environment.get("WEBSITE_SITE_NAME") and environment.get("REGION_NAME"):  # App Service and Functions
        told.append(("azure", environment["REGION_NAME"]))
    suffix = environment.get("CONTAINER_APP_ENV_DNS_SUFFIX", "")  # name.westeurope.azurecontainerapps.io
    if suffix.endswith(".azurecontainerapps.io") and suffix.count(".") >= 3:
        told.append(("azure", suffix.split(".")[-3]))
    told += [(provider, environment.get(NODE_REGION_VARIABLE, "")) for provider in ("aws", "gcp", "azure")]
    return told


@cache
def _regions() -> Mapping[tuple[str, str], Region]:
    return {(row["provider"], row["region"]): _region(row) for row in _table("cloud_regions.csv")}


def _region(row: Mapping[str, str]) -> Region:
    return Region(
        provider=row["provider"],
        region=row["region"],
        location=row["location"],
        country=row["country"],
        zone=row["zone"],
        latitude=float(row["latitude"]) if row["latitude"] else None,
        longitude=float(row["longitude"]) if row["longitude"] else None,
    )


@cache
def _zones() -> frozenset[str]:
    zones = {WORLD}
    for row in _table("zones.csv"):
        zones.add(row["country"])
        zones.update(f"{row['country']}-{part}" for part in row["parts"].split())
    return frozenset(zones)


def _table(name: str) -> Iterator[Mapping[str, str]]:
    text = cast(bytes, get_data("carbon_sdk.intensity", f"data/{name}")).decode()
    return iter(csv.DictReader(text.splitlines()))
