"""The energy counter of one zone: opened once, read through the kept descriptor, unwrapped on its own range."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.counter import difference
from carbon_sdk.meters.powercap_zones import Zone, read_problem

MICROJOULE = 1e-6
REGISTER_STEPS = 2**32 - 1  # the kernel masks the energy register to 32 bits: intel_rapl_common.c, ENERGY_STATUS_MASK
INTERRUPTIONS = 3
"""How often an interrupted read is tried again."""

Pread = Callable[[int, int, int], bytes]


class UnknownError(Exception):
    """What a counter used in a stretch cannot be known; the message says why."""


class ZoneCounter:
    """One zone that is being read.

    Args:
        zone: The zone.
        pread: Reads a descriptor: `pread(descriptor, bytes, offset)`.
        before: What stood in its file when the first stretch began; None where that begins at the first reading.

    Raises:
        MeterAbsentError: It cannot be opened or read; the message names the file and the remedy.
    """

    def __init__(self, zone: Zone, pread: Pread = os.pread, *, before: bytes | None = None) -> None:
        self.zone = zone
        self._pread = pread
        self._file = zone.folder / "energy_uj"
        try:
            self._descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise read_problem(self._file, exc) from exc
        try:
            self.value()
        except OSError as exc:
            self.close()
            raise read_problem(self._file, exc) from exc
        except ValueError as exc:
            self.close()
            raise MeterAbsentError(f"{self._file} holds no number") from exc
        size = _range_microjoules(zone.folder)
        step = None if size is None else size / REGISTER_STEPS
        self._counts = None if size is None or step is None else size + step
        self._before = int(before) if before is not None and before.rstrip().isdigit() else None

    @property
    def range_joules(self) -> float | None:
        """Joules after which the counter starts again; None where the kernel does not tell."""
        return None if self._counts is None else self._counts * MICROJOULE

    def value(self) -> int:
        """Microjoules on the counter.

        Raises:
            OSError: The kernel could not read it.
            ValueError: What it wrote is no number.
        """
        try:
            text = self._pread(self._descriptor, 32, 0)
        except InterruptedError:
            text = self._again()
        if not text.rstrip().isdigit():
            raise ValueError("not a number")
        return int(text)

    def _again(self) -> bytes:
        for _ in range(INTERRUPTIONS - 1):
            try:
                return self._pread(self._descriptor, 32, 0)
            except InterruptedError:
                continue
        raise InterruptedError(errno.EINTR, "interrupted again and again")

    def advance(self, *, seconds: float, maximum_watts: float) -> float:
        """Read, and say what was used since the reading before, in joules.

        Args:
            seconds: Time since then.
            maximum_watts: More than this cannot be.

        Raises:
            UnknownError: That cannot be known for this stretch.
            OSError: The kernel could not read it.
            ValueError: What it wrote is no number.
        """
        before, self._before = self._before, None
        self._before = now = self.value()
        if before is None:
            raise UnknownError("no reading at the start of this stretch")
        joules = (now - before) * MICROJOULE
        if 0.0 <= joules <= maximum_watts * seconds:  # nearly always: the rule itself takes ten times as long
            return joules
        found = difference(
            before,
            now,
            joules_per_count=MICROJOULE,
            counts=self._counts,
            seconds=seconds,
            maximum_watts=maximum_watts,
        )
        if found.joules is None:
            raise UnknownError(found.problem)
        return found.joules

    def forget(self) -> None:
        """The last reading is of no use: the next stretch begins at the next one."""
        self._before = None

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


def _range_microjoules(folder: Path) -> int | None:
    """The greatest reading before the counter starts again; None where the file is missing, unreadable or 0."""
    try:
        text = (folder / "max_energy_range_uj").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() and int(text) else None
