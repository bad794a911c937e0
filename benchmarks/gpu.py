"""A real NVIDIA card under a steady load: its energy counter against its power integrated over time.

Run: `python benchmarks/gpu.py --seconds 60`. Both ways are those of the meter, read once a second. The load is another
process that writes the card's memory over and over through libcuda, with nothing to install; `--load none` leaves it to
somebody else. Power is a mean over the last second on most cards, so the first seconds are let pass.
"""

import argparse
import ctypes
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pynvml

from carbon_sdk.meters.nvml_device import Device, ask

WARM_UP_SECONDS = 10.0
BLOCK_BYTES = 1 << 30
AIM_PERCENT = 2.0


def burn(index: int) -> None:
    """Write a gigabyte of one card's memory until killed."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, address = ctypes.c_void_p(), ctypes.c_uint64()

    def call(name: str, *arguments: object) -> None:
        code = getattr(cuda, name)(*arguments)
        if code:
            raise RuntimeError(f"{name}: CUDA error {code}")

    call("cuInit", 0)
    call("cuCtxCreate_v2", ctypes.byref(context), 0, index)
    call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(BLOCK_BYTES))
    while True:
        for value in range(64):
            call("cuMemsetD32_v2", address, ctypes.c_uint(value), ctypes.c_size_t(BLOCK_BYTES // 4))
        call("cuCtxSynchronize")


@contextmanager
def loaded(kind: str, index: int) -> Iterator[None]:
    """The card works while the block runs."""
    if kind == "none":
        yield
        return
    load = subprocess.Popen([sys.executable, __file__, "--burn", str(index)])
    try:
        yield
        if load.poll() is not None:
            raise SystemExit(f"the load ended with code {load.returncode}")
    finally:
        load.kill()
        load.wait()


def compare(index: int, seconds: float) -> tuple[float, float, float]:
    """Joules by the counter, joules by power over time, and how long that was."""
    counted, integrated = Device(index), Device(index)
    if counted.method != "counter":
        raise SystemExit(f"{counted.name} has no energy counter")
    integrated.method = "power_integral"
    totals = [0.0, 0.0]
    counted.used(0.0)
    integrated.used(0.0)
    begun = before = time.monotonic()
    while before - begun < seconds:
        time.sleep(1.0)
        now = time.monotonic()
        for place, device in enumerate((counted, integrated)):
            used = device.used(now - before)
            if used.joules is None:
                raise SystemExit(f"{device.name}: {used.problem}")
            totals[place] += used.joules
        before = now
    return totals[0], totals[1], before - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--card", type=int, default=0)
    parser.add_argument("--load", choices=("memset", "none"), default="memset")
    parser.add_argument("--burn", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.burn is not None:
        burn(arguments.burn)
    try:
        ask("nvmlInit")
    except pynvml.NVMLError as exc:
        raise SystemExit(f"no NVIDIA card can be read here: {exc}") from exc
    with loaded(arguments.load, arguments.card):
        time.sleep(WARM_UP_SECONDS)
        counted, integrated, seconds = compare(arguments.card, arguments.seconds)
    apart = (integrated - counted) / counted * 100
    print("| s | mean W | counter J | integrated J | apart |\n|---|---|---|---|---|")
    print(f"| {seconds:.1f} | {counted / seconds:.1f} | {counted:.1f} | {integrated:.1f} | {apart:+.2f} % |")
    print(f"\nThe aim is {AIM_PERCENT:g} %. It is {'reached' if abs(apart) <= AIM_PERCENT else 'not reached'}.")
    ask("nvmlShutdown")


if __name__ == "__main__":
    main()
