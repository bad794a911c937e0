"""What tests of the sinks share."""

import socket

import pytest

from tests.collector.conftest import start

__all__ = ["free_port", "start"]


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
