"""What `carbon-sdk run` adds to a build: its own CPU, and the same build with and without it, in turns.

The project is a few C files, written anew, built by `make -j2`; their number is set so that a build takes as long as is
asked for. They differ in length as the files of a project do: equal ones are compiled in step, and then the end of the
build waits for whatever delays one of them (`--equal` shows it).

Its **own CPU** is what the process `carbon-sdk` used, without the program's: the kernel's clock of that process, read
when it has ended. It hardly varies. The builds' **durations** vary by more than is added to them, so pairs run back to
back, the first of them with and without by turns, and the median of their differences is told beside what two builds
without it differ by. A command that does nothing shows what starting, loading and ending alone take, one that sleeps
what is added where a core is free.

All runs of Python find their bytecode compiled, as in an installation, whatever the environment says.
Run: `python -m benchmarks.program [--seconds 10] [--pairs 7] [--equal]`, from the root of the repository. Needs make
and cc.
"""

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

RUN = (str(Path(sys.executable).parent / "carbon-sdk"), "run", "--")
FUNCTIONS = 400
"""Of a file, the geometric mean; the files' logarithms of it have a standard deviation of `SPREAD`."""
SPREAD = 0.8
RUNS = 9


def written(folder: Path, units: int, spread: float) -> list[str]:
    """A project of so many files, and the command that builds it."""
    chance = random.Random(1)
    for unit in range(units):
        functions = range(round(FUNCTIONS * chance.lognormvariate(0.0, spread)))
        body = "".join(f"int f{unit}_{n}(int x) {{ return x * {n} + (x >> {n % 7}); }}\n" for n in functions)
        (folder / f"u{unit}.c").write_text(body)
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    objects = " ".join([*(f"u{unit}.o" for unit in range(units)), "main.o"])
    (folder / "Makefile").write_text(
        f"main: {objects}\n\tcc -o $@ $^\n%.o: %.c\n\tcc -O1 -c -o $@ $<\nclean:\n\trm -f *.o main\n"
    )
    return ["make", "-s", "-j2", "-C", str(folder)]


def environment(bytecode: Path) -> dict[str, str]:
    """This process's, with a zone and with bytecode that is kept."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "CARBON_SDK_ZONE": "DE", "PYTHONPYCACHEPREFIX": str(bytecode)}


def taken(words: list[str], env: Mapping[str, str]) -> tuple[float, float]:
    """Seconds that a command took, and CPU seconds of its own process, without its children's."""
    started = time.perf_counter()
    process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.perf_counter() - started
    own_ns = time.clock_gettime_ns((~process.pid << 3) | 2)  # as clock_getcpuclockid(3) makes it
    if process.wait():
        raise SystemExit(f"{words} ended with {process.returncode}")
    return seconds, own_ns / 1e9


def built(build: list[str], env: Mapping[str, str], *around: str) -> tuple[float, float]:
    """The same of a build from nothing."""
    subprocess.run([*build, "clean"], check=True)
    return taken([*around, *build], env)


def main() -> None:
    """Build in turns and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0, help="how long a build takes")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--equal", action="store_true", help="files of one length")
    arguments = parser.parse_args()
    spread = 0.0 if arguments.equal else SPREAD
    cpus = os.cpu_count() or 1
    print(f"CPython {platform.python_version()}, {cpus} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = environment(folder / "bytecode")
        taken([*RUN, "true"], env)  # compiles
        sample, _ = built(written(folder, 20, spread), env)
        build = written(folder, max(2, round(20 * arguments.seconds / sample)), spread)
        built(build, env, *RUN)
        bare, run, own = [], [], []
        for pair in range(arguments.pairs):
            ways: list[tuple[str, ...]] = [(), RUN] if pair % 2 else [RUN, ()]
            found = {way: built(build, env, *way) for way in ways}
            bare.append(found[()][0])
            run.append(found[RUN][0])
            own.append(found[RUN][1])
        tell_build(bare, run, own, cpus)
        for words in (["sleep", "2"], [*RUN, "sleep", "2"], [*RUN, "true"], [sys.executable, "-c", "pass"]):
            runs = [taken(words, env) for _ in range(RUNS)]
            seconds, cpu = (1e3 * statistics.median(values) for values in zip(*runs, strict=True))
            said = " ".join(words).replace(RUN[0], "carbon-sdk").replace(sys.executable, "python")
            print(f"{said}: {seconds:.0f} ms, own CPU {cpu:.0f} ms")
    print(f"load now {os.getloadavg()[0]:.1f}")


def tell_build(bare: list[float], run: list[float], own: list[float], cpus: int) -> None:
    """Print what the runs of `carbon-sdk` cost, surest first."""
    seconds, cpu = statistics.median(bare), statistics.median(own)
    added = [with_it - without for with_it, without in zip(run, bare, strict=True)]
    apart = statistics.median(abs(one - seconds) for one in bare)
    print(f"a build of {seconds:.2f} s, {len(bare)} pairs")
    print(f"own CPU {cpu * 1e3:.0f} ms ({min(own) * 1e3:.0f} to {max(own) * 1e3:.0f}): ", end="")
    print(f"{100 * cpu / seconds / cpus:.2f} % of {cpus} CPUs")
    middle, least = statistics.median(added), min(run) - min(bare)
    print(f"added time, median of pairs {middle * 1e3:+.0f} ms ({100 * middle / seconds:+.2f} %); ", end="")
    print(f"of the least of each {least * 1e3:+.0f} ms ({100 * least / min(bare):+.2f} %); ", end="")
    print(f"builds without it lie {apart * 1e3:.0f} ms from their median")


if __name__ == "__main__":
    main()
