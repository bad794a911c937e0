"""Our lines take the host's way, and nothing of the host is changed."""

import io
import json
import logging
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from carbon_sdk.log import MAXIMUM_FAULT_KINDS, Log, to_host, to_stream


class Lines:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        self.told.append((level, event, dict(fields)))


def test_a_fault_is_told_once_and_counted() -> None:
    """An error each second is one line and a number."""
    lines = Lines()
    log = Log(lines)
    for _ in range(1000):
        log.fault("intensity", ValueError("no answer"), remedy="check the token")
    log.flush()

    assert len(lines.told) == 1
    assert lines.told[0][2]["problem"] == "ValueError: no answer"
    assert lines.told[0][2]["remedy"] == "check the token"
    assert log.faults["intensity"] == 1000


def test_kinds_of_faults_are_bounded() -> None:
    """A fault that names something unbounded does not grow for ever."""
    log = Log(Lines())
    for number in range(10 * MAXIMUM_FAULT_KINDS):
        log.fault(f"kind {number}", "x")

    assert len(log.faults) <= MAXIMUM_FAULT_KINDS + 1


def test_an_error_of_the_hosts_logging_is_counted() -> None:
    """Our lines never break the app that we measure."""

    def broken(level: str, event: str, fields: Mapping[str, Any]) -> None:
        raise RuntimeError("disk full")

    log = Log(broken)
    log.event("carbon.start")
    log.flush()

    assert log.faults["log"] == 1


def test_a_stream_gets_json_lines_in_utc() -> None:
    """One object for each event."""
    stream = io.StringIO()
    to_stream(stream)("info", "carbon.start", {"meter": "model"})
    line = json.loads(stream.getvalue())

    assert (line["event"], line["meter"], line["level"]) == ("carbon.start", "model", "info")
    assert line["timestamp"].endswith("Z")


def test_stdlib_handlers_of_the_host_get_the_line_and_its_fields(caplog: Any) -> None:
    """A plain formatter shows the fields, a JSON one finds them as an extra."""
    with caplog.at_level(logging.INFO, "carbon_sdk"):
        to_host()("info", "carbon.start", {"meter": "model", "zone": None})

    (record,) = caplog.records
    assert record.getMessage() == "carbon.start meter=model"
    assert record.carbon == {"meter": "model", "zone": None}


def in_a_fresh_interpreter(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)


def test_a_host_without_logging_gets_json_on_stderr() -> None:
    """Never stdout."""
    done = in_a_fresh_interpreter("from carbon_sdk.log import to_host; to_host()('info', 'carbon.start', {'a': 1})")

    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "carbon.start"


def test_a_configuration_that_comes_later_gets_the_lines_from_then_on() -> None:
    """Also one that switches off the loggers that there are by then, as `dictConfig` does unless told not to."""
    code = """
        import logging.config
        from carbon_sdk.log import to_host

        write = to_host()
        write("info", "before", {})
        handler = {"class": "logging.StreamHandler", "formatter": "plain"}
        logging.config.dictConfig({
            "version": 1,
            "formatters": {"plain": {"format": "host: %(message)s"}},
            "handlers": {"stderr": handler},
            "root": {"handlers": ["stderr"], "level": "INFO"},
        })
        write("info", "after", {})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    before, after = done.stderr.splitlines()

    assert json.loads(before)["event"] == "before"
    assert after.strip() == "host: after"


def test_where_stderr_is_closed_nothing_goes_to_stdout() -> None:
    """As in a service that closes all it was given: lines of ours are lost rather than among the program's."""
    code = (
        "from carbon_sdk.log import *; log = Log(to_host()); log.fault('x', 'y'); log.flush(); print(dict(log.faults))"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code], stdout=subprocess.PIPE, check=True
    )

    assert done.stdout == b"{'x': 1}\n"


def test_a_configured_structlog_gets_the_line() -> None:
    """The host's processors and renderer decide how it looks."""
    done = in_a_fresh_interpreter(
        """
        import structlog, sys
        structlog.configure(processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
                            logger_factory=structlog.WriteLoggerFactory(sys.stdout))
        from carbon_sdk.log import to_host
        to_host()("warning", "carbon.fault", {"fault": "x"})
        """
    )

    assert done.stdout == "event='carbon.fault' fault='x'\n"
    assert done.stderr == ""


def test_the_hosts_logging_is_as_it_was() -> None:
    """Handlers and levels are the same objects before and after a whole life of the SDK."""
    done = in_a_fresh_interpreter(
        """
        import logging, sys
        handler = logging.StreamHandler(sys.stderr)
        logging.getLogger().addHandler(handler)
        before = (list(logging.getLogger().handlers), logging.getLogger().level,
                  list(logging.getLogger("carbon_sdk").handlers), logging.getLogger("carbon_sdk").level)
        from carbon_sdk import Carbon
        with Carbon(sinks={}):
            pass
        after = (list(logging.getLogger().handlers), logging.getLogger().level,
                 list(logging.getLogger("carbon_sdk").handlers), logging.getLogger("carbon_sdk").level)
        assert before == after
        """
    )

    assert done.stdout == ""
