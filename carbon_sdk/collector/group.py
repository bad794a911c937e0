"""Batches that wait together become one group: what is new in them, in numbers, ready for the journal and the store."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from carbon_sdk.collector.columns import KINDS
from carbon_sdk.collector.decode import PLAIN
from carbon_sdk.collector.dimensions import Dictionary, Found, Heads, Key, Limits
from carbon_sdk.collector.store import KNOWN, REFUSED, STORED, Batch
from carbon_sdk.emission import MACHINE_KINDS, PROCESS_KINDS

_ID = pa.int32()
_IDS = ("instance_id", "machine_id", "account_id", "provenance_id")
TABLE = pa.schema([(name, _ID) for name in _IDS] + [("machine_book", pa.bool_()), *PLAIN])
"""Columns of a group."""
_KIND = 1  # service, kind, root, name
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
    accounts: list[tuple[int, str, Key]]
    provenances: list[tuple[int, str, Key]]
    machines: list[tuple[int, str, Key]]
    instances: list[tuple[int, str, Key]]
    heads: list[tuple[int, int, Key]]

    def to_bytes(self) -> bytes:
        """As a frame of the journal: the texts as JSON, the records as an Arrow stream."""
        words = json.dumps(
            [self.accounts, self.provenances, self.machines, self.instances, self.heads], separators=(",", ":")
        ).encode()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, TABLE) as stream:
            stream.write_table(self.table)
        return b"".join((len(words).to_bytes(_LENGTH_BYTES, "little"), words, sink.getvalue().to_pybytes()))

    @staticmethod
    def from_bytes(frame: bytes) -> "Group":
        """Read what `to_bytes` wrote."""
        end = _LENGTH_BYTES + int.from_bytes(frame[:_LENGTH_BYTES], "little")
        keyed = json.loads(frame[_LENGTH_BYTES:end])
        accounts, provenances, machines, instances = (
            [(number, project, tuple(key)) for number, project, key in part] for part in keyed[:4]
        )
        return Group(
            table=pa.ipc.open_stream(frame[end:]).read_all(),
            accounts=accounts,
            provenances=provenances,
            machines=machines,
            instances=instances,
            heads=[(number, sequence, tuple(key)) for number, sequence, key in keyed[4]],
        )


class Index:
    """What the store knows in memory: the numbers of texts, and how far each instance has come.

    Args:
        limits: How many of each are taken.
        lookup: Finds instances, (project, instance), in the store.
    """

    def __init__(self, limits: Limits, lookup: Callable[[Sequence[Key]], Found]) -> None:
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
        self._machine_accounts: set[int] = set()

    def load_accounts(self, rows: Sequence[tuple[int, str, Key]]) -> None:
        """Take over accounts, and which book they belong to."""
        self.accounts.load(rows)
        self._note_books(rows)

    def _note_books(self, rows: Sequence[tuple[int, str, Key]]) -> None:
        self._machine_accounts.update(number for number, _, key in rows if key[_KIND] in MACHINE_KINDS)

    def take(self, project: str, batch: Batch) -> pa.RecordBatch | None:
        """Decide what of a batch is new, and put it into numbers; None where nothing is."""
        fresh = len(self.accounts.fresh)
        columns = (
            self.machines.numbers(project, [(machine,) for machine in batch.machines]),
            self.accounts.numbers(project, batch.accounts),
            self.provenances.numbers(project, batch.provenances),
        )
        self._note_books(self.accounts.fresh[fresh:])
        if any(None in column for column in columns):
            self._refuse(project, batch, *columns)
        instances, rows = self._new_rows(project, batch)
        if not rows:
            return None
        arrays = [pa.array(instances, _ID)]
        if len(rows) == len(batch):
            plain, ids = batch.plain, columns
        else:
            plain = batch.plain.take(pa.array(rows, pa.int64()))
            ids = tuple([column[row] for row in rows] for column in columns)  # type: ignore[assignment]
        arrays += [pa.array(column, _ID) for column in ids]
        arrays.append(pa.array([number in self._machine_accounts for number in ids[1]], pa.bool_()))
        return pa.RecordBatch.from_arrays(arrays + plain.columns, schema=TABLE)

    def _new_rows(self, project: str, batch: Batch) -> tuple[list[int], Sequence[int]]:
        """Which rows are new, and the number of the instance of each; the heads move there."""
        numbers: list[int] = []
        rows: list[int] = []
        instance, key, head = None, ("", ""), None
        for row, sequence in enumerate(batch.sequences):
            if batch.instances[row] != instance:
                instance = batch.instances[row]
                key = (project, instance)
                head = self.heads.head(key)
            assert head is not None
            if sequence <= head.sequence:
                if batch.outcomes[batch.positions[row]] == STORED:
                    batch.decide(row, KNOWN)
                continue
            if batch.outcomes[batch.positions[row]] != STORED:
                continue
            self.heads.move(key, head, sequence)
            numbers.append(head.number)
            rows.append(row)
        return numbers, rows

    def _refuse(self, project: str, batch: Batch, machines: Sequence[object], *columns: Sequence[object]) -> None:
        accounts, provenances = columns
        for row in range(len(batch)):
            if machines[row] is None:
                batch.decide(row, REFUSED, self.machines.refusal(project, (batch.machines[row],)))
            elif accounts[row] is None:
                batch.decide(row, REFUSED, self.accounts.refusal(project, batch.accounts[row]))
            elif provenances[row] is None:
                batch.decide(row, REFUSED, self.provenances.refusal(project, batch.provenances[row]))

    def group(self, parts: list[pa.RecordBatch]) -> Group:
        """The group of what was taken since the last one."""
        moved = self.heads.moved
        numbers = {number for number, _, _ in moved}
        return Group(
            table=pa.Table.from_batches(parts, TABLE),
            accounts=list(self.accounts.fresh),
            provenances=list(self.provenances.fresh),
            machines=list(self.machines.fresh),
            instances=[
                (head.number, str(key[0]), (key[1],))
                for key, head in self.heads.fresh.items()
                if head.number in numbers
            ],
            heads=moved,
        )

    def keep(self, frame: int, loaded: int) -> None:
        """The group is on disk as this frame; the store itself holds those up to `loaded`."""
        for part in (self.accounts, self.provenances, self.machines):
            part.keep()
        self.heads.keep(frame)
        self.heads.shed(loaded)

    def drop(self) -> None:
        """The group is not on disk: forget it."""
        for part in (self.accounts, self.provenances, self.machines):
            part.drop()
        self.heads.drop()

    def replay(self, frame: int, group: Group) -> None:
        """Take over a frame of the journal that the store does not hold yet."""
        self.load_accounts(group.accounts)
        self.provenances.load(group.provenances)
        self.machines.load(group.machines)
        for number, sequence, key in group.heads:
            self.heads.load(key, number, sequence, frame)
