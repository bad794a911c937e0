"""Texts that repeat, kept once and referred to by number; and how far each instance has come.

All of it lives in memory, bounded, and is changed by one thread. What a group adds stays provisional until the group is
on disk: `keep` makes it lasting, `drop` takes it back.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Key = tuple[object, ...]


class FullError(Exception):
    """The bound on how many different texts are taken is reached."""


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
    """Numbers for keys, counted within groups of them.

    Args:
        group: Which group a key counts towards.
        limit: Most keys of a group.
        what: The keys' name in messages.
    """

    def __init__(self, *, group: Callable[[Key], object], limit: int, what: str) -> None:
        self._group = group
        self._limit = limit
        self._what = what
        self._numbers: dict[Key, int] = {}
        self._counts: Counter[object] = Counter()
        self._fresh: list[tuple[int, Key]] = []
        self._next = 1

    def __len__(self) -> int:
        return len(self._numbers)

    def load(self, rows: Iterable[tuple[int, Key]]) -> None:
        """Take over what a store holds."""
        for number, key in rows:
            self._numbers[key] = number
            self._counts[self._group(key)] += 1
            self._next = max(self._next, number + 1)

    def number(self, key: Key) -> int:
        """The number of a key, a new one if it is new.

        Raises:
            FullError: Its group is full.
        """
        number = self._numbers.get(key)
        if number is not None:
            return number
        group = self._group(key)
        if self._counts[group] >= self._limit:
            raise FullError(f"more than {self._limit} {self._what}")
        number = self._numbers[key] = self._next
        self._counts[group] += 1
        self._next += 1
        self._fresh.append((number, key))
        return number

    def keep(self) -> list[tuple[int, Key]]:
        """Make the new keys lasting.

        Returns:
            Them.
        """
        fresh, self._fresh = self._fresh, []
        return fresh

    @property
    def fresh(self) -> Sequence[tuple[int, Key]]:
        """The new keys that are not lasting yet."""
        return self._fresh

    def drop(self) -> None:
        """Take the new keys back."""
        for number, key in self._fresh:
            del self._numbers[key]
            self._counts[self._group(key)] -= 1
            self._next = min(self._next, number)
        self._fresh = []


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
