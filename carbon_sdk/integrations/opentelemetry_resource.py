"""Resource attributes for OpenTelemetry: where and on which machine, so that its signals can be laid beside records.

`OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=carbon_sdk`, or in code
`Resource.create().merge(CarbonResourceDetector().detect())`.

| attribute | |
|---|---|
| `service.name`, `service.version` | as set for carbon_sdk; absent where they are not |
| `cloud.provider`, `cloud.region` | likewise |
| `carbon.machine` | as in records: the same for all processes of one kernel |
| `carbon.place` | where the energy is priced, as far as it is set: `DE`, `aws eu-central-1` |
| `carbon.sdk.version` | of carbon_sdk |
"""

import contextlib

try:
    from opentelemetry.sdk.resources import Resource, ResourceDetector
except ImportError as exc:
    raise ImportError(
        'Resource attributes need the SDK of OpenTelemetry: pip install "carbon-sdk[opentelemetry]" opentelemetry-sdk'
    ) from exc

from carbon_sdk import __version__
from carbon_sdk.errors import SettingsError
from carbon_sdk.identity import machine_mark
from carbon_sdk.place import place_of
from carbon_sdk.process import default


class CarbonResourceDetector(ResourceDetector):
    """Tells what the settings of carbon_sdk say of this process; it asks no network and starts nothing."""

    def detect(self) -> Resource:
        """The attributes of this process."""
        settings = default().settings
        found = {
            "service.name": settings.service,
            "service.version": settings.release,
            "cloud.provider": settings.cloud_provider,
            "cloud.region": settings.cloud_region,
            "carbon.machine": machine_mark(settings.procfs_root, container=False),
            "carbon.sdk.version": __version__,
        }
        with contextlib.suppress(SettingsError):  # the start of the line tells of it
            found["carbon.place"] = str(place_of(settings))
        return Resource({name: value for name, value in found.items() if value is not None})
