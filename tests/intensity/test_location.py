"""Where a service runs: what was set, what a cloud tells its machines, and never a guess from an address."""

import csv
from importlib.resources import files

import pytest

from carbon_sdk.errors import SettingsError
from carbon_sdk.intensity.intensity import Place
from carbon_sdk.intensity.location import WORLD_WARNING, known_zone, locate, region_of

LAMBDA = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13", "AWS_REGION": "eu-north-1"}


def test_a_zone_that_was_set_wins_over_everything() -> None:
    """In whatever case it was written."""
    place = locate(zone="dk-dk1", country="SE", cloud_provider="aws", cloud_region="us-east-1", environment=LAMBDA)

    assert place == Place(zone="DK-DK1", known_by="setting")


@pytest.mark.parametrize(
    ("zone", "near"),
    [
        ("DK-DK3", "DK-DK1"),
        ("GERMANY", "Write a country such as DE"),
        ("U", "Did you mean"),
        ("US-CAL-CISSO", "US-CAL-CISO"),
        ("", "Write"),
    ],
)
def test_an_unknown_zone_names_the_nearest(zone: str, near: str) -> None:
    """At start, before anything runs on the average of a parent."""
    with pytest.raises(SettingsError, match=rf"^CARBON_SDK_ZONE: there is no zone .*{near}"):
        locate(zone=zone)


def test_a_cloud_region_is_found_in_the_table() -> None:
    """With its grid's zone, its coordinates and its own name."""
    place = locate(cloud_provider="gcp", cloud_region="europe-west1")

    assert place.zone == "BE"
    assert (place.cloud_provider, place.cloud_region, place.known_by) == ("gcp", "europe-west1", "cloud_region")
    assert place.latitude == pytest.approx(50.4, abs=0.5)
    assert str(place) == "gcp:europe-west1"


def test_a_region_alone_is_enough_where_one_cloud_has_it() -> None:
    """Where several do, the message asks which."""
    assert locate(cloud_region="westeurope").cloud_provider == "azure"
    with pytest.raises(SettingsError, match=r"^CARBON_SDK_CLOUD_PROVIDER: is not set, and alibaba, aws each have"):
        locate(cloud_region="us-east-1")


def test_an_unknown_region_names_the_nearest() -> None:
    """And the way out."""
    with pytest.raises(
        SettingsError, match=r"aws has no region 'eu-west-11'. Did you mean eu-west-1\b.*CARBON_SDK_ZONE"
    ):
        locate(cloud_provider="aws", cloud_region="eu-west-11")


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        (LAMBDA, "aws:eu-north-1"),
        ({"ECS_CONTAINER_METADATA_URI_V4": "http://x", "AWS_DEFAULT_REGION": "us-east-1"}, "aws:us-east-1"),
        ({"FUNCTION_REGION": "us-central1"}, "gcp:us-central1"),
        ({"CLOUD_ML_REGION": "asia-south1"}, "gcp:asia-south1"),
        ({"WEBSITE_SITE_NAME": "shop", "REGION_NAME": "West Europe"}, "azure:westeurope"),
        ({"CONTAINER_APP_ENV_DNS_SUFFIX": "calm-sea.northeurope.azurecontainerapps.io"}, "azure:northeurope"),
        ({"KUBERNETES_NODE_REGION": "us-east-1"}, "aws:us-east-1"),
        ({"KUBERNETES_NODE_REGION": "europe-west4"}, "gcp:europe-west4"),
    ],
)
def test_a_cloud_tells_its_machines_where_they_are(environment: dict[str, str], region: str) -> None:
    """Lambda, ECS, Cloud Functions, Vertex, App Service, Container Apps, a node label through the downward API."""
    place = locate(environment=environment, country="ZA")

    assert str(place) == region
    assert place.known_by == "cloud_region"


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_REGION": "us-east-1"},
        {"AWS_DEFAULT_REGION": "us-east-1", "AWS_PROFILE": "work"},
        {"REGION_NAME": "West Europe"},
        {"FUNCTION_REGION": "mars-north1"},
        {"CONTAINER_APP_ENV_DNS_SUFFIX": "example.org"},
        {"KUBERNETES_NODE_REGION": ""},
    ],
)
def test_a_laptop_with_a_cloud_s_variables_is_no_cloud(environment: dict[str, str]) -> None:
    """Where its owner's buckets are says nothing about its socket; the country does."""
    assert locate(environment=environment, country="za") == Place(zone="ZA", known_by="country")


def test_coordinates_come_before_the_environment_and_keep_the_country() -> None:
    """So that providers by country can answer too."""
    place = locate(latitude=39.7, longitude=-105.0, country="US", environment=LAMBDA)

    assert place == Place(zone="US", latitude=39.7, longitude=-105.0)
    assert locate(latitude=39.7, longitude=-105.0).zone is None


def test_nowhere_is_the_world_with_a_warning() -> None:
    """The warning names the settings that end it."""
    told: list[str] = []

    place = locate(warn=told.append)

    assert place == Place(zone="WORLD", known_by="default")
    assert told == [WORLD_WARNING]
    assert "CARBON_SDK_ZONE" in told[0]


def test_every_region_lies_in_a_zone_that_exists() -> None:
    """With its source beside it."""
    text = files("carbon_sdk.intensity").joinpath("data", "cloud_regions.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))

    assert len(rows) > 250
    for row in rows:
        assert known_zone(row["zone"]) == row["zone"]
        assert row["zone"].split("-")[0] == row["country"]
        assert row["source"]
        region = region_of(row["provider"], row["region"])
        assert region is not None
        assert (region.latitude is None) == (region.longitude is None)


@pytest.mark.parametrize("zone", ["DE", "GB", "US-TEX-ERCO", "AU-NSW", "IN-SO", "WORLD", "US-CA", "CN-GD", "XK"])
def test_zones_that_people_use_are_known(zone: str) -> None:
    """Countries, parts of grids, and the states and provinces that stand for their country."""
    assert known_zone(zone) == zone
