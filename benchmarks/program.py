"""What `carbon-sdk run` adds to a build: the same build with and without it, in turns.

The project is a few C files, written anew, built by `make -j2`; their number is set so that a build takes as long as is
asked for. Each pair of builds runs back to back, the first of them with and without by turns; what is told is the
median of the pairs' differences, and the difference of the least, which a busy machine disturbs less. A command that
does nothing shows what starting, loading and ending alone take, one that sleeps what is added where a core is free.

Run: `python -m benchmarks.program [--seconds 10] [--pairs 7]`, from the root of the repository. Needs make and cc.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = (str(Path(sys.executable).parent / "carbon-sdk"), "run", "--")
FUNCTIONS = 400


def written(folder: Path, units: int) -> list[str]:
    """A project of so many files, and the command that builds it."""
    body = "".join(f"int NAME_{n}(int x) {{ return x * {n} + (x >> {n % 7}); }}\n" for n in range(FUNCTIONS))
    for unit in range(units):
        (folder / f"u{unit}.c").write_text(body.replace("NAME", f"f{unit}"))
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    objects = " ".join([*(f"u{unit}.o" for unit in range(units)), "main.o"])
    (folder / "Makefile").write_text(
        f"main: {objects}\n\tcc -o $@ $^\n%.o: %.c\n\tcc -O1 -c -o $@ $<\nclean:\n\trm -f *.o main\n"
    )
    return ["make", "-s", "-j2", "-C", str(folder)]


def taken(words: list[str]) -> tuple[float, float]:
    """Seconds, and CPU seconds with all children, of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, "CARBON_SDK_ZONE": "DE"})
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def built(build: list[str], *around: str) -> tuple[float, float]:
    """The same of a build from nothing."""
    subprocess.run([*build, "clean"], check=True)
    return taken([*around, *build])


def main() -> None:
    """Build in turns and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0, help="how long a build takes")
    parser.add_argument("--pairs", type=int, default=7)
    arguments = parser.parse_args()
    print(f"CPython {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample, _ = built(written(folder, 20))
        build = written(folder, max(2, round(20 * arguments.seconds / sample)))
        built(build, *RUN)
        bare, run, added_cpu = [], [], []
        for pair in range(arguments.pairs):
            ways: list[tuple[str, ...]] = [(), RUN] if pair % 2 else [RUN, ()]
            found = {way: built(build, *way) for way in ways}
            bare.append(found[()][0])
            run.append(found[RUN][0])
            added_cpu.append(found[RUN][1] - found[()][1])
    nothing = [taken([*RUN, "true"]) for _ in range(9)]
    added = [with_it - without for with_it, without in zip(run, bare, strict=True)]
    low, middle, high = statistics.quantiles(added, n=4)
    least = min(run) - min(bare)
    share = 100 * middle / statistics.median(bare)
    print(f"a build of {statistics.median(bare):.2f} s: {middle * 1e3:+.0f} ms ({share:+.2f} %), ", end="")
    print(f"quartiles {low * 1e3:+.0f} and {high * 1e3:+.0f} ms; CPU {statistics.median(added_cpu) * 1e3:+.0f} ms")
    print(f"the least of each: {min(bare):.2f} s, {least * 1e3:+.0f} ms ({100 * least / min(bare):+.2f} %)")
    for words in (["sleep", "2"], [*RUN, "sleep", "2"]):
        print(f"{' '.join(words[-4:])}: {statistics.median(taken(words)[0] for _ in range(9)) * 1e3:.0f} ms")
    seconds, cpu = (statistics.median(values) for values in zip(*nothing, strict=True))
    print(f"`true`: {seconds * 1e3:.0f} ms, CPU {cpu * 1e3:.0f} ms; load now {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
