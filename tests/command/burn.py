"""Burns CPU seconds; with a second word, forks twice first and writes to that file what the daemon has used."""

import os
import sys
import time
from pathlib import Path


def burn(seconds: float) -> None:
    while time.process_time() < seconds:
        sum(range(1000))


if len(sys.argv) > 2:
    if os.fork():
        os.wait()
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    burn(float(sys.argv[1]))
    Path(sys.argv[2]).write_text(str(time.process_time()))
    os._exit(0)
burn(float(sys.argv[1]))
