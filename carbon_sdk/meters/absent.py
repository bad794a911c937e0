"""The answer of a meter that does not serve on this machine."""

from carbon_sdk.errors import MeterError

EXPORTER_SETTING = "CARBON_SDK_EXPORTER_URL"
"""Named where a meter is absent for want of an exporter's address."""


class MeterAbsentError(MeterError):
    """This meter does not serve here.

    Args:
        reason: Why, in one line that names the file or driver.
        remedy: What somebody could do about it; None where nothing helps on this machine.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason if remedy is None else f"{reason}. {remedy}")
        self.reason = reason
        self.remedy = remedy
