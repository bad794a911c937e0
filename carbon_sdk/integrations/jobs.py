"""What worker frameworks have in common: each run of a job is a span of kind `worker`.

Its endpoint is the queue's and the task's name. A run lasts from the first step of the job's function to its last: what
the framework does around it (fetching, decoding, acknowledging) is the process's background.
"""

import sys
from asyncio import CancelledError, get_running_loop
from importlib import import_module

from carbon_sdk import plugins
from carbon_sdk.carbon import Carbon
from carbon_sdk.cpu.clock import Outcome
from carbon_sdk.integrations.baggage import QUEUE_FRESH_SECONDS, CurrentWriter, Reader, reader_of
from carbon_sdk.process import FIRST_READING_SECONDS, default
from carbon_sdk.spans.opening import Opening, outcome_of
from carbon_sdk.spans.span import Span


class Jobs:
    """The jobs of one worker process.

    Args:
        carbon: A `Carbon` built by hand; the process default when None.
    """

    def __init__(self, carbon: Carbon | None = None) -> None:
        self._carbon = carbon
        self._writer = CurrentWriter(carbon)
        self._reader: Reader | None = None
        self._read = False

    def start(self) -> None:
        """Start measuring, and wait for the meters' first reading: a job before it would have no joules."""
        (self._carbon or default()).start(wait_seconds=FIRST_READING_SECONDS)

    async def astart(self) -> None:
        """`start`, without blocking the loop that awaits it; each task that the loop makes from then on is followed."""
        await get_running_loop().run_in_executor(None, self.start)
        clock = (self._carbon or default()).clock
        if clock.running:
            clock.follow_loop(every_task=True)

    def load(self) -> None:
        """Load what `start` would, in a process whose children will run the jobs: each of them has it then."""
        carbon = self._carbon or default()
        if carbon.disabled:
            return
        for module in ("carbon_sdk.assembly", "structlog"):
            import_module(module)
        for group in ("carbon_sdk.providers", "carbon_sdk.sinks"):
            plugins.names(group)
        import_module("carbon_sdk.machine").know_machine(carbon.settings)

    def mark(self, queue: str, before: str | None = None) -> str | None:
        """The `baggage` of a message that is sent to a queue; None where it needs none.

        Args:
            queue: Its name.
            before: What the message has under that name already.
        """
        return self._writer().message(queue, before)

    def fault(self, where: str, error: Exception) -> None:
        """Tell of an error of ours."""
        (self._carbon or default()).log.fault(where, error)

    @property
    def reader(self) -> Reader | None:
        """Who reads the `baggage` of messages; None where the settings believe nobody."""
        if not self._read:
            carbon = self._carbon or default()
            self._read, self._reader = True, reader_of(carbon, fresh_seconds=QUEUE_FRESH_SECONDS)
        return self._reader

    def begin(
        self, queue: str, task: str, *, repeated: bool = False, baggage: object = None, suspends: bool = True
    ) -> "Job":
        """A run begins on this thread, in this task.

        Args:
            queue: Where the job came from.
            task: What it does.
            repeated: An earlier run of the same job did not end it.
            baggage: What its message carries under that name; what is no text is none.
            suspends: The caller is a coroutine, or may be called by one that goes on elsewhere before the run ends.
        """
        carbon = self._carbon or default()
        carbon.start()
        found = (carbon.clock, carbon) if carbon.clock.running else None
        reader = self.reader if isinstance(baggage, str) else None
        origin = None if reader is None else reader.read(str(baggage))
        opening = Opening(f"{queue} {task}", found, "worker", gpu=False, origin=origin)
        opening.resume(sys._getframe() if suspends else None)
        return Job(opening, repeated=repeated)

    def close(self) -> None:
        """Hand everything over; it may take as long as `close_seconds` of the settings."""
        (self._carbon or default()).close()

    async def aclose(self) -> None:
        """`close`, without blocking the loop that awaits it."""
        await (self._carbon or default()).aclose()


class Job:
    """One run of a job.

    Args:
        opened: Its span.
        repeated: An earlier run of the same job did not end it.
    """

    __slots__ = ("_opened", "_repeated", "error")

    def __init__(self, opened: Opening, *, repeated: bool) -> None:
        self._opened: Opening | None = opened
        self._repeated = repeated
        self.error: BaseException | None = None
        """What the run raised, where that is known before it ends."""

    @property
    def span(self) -> Span | None:
        """Its span; None after the end."""
        return None if self._opened is None else self._opened.span

    def end(self, outcome: Outcome | None = None) -> None:
        """The run has ended; a second call does nothing.

        Args:
            outcome: How; by its `error` when None.
        """
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close(outcome or outcome_of(self.error), repeated=self._repeated)

    def abandon(self, _: object = None) -> None:
        """Whatever ran it is gone without having ended it."""
        self.error = self.error or CancelledError()
        self.end()
