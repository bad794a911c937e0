"""One GPU through NVML: its energy counter where it has one, else its power integrated over time.

The counter moves every 10 to 100 ms, power is a mean over a second on most cards since Ampere, and both are of the
whole board (nvmlDeviceGetTotalEnergyConsumption and nvmlDeviceGetPowerUsage, NVML API reference). On a GH200 the
counter holds the CPU and its memory too, so there the power of the GPU's own scope is integrated.
"""

from collections.abc import Collection
from typing import Any

import pynvml  # type: ignore[import-untyped]

from carbon_sdk.meters.counter import Difference, difference
from carbon_sdk.meters.meter import Method
from carbon_sdk.meters.nvml_share import Utilisation, share_by_processes, share_by_utilisation

JOULES_PER_MILLIJOULE = 1e-3
WATTS_PER_MILLIWATT = 1e-3
MAXIMUM_WATTS = 2000.0
"""Where a card tells no power limit: no board of 2026 takes more."""
LIMIT_FACTOR = 2.0
"""Cards go above their limit for a while, but not to twice of it."""
IDLE_SECONDS = 0.9
"""Shorter stretches say little of power: the counter moves in steps of up to 100 ms."""

# Return codes, nvml.h; old bindings lack some of the classes.
NOT_FOUND = 6
INSUFFICIENT_SIZE = 7
GONE = (15, 16)  # GPU_IS_LOST, RESET_REQUIRED: touching the handle again may crash inside the library
UNINITIALIZED = 1


def ask(name: str, *arguments: Any) -> Any:
    """Call a function of the binding; one that an old binding lacks fails like one that an old driver lacks.

    Raises:
        pynvml.NVMLError: NVML's return code is not success.
    """
    function = getattr(pynvml, name, None)
    if function is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    return function(*arguments)


class Device:
    """One GPU.

    Args:
        index: Its place in NVML's order.

    Raises:
        pynvml.NVMLError: It cannot be had at all.
    """

    def __init__(self, index: int) -> None:
        self._handle = ask("nvmlDeviceGetHandleByIndex", index)
        self.index = index
        self.uuid = _text(ask("nvmlDeviceGetUUID", self._handle))
        self.name = _text(self._optional("nvmlDeviceGetName") or "GPU")
        self.lost = False
        mode = self._optional("nvmlDeviceGetMigMode")
        self.sliced = bool(mode and mode[0])
        limit = self._optional("nvmlDeviceGetEnforcedPowerLimit")
        self._maximum_watts = LIMIT_FACTOR * limit * WATTS_PER_MILLIWATT if limit else MAXIMUM_WATTS
        self._module = "GH200" in self.name
        self.method = self._probe()
        self._before: float | None = None
        self._seen_us = 0
        self.lowest_watts: float | None = None

    def _optional(self, name: str) -> Any:
        """What a query answers; None where this card does not support it."""
        try:
            return ask(name, self._handle)
        except pynvml.NVMLError:
            return None

    def _probe(self) -> Method | None:
        if not self._module and self._optional("nvmlDeviceGetTotalEnergyConsumption") is not None:
            return "counter"
        try:
            self._watts()
        except pynvml.NVMLError:
            return None
        return "power_integral"

    def used(self, seconds: float) -> Difference:
        """Read, and say what was used since the reading before.

        Args:
            seconds: Time since then.

        Raises:
            pynvml.NVMLError: NVML has to be initialised anew; every other failure is in the answer.
        """
        if self.lost or self.method is None:
            return Difference(problem="lost" if self.lost else "tells neither energy nor power")
        before, self._before = self._before, None
        try:
            self._before = now = self._count() if self.method == "counter" else self._watts()
        except pynvml.NVMLError as exc:
            self.lost = exc.value in GONE
            if exc.value == UNINITIALIZED:
                raise
            return Difference(problem=str(exc))
        if before is None:
            return Difference(problem="no reading at the start of this stretch")
        found = self._between(before, now, seconds)
        if found.joules is not None and seconds >= IDLE_SECONDS:
            watts = found.joules / seconds
            self.lowest_watts = watts if self.lowest_watts is None else min(self.lowest_watts, watts)
        return found

    def _between(self, before: float, now: float, seconds: float) -> Difference:
        if self.method == "counter":
            return difference(
                int(before),
                int(now),
                joules_per_count=JOULES_PER_MILLIJOULE,
                counts=None,
                seconds=seconds,
                maximum_watts=self._maximum_watts,
            )
        if max(before, now) > self._maximum_watts:
            self._before = None if now > self._maximum_watts else self._before
            return Difference(problem=f"{max(before, now):.0f} W is more than {self._maximum_watts:.0f} W")
        return Difference(joules=(before + now) / 2 * seconds)

    def forget(self) -> None:
        """The last reading is of no use: the next stretch begins at the next one."""
        self._before = None

    def _count(self) -> float:
        return float(ask("nvmlDeviceGetTotalEnergyConsumption", self._handle))

    def _watts(self) -> float:
        if not self._module:
            return float(ask("nvmlDeviceGetPowerUsage", self._handle)) * WATTS_PER_MILLIWATT
        field = (pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_POWER_SCOPE_GPU)
        (value,) = ask("nvmlDeviceGetFieldValues", self._handle, [field])
        if value.nvmlReturn != 0:
            raise pynvml.NVMLError(value.nvmlReturn)
        return float(value.value.uiVal) * WATTS_PER_MILLIWATT

    def share(self, *, own_pids: Collection[int] | None, cuda_is_open: bool) -> float | None:
        """The part of this device's work that was ours, 0 to 1; None where that is not known.

        Args:
            own_pids: Our process ids on the host; None in a container.
            cuda_is_open: One of ours has opened CUDA.
        """
        if self.lost or self.sliced:
            return None
        if own_pids is not None:
            samples = self._utilisation()
            if samples is not None:
                since, self._seen_us = self._seen_us, max([self._seen_us, *(one.timestamp_us for one in samples)])
                return share_by_utilisation(samples, own_pids=own_pids, since_us=since)
        pids = self._processes()
        return None if pids is None else share_by_processes(pids, own_pids=own_pids, cuda_is_open=cuda_is_open)

    def _utilisation(self) -> list[Utilisation] | None:
        """Samples since the last ones; None where the card does not support them."""
        for _ in range(2):
            try:
                samples = ask("nvmlDeviceGetProcessUtilization", self._handle, self._seen_us)
            except pynvml.NVMLError as exc:
                if exc.value == NOT_FOUND:
                    return []
                if exc.value == INSUFFICIENT_SIZE:
                    continue
                return None
            return [Utilisation(pid=one.pid, timestamp_us=one.timeStamp, percent=one.smUtil) for one in samples]
        return None

    def _processes(self) -> set[int] | None:
        for name in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v2"):
            try:
                return {process.pid for process in ask(name, self._handle)}
            except pynvml.NVMLError:
                continue
        return None


def _text(value: str | bytes) -> str:
    """Old bindings return bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
