"""Counters whose lines are kept ready between scrapes: labels are put together and escaped once, not at every scrape.

They stand in prometheus_client's registry as any other metric, and its exposition can write them; `prometheus_text`
writes them from the ready lines. There is no `_created` line, which would double the text.
"""

import threading
import time
from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import Exemplar, Sample

LONGEST_EXEMPLAR = 128
"""Characters of an exemplar's labels: OpenMetrics 1.0, Exemplars."""


def _labelled(labels: dict[str, str]) -> str:
    """As both formats write labels."""
    escaped = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
    return "{" + ",".join(f'{name}="{value.translate(escaped)}"' for name, value in labels.items()) + "}"


class SampledChild:
    """One counter of a family: one set of label values."""

    __slots__ = ("_exemplar", "_labels", "_lock", "_name", "_series", "_value")

    def __init__(self, name: str, labels: dict[str, str], lock: threading.Lock) -> None:
        self._name = name
        self._labels = labels
        self._series = f"{name}{_labelled(labels)}"
        self._lock = lock
        self._value = 0.0
        self._exemplar: Exemplar | None = None

    def inc(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Add to it.

        Raises:
            ValueError: The amount is negative, or the exemplar too long.
        """
        if amount < 0.0:
            raise ValueError("counters only grow")
        if exemplar and sum(len(name) + len(value) for name, value in exemplar.items()) > LONGEST_EXEMPLAR:
            raise ValueError(f"an exemplar has at most {LONGEST_EXEMPLAR} characters")
        with self._lock:
            self._value += amount
            if exemplar:
                self._exemplar = Exemplar(exemplar, amount, time.time())

    def sample(self) -> Sample:
        """How it stands."""
        return Sample(self._name, self._labels, self._value, None, self._exemplar)

    def line(self) -> str:
        """How it stands, as the text format writes it."""
        return f"{self._series} {self._value}\n"

    def line_with_exemplar(self) -> str:
        """How it stands, as OpenMetrics writes it."""
        last = self._exemplar
        if last is None:
            return self.line()
        return f"{self._series} {self._value} # {_labelled(last.labels)} {last.value} {last.timestamp}\n"


class SampledMetric(Metric):
    """A family as a registry takes it; its samples are made when somebody asks for them."""

    def __init__(self, name: str, says: str, children: Sequence[SampledChild], lock: threading.Lock) -> None:
        self._children = children
        self._lock = lock
        super().__init__(name.removesuffix("_total"), says, "counter")

    @property
    def samples(self) -> list[Sample]:
        """One of each counter."""
        with self._lock:
            return [child.sample() for child in self._children]

    @samples.setter
    def samples(self, value: list[Sample]) -> None:
        """Nothing: the base class begins with none."""

    def text(self, *, openmetrics: bool) -> str:
        """As a scrape shows it, in one of the two formats."""
        name = self.name if openmetrics else f"{self.name}_total"
        with self._lock:
            lines = (
                [child.line_with_exemplar() for child in self._children]
                if openmetrics
                else [child.line() for child in self._children]
            )
        return f"# HELP {name} {self.documentation}\n# TYPE {name} counter\n{''.join(lines)}"


class SampledCounter:
    """A family of counters.

    Args:
        name: With `_total`.
        says: Its help text.
        label_names: Of all its counters.
        lock: Held while one moves or all are read.
    """

    def __init__(self, name: str, says: str, label_names: Sequence[str], lock: threading.Lock) -> None:
        self._name = name
        self._says = says
        self._label_names = tuple(sorted(label_names))
        self._order = tuple(label_names)
        self._lock = lock
        self._children: dict[tuple[str, ...], SampledChild] = {}

    def labels(self, *values: str) -> SampledChild:
        """The counter of these label values."""
        child = self._children.get(values)
        if child is None:
            by_name = dict(zip(self._order, values, strict=True))
            labels = {name: by_name[name] for name in self._label_names}  # sorted already where they are written
            child = SampledChild(self._name, labels, self._lock)
            with self._lock:
                self._children[values] = child
        return child

    def metric(self) -> SampledMetric:
        """As a registry takes it."""
        with self._lock:
            return SampledMetric(self._name, self._says, list(self._children.values()), self._lock)


class Counted:
    """The families of one registry; to be registered there once they are all made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: list[SampledCounter] = []

    def add(self, name: str, says: str, label_names: Sequence[str]) -> SampledCounter:
        """One more family."""
        self._families.append(SampledCounter(name, says, label_names, self._lock))
        return self._families[-1]

    def describe(self) -> Iterator[Metric]:
        """The families, for a registry that wants to know their names."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """The families as they stand."""
        return (family.metric() for family in self._families)
