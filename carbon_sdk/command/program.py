"""Starts a program at once, waits for its end, and passes exit code and signals through.

What the machine's counters say is read first, then the program starts, and what measures it loads while it runs, in a
thread of its own. So little is loaded before: values are named tuples, since dataclasses load `inspect`. The program
runs in our own process group with our own terminal, as it would without us. The loop that watches it waits for signals
alone: its children's ends, what is sent to us, and the next boundary of a window.
"""

import errno
import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from carbon_sdk.command.family import Ended, Family
from carbon_sdk.command.group import Group
from carbon_sdk.command.witness import Witness
from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.meters.baseline import Baseline

PASSED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGWINCH,
    signal.SIGALRM,
)
"""Signals that are the program's: passed on where they were sent to us alone."""
FROM_KERNEL = 0x80  # SI_KERNEL, include/uapi/asm-generic/siginfo.h: the terminal sends to the whole group
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these, and a program that was started by it would too."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # of the shell: POSIX.1-2017, 2.8.2


class ProgramError(CarbonSDKError):
    """The program cannot be started.

    Args:
        problem: Why.
        exit_code: With which a shell would end.
    """

    def __init__(self, problem: str, exit_code: int) -> None:
        super().__init__(problem)
        self.exit_code = exit_code


class Measurement(Protocol):
    """Measures a program that runs, and tells what it used."""

    def begin(self) -> None:
        """The first window begins where the program did."""

    def seconds_to_boundary(self) -> float:
        """How long until the next window closes."""

    def tick(self) -> None:
        """A boundary."""

    def cut(self) -> None:
        """The program stops here, or goes on."""

    def tell(self, ended: Ended, duration_seconds: float) -> None:
        """The program has ended."""


class Program:
    """A program with its process tree, from just before its start.

    Args:
        words: The program and its arguments.
        environment: Its environment.
        mask: The signals that are blocked in it.
        family: Follows its tree.
        group: Its control group, where this user may make one.
        procfs_root: Where /proc is.

    Raises:
        ProgramError: It cannot be started.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        mask: set[int],
        family: Family,
        group: Group | None,
        procfs_root: str = "/proc",
    ) -> None:
        self.words = tuple(words)
        self.environment = environment
        self.family = family
        self._group = group
        entered = group is not None and group.enter()  # what this process uses in it counts as the program's: little
        self._group_fails = not entered
        try:
            self.started = time.time()
            self.baseline = Baseline(environment.get("CARBON_SDK_SYSFS_ROOT", "/sys"), procfs_root)
            self.own_cpu_ns = time.process_time_ns()
            """CPU of this process up to the start."""
            self.pid = _spawn(self.words, environment, mask)
        finally:
            if entered and group is not None:
                group.leave()

    @property
    def followed(self) -> str:
        """How the tree is followed."""
        return "process tree" if self._group_fails else "control group"

    def cpu_ns(self) -> int:
        """CPU nanoseconds of the tree: by its control group, else by what was reaped and what lives."""
        if self._group is not None and not self._group_fails:
            try:
                return self._group.cpu_ns()
            except (OSError, ValueError):  # taken away from us: the tree itself is followed all along
                self._group_fails = True
        return self.family.cpu_ns()


def run(
    words: Sequence[str],
    environment: Mapping[str, str],
    load: Callable[[Program], Measurement],
    *,
    control_group: bool = True,
) -> Ended:
    """Run a program to its end, and let tell what it used.

    Args:
        words: The program and its arguments.
        environment: The program's.
        load: Opens the meters; called in a thread of its own while the program runs.
        control_group: Make one for the program, where this user may.

    Raises:
        ProgramError: It cannot be started.
    """
    waited_for = {*PASSED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    witness = Witness(PASSED)
    try:
        family = Family(apart=(witness.pid,))
        procfs_root = environment.get("CARBON_SDK_PROCFS_ROOT", "/proc")
        group = Group.make(Path(procfs_root)) if control_group else None
        try:
            program = Program(words, environment, before, family, group, procfs_root)
            loading = _Loading(load, program)
            ended = _watch(program, loading, witness, waited_for)
            duration = (time.monotonic_ns() - program.baseline.monotonic_ns) / 1e9
            measurement = loading.wait()
            if measurement is not None:
                measurement.tell(ended, duration)
        finally:
            if group is not None:
                group.close()
    finally:
        witness.close()
    return ended


class _Loading:
    """A measurement that is being made ready by a thread; whoever made it is woken by a signal that it waits for."""

    def __init__(self, load: Callable[[Program], Measurement], program: Program) -> None:
        self._load = load
        self._program = program
        self._loaded: Measurement | None = None
        self._begun = False
        self._waiting = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="carbon_sdk loading", daemon=True)
        self._thread.start()

    def ready(self) -> Measurement | None:
        """The measurement, begun; None while it is not loaded, and where it could not be."""
        if self._loaded is not None and not self._begun:
            self._begun = True
            self._loaded.begin()
        return self._loaded

    def wait(self) -> Measurement | None:
        """The same, once it is loaded."""
        self._thread.join()
        return self.ready()

    def _run(self) -> None:
        gc.disable()  # nothing that is loaded is ever garbage: looking for it takes a tenth of the time
        try:
            self._loaded = self._load(self._program)
        except Exception as exc:  # the program runs, whatever keeps us from measuring it
            sys.stderr.write(f"carbon-sdk: nothing is measured: {type(exc).__name__}: {exc}\n")
        else:
            signal.pthread_kill(self._waiting, signal.SIGCHLD)
        finally:
            gc.freeze()
            gc.enable()


def _spawn(words: Sequence[str], environment: Mapping[str, str], mask: set[int]) -> int:
    """Start a program, found as a shell would find it, with the signals that it would have without us."""

    def spawn(arguments: list[str]) -> int:
        return os.posix_spawnp(arguments[0], arguments, environment, setsigmask=mask, setsigdef=RESTORED)

    try:
        try:
            return spawn([*words])
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
            return spawn(["/bin/sh", *words])  # a script without its first line, as execvp(3) does
    except (FileNotFoundError, ValueError) as exc:  # of an empty name, a ValueError
        raise ProgramError(f"{words[0]}: command not found", NOT_FOUND) from exc
    except OSError as exc:
        raise ProgramError(f"{words[0]}: {exc.strerror}", NOT_EXECUTABLE) from exc


def _watch(program: Program, loading: _Loading, witness: Witness, waited_for: set[signal.Signals]) -> Ended:
    """Wait for the end of the program, and answer signals and boundaries meanwhile."""
    while True:
        measurement = loading.ready()
        if measurement is None:
            info = signal.sigwaitinfo(waited_for)
        else:
            told = signal.sigtimedwait(waited_for, measurement.seconds_to_boundary())
            if told is None:
                measurement.tick()
                continue
            info = told
        if info.si_signo == signal.SIGCHLD:
            for ended in program.family.reap():
                if ended.pid == program.pid:
                    return ended
        else:
            alone = info.si_code != FROM_KERNEL and not witness.got(info.si_signo)
            if alone:
                program.family.signal(program.pid, info.si_signo)
            if info.si_signo == signal.SIGTSTP:
                _stop(measurement)


def _stop(measurement: Measurement | None) -> None:
    """Stop with the program, so that the shell sees its job stopped; go on when it is continued.

    The signal itself is raised again: where nobody could continue us (an orphaned group), the kernel drops it.
    """
    if measurement is not None:
        measurement.cut()
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    if measurement is not None:
        measurement.cut()


def end_as(ended: Ended) -> NoReturn:
    """End this process as the program ended: with its exit code, or by the same signal.

    All is told: whoever waits for the end does not wait until the interpreter has taken down what was loaded.
    """
    if ended.signal_number is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its own core is enough
        number = signal.Signals(ended.signal_number)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
        os._exit(128 + ended.signal_number)  # a signal that does not end a process by default
    os._exit(ended.exit_code or 0)
