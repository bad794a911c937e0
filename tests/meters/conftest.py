"""Machines for the meters' tests: small sysfs and procfs trees, a driver's library, an exporter."""

import ctypes
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk.meters.nvml import INITIAL_PID_NAMESPACE

RANGES = {"E61": 262143328850, "OLD": 262143999938, "E15": 65532610987, "D15": 65712999613, "J1": 4294967295000000}
"""max_energy_range_uj by energy unit: 61 uJ, the same on old kernels, 15.258 uJ (AMD), 15.3 uJ (server DRAM), 1 J."""


class SysfsTree:
    """A powercap tree, written from lines such as `intel-rapl:0:1 dram D15 enabled=0 energy=5000`.

    The nested folders lie under devices/virtual/powercap and the flat class links to them, as in the kernel. `noname`
    and `norange` leave files out.
    """

    def __init__(self, root: Path, listing: str) -> None:
        self.root = root
        self.flat = root / "class/powercap"
        self.flat.mkdir(parents=True)
        for line in filter(None, map(str.strip, listing.splitlines())):
            self.add(line)

    def folder(self, zone: str) -> Path:
        """Where a zone's files are."""
        parts = zone.split(":")
        folder = self.root / "devices/virtual/powercap" / parts[0]
        for depth in range(2, len(parts) + 1):
            folder /= ":".join(parts[:depth])
        return folder

    def add(self, line: str) -> None:
        """Register one zone."""
        zone, name, *words = line.split()
        folder = self.folder(zone)
        folder.mkdir(parents=True, exist_ok=True)
        options = dict(word.split("=") for word in words if "=" in word)
        (folder / "name").write_text(f"{name}\n")
        (folder / "enabled").write_text(f"{options.get('enabled', '1')}\n")
        (folder / "energy_uj").write_text(f"{options.get('energy', '1000000')}\n")
        ranges = [RANGES[word] for word in words if word in RANGES]
        if "norange" not in words:
            (folder / "max_energy_range_uj").write_text(f"{(ranges or [RANGES['E61']])[0]}\n")
        if "noname" in words:
            (folder / "name").unlink()
        link = self.flat / zone
        link.symlink_to(Path("../..") / folder.relative_to(self.root), target_is_directory=True)

    def remove(self, zone: str) -> None:
        """Unregister one zone and what is below it."""
        for one in sorted(self.flat.glob(f"{zone}*"), reverse=True):
            if re.fullmatch(rf"{zone}(:.*)?", one.name):
                folder = self.folder(one.name)
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()
                one.unlink()

    def set(self, zone: str, microjoules: int | str) -> None:
        """Let a zone's counter read so."""
        (self.folder(zone) / "energy_uj").write_text(f"{microjoules}\n")

    def use(self, zone: str, joules: float) -> None:
        """Let a zone use so many joules; its counter starts again at 0 where its range ends."""
        folder = self.folder(zone)
        before = int((folder / "energy_uj").read_text())
        try:
            size = int((folder / "max_energy_range_uj").read_text())
        except OSError:
            size = RANGES["E61"]
        steps = size + size / (2**32 - 1)
        self.set(zone, round((before + joules * 1e6) % steps))


@pytest.fixture
def sysfs(tmp_path: Path) -> Callable[[str], SysfsTree]:
    """Builds the powercap tree of a listing under a fresh root."""
    count = iter(range(1000))

    def build(listing: str) -> SysfsTree:
        root = tmp_path / f"sys{next(count)}"
        root.mkdir()
        return SysfsTree(root, listing)

    return build


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000
        self.asleep_ns = 0

    def __call__(self) -> int:
        """The monotonic time, ns."""
        return self.now_ns

    def boottime_ns(self) -> int:
        """The time with suspends, ns."""
        return self.now_ns + self.asleep_ns

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock() -> Clock:
    """A clock that only the test moves."""
    return Clock()


class ProcfsTree:
    """A /proc with stat, cpuinfo, meminfo and our control groups."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "self").mkdir(parents=True)
        self.write("version", "Linux version 6.1.0\n")
        self.cpuinfo()
        self.busy(100.0)
        self.write("meminfo", "MemTotal:       65536000 kB\nMemFree: 1 kB\n")
        self.write("self/mountinfo", "")
        self.write("self/cgroup", "")

    def write(self, name: str, text: str) -> None:
        """One file."""
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def busy(self, seconds: float, *, cpus: int = 4) -> None:
        """Let the machine have been busy for so many CPU seconds."""
        ticks = round(seconds * 100)
        lines = [f"cpu  {ticks} 0 0 123456 7 0 0 99 0 0", *(f"cpu{n} 1 0 0 1 0 0 0 0 0 0" for n in range(cpus))]
        self.write("stat", "\n".join(lines) + "\nintr 5\n")

    def cpuinfo(
        self,
        model_name: str = "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz",
        *,
        vendor: str = "GenuineIntel",
        numbers: tuple[int, int, int] = (6, 85, 7),
        threads: int = 4,
        sockets: int = 1,
        flags: str = "fpu",
    ) -> None:
        """Say which CPU this is."""
        family, model, stepping = numbers
        self.write(
            "cpuinfo",
            "\n".join(
                f"processor\t: {n}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
                f"model name\t: {model_name}\nstepping\t: {stepping}\n"
                f"physical id\t: {n % sockets}\nflags\t\t: {flags}\n"
                for n in range(threads)
            ),
        )


@pytest.fixture
def procfs(tmp_path: Path) -> ProcfsTree:
    """A /proc of a small machine: four threads of a Xeon, 64 GB."""
    return ProcfsTree(tmp_path / "proc")


class Cards:
    """The stand-in's control file: one machine's GPUs."""

    def __init__(self, file: Path, library: ctypes.CDLL) -> None:
        self._file = file
        self.library = library
        self.shared: dict[str, object] = {}
        self.gpus: list[dict[str, object]] = []

    def add(self, **values: object) -> None:
        """One more card: counter and power, a limit of 300 W, no processes."""
        number = len(self.gpus)
        card = {"name": "Tesla-T4", "uuid": f"GPU-{number}", "energy": 5_000_000, "power": 50_000, "limit": 300_000}
        self.gpus.append(card | {"mig": 0, "users": "", "holders": ""} | values)
        self.write()

    def set(self, number: int, **values: object) -> None:
        """Change what one card answers; None takes an answer away."""
        self.gpus[number].update(values)
        self.write()

    def say(self, **values: object) -> None:
        """Change what the library answers."""
        self.shared.update(values)
        self.write()

    def use(self, number: int, joules: float) -> None:
        """Let one card use so many joules by its counter."""
        self.set(number, energy=int(str(self.gpus[number]["energy"])) + round(joules * 1000))

    def write(self) -> None:
        """The file, in one step."""
        shared = {"count": len(self.gpus)} | self.shared
        lines = [("library", shared), *(("gpu", gpu) for gpu in self.gpus)]
        text = "".join(
            " ".join([kind, *(f"{key}={value}" for key, value in values.items() if value is not None)]) + "\n"
            for kind, values in lines
        )
        new = self._file.with_suffix(".new")
        new.write_text(text)
        new.rename(self._file)

    @property
    def references(self) -> int:
        """How often NVML is initialised and not shut down in this process."""
        return int(self.library.stub_references())


@pytest.fixture(scope="session")
def stub_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The stand-in, compiled and loaded under the name that the binding asks for."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc to compile the stand-in for libnvidia-ml.so.1")
    source = Path(__file__).with_name("nvml_stub.c")
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *flags, "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture
def cards(stub_library: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cards]:
    """A driver without cards."""
    file = tmp_path / "cards"
    monkeypatch.setenv("NVML_STUB", str(file))
    cards = Cards(file, stub_library)
    cards.write()
    yield cards
    cards.say(hang=0)


@pytest.fixture
def host(procfs: ProcfsTree) -> ProcfsTree:
    """A /proc in the first namespace of process ids, where ours is the host's."""
    (procfs.root / "self/ns").mkdir()
    (procfs.root / "self/ns/pid").symlink_to(INITIAL_PID_NAMESPACE)
    (procfs.root / "self/fd").mkdir()
    return procfs


class Exporter:
    """A real HTTP server on the loopback whose answers a test writes."""

    def __init__(self) -> None:
        self.body: bytes | Callable[[Any], None] = b""
        self.status = 200
        self.asked: list[str] = []
        self.connections = 0
        mine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                mine.connections += 1
                super().setup()

            def do_GET(self) -> None:  # the base class names it so
                mine.asked.append(self.path)
                if callable(mine.body):
                    mine.body(self)
                    return
                self.send_response(mine.status)
                self.send_header("Content-Length", str(len(mine.body)))
                self.end_headers()
                self.wfile.write(mine.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"

    def node(self, package: float, *more: str) -> None:
        """Serve as node_exporter does."""
        lines = (
            f'node_rapl_package_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:0"}} {package}',
            *more,
        )
        self.body = ("# TYPE node_rapl_package_joules_total counter\n" + "\n".join(lines) + "\n").encode()

    def stop(self) -> None:
        """Go away."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def served() -> Iterator[Exporter]:
    """An exporter with one package at 1,000 J."""
    exporter = Exporter()
    exporter.node(1000.0)
    yield exporter
    exporter.stop()
