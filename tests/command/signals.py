"""Writes down each signal that it gets, one a line, until it has been quiet for a while after the first."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

got: list[int] = []


def note(number: int, _frame: FrameType | None) -> None:
    got.append(number)
    Path(sys.argv[1]).write_text("\n".join(map(str, got)))


for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(one, note)
Path(sys.argv[1]).write_text("ready")
end = time.monotonic() + 60.0
while time.monotonic() < end:
    time.sleep(0.4)
    if got:
        break
sys.exit(7)
