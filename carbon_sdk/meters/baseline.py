"""What the machine's counters say at one moment, read before any meter is loaded.

A meter takes time to load and to look around. Whoever must measure from an earlier moment on reads the
bare files first and hands them to the meters, which go on from there. A file that cannot be read is not in it: what
rests on it has a gap up to its meter's own first reading.
"""

import os
import threading
import time

LONGEST_SECONDS = 0.02
"""Counters are read within a millisecond; a register that hangs is not waited for."""
_ENOUGH_BYTES = 128 * 1024  # the lines of 1,000 CPUs, which come first


class Baseline:
    """The counters' bytes, file by file.

    Args:
        sysfs_root: Where /sys is.
        procfs_root: Where /proc is.
    """

    __slots__ = ("_files", "boottime_ns", "monotonic_ns", "stat")

    def __init__(self, sysfs_root: str = "/sys", procfs_root: str = "/proc") -> None:
        self._files: dict[str, bytes] = {}
        reader = threading.Thread(target=self._read, args=(f"{sysfs_root}/class/powercap",), daemon=True)
        reader.start()
        self.stat = f"{procfs_root}/stat"
        """The file of the machine's busy time."""
        _add(self._files, self.stat)
        self.monotonic_ns = time.monotonic_ns()
        """When; as `time.monotonic_ns` and the clock that goes on in suspend say it."""
        self.boottime_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        reader.join(LONGEST_SECONDS)
        if reader.is_alive():
            self._files = {self.stat: self._files[self.stat]} if self.stat in self._files else {}

    def get(self, file: object) -> bytes | None:
        """What stood in a file; None where it was not read."""
        return self._files.get(str(file))

    def _read(self, powercap: str) -> None:
        files = self._files
        try:
            zones = os.listdir(powercap)
        except OSError:
            return
        for zone in zones:
            if zone.startswith("intel-rapl") and ":" in zone:
                _add(files, f"{powercap}/{zone}/energy_uj")


def _add(files: dict[str, bytes], file: str) -> None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        files[file] = os.read(descriptor, _ENOUGH_BYTES)
    except OSError:
        return
    finally:
        os.close(descriptor)
