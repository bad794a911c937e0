"""The GPUs' joules through NVIDIA's management library.

Every device that NVML shows counts, whoever uses it, so that all processes of a machine tell the same joules; which
part is this process's is told beside them. A MIG slice has no joules of its own: the card's are read, and the share is
unknown. Every call into the driver may hang, so one worker thread makes them all, with a time limit. NVML's state does
not carry over a fork: the child initialises it anew.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pynvml  # type: ignore[import-untyped]

from carbon_sdk.errors import MeterError
from carbon_sdk.meters.absent import MeterAbsentError
from carbon_sdk.meters.counter import Difference
from carbon_sdk.meters.meter import Method, Reading, Scope
from carbon_sdk.meters.nvml_device import UNINITIALIZED, Device, ask
from carbon_sdk.meters.nvml_share import visible_devices
from carbon_sdk.meters.scope import MachineScope
from carbon_sdk.meters.worker import StuckError, Worker

INIT_SECONDS = 10.0
"""Without persistence mode the driver wakes each card at its first use: seconds per card."""
READ_SECONDS = 2.0
LONGEST_COUNTED_SECONDS = 60.0
LONGEST_INTEGRATED_SECONDS = 10.0
"""Power between two readings is a guess: the fewer seconds, the better."""
INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h

_ABSENT = {
    9: ("the NVIDIA library is there, its kernel module is not", None),
    12: ("no NVIDIA driver", None),
    18: (
        "the NVIDIA library and the loaded kernel module have different versions",
        "Reboot, or reload the module: the driver was upgraded beneath it",
    ),
    4: ("the NVIDIA devices may not be opened", "Give the container or user access to /dev/nvidia*"),
    999: (
        "NVML answers 'unknown error'",
        "In a container: restart it, its device rules were lost (nvidia-container-toolkit, 'systemctl daemon-reload')",
    ),
}


class NVMLMeter:
    """The joules of all GPUs that NVML shows.

    Args:
        procfs: Where /proc is.
        visible: CUDA_VISIBLE_DEVICES as this process has it; None where it is not set.
        pci_order: CUDA_DEVICE_ORDER is PCI_BUS_ID, so that CUDA's indices are NVML's.
        pids: The processes whose part is wanted; this one alone when None.
        monotonic_ns: The clock that windows are measured with.
        init_seconds: How long the driver may take to wake up.
        read_seconds: How long a reading may take before it counts as hanging.

    Raises:
        MeterAbsentError: No GPU can be read; it says why and what to do about it.
    """

    name = "nvml"
    minimum_interval_seconds = 1.0  # counters move every 100 ms on data-centre cards: a tenth of error at the edges

    def __init__(
        self,
        *,
        procfs: str | Path = "/proc",
        visible: str | None = None,
        pci_order: bool = False,
        pids: Callable[[], Collection[int]] | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        init_seconds: float = INIT_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._procfs = Path(procfs)
        self._scope = MachineScope(procfs)
        self._visible = visible
        self._pci_order = pci_order
        self._pids = pids or (lambda: (os.getpid(),))
        self._monotonic_ns = monotonic_ns
        self._init_seconds = init_seconds
        self._devices: list[Device] = []
        self._unreadable: list[str] = []
        self._process: int | None = None
        self._read_ns: int | None = None
        self._stuck = False
        self._worker = Worker("nvml", limit_seconds=read_seconds)
        try:
            self._worker.call(self._open, limit_seconds=init_seconds)
            if not any(device.method for device in self._devices):
                raise MeterAbsentError(f"no GPU tells its energy or power: {', '.join(self._unreadable)}")
        except StuckError as exc:
            raise MeterAbsentError(str(exc), "Look at `nvidia-smi` and the kernel log: the driver hangs") from exc
        except MeterAbsentError:
            self.close()
            raise

    @property
    def scope(self) -> Scope:
        """The machine: of its joules only the process's own share is told."""
        return self._scope

    @property
    def maximum_interval_seconds(self) -> float:
        """Counters do not wrap; integrated power grows stale."""
        integrated = any(device.method == "power_integral" for device in self._devices)
        return LONGEST_INTEGRATED_SECONDS if integrated else LONGEST_COUNTED_SECONDS

    @property
    def basis(self) -> str:
        """The devices, how each is read, and those that cannot be."""
        words = {"counter": "energy counter", "power_integral": "power integrated", None: "not readable"}
        parts = [
            f"{device.name} ({words[device.method]}{', in MIG slices' if device.sliced else ''})"
            for device in self._devices
        ]
        return ", ".join(parts + [text for text in self._unreadable if not text.startswith("GPU-")])

    def read(self) -> Sequence[Reading]:
        """The joules of all devices since the previous call; a gap where they cannot be known."""
        fresh = self._process != os.getpid()
        try:
            reading = self._worker.call(
                functools.partial(self._sample, forget=self._stuck),
                limit_seconds=self._init_seconds if fresh else None,
            )
        except (StuckError, MeterAbsentError) as exc:
            self._stuck = True
            reading = Reading(domain="gpu", energy_joules=None, method=self._method(), gap=str(exc))
        else:
            self._stuck = False
        return [reading]

    def close(self) -> None:
        """Give NVML back, as often as it was taken, and let the thread end; a second call does nothing."""
        if self._process == os.getpid():
            self._process = None
            with contextlib.suppress(MeterError, pynvml.NVMLError):  # a driver that is gone needs no goodbye
                self._worker.call(functools.partial(ask, "nvmlShutdown"))
        self._worker.close()

    def _open(self) -> None:
        """Initialise NVML in this process and take every device that can be had. Runs in the worker."""
        try:
            ask("nvmlInit")
            self._process = os.getpid()
            count = ask("nvmlDeviceGetCount")
        except pynvml.NVMLError as exc:
            reason, remedy = _ABSENT.get(exc.value, (f"NVML cannot be used: {exc}", None))
            raise MeterAbsentError(reason, remedy) from exc
        if not count:
            raise MeterAbsentError("no NVIDIA GPU")
        self._devices, self._unreadable = [], []
        for index in range(count):
            try:
                device = Device(index)
            except pynvml.NVMLError as exc:
                self._unreadable.append(f"device {index}: {exc}")
                continue
            if device.uuid in (one.uuid for one in self._devices):
                continue
            self._devices.append(device)
            if device.method is None:
                self._unreadable.append(f"{device.uuid} {device.name} tells neither energy nor power")

    def _sample(self, *, forget: bool) -> Reading:
        """Read every device once. Runs in the worker, which alone touches the devices."""
        now_ns = self._monotonic_ns()
        first = self._read_ns is None
        seconds = 0.0 if self._read_ns is None else (now_ns - self._read_ns) / 1e9
        self._read_ns = now_ns
        if self._process != os.getpid():
            self._open()
        broken = f"{seconds:.0f} s without a reading" if seconds > self.maximum_interval_seconds else None
        if forget or broken:
            for device in self._devices:
                device.forget()
        try:
            used = [device.used(seconds) for device in self._devices]
        except pynvml.NVMLError as exc:
            if exc.value == UNINITIALIZED:
                self._process = None  # somebody in this process shut NVML down: it is taken anew at the next reading
            return Reading(domain="gpu", energy_joules=None, method=self._method(), gap=str(exc))
        shares = self._shares()
        if first:
            return Reading(domain="gpu", energy_joules=None, method=self._method(), partial=bool(self._unreadable))
        return self._reading(used, shares, seconds, broken)

    def _reading(
        self, used: Sequence[Difference], shares: Sequence[float | None], seconds: float, broken: str | None
    ) -> Reading:
        known = [
            (device, one.joules, share)
            for device, one, share in zip(self._devices, used, shares, strict=True)
            if one.joules is not None
        ]
        problems = [
            f"{device.name}: {one.problem}" for device, one in zip(self._devices, used, strict=True) if one.problem
        ]
        if not known:
            gap = broken or (problems[0] if problems else "no device")
            return Reading(domain="gpu", energy_joules=None, method=self._method(), gap=gap)
        idle = [device.lowest_watts * seconds for device, _, _ in known if device.lowest_watts is not None]
        return Reading(
            domain="gpu",
            energy_joules=sum(joules for _, joules, _ in known),
            method=self._method(),
            partial=bool(problems or self._unreadable),
            idle_joules=sum(idle) if len(idle) == len(known) else None,
            process_share=_process_share(known, seconds),
        )

    def _method(self) -> Method:
        """The weakest method among the devices."""
        return "power_integral" if any(one.method == "power_integral" for one in self._devices) else "counter"

    def _shares(self) -> list[float | None]:
        """This process's part of each device's work."""
        alike = len({device.name for device in self._devices}) <= 1
        visible = visible_devices(
            self._visible, [device.uuid for device in self._devices], indices_known=alike or self._pci_order
        )
        pids = self._pids()
        own_pids, cuda = pids if self._pids_are_the_hosts() else None, any(map(self._cuda_is_open, pids))
        return [
            device.share(own_pids=own_pids, cuda_is_open=cuda) if seen else 0.0
            for device, seen in zip(self._devices, visible, strict=True)
        ]

    def _pids_are_the_hosts(self) -> bool:
        """Whether process ids mean the same to the driver; in a container they do not."""
        try:
            return os.readlink(self._procfs / "self/ns/pid") == INITIAL_PID_NAMESPACE
        except OSError:
            return False

    def _cuda_is_open(self, pid: int) -> bool:
        """Whether a process has opened CUDA: NVML alone does not open its memory device."""
        folder = self._procfs / ("self" if pid == os.getpid() else str(pid)) / "fd"
        try:
            return any(_target(folder / name) == "/dev/nvidia-uvm" for name in os.listdir(folder))
        except OSError:
            return False


def _process_share(known: Sequence[tuple[Device, float, float | None]], seconds: float) -> float | None:
    """The share of the joules above idle, over all devices; None where a device that worked has an unknown share."""
    active = [max(0.0, joules - (device.lowest_watts or 0.0) * seconds) for device, joules, _ in known]
    total, own = sum(active), 0.0
    for joules, (_, _, share) in zip(active, known, strict=True):
        if share is None and joules > 0:
            return None
        own += joules * (share or 0.0)
    return own / total if total else 0.0


def _target(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None
