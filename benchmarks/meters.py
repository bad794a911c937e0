"""What one sample of each meter costs, and what finding the meters costs.

Run: `python benchmarks/meters.py`. Wall time and the process's CPU time of one call, medians over rounds. The trees and
the stand-in for NVIDIA's library (compiled with gcc from tests/meters/nvml_stub.c; left out without it) are files, so
the kernel's own work here is a read of a small file, not of a register: it is shown beside, to be subtracted.
"""

import argparse
import ctypes
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.curve import PowerCurve
from carbon_sdk.meters.detect import detect
from carbon_sdk.meters.exporter import ExporterMeter
from carbon_sdk.meters.modelled import ModelledMeter
from carbon_sdk.meters.nvml import NVMLMeter
from carbon_sdk.meters.powercap import PowercapMeter
from carbon_sdk.meters.scope import MachineScope
from carbon_sdk.meters.worker import Worker

STUB = Path(__file__).parent.parent / "tests" / "meters" / "nvml_stub.c"
SOCKETS = 4
CARDS = 2


def microseconds(call: Callable[[], object], *, calls: int, rounds: int) -> tuple[float, float]:
    """Wall and CPU time of one call, us."""
    for _ in range(calls // 10 + 1):
        call()
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        for _ in range(calls):
            call()
        walls.append((time.perf_counter_ns() - wall) / calls / 1e3)
        cpus.append((time.process_time_ns() - cpu) / calls / 1e3)
    return statistics.median(walls), statistics.median(cpus)


def powercap_tree(root: Path) -> list[Path]:
    """Four sockets with their DRAM: eight zones; their energy files."""
    files = []
    for number in range(SOCKETS):
        for zone, name, size in (
            (f"intel-rapl:{number}", f"package-{number}", 262143328850),
            (f"intel-rapl:{number}:0", "dram", 65712999613),
        ):
            folder = root / "class/powercap" / zone
            folder.mkdir(parents=True)
            (folder / "name").write_text(f"{name}\n")
            (folder / "max_energy_range_uj").write_text(f"{size}\n")
            (folder / "energy_uj").write_text("34567890123\n")
            files.append(folder / "energy_uj")
    return files


def rapl(root: Path, rounds: int) -> list[tuple[str, tuple[float, float]]]:
    """Eight zones: the reads alone, the hand-over to the thread that reads, and all of it."""
    files = powercap_tree(root)
    descriptors = [os.open(file, os.O_RDONLY) for file in files]
    worker = Worker("benchmark", limit_seconds=10.0)
    meter = PowercapMeter(root, vendor="intel", read_seconds=10.0)

    def reads() -> None:
        for descriptor in descriptors:
            os.pread(descriptor, 32, 0)

    def sampled_here() -> None:
        meter._sample(forget=False)

    found = [
        ("8 reads of a file, the kernel's part", microseconds(reads, calls=3000, rounds=rounds)),
        ("hand-over to the reading thread and back", microseconds(lambda: worker.call(int), calls=3000, rounds=rounds)),
        ("8 RAPL zones, in the reading thread", microseconds(sampled_here, calls=3000, rounds=rounds)),
        ("8 RAPL zones, all of it", microseconds(meter.read, calls=3000, rounds=rounds)),
    ]
    meter.close()
    worker.close()
    for descriptor in descriptors:
        os.close(descriptor)
    return found


def nvml(folder: Path, rounds: int) -> list[tuple[str, tuple[float, float]]]:
    """Two cards over the stand-in, which reads its control file at each call."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return []
    library = folder / "libnvidia-ml.so.1"
    flags = ["-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *flags, "-o", str(library), str(STUB)], check=True)
    control = folder / "cards"
    gpu = "gpu name=H100 uuid=GPU-{0} energy=5000000 power=50000 limit=700000 mig=0 users=1:50:5 holders=1\n"
    control.write_text(f"library count={CARDS}\n" + "".join(gpu.format(number) for number in range(CARDS)))
    os.environ["NVML_STUB"] = str(control)
    ctypes.CDLL(str(library))
    meter = NVMLMeter(read_seconds=10.0)
    handles = [device._handle for device in meter._devices]
    import pynvml

    def calls() -> None:
        for handle in handles:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            pynvml.nvmlDeviceGetComputeRunningProcesses(handle)

    found = [
        (f"{CARDS} GPUs, the calls alone", microseconds(calls, calls=300, rounds=rounds)),
        (f"{CARDS} GPUs by NVML, all of it", microseconds(meter.read, calls=300, rounds=rounds)),
    ]
    meter.close()
    return found


def exporter(root: Path, rounds: int) -> list[tuple[str, tuple[float, float]]]:
    """The real node_exporter over a tree of eight zones, left out where it is not installed; our CPU alone."""
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if program is None:
        return []
    powercap_tree(root)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [program, f"--path.sysfs={root}", f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            meter = _served(f"http://127.0.0.1:{port}/metrics")
            found = [("8 RAPL zones by node_exporter, all of it", microseconds(meter.read, calls=50, rounds=rounds))]
            meter.close()
        finally:
            process.terminate()
    return found


def _served(url: str) -> ExporterMeter:
    """The meter, once the exporter answers."""
    for _ in range(200):
        try:
            return ExporterMeter(url)
        except MeterAbsentError:
            time.sleep(0.05)
    raise RuntimeError("node_exporter did not come up")


def model(rounds: int) -> list[tuple[str, tuple[float, float]]]:
    """The model, whose one read is of /proc/stat."""
    scope = MachineScope()
    curve = PowerCurve(watts=(10.0,) * 11, low=(5.0,) * 11, high=(30.0,) * 11)
    meter = ModelledMeter(scope, package=curve, dram=curve, basis="benchmark")
    return [
        ("busy time of the machine, /proc/stat", microseconds(scope.busy_cpu_seconds, calls=2000, rounds=rounds)),
        ("model, all of it", microseconds(meter.read, calls=2000, rounds=rounds)),
    ]


def finding(rounds: int) -> list[tuple[str, tuple[float, float]]]:
    """Looking at this machine and opening what serves, GPUs aside."""

    def once() -> None:
        for meter in detect(gpu=False).meters:
            meter.close()

    return [("finding the meters, this machine", microseconds(once, calls=5, rounds=rounds))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        rows = [*rapl(folder / "sys", rounds), *exporter(folder / "node", rounds), *model(rounds)]
        rows += [*nvml(folder, rounds), *finding(rounds)]
    print(f"CPython {sys.version.split()[0]}, {rounds} rounds, medians\n")
    print("| what | wall us | CPU us |\n|---|---|---|")
    for name, (wall, cpu) in rows:
        print(f"| {name} | {wall:,.1f} | {cpu:,.1f} |")


if __name__ == "__main__":
    main()
