"""carbon_sdk's CodeCarbon-compatible tracker beside CodeCarbon's own: the same lines, with one changed import.

Each library runs in a process of its own, the two by turns in each round; told are medians over rounds. Measured are
the time from before the import to a started tracker, the start and the end of a later one, a call of a decorated
function that does nothing, and the CPU that a process which does nothing spends on a running tracker. Then the same
work, three seconds of CPU, runs once in a tracker alone and once in that tracker within a second one, both in process
mode: what the two tell together should be what the one told.

Run: `python -m benchmarks.trackers [--seconds 60]`, in an environment that has codecarbon 3.3, from the root of the
repository.
"""

import argparse
import importlib
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

LIBRARIES = {"carbon_sdk": "carbon_sdk.integrations.codecarbon", "CodeCarbon": "codecarbon"}
CALLS = {"carbon_sdk": 200, "CodeCarbon": 3}
WORK_CPU_SECONDS = 3.0
PLACE: dict[str, Any] = {"country_iso_code": "DEU", "save_to_file": False, "allow_multiple_runs": True}


def work() -> None:
    """So much CPU."""
    end = time.thread_time() + WORK_CPU_SECONDS
    while time.thread_time() < end:
        sum(range(1000))


def started(module: Any, **more: Any) -> Any:
    """A tracker that runs."""
    tracker = module.OfflineEmissionsTracker(**PLACE, **more)
    tracker.start()
    return tracker


def joules(tracker: Any) -> float:
    """Of a tracker that has stopped."""
    return float(tracker.final_emissions_data.energy_consumed) * 3.6e6


def measure(library: str, seconds: float) -> dict[str, float]:
    """The figures of one library in this process."""
    logging.disable()
    warnings.simplefilter("ignore")
    begun = time.perf_counter()
    module: Any = importlib.import_module(LIBRARIES[library])
    first = started(module)
    figures = {"import and first start, ms": (time.perf_counter() - begun) * 1e3}
    first.stop()
    begun = time.perf_counter()
    later = started(module)
    figures["a later start, ms"] = (time.perf_counter() - begun) * 1e3
    time.sleep(1.0)
    begun = time.perf_counter()
    later.stop()
    figures["stop, ms"] = (time.perf_counter() - begun) * 1e3

    @module.track_emissions(offline=True, **PLACE)  # type: ignore[untyped-decorator]
    def nothing() -> None:
        pass

    begun = time.perf_counter()
    for _ in range(CALLS[library]):
        nothing()
    figures["a tracked call that does nothing, ms"] = (time.perf_counter() - begun) / CALLS[library] * 1e3
    idle = started(module)
    before = time.process_time()
    time.sleep(seconds)
    figures[f"CPU in {seconds:g} s, ms"] = (time.process_time() - before) * 1e3
    idle.stop()
    alone = started(module, tracking_mode="process")
    work()
    alone.stop()
    outer, inner = started(module, tracking_mode="process"), started(module, tracking_mode="process")
    work()
    inner.stop()
    outer.stop()
    figures["two trackers' joules over one's"] = (joules(outer) + joules(inner)) / joules(alone)
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long a tracker runs beside nothing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=LIBRARIES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one, arguments.seconds)))
        return
    found: dict[str, list[dict[str, float]]] = {library: [] for library in LIBRARIES}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "HOME": folder, "CARBON_SDK_ZONE": "DE"}
        for _ in range(arguments.rounds):
            for library, figures in found.items():
                command = [sys.executable, __file__, "--one", library, "--seconds", str(arguments.seconds)]
                done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True, text=True)
                figures.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"CPython {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    print(f"| | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for name in next(iter(found.values()))[0]:
        medians = (statistics.median(one[name] for one in figures) for figures in found.values())
        print(f"| {name} | {' | '.join(f'{median:.4g}' for median in medians)} |")


if __name__ == "__main__":
    main()
