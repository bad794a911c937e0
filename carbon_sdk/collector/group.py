"""Batches that wait together become one group: what is new in them, in numbers, ready for the journal and the store."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from carbon_sdk.collector.columns import KINDS
from carbon_sdk.collector.decode import PLAIN
from carbon_sdk.collector.dimensions import Dictionary, Found, FullError, Heads, Key, Limits
from carbon_sdk.collector.store import KNOWN, REFUSED, Batch
from carbon_sdk.emission import MACHINE_KINDS, PROCESS_KINDS

_ID = pa.int32()
_IDS = ("instance_id", "machine_id", "account_id", "provenance_id")
TABLE = pa.schema([(name, _ID) for name in _IDS] + [("machine_book", pa.bool_()), *PLAIN])
"""Columns of a group."""
_ACCOUNT_KIND = 2  # project, service, kind, root, name
_LENGTH_BYTES = 8

assert set(KINDS) == {*PROCESS_KINDS, *MACHINE_KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """New records of several batches, and the texts and heads that come with them.

    Args:
        table: The records.
        accounts: New accounts: number and (project, service, kind, root, name).
        provenances: New provenances: number and (project, ...).
        machines: New machines: number and (project, machine).
        instances: New instances: number and (project, instance).
        heads: Number, highest sequence and (project, instance) of each instance that moved.
    """

    table: pa.Table
    accounts: list[tuple[int, Key]]
    provenances: list[tuple[int, Key]]
    machines: list[tuple[int, Key]]
    instances: list[tuple[int, Key]]
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
            [(number, tuple(key)) for number, key in part] for part in keyed[:4]
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
            group=lambda key: key[:2], limit=limits.accounts, what="endpoints, jobs and spans in this service"
        )
        self.services = Dictionary(group=lambda key: key[0], limit=limits.services, what="services in this project")
        self.provenances = Dictionary(
            group=lambda key: key[0],
            limit=limits.provenances,
            what="ways of knowing (release, zone, ...) in this project",
        )
        self.machines = Dictionary(group=lambda key: key[0], limit=limits.machines, what="machines in this project")
        self.heads = Heads(lookup=lookup, limit=limits.instances)
        self._machine_accounts: set[int] = set()

    def load_accounts(self, rows: list[tuple[int, Key]]) -> None:
        """Take over accounts, and the services and books that follow from them."""
        self.accounts.load(rows)
        for number, key in rows:
            self.services.number(key[:2])
            self._note_book(number, key)
        self.services.keep()

    def take(self, project: str, batch: Batch) -> pa.RecordBatch | None:
        """Decide what of a batch is new, and put it into numbers; None where nothing is."""
        ids: tuple[list[int], ...] = ([], [], [], [])
        machine_book: list[bool] = []
        rows: list[int] = []
        instance, head = None, None
        for row, sequence in enumerate(batch.sequences):
            if batch.instances[row] != instance:
                instance = batch.instances[row]
                head = self.heads.head((project, instance))
            assert head is not None
            if sequence <= head.sequence:
                batch.decide(row, KNOWN)
                continue
            try:
                account, provenance, machine = self._numbers(project, batch, row)
            except FullError as exc:
                batch.decide(row, REFUSED, f"cardinality: {exc}")
                continue
            self.heads.move((project, instance), head, sequence)
            for column, number in zip(ids, (head.number, machine, account, provenance), strict=True):
                column.append(number)
            machine_book.append(account in self._machine_accounts)
            rows.append(row)
        if not rows:
            return None
        plain = batch.plain if len(rows) == len(batch) else batch.plain.take(pa.array(rows, pa.int64()))
        arrays = [pa.array(column, _ID) for column in ids] + [pa.array(machine_book, pa.bool_())]
        return pa.RecordBatch.from_arrays(arrays + plain.columns, schema=TABLE)

    def _numbers(self, project: str, batch: Batch, row: int) -> tuple[int, int, int]:
        account = batch.accounts[row]
        key = (project, *account)
        self.services.number(key[:2])
        number = self.accounts.number(key)
        if account[1] in MACHINE_KINDS:
            self._note_book(number, key)
        return (
            number,
            self.provenances.number((project, *batch.provenances[row])),
            self.machines.number((project, batch.machines[row])),
        )

    def _note_book(self, number: int, key: Key) -> None:
        if key[_ACCOUNT_KIND] in MACHINE_KINDS:
            self._machine_accounts.add(number)

    def group(self, parts: list[pa.RecordBatch]) -> Group:
        """The group of what was taken since the last one."""
        moved = self.heads.moved
        numbers = {number for number, _, _ in moved}
        return Group(
            table=pa.Table.from_batches(parts, TABLE),
            accounts=list(self.accounts.fresh),
            provenances=list(self.provenances.fresh),
            machines=list(self.machines.fresh),
            instances=[(head.number, key) for key, head in self.heads.fresh.items() if head.number in numbers],
            heads=moved,
        )

    def keep(self, frame: int, loaded: int) -> None:
        """The group is on disk as this frame; the store itself holds those up to `loaded`."""
        for part in (self.accounts, self.services, self.provenances, self.machines):
            part.keep()
        self.heads.keep(frame)
        self.heads.shed(loaded)

    def drop(self) -> None:
        """The group is not on disk: forget it."""
        for part in (self.accounts, self.services, self.provenances, self.machines):
            part.drop()
        self.heads.drop()

    def replay(self, frame: int, group: Group) -> None:
        """Take over a frame of the journal that the store does not hold yet."""
        self.load_accounts(group.accounts)
        self.provenances.load(group.provenances)
        self.machines.load(group.machines)
        for number, sequence, key in group.heads:
            self.heads.load(key, number, sequence, frame)
