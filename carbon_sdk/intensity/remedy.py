"""A source without an answer, told: what went wrong, and what a person can do about it."""

import logging
from typing import Protocol

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.intensity import RefusedCredentialsError, UnknownZoneError


class Fault(Protocol):
    """Takes what went wrong, tells the first of its kind and counts the others, as `Log.fault` does."""

    def __call__(self, kind: str, problem: BaseException | str, *, remedy: str | None = None) -> None:
        """One fault.

        Args:
            kind: Names the station and what failed.
            problem: What happened.
            remedy: What to do about it.
        """


def to_logger(kind: str, problem: BaseException | str, *, remedy: str | None = None) -> None:
    """One line to the host's logger `carbon_sdk`: where a chain is used without the rest of the SDK."""
    logging.getLogger("carbon_sdk").warning("%s: %s. %s", kind, problem, remedy or "")


def report(problem: IntensityError, fault: Fault) -> None:
    """Tell of one question that had no usable answer.

    Args:
        problem: Why not.
        fault: Whom to tell. The kinds are `intensity.<source>`, and `.credentials` or `.zone` where only a person can
            mend it, so that neither hides behind an earlier trouble of the network.
    """
    part = ""
    if isinstance(problem, RefusedCredentialsError):
        part = ".credentials"
    elif isinstance(problem, UnknownZoneError):
        part = ".zone"
    fault(f"intensity.{problem.source}{part}", str(problem), remedy=remedy_of(problem))


def remedy_of(problem: IntensityError) -> str:
    """What to do about it: as the source says, else what its kind of trouble calls for."""
    if problem.remedy is not None:
        return problem.remedy
    if isinstance(problem, RefusedCredentialsError):
        return f"Check the variables CARBON_SDK_{problem.source.upper()}_..."
    if isinstance(problem, UnknownZoneError):
        return f"Check CARBON_SDK_ZONE, or take {problem.source} out of CARBON_SDK_PROVIDER"
    return f"Nothing, if it passes: {problem.source} is asked again after a pause. Else change CARBON_SDK_PROVIDER"
