"""One answer for all workers of a host: a folder of JSON files in front of a provider.

The chain reads `Cached(Shared(provider, folder))`. Each worker keeps its own map; when that is due, it looks here
first. A lock per question lets one worker ask; the others wait for its answer. A failure is shared too, so that eight
workers do not all ask a source that is down. A file is written beside and renamed, so nobody reads half of one, and
what cannot be read counts as nothing. Where the folder cannot be used, each worker asks for itself, and that is said
once.
"""

import asyncio
import hashlib
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
from filelock import FileLock, Timeout

from carbon_sdk.errors import IntensityError
from carbon_sdk.intensity.freshness import FIRST_REST_SECONDS, LONGEST_FRESH, UNKNOWN_ZONE_SECONDS, backoff_seconds
from carbon_sdk.intensity.intensity import (
    EmissionScope,
    Intensity,
    IntensityProvider,
    Place,
    RefusedCredentialsError,
    Signal,
    UnknownZoneError,
)
from carbon_sdk.intensity.remedy import Fault, to_logger
from carbon_sdk.intensity.told import told

WAIT_SECONDS = 40.0
"""How long a worker waits for another's question, which ends within the HTTP client's three attempts."""
LOOK_SECONDS = 0.05
"""How often it looks whether the other has finished."""
EDITION = 2
"""Of the file's format; a file of another edition is not read."""
LONGEST_BYTES = 16 * 1024

_ERRORS: Mapping[str, type[IntensityError]] = {
    kind.__name__: kind for kind in (IntensityError, UnknownZoneError, RefusedCredentialsError)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """What one worker left for the others: a value, or why there is none."""

    asked_at: datetime
    value: Intensity | None
    problem: IntensityError | None
    until: datetime
    failures: int


class Shared:
    """A provider whose answers all workers of a host share through a folder.

    Args:
        provider: Whom to ask. Its `history` and `forecast` are passed through.
        folder: A private folder; made with mode 0700 where it is missing.
        utcnow: Clock, which all workers of a host have in common.
        chance: Random numbers from 0 to 1.
        fault: Told when the folder cannot be used.
    """

    def __init__(
        self,
        provider: IntensityProvider,
        folder: Path,
        *,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
        fault: Fault = to_logger,
    ) -> None:
        self._provider = provider
        self._folder = folder
        self._utcnow = utcnow
        self._chance = chance
        self._fault = fault

    @property
    def name(self) -> str:
        """The name of the provider within."""
        return self._provider.name

    @property
    def signal(self) -> Signal:
        """The signal of the provider within."""
        return self._provider.signal

    @property
    def emission_scope(self) -> EmissionScope:
        """The scope of the provider within."""
        return self._provider.emission_scope

    async def intensity(self, place: Place) -> Intensity:
        """What some worker of this host has learnt, while it holds; else this one asks.

        Raises:
            IntensityError: The source has no usable answer, or had none for another worker a moment ago.
        """
        path = self._path(place)
        try:
            await anyio.to_thread.run_sync(self._make_folder)
            note = await anyio.to_thread.run_sync(self._read, path)
            if not self._holds(note):
                note = await self._ask_alone(place, path)
        except OSError as exc:
            self._tell(exc)
            return await told(self.name, self._provider.intensity(place))
        assert note is not None
        if note.problem is not None:
            raise note.problem
        assert note.value is not None
        return note.value

    async def history(self, place: Place, start: datetime, end: datetime) -> Sequence[Intensity]:
        """The source's own.

        Raises:
            IntensityError: It has none.
        """
        return await self._passed("history", place, start, end)

    async def forecast(self, place: Place) -> Sequence[Intensity]:
        """The source's own.

        Raises:
            IntensityError: It has none.
        """
        return await self._passed("forecast", place)

    async def aclose(self) -> None:
        """Close the provider; the folder stays for the other workers."""
        await self._provider.aclose()

    async def _passed(self, what: str, *asked: object) -> Sequence[Intensity]:
        ask = getattr(self._provider, what, None)
        if ask is None:
            raise IntensityError(self.name, f"has no {what}")
        series: Sequence[Intensity] = await told(self.name, ask(*asked))
        return series

    async def _ask_alone(self, place: Place, path: Path) -> _Note:
        """One worker asks; whoever finds the lock taken looks for its answer instead."""
        lock = FileLock(path.with_suffix(".lock"), thread_local=False, mode=0o600)
        waited = 0.0
        while not await anyio.to_thread.run_sync(_taken, lock):
            if waited >= WAIT_SECONDS:
                raise IntensityError(self.name, f"another worker has not finished asking within {WAIT_SECONDS:g} s")
            await asyncio.sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS
        try:
            note = await anyio.to_thread.run_sync(self._read, path)
            if note is not None and self._holds(note):
                return note
            asked = await self._ask(place, note.failures if note is not None else 0)
            try:
                await anyio.to_thread.run_sync(self._write, path, asked)
            except OSError as exc:
                self._tell(exc)
            except ValueError:
                pass  # not a number that JSON knows: whoever asked refuses it, and nobody else shall see it
            return asked
        finally:
            lock.release()

    async def _ask(self, place: Place, failures: int) -> _Note:
        try:
            value = await told(self.name, self._provider.intensity(place))
        except IntensityError as exc:
            now = self._utcnow()
            pause = timedelta(seconds=self._pause_seconds(exc, failures + 1))
            return _Note(asked_at=now, value=None, problem=exc, until=now + pause, failures=failures + 1)
        now = self._utcnow()
        rest = now + timedelta(seconds=FIRST_REST_SECONDS)
        return _Note(asked_at=now, value=value, problem=None, until=max(value.valid_until, rest), failures=0)

    def _pause_seconds(self, problem: IntensityError, failures: int) -> float:
        if isinstance(problem, UnknownZoneError):
            return UNKNOWN_ZONE_SECONDS
        return backoff_seconds(
            failures,
            self._chance(),
            credentials=isinstance(problem, RefusedCredentialsError),
            asked_for=problem.retry_after_seconds,
        )

    def _holds(self, note: _Note | None) -> bool:
        now = self._utcnow()
        return note is not None and note.asked_at <= now < min(note.until, note.asked_at + LONGEST_FRESH)

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, place: Place) -> Path:
        asked = json.dumps([EDITION, self.name, self.signal, self.emission_scope, asdict(place)], sort_keys=True)
        return self._folder / f"{self.name}-{hashlib.sha256(asked.encode()).hexdigest()[:24]}.json"

    def _read(self, path: Path) -> _Note | None:
        try:
            with path.open("rb") as file:
                return _note(self.name, json.loads(file.read(LONGEST_BYTES)))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def _write(self, path: Path, note: _Note) -> None:
        beside = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(_object(note), file, allow_nan=False)
        beside.replace(path)

    def _tell(self, exc: OSError) -> None:
        reason = exc.strerror or type(exc).__name__
        self._fault(
            "intensity.cache",
            f"the folder {self._folder} cannot be used ({reason}); each worker asks for itself",
            remedy="Make it writable, or set CARBON_SDK_INTENSITY_CACHE to one that is",
        )


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def _object(note: _Note) -> dict[str, Any]:
    value = None
    if note.value is not None:
        value = asdict(note.value)
        for name in ("observed_at", "valid_until"):
            value[name] = value[name].isoformat()
    problem = note.problem
    return {
        "edition": EDITION,
        "asked_at": note.asked_at.isoformat(),
        "until": note.until.isoformat(),
        "failures": note.failures,
        "value": value,
        "problem": None if problem is None else [type(problem).__name__, problem.problem, problem.remedy],
    }


def _note(source: str, written: Any) -> _Note | None:
    """What a file holds; a KeyError, TypeError or ValueError where it holds anything else."""
    if written["edition"] != EDITION:
        return None
    until = datetime.fromisoformat(written["until"])
    asked_at = datetime.fromisoformat(written["asked_at"])
    value = problem = None
    if written["value"] is None:
        kind, text, remedy = written["problem"]
        wait = (until - asked_at).total_seconds()
        problem = _ERRORS[kind](
            source, str(text), retry_after_seconds=wait, remedy=None if remedy is None else str(remedy)
        )
    else:
        fields = dict(written["value"])
        for name in ("observed_at", "valid_until"):
            fields[name] = datetime.fromisoformat(fields[name]).astimezone(UTC)
        value = Intensity(**fields)
    return _Note(
        asked_at=asked_at.astimezone(UTC),
        value=value,
        problem=problem,
        until=until.astimezone(UTC),
        failures=int(written["failures"]),
    )
