"""The door of the stores: what is taken in, what is answered, and what a store must be able to do.

A store keeps each record once by its key (project, instance, sequence). Sequences of an instance count upward without
holes and come in order, so a record is a repetition exactly if its sequence is not above the highest one held. Holes
are taken as they come: a sender whose spool overflowed leaves one, and so does a record that was refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

import pyarrow as pa

from carbon_sdk.collector.figure import Figure
from carbon_sdk.collector.report import Dimension, Query
from carbon_sdk.errors import CarbonSDKError

Outcome = Literal["stored", "known", "refused", "kept"]
"""What became of a record. `kept`: its schema is newer, or it stands behind such a record; the sender keeps it."""
STORED, KNOWN, REFUSED, KEPT = range(4)
OUTCOMES: tuple[Outcome, ...] = ("stored", "known", "refused", "kept")

LASTING = "codecarbon-"
"""Instances of this name are never forgotten: an import may come again after years."""

Format = Literal["parquet", "csv", "ndjson"]


class StoreError(CarbonSDKError):
    """The store cannot do this; the message says why and what to do."""


class BusyError(StoreError):
    """The store cannot take this now; the sender keeps it and comes back.

    Args:
        problem: Why.
        retry_after_seconds: When to come back.
    """

    def __init__(self, problem: str, *, retry_after_seconds: int) -> None:
        super().__init__(problem)
        self.retry_after_seconds = retry_after_seconds


class QueryError(StoreError):
    """The question cannot be answered as asked; the message says how it can be."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """Checked records of one request, in columns. Row i is record `positions[i]` of the body.

    Args:
        accounts: (service, kind, root, name) of each row.
        provenances: The provenance of each row.
        instances: Who sent each row. Within the batch, the sequences of one instance ascend.
        machines: On which machine.
        sequences: Its number.
        plain: The remaining columns: times in microseconds, counts, units, numbers.
        positions: Where each row stood in the body.
        outcomes: One for each record of the body; `STORED` until decided otherwise.
        reasons: Why a record was not stored, by its place in the body.
    """

    accounts: list[tuple[str, ...]]
    provenances: list[tuple[object, ...]]
    instances: list[str]
    machines: list[str]
    sequences: list[int]
    plain: pa.RecordBatch
    positions: Sequence[int]
    outcomes: bytearray
    reasons: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sequences)

    def refuse(self, rows: Mapping[int, str]) -> None:
        """Refuse rows, each for its reason, and leave the others in the batch."""
        for row, reason in rows.items():
            self.decide(row, REFUSED, reason)
        if rows:
            self.keep([row for row in range(len(self)) if row not in rows])

    def keep(self, rows: list[int]) -> None:
        """Leave only these rows in the batch, in this order."""
        self.accounts = [self.accounts[row] for row in rows]
        self.provenances = [self.provenances[row] for row in rows]
        self.instances = [self.instances[row] for row in rows]
        self.machines = [self.machines[row] for row in rows]
        self.sequences = [self.sequences[row] for row in rows]
        self.positions = [self.positions[row] for row in rows]
        self.plain = self.plain.take(pa.array(rows, pa.int64()))

    def release(self) -> None:
        """Let go of the texts: the store has numbers for them."""
        self.accounts, self.provenances, self.instances, self.machines = [], [], [], []

    def decide(self, row: int, outcome: int, reason: str | None = None) -> None:
        """Say what becomes of a row."""
        position = self.positions[row]
        self.outcomes[position] = outcome
        if reason is not None:
            self.reasons[position] = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project that has records."""

    name: str
    services: int
    records: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which raw records to hand out.

    Args:
        project: Of which project.
        start: Windows that start here or later, UTC.
        end: Windows that start before this, UTC.
        filters: Only what has one of these values; None stands for unknown. Every dimension but `domain`, which is
            none of a record.
        limit: At most so many.
        after: Continue behind this place: what the last page said.
    """

    project: str
    start: datetime
    end: datetime
    filters: Mapping[Dimension, tuple[str | None, ...]] = field(default_factory=dict)
    limit: int = 100_000
    after: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """A stretch of the past priced again, beside the first price, never instead of it.

    Args:
        repricing_id: Its number; a later one stands above an earlier one.
        made_at: When it was made, UTC.
        source: Whose intensities were used.
        start: From here, UTC.
        end: Up to here, UTC.
        slots: Quarters of an hour, per account and provenance, that have a new price.
    """

    repricing_id: int
    made_at: datetime
    source: str
    start: datetime
    end: datetime
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondPrice:
    """What a record would weigh by its newest repricing.

    Args:
        repricing_id: Which.
        made_at: When it was made, UTC.
        source: Whose intensities were used.
        g_per_kwh: Grams CO2e per kWh, without PUE.
    """

    repricing_id: int
    made_at: datetime
    source: str
    g_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrice:
    """What a kilowatt-hour weighed in a zone during one quarter of an hour, for the records that this price fits.

    Args:
        zone: The zone as it stands in the records.
        place: The place that they asked for.
        signal: The signal of their price, which is that of the new one.
        scope: Its emission scope, likewise.
        quality: The quality of their price.
        slot: Start of the quarter, UTC.
        g_per_kwh: Grams CO2e per kWh, without PUE.
    """

    zone: str
    place: str | None
    signal: str
    scope: str
    quality: str
    slot: datetime
    g_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenIntensity:
    """What a kilowatt-hour weighed for a service in its newest record of a zone.

    Args:
        service: The service.
        zone: The zone that answered; None where it is unknown.
        g_per_kwh: Grams CO2e per kWh, without PUE.
        source: Who said so.
        quality: Its quality.
        signal: average or marginal.
        scope: lifecycle or direct.
        observed_at: Start of its validity, UTC; None where it is unknown.
        valid_until: End of its validity, UTC; None where it is unknown.
        seen_at: End of the record, UTC.
    """

    service: str
    zone: str | None
    g_per_kwh: float
    source: str | None
    quality: str | None
    signal: str | None
    scope: str | None
    observed_at: datetime | None
    valid_until: datetime | None
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the store is, for /readyz and /metrics.

    Args:
        problem: Why it takes no records; None when it does.
        waiting_records: Acknowledged records that queries do not see yet.
        stored_records: Since the start.
        known_records: Repetitions, since the start.
        refused_records: By the store's limits, since the start.
        journal_bytes: Length of the journal.
        store_bytes: Length of the store's file.
        commits: Groups written since the start.
        accounts: Accounts held in memory.
        provenances: Provenances held in memory.
        instances: Instances held in memory.
    """

    problem: str | None
    waiting_records: int
    stored_records: int
    known_records: int
    refused_records: int
    journal_bytes: int
    store_bytes: int
    commits: int
    accounts: int
    provenances: int
    instances: int


class Store(Protocol):
    """Keeps records and answers questions. All methods are async and may be called from one event loop at a time."""

    async def ingest(self, project: str, batch: Batch, /) -> None:
        """Keep what is new; on return it is on disk, and the batch's outcomes say what became of each record.

        Raises:
            BusyError: Nothing of this batch was kept.
        """

    async def settled(self) -> None:
        """Return when everything that was acknowledged can be seen by queries."""

    async def figures(self, query: Query, /) -> Sequence[Figure]:
        """Answer one question of `report`.

        Raises:
            QueryError: It cuts through what is kept more coarsely.
        """

    async def units(self, project: str, start: datetime, end: datetime, /) -> Mapping[str, Mapping[str, float]]:
        """What the services of a project counted from one quarter of an hour up to another: service, unit, amount.

        Raises:
            QueryError: It cuts through what is kept more coarsely.
        """

    async def projects(self) -> Sequence[Project]:
        """The projects that have records."""

    async def records(self, selection: Selection, /) -> pa.Table:
        """Raw records with every field of `Emission` as a column, oldest first, and the column `place` to page by."""

    async def record(self, project: str, instance: str, sequence: int, /) -> tuple[pa.Table, SecondPrice | None]:
        """The raw record of a key, as one row or none, and its second price, if it has one."""

    async def intensities(self, project: str, /) -> Sequence[SeenIntensity]:
        """The newest intensity of each service and zone, signal and scope apart, by service and zone."""

    async def reprice(self, project: str, source: str, prices: Sequence[NewPrice], /) -> Repricing:
        """Price stored energy again; the first price stays."""

    async def repricings(self, project: str, /) -> Sequence[Repricing]:
        """The repricings of a project, newest first."""

    def now(self) -> float:
        """Seconds since 1970, never earlier than what the store has seen: a clock that was set back refuses nobody."""

    def oldest(self) -> float:
        """Windows that start before this are refused, for those who sent them may be forgotten; seconds since 1970.

        It follows the newest record, not the clock alone: a clock that is set forward refuses nobody.
        """

    def health(self) -> Health:
        """How it is."""

    async def aclose(self) -> None:
        """Write out what waits, then close; a second call does nothing."""
