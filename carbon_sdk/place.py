"""Where the settings say that this process runs."""

from collections.abc import Callable

from carbon_sdk.intensity.intensity import Place
from carbon_sdk.intensity.location import locate
from carbon_sdk.settings import Settings


def place_of(settings: Settings, *, warn: Callable[[str], None] = lambda _text: None) -> Place:
    """The place that was set, else the one that the cloud's own variables name, else the world.

    Args:
        settings: What was set.
        warn: Told of a place that is not known as well as it could be.

    Raises:
        SettingsError: There is no such place.
    """
    return locate(
        zone=settings.zone,
        country=settings.country,
        latitude=settings.latitude,
        longitude=settings.longitude,
        cloud_provider=settings.cloud_provider,
        cloud_region=settings.cloud_region,
        environment=settings.source,
        warn=warn,
    )
