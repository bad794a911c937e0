"""Texts that repeat, kept once and referred to by number; and how far each instance has come.

All of it lives in memory, bounded. A text's number is lasting at once; the first group that is written takes the text
along. How far an instance has come is provisional until the group is on disk: `keep` makes it lasting, `drop` takes it
back.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many different things a project may bring in; a record beyond is refused, with the reason.

    Args:
        services: Services of a project.
        accounts: Accounts of a service.
        provenances: Provenances of a project.
        machines: Machines of a project; a machine counts anew at each boot.
        instances: Instances held in memory over all projects; older ones are looked up in the store again.
    """

    services: int = 1_000
    accounts: int = 20_000
    provenances: int = 100_000
    machines: int = 100_000
    instances: int = 200_000


class Dictionary:
    """Numbers for the keys of projects, counted within groups.

    Args:
        what: The keys' name in messages.
        limit: Most keys of a group.
        group: Which group of its project a key belongs to; by default all are one.
        groups: Most groups of a project.
        groups_are: The groups' name in messages.
    """

    def __init__(
        self,
        what: str,
        limit: int,
        *,
        group: Callable[[Key], object] = lambda _key: None,
        groups: int = 1,
        groups_are: str = "",
    ) -> None:
        self._what = what
        self._limit = limit
        self._group = group
        self._groups = groups
        self._groups_are = groups_are
        self._numbers: dict[str, dict[Key, int]] = {}
        self._counts: dict[str, Counter[object]] = {}
        self._fresh: list[tuple[int, str, Key]] = []
        self._next = 1

    def __len__(self) -> int:
        return self._next - 1

    def load(self, rows: Iterable[tuple[int, str, Key]]) -> None:
        """Take over what a store holds: number, project and key of each."""
        for number, project, key in rows:
            self._numbers.setdefault(project, {})[key] = number
            self._counts.setdefault(project, Counter())[self._group(key)] += 1
            self._next = max(self._next, number + 1)

    def numbers(self, project: str, keys: Sequence[Key]) -> list[int | None]:
        """The number of each key, new ones for new keys; None where there is no room for it."""
        known = self._numbers.setdefault(project, {})
        numbers: list[int | None] = []
        last: Key | None = None
        number = None
        for key in keys:
            if key is not last and key != last:  # neighbours are mostly equal, and a long key is slow to hash
                number = known.get(key) or self._add(project, known, key)
                last = key
            numbers.append(number)
        return numbers

    def _add(self, project: str, known: dict[Key, int], key: Key) -> int | None:
        counts = self._counts.setdefault(project, Counter())
        group = self._group(key)
        if counts[group] >= self._limit or (group not in counts and len(counts) >= self._groups):
            return None
        counts[group] += 1
        number = known[key] = self._next
        self._next += 1
        self._fresh.append((number, project, key))
        return number

    def refusal(self, project: str, key: Key) -> str:
        """Why there is no room for a key."""
        counts = self._counts.get(project, Counter())
        if self._group(key) not in counts and len(counts) >= self._groups:
            return f"cardinality: more than {self._groups} {self._groups_are}"
        return f"cardinality: more than {self._limit} {self._what}"

    def hand_over(self) -> list[tuple[int, str, Key]]:
        """The keys that no group has taken along yet: number, project and key of each."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def take_back(self, fresh: list[tuple[int, str, Key]]) -> None:
        """The group that took these along was not written: the next one takes them."""
        self._fresh = fresh + self._fresh


@dataclass(slots=True)
class Head:
    """How far an instance has come: its number, its highest sequence (-1: none), and the frame that last moved it."""

    number: int
    sequence: int
    frame: int = 0


Found = Mapping[Key, tuple[int, int]]
"""Number and highest sequence of the instances that a store knows."""


class Heads:
    """The highest sequence of each instance, looked up in the store where memory has let it go.

    Args:
        lookup: Finds instances, (project, instance), in the store.
        limit: Most instances held in memory.
    """

    def __init__(self, *, lookup: Callable[[Sequence[Key]], Found], limit: int) -> None:
        self._lookup = lookup
        self._limit = limit
        self._heads: dict[Key, Head] = {}
        self._fresh: dict[Key, Head] = {}
        self._moved: dict[Key, int] = {}
        self._next = 1
        self._complete = True

    def __len__(self) -> int:
        return len(self._heads)

    def start(self, *, next_number: int, complete: bool) -> None:
        """Say which number a new instance gets, and whether memory knows every instance that the store knows."""
        self._next = next_number
        self._complete = complete

    def load(self, key: Key, number: int, sequence: int, frame: int = 0) -> None:
        """Take over a head, last moved by a frame of the journal; 0 where the store holds it."""
        self._heads[key] = Head(number, sequence, frame)
        self._next = max(self._next, number + 1)

    def expect(self, keys: Iterable[Key]) -> None:
        """Records of these instances come next: look up what memory does not know, all at once."""
        unknown = [] if self._complete else [key for key in keys if key not in self._heads]
        if unknown:
            for key, (number, sequence) in self._lookup(unknown).items():
                self.load(key, number, sequence)

    def head(self, key: Key) -> Head:
        """The head of an instance with what this group has moved; a new one for a new instance."""
        found = self._heads.get(key) or self._fresh.get(key)
        if found is None:
            found = self._fresh[key] = Head(self._next, -1)
            self._next += 1
        return found

    def move(self, key: Key, head: Head, sequence: int) -> None:
        """A record of this sequence is being stored."""
        self._moved.setdefault(key, head.sequence)
        head.sequence = sequence

    @property
    def fresh(self) -> Mapping[Key, Head]:
        """New instances that are not lasting yet."""
        return self._fresh

    @property
    def moved(self) -> list[tuple[int, int, Key]]:
        """(number, sequence, key) of the instances that this group has moved."""
        return [(head.number, head.sequence, key) for key in self._moved for head in (self.head(key),)]

    def keep(self, frame: int) -> None:
        """Make the group's moves lasting; the most recently seen stand last."""
        for key in self._moved:
            head = self._fresh.get(key) or self._heads[key]
            head.frame = frame
            self._heads.pop(key, None)
            self._heads[key] = head
        self._fresh = {}
        self._moved = {}

    def drop(self) -> None:
        """Take the group's moves back."""
        for key, sequence in self._moved.items():
            if key in self._heads:
                self._heads[key].sequence = sequence
        self._next -= len(self._fresh)
        self._fresh = {}
        self._moved = {}

    def shed(self, loaded: int) -> None:
        """Let go of the instances seen longest ago that the store itself can tell, down to nine tenths of the limit."""
        if len(self._heads) <= self._limit:
            return
        for key in list(self._heads)[: len(self._heads) - self._limit * 9 // 10]:
            if self._heads[key].frame <= loaded:
                del self._heads[key]
                self._complete = False
