"""OpenTelemetry's and Sentry's instrumentation, installed before us and after: they see what they see without us."""

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.invisible.instrumented import BURN_SECONDS, PARTS

ROOT = Path(__file__).parents[2]
TOOLS = ["opentelemetry", "opentelemetry-throughout", "sentry"]
ITEMS = "GET /items/{number}"


@functools.cache
def served(tool: str, order: str) -> dict[str, Any]:
    """What came of it, in a process of its own: these tools patch classes for good."""
    command = [sys.executable, "-m", "tests.invisible.instrumented", tool, order]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_sees_what_it_sees_without_us(tool: str, order: str) -> None:
    """Spans, their parents, errors with the application's frames; and the application knows its span everywhere."""
    alone, both = served(tool, "alone"), served(tool, order)

    assert alone["tool"]
    assert both["tool"] == alone["tool"]
    assert both["answers"] == alone["answers"]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_does_not_come_between_a_request_and_its_figure(tool: str, order: str) -> None:
    """Children, threads, timers: all are booked; what the tool itself uses is the request's too."""
    told = served(tool, order)
    cpu_seconds, requests, errors = told["booked"][ITEMS]

    assert (requests, errors) == (2, 0)
    assert told["booked"]["GET /fails"][1:] == [1, 1]
    assert 2 * PARTS * BURN_SECONDS <= cpu_seconds <= 2 * PARTS * BURN_SECONDS + 0.1
    assert not told["faults"]
