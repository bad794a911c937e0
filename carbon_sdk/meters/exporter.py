"""The node's joules from an exporter that a cluster already has: node_exporter, Kepler, Scaphandre.

Containers cannot read RAPL, and no app should run as root for it; an exporter on the same machine may read it for all.
Its counters are taken over HTTP in a thread of their own. They show what the exporter last read, so where it reads only
every few seconds, a window goes on until they move.

What an exporter does not say is how far its counters count before they start again: a step back is a gap.
"""

import contextlib
import http.client
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from carbon_sdk.errors import MeterError
from carbon_sdk.meters.absent import EXPORTER_SETTING, MeterAbsentError
from carbon_sdk.meters.counter import difference
from carbon_sdk.meters.exposition import Exposition, Series, parse
from carbon_sdk.meters.meter import METHODS, Domain, Method, Reading, Scope
from carbon_sdk.meters.scope import MachineScope
from carbon_sdk.meters.worker import StuckError, Worker

MAXIMUM_BODY_BYTES = 4 * 1024 * 1024
READ_SECONDS = 1.0
"""An exporter on the same machine answers in milliseconds; one that takes this long has no answer for this window."""
MAXIMUM_WATTS = 1000.0
"""No package and no socket's DRAM takes more, as in the powercap meter."""
MAXIMUM_SOCKETS = 8
"""The most that x86 servers have; counters that stand for all sockets may be so much steeper."""
WRAPPING_SECONDS = 32.0
"""Half the time in which 1,000 W take RAPL's smallest range, 65,532.6 J (AMD): a second wrap would not be seen."""
ACCUMULATED_SECONDS = 60.0
"""What is accumulated never starts again; the limit of all counters holds."""
SAME_BOOT_SECONDS = 5.0
"""Two readings of one kernel's boot time differ by less, whatever NTP does between them."""
_UNREADABLE = (OSError, http.client.HTTPException, ValueError, MeterError)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The counters at a moment, as the exporter's machine showed them."""

    ns: int
    series: Mapping[str, Series]


class ExporterMeter:
    """The machine's joules by an exporter that runs on it.

    Args:
        url: Where it serves: `http://10.0.0.7:9100/metrics`.
        procfs: Where /proc is: the CPU time that joules are shared by comes from here.
        psys: Read the platform domain instead of package and DRAM.
        read_seconds: How long an answer may take.
        monotonic_ns: The clock that windows are measured with.

    Raises:
        MeterAbsentError: It does not serve; the message says why and what to do about it.
    """

    name = "exporter"
    minimum_interval_seconds = 1.0
    """An exporter is not asked more often."""

    def __init__(
        self,
        url: str,
        *,
        procfs: str | Path = "/proc",
        psys: bool = False,
        read_seconds: float = READ_SECONDS,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._page = _Page(url, seconds=read_seconds)
        self._psys = psys
        self._monotonic_ns = monotonic_ns
        self._scope = MachineScope(procfs, verify=True)
        self._worker = Worker("exporter", limit_seconds=read_seconds)
        try:
            found = self._ask()
        except _UNREADABLE as exc:
            self.close()
            raise MeterAbsentError(
                f"{self._page.shown}: {_told(exc)}", f"See that {EXPORTER_SETTING} is right"
            ) from exc
        problem = _unfit(found, Path(procfs))
        if problem is not None:
            self.close()
            raise MeterAbsentError(f"{self._page.shown}: {problem[0]}", problem[1])
        self._exporter = found.series[0].exporter
        if self._exporter == "node_exporter":
            self._page.narrow()
        self._domains: dict[Domain, Method] = {}
        self._known: dict[str, Domain] = {}
        self._remember(found.series)
        self._before: _Seen | None = None

    @property
    def scope(self) -> Scope:
        """The machine, if /proc/stat speaks for it."""
        return self._scope

    @property
    def maximum_interval_seconds(self) -> float:
        """How long the counters may stand unread or still."""
        return ACCUMULATED_SECONDS if self._exporter == "kepler" else WRAPPING_SECONDS

    @property
    def basis(self) -> str:
        """Who counts, where, and what."""
        return f"{', '.join(self._domains)} by {self._exporter} at {self._page.shown}"

    def read(self) -> Sequence[Reading]:
        """The joules of each domain since the previous call; a gap where the exporter cannot tell."""
        try:
            found = self._ask()
            if not found.series:
                raise ValueError("the answer has no joules")
        except _UNREADABLE as exc:
            self._before = None
            return self._gap(f"{self._exporter}: {_told(exc)}")
        self._remember(found.series)
        seen = _Seen(ns=self._monotonic_ns(), series={series.key: series for series in found.series})
        before, gap = self._before, None
        if before is not None and _still(before, seen):
            stood = (seen.ns - before.ns) / 1e9
            if stood <= self.maximum_interval_seconds:
                return self._waiting()
            gap = f"{self._exporter}: its counters stand still for {stood:.0f} s"
        self._before = seen
        if before is None:
            return self._gap(None)
        seconds = (seen.ns - before.ns) / 1e9
        if gap is None and seconds > self.maximum_interval_seconds:
            gap = f"{seconds:.0f} s between two answers: a counter may have started again twice"
        if gap is not None:
            return self._gap(gap)
        return [self._reading(domain, before, seen, seconds) for domain in self._domains]

    def close(self) -> None:
        """Give the connection and the thread back; a second call does nothing."""
        self._worker.close()
        self._page.close()

    def _ask(self) -> Exposition:
        try:
            return self._worker.call(lambda: parse(self._page.fetch(), psys=self._psys))
        except StuckError:
            self._page.abort()
            raise

    def _remember(self, series: Sequence[Series]) -> None:
        for one in series:
            weakest = max(self._domains.get(one.domain, "counter"), one.method, key=METHODS.index)
            self._domains[one.domain] = weakest
            self._known[one.key] = one.domain

    def _gap(self, problem: str | None) -> list[Reading]:
        return [
            Reading(domain=domain, energy_joules=None, method=method, gap=problem)
            for domain, method in self._domains.items()
        ]

    def _waiting(self) -> list[Reading]:
        return [
            Reading(domain=domain, energy_joules=None, method=method, waiting=True)
            for domain, method in self._domains.items()
        ]

    def _reading(self, domain: Domain, before: _Seen, now: _Seen, seconds: float) -> Reading:
        """Add up the counters of one domain; one that is missing, new or broken makes the reading partial."""
        joules: float | None = None
        problem: str | None = None
        for key in sorted(key for key, of in self._known.items() if of == domain):
            first, last = before.series.get(key), now.series.get(key)
            if first is None or last is None:
                problem = f"{self._exporter}: {key} was not there at both ends"
                continue
            found = difference(
                first.microjoules,
                last.microjoules,
                joules_per_count=1e-6,
                counts=None,
                seconds=seconds,
                maximum_watts=MAXIMUM_WATTS * (MAXIMUM_SOCKETS if last.whole else 1),
            )
            if found.joules is None:
                problem = f"{self._exporter}: {key}: {found.problem}"
            else:
                joules = found.joules + (joules or 0.0)
        return Reading(
            domain=domain,
            energy_joules=joules,
            method=self._domains[domain],
            partial=joules is not None and problem is not None,
            gap=problem if joules is None else None,
        )


class _Page:
    """The exporter's page, asked over one kept connection, past any proxy. Only the worker fetches.

    Args:
        url: Where it is.
        seconds: How long each step of an answer may take.
    """

    def __init__(self, url: str, *, seconds: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MeterAbsentError(
                f"{EXPORTER_SETTING} is no http address",
                "Write it as http://10.0.0.7:9100/metrics, see docs/kubernetes.md",
            )
        default = http.client.HTTPS_PORT if parts.scheme == "https" else http.client.HTTP_PORT
        self.shown = f"{parts.scheme}://{parts.hostname}:{parts.port or default}{parts.path}"
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._target = (parts.path or "/metrics") + (f"?{parts.query}" if parts.query else "")
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None
        self._process = os.getpid()

    def narrow(self) -> None:
        """Ask node_exporter for its RAPL collector alone, unless the address says what to ask for."""
        if "?" not in self._target:
            self._target += "?collect[]=rapl"

    def fetch(self) -> bytes:
        """The body of one answer.

        Raises:
            OSError: It cannot be reached, or is too slow.
            http.client.HTTPException: It speaks no HTTP.
            ValueError: It answers with another status, or too much.
        """
        if self._process != os.getpid():  # the parent's connection is not ours
            self._connection, self._process = None, os.getpid()
        kept = self._connection is not None
        try:
            return self._exchange()
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            if not kept:
                raise
            return self._exchange()  # a kept connection may have been closed since
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abort(self) -> None:
        """Let a fetch that hangs fail. Called from another thread than the worker's."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):  # it has just ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _exchange(self) -> bytes:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=self._seconds)
        self._connection.request("GET", self._target, headers={"Accept": "text/plain;version=0.0.4"})
        answer = self._connection.getresponse()
        body = answer.read(MAXIMUM_BODY_BYTES + 1)
        if len(body) > MAXIMUM_BODY_BYTES:
            raise ValueError(f"the answer is larger than {MAXIMUM_BODY_BYTES // 2**20} MB")
        if answer.status != http.client.OK:
            raise ValueError(f"status {answer.status}")
        return body


def _still(before: _Seen, now: _Seen) -> bool:
    return before.series.keys() == now.series.keys() and all(
        before.series[key].microjoules == series.microjoules for key, series in now.series.items()
    )


def _told(error: BaseException) -> str:
    """What went wrong, without the reader's own words where the system has better ones."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _unfit(found: Exposition, procfs: Path) -> tuple[str, str] | None:
    """Why this exporter's joules are not this machine's, and what to do about it."""
    if not found.series and found.refused:
        return (
            "node_exporter cannot read RAPL itself",
            "Run it as root, or let it read /sys/class/powercap/intel-rapl*/energy_uj; in a VM there is none",
        )
    if not found.series:
        return (
            "it serves no joules that are known here",
            "Give the address of node_exporter with its rapl collector, of Kepler or of Scaphandre",
        )
    boot = _boot_time(procfs)
    if found.boot_time_seconds is not None and boot is not None:
        apart = abs(found.boot_time_seconds - boot)
        if apart > SAME_BOOT_SECONDS:
            return (
                f"it runs on another machine: that one booted {apart:.0f} s before or after this one",
                "Give the address of the exporter on this node; in Kubernetes, status.hostIP",
            )
    return None


def _boot_time(procfs: Path) -> float | None:
    """When this kernel booted, Unix seconds; None where it cannot be seen."""
    try:
        match = re.search(r"^btime (\d+)$", (procfs / "stat").read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return float(match[1]) if match else None
