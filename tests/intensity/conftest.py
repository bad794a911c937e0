"""What tests of the intensity station share."""

import pytest

from carbon_sdk.testing import ManualClock
from tests.intensity.sources import Source


@pytest.fixture
def clock() -> ManualClock:
    """Noon UTC on 29 March 2026, standing still."""
    return ManualClock()


@pytest.fixture
def source(clock: ManualClock) -> Source:
    """Gives 100 g/kWh for the running hour."""
    return Source(clock)
