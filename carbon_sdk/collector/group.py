"""Batches that wait together become one group: what is new in them, in numbers, ready for the journal and the store."""

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from carbon_sdk.collector.columns import ACCOUNT, KINDS, PROVENANCE
from carbon_sdk.collector.decode import PLAIN
from carbon_sdk.collector.dimensions import Dictionary, Found, Heads, Key, Limits
from carbon_sdk.collector.store import KNOWN, Batch
from carbon_sdk.emission import MACHINE_KINDS, PROCESS_KINDS

_ID = pa.int32()
_IDS = ("instance_id", "machine_id", "account_id", "provenance_id")
TABLE = pa.schema([(name, _ID) for name in _IDS] + [("machine_book", pa.bool_()), *PLAIN])
"""Columns of a group."""
_NUMBERED = pa.schema([field for field in TABLE if field.name != "instance_id"])
_KIND = ACCOUNT.index("kind")
_MACHINE, _INSTANCE = ("machine",), ("instance",)
_LENGTH_BYTES = 8

assert set(KINDS) == {*PROCESS_KINDS, *MACHINE_KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """New records of several batches, and the texts and heads that come with them.

    Args:
        table: The records.
        accounts: New accounts: number, project and (service, kind, root, name).
        provenances: New provenances: number, project and the rest.
        machines: New machines: number, project and (machine,).
        instances: New instances: number, project and (instance,).
        heads: Number, highest sequence and (project, instance) of each instance that moved.
    """

    table: pa.Table
    accounts: Sequence[tuple[int, str, Key]]
    provenances: Sequence[tuple[int, str, Key]]
    machines: Sequence[tuple[int, str, Key]]
    instances: Sequence[tuple[int, str, Key]]
    heads: list[tuple[int, int, Key]]

    def to_bytes(self) -> bytes:
        """As a frame of the journal: the texts as JSON, the records as an Arrow stream. Both name their fields."""
        words = json.dumps(
            [self.accounts, self.provenances, self.machines, self.instances, self.heads, ACCOUNT, PROVENANCE],
            separators=(",", ":"),
        ).encode()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, TABLE) as stream:
            stream.write_table(self.table)
        return b"".join((len(words).to_bytes(_LENGTH_BYTES, "little"), words, memoryview(sink.getvalue())))

    @staticmethod
    def from_bytes(frame: bytes) -> "Group":
        """Read what `to_bytes` of this version, or an earlier one, wrote; fields that are newer are unknown."""
        end = _LENGTH_BYTES + int.from_bytes(frame[:_LENGTH_BYTES], "little")
        accounts, provenances, machines, instances, heads, *written = json.loads(frame[_LENGTH_BYTES:end])
        table = pa.ipc.open_stream(frame[end:]).read_all()
        for missing in [field for field in TABLE if field.name not in table.column_names]:
            table = table.append_column(missing, pa.nulls(len(table), missing.type))
        return Group(
            table=table.select(TABLE.names).cast(TABLE),
            accounts=_keyed(accounts, written[0], ACCOUNT),
            provenances=_keyed(provenances, written[1], PROVENANCE),
            machines=_keyed(machines, _MACHINE, _MACHINE),
            instances=_keyed(instances, _INSTANCE, _INSTANCE),
            heads=[(number, sequence, tuple(key)) for number, sequence, key in heads],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A batch whose texts are numbers: a tenth of its size, for the time that it waits.

    Args:
        project: Whose records.
        runs: Instance, first row and end of each stretch of rows of one instance.
        sequences: Of each row; they ascend within an instance.
        table: The rows, without the instance.
        batch: What became of each record is said here.
    """

    project: str
    runs: list[tuple[str, int, int]]
    sequences: list[int]
    table: pa.RecordBatch
    batch: Batch


class Index:
    """What the store knows in memory: the numbers of texts, and how far each instance has come.

    Args:
        limits: How many of each are taken.
        lookup: Finds instances, (project, instance), in the store.
        whole: A group takes along every text that its records use, not the new ones alone: its frame stands for itself.
    """

    def __init__(self, limits: Limits, lookup: Callable[[Sequence[Key]], Found], *, whole: bool = False) -> None:
        self.accounts = Dictionary(
            "endpoints, jobs and spans in this service",
            limits.accounts,
            group=lambda key: key[0],
            groups=limits.services,
            groups_are="services in this project",
        )
        self.provenances = Dictionary("ways of knowing (release, zone, ...) in this project", limits.provenances)
        self.machines = Dictionary("machines in this project", limits.machines)
        self.heads = Heads(lookup=lookup, limit=limits.instances)
        self._texts = threading.Lock()
        self._taken: tuple[Sequence[tuple[int, str, Key]], ...] = ((), (), ())
        self._whole: tuple[dict[int, tuple[int, str, Key]], ...] | None = ({}, {}, {}) if whole else None

    def number(self, project: str, batch: Batch) -> Numbered:
        """A batch with numbers instead of texts; rows for which there is no room are refused."""
        with self._texts:
            columns: tuple[list[int | None], ...] = (
                self.machines.numbers(project, [(machine,) for machine in batch.machines]),
                self.accounts.numbers(project, batch.accounts),
                self.provenances.numbers(project, batch.provenances),
            )
        if any(None in column for column in columns):
            columns = self._refuse(project, batch, *columns)
        books = [account[_KIND] in MACHINE_KINDS for account in batch.accounts]
        ids = [pa.array(column, _ID) for column in columns]
        numbered = Numbered(
            project=project,
            runs=_runs(batch.instances),
            sequences=batch.sequences,
            table=pa.RecordBatch.from_arrays(
                [*ids, pa.array(books, pa.bool_()), *batch.plain.columns], schema=_NUMBERED
            ),
            batch=batch,
        )
        batch.release()
        return numbered

    def _refuse(self, project: str, batch: Batch, *columns: Sequence[int | None]) -> tuple[list[int | None], ...]:
        """Refuse the rows with a text for which there is no room; the numbers of the others."""
        refused: dict[int, str] = {}
        for row, numbers in enumerate(zip(*columns, strict=True)):
            for number, known, key in zip(
                numbers,
                (self.machines, self.accounts, self.provenances),
                ((batch.machines[row],), batch.accounts[row], batch.provenances[row]),
                strict=True,
            ):
                if number is None:
                    refused[row] = known.refusal(project, key)
        batch.refuse(refused)
        return tuple([number for row, number in enumerate(column) if row not in refused] for column in columns)

    def take(self, numbered: Numbered) -> pa.RecordBatch | None:
        """Decide what of a batch is new; None where nothing is. The heads move."""
        instances: list[int] = []
        rows: list[int] = []
        for name, start, end in numbered.runs:
            key = (numbered.project, name)
            head = self.heads.head(key)
            before = head.sequence
            for row, sequence in enumerate(numbered.sequences[start:end], start):
                if sequence > before:
                    before = sequence
                    rows.append(row)
                else:
                    numbered.batch.decide(row, KNOWN)
            if before > head.sequence:
                self.heads.move(key, head, before)
            instances += [head.number] * (len(rows) - len(instances))
        if not rows:
            return None
        table = numbered.table
        if len(rows) < len(table):
            table = table.take(pa.array(rows, pa.int64()))
        return pa.RecordBatch.from_arrays([pa.array(instances, _ID), *table.columns], schema=TABLE)

    def group(self, parts: list[pa.RecordBatch]) -> Group:
        """The group of what was taken since the last one."""
        moved = self.heads.moved
        numbers = {number for number, _, _ in moved}
        with self._texts:
            self._taken = tuple(part.hand_over() for part in (self.accounts, self.provenances, self.machines))
        table = pa.Table.from_batches(parts, TABLE)
        accounts, provenances, machines = self._taken if self._whole is None else self._used(table, self._whole)
        return Group(
            table=table,
            accounts=accounts,
            provenances=provenances,
            machines=machines,
            instances=[
                (head.number, str(key[0]), (key[1],))
                for key, head in self.heads.fresh.items()
                if head.number in numbers
            ],
            heads=moved,
        )

    def _used(
        self, table: pa.Table, known: tuple[dict[int, tuple[int, str, Key]], ...]
    ) -> tuple[list[tuple[int, str, Key]], ...]:
        for texts, taken in zip(known, self._taken, strict=True):
            texts.update((row[0], row) for row in taken)
        names = ("account_id", "provenance_id", "machine_id")
        return tuple(
            [texts[number] for number in table[name].unique().to_pylist()]
            for texts, name in zip(known, names, strict=True)
        )

    def keep(self, frame: int, loaded: int) -> None:
        """The group is on disk as this frame; the store itself holds those up to `loaded`."""
        self._taken = ((), (), ())
        self.heads.keep(frame)
        self.heads.shed(loaded)

    def drop(self) -> None:
        """The group is not on disk: its records were not stored, its texts go with the next one."""
        with self._texts:
            for part, fresh in zip((self.accounts, self.provenances, self.machines), self._taken, strict=True):
                part.take_back(list(fresh))
        self._taken = ((), (), ())
        self.heads.drop()

    def replay(self, frame: int, group: Group) -> None:
        """Take over a frame of the journal that the store does not hold yet."""
        self.accounts.load(group.accounts)
        self.provenances.load(group.provenances)
        self.machines.load(group.machines)
        for number, sequence, key in group.heads:
            self.heads.load(key, number, sequence, frame)


def _keyed(
    rows: Sequence[tuple[int, str, Sequence[object]]], written: Sequence[str], wanted: Sequence[str]
) -> list[tuple[int, str, Key]]:
    """Numbers, projects and keys with the fields that are wanted now."""
    places = [written.index(name) if name in written else None for name in wanted]
    return [
        (number, project, tuple(None if place is None else key[place] for place in places))
        for number, project, key in rows
    ]


def _runs(instances: Sequence[str]) -> list[tuple[str, int, int]]:
    runs: list[tuple[str, int, int]] = []
    start = 0
    for name, same in itertools.groupby(instances):
        end = start + sum(1 for _ in same)
        runs.append((name, start, end))
        start = end
    return runs
