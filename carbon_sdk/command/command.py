"""Runs a command, measures its whole process tree, and passes exit code and signals through.

The command runs in our own process group with our own terminal, as it would without us. The loop that watches it waits
for signals alone: its children's ends, what is sent to us, and the next boundary of a window.
"""

import errno
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from carbon_sdk.command.books import NANOSECONDS, Books, open_books
from carbon_sdk.command.family import Ended, Family
from carbon_sdk.command.group import Group
from carbon_sdk.command.witness import Witness
from carbon_sdk.emission import Emission
from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.log import Log
from carbon_sdk.recent import WindowFigure
from carbon_sdk.settings import Settings
from carbon_sdk.sinks.sink import Total

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
"""Signals that are the command's: passed on where they were sent to us alone."""
FROM_KERNEL = 0x80  # SI_KERNEL, include/uapi/asm-generic/siginfo.h: the terminal sends to the whole group
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these, and a program that was started by it would too."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # of the shell: POSIX.1-2017, 2.8.2


class CommandError(CarbonSDKError):
    """The command cannot be started.

    Args:
        problem: Why.
        exit_code: With which a shell would end.
    """

    def __init__(self, problem: str, exit_code: int) -> None:
        super().__init__(problem)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended, and what it used.

    Args:
        words: The command.
        ended: How it ended.
        started_at: UTC.
        duration_seconds: From its start to its end.
        cpu_seconds: CPU seconds of its whole tree, those that still run included up to now.
        records: The records of the run: the command's, this process's, the machine's.
        windows: What each window of the last ten minutes held of it.
    left: Descendants that still run, name by number.
        followed: How the tree was followed.
    """

    words: tuple[str, ...]
    ended: Ended
    started_at: datetime
    duration_seconds: float
    cpu_seconds: float
    records: tuple[Emission, ...]
    windows: tuple[WindowFigure, ...]
    left: Mapping[int, str]
    followed: str

    @property
    def record(self) -> Emission:
        """The command's own record."""
        return next(record for record in self.records if record.kind == "worker")


Progress = Callable[[float, Total | None], None]
"""Told seconds since the start and what was used so far."""


def run(
    words: Sequence[str],
    settings: Settings,
    log: Log,
    *,
    environment: Mapping[str, str],
    progress: Progress | None = None,
    progress_seconds: float | None = None,
    control_group: bool = True,
) -> Result:
    """Run a command to its end.

    Args:
        words: The command and its arguments.
        settings: Meters, place, price.
        log: Takes problems.
        environment: The command's.
        progress: Told how it goes.
        progress_seconds: How often.
        control_group: Make one for the command, where this user may.

    Raises:
        CommandError: It cannot be started.
    """
    waited_for = {*PASSED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    witness = Witness(PASSED)
    try:
        family = Family(apart=(witness.pid,))
        group = Group.make(settings.procfs_root) if control_group else None
        try:
            with open_books(settings, os.path.basename(words[0]), log, pids=family.pids) as begin:
                started = _Started(begin, family, group)
                pid = started.spawn(words, environment, before)
                ended = _watch(pid, started, witness, waited_for, progress, progress_seconds)
                return started.finish(words, ended)
        finally:
            if group is not None:
                group.close()
    finally:
        witness.close()


class _Started:
    """A command with its books, from just before its start."""

    def __init__(self, begin: Callable[[Callable[[], int]], Books], family: Family, group: Group | None) -> None:
        self.family = family
        self._group = group
        self._group_fails = group is None
        self.books = begin(self.cpu_ns)
        self.started_at = datetime.now(UTC)
        self.started = time.monotonic()

    def cpu_ns(self) -> int:
        """CPU nanoseconds of the tree: by its control group, else by what was reaped and what lives."""
        if self._group is not None and not self._group_fails:
            try:
                return self._group.cpu_ns()
            except (OSError, ValueError):  # taken away from us: the tree itself is followed all along
                self._group_fails = True
        return self.family.cpu_ns()

    def spawn(self, words: Sequence[str], environment: Mapping[str, str], mask: set[int]) -> int:
        """Start the command, in its control group where there is one."""
        entered = self._group is not None and self._group.enter()
        self._group_fails = not entered
        try:
            return _spawn(words, environment, mask)
        finally:
            if entered and self._group is not None:
                self._group.leave()

    def finish(self, words: Sequence[str], ended: Ended) -> Result:
        """Close the books."""
        duration = time.monotonic() - self.started
        cpu_ns = self.cpu_ns()
        records = self.books.close(duration_seconds=duration, failed=ended.exit_code != 0)
        own = [record for record in records if record.kind == "worker"]
        return Result(
            words=tuple(words),
            ended=ended,
            started_at=self.started_at,
            duration_seconds=duration,
            cpu_seconds=cpu_ns / NANOSECONDS,
            records=tuple(records),
            windows=tuple(window for record in own for window in self.books.recent.of(record)),
            left=self.family.living(),
            followed="process tree" if self._group_fails else "control group",
        )


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
    except FileNotFoundError as exc:
        raise CommandError(f"{words[0]}: command not found", NOT_FOUND) from exc
    except OSError as exc:
        raise CommandError(f"{words[0]}: {exc.strerror}", NOT_EXECUTABLE) from exc


def _watch(
    pid: int,
    started: _Started,
    witness: Witness,
    waited_for: set[signal.Signals],
    progress: Progress | None,
    progress_seconds: float | None,
) -> Ended:
    """Wait for the end of the command, and answer signals and boundaries meanwhile."""
    books, family = started.books, started.family
    told = 0
    while True:
        info = signal.sigtimedwait(waited_for, books.seconds_to_boundary())
        if info is None:
            books.tick()
            seconds = time.monotonic() - started.started
            if progress is not None and progress_seconds is not None and seconds >= (told + 1) * progress_seconds:
                told = int(seconds // progress_seconds)
                progress(seconds, books.total())
        elif info.si_signo == signal.SIGCHLD:
            for ended in family.reap():
                if ended.pid == pid:
                    return ended
        else:
            alone = info.si_code != FROM_KERNEL and not witness.got(info.si_signo)
            if alone:
                family.signal(pid, info.si_signo)
            if info.si_signo == signal.SIGTSTP:
                _stop(books)


def _stop(books: Books) -> None:
    """Stop with the command, so that the shell sees its job stopped; go on when it is continued.

    The signal itself is raised again: where nobody could continue us (an orphaned group), the kernel drops it.
    """
    books.cut()
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    books.cut()


def end_as(ended: Ended) -> int:
    """The exit code to end with; where a signal ended the command, this process ends by the same."""
    if ended.signal_number is None:
        return ended.exit_code or 0
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its own core is enough
    number = signal.Signals(ended.signal_number)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + ended.signal_number  # a signal that does not end a process by default
