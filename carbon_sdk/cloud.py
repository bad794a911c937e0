"""What the cloud tells of this machine, asked where the settings let us, and the place that it makes known."""

from carbon_sdk import metadata
from carbon_sdk.intensity.intensity import Place
from carbon_sdk.intensity.location import WORLD_WARNING, told_place
from carbon_sdk.log import Log, tell_place
from carbon_sdk.metadata import Metadata, MetadataError
from carbon_sdk.meters.hardware import Hardware, look
from carbon_sdk.settings import Settings

LESS_THAN_REGION = ("country", "default")
"""A place that is known by these is known better by a cloud's region."""


async def told(
    settings: Settings, log: Log, machine: Hardware | None = None, *, patient: bool = False
) -> Metadata | None:
    """What the cloud says of this machine; None where nobody told, and why is logged.

    Args:
        settings: Where to ask.
        log: Takes the reason.
        machine: What is known of it; looked at when None.
        patient: Take more time, where nobody waits.
    """
    machine = machine or look(settings.procfs_root, settings.sysfs_root)
    try:
        who = metadata.whom_to_ask(machine, settings.source)
        return await metadata.ask(who, address=settings.cloud_metadata_url, patient=patient)
    except MetadataError as exc:
        log.event("carbon.cloud", problem=exc.reason, remedy=exc.remedy)
        return None


def better_place(place: Place, told: Metadata | None, log: Log) -> Place:
    """The place, known better where the cloud has told its region and nothing better was known.

    Args:
        place: As it is known without the cloud.
        told: What the cloud has said.
        log: Told of a place that stays unknown.
    """
    if place.known_by not in LESS_THAN_REGION:
        return place
    if told is not None and told.region is not None:
        better = told_place(told.cloud, told.region)
        if better is not None:
            return better
        tell_place(log, f"the table of regions does not hold {told.region} of {told.cloud}. Set CARBON_SDK_ZONE")
    elif place.known_by == "default":
        tell_place(log, WORLD_WARNING)
    return place
