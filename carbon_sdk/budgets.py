"""What may be spent: grams or joules, for a request, a day or a month, by one endpoint or by the whole service.

```toml
[[budget]]
endpoint = "GET /items/{id}"
joules_per_request = 0.5

[[budget]]
grams_per_day = 40
```
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

Unit = Literal["grams", "joules"]
Per = Literal["request", "day", "month"]

LIMITS: dict[str, tuple[Unit, Per]] = {
    f"{unit}_per_{per}": (unit, per) for unit in get_args(Unit) for per in get_args(Per)
}
MAXIMUM_BUDGETS = 100
"""Each is a label of metrics."""
MAXIMUM_TEXT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One limit.

    Args:
        name: What it is called in events and metrics.
        endpoint: Whose spending counts: the root of its records, `GET /items/{id}` or `mail send`; the whole process
            book of the service when None.
        unit: Grams CO2e, or joules of active energy.
        per: What the limit is for. A request's is the mean over an hour.
        limit: In that unit.
    """

    name: str
    endpoint: str | None
    unit: Unit
    per: Per
    limit: float

    @property
    def key(self) -> str:
        """What is counted; two budgets of one key differ in their limit alone."""
        return f"{self.unit} per {self.per} of {self.endpoint or 'the service'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a budget stands.

    Args:
        budget: Which.
        started_at: Start of its period, UTC.
        ends_at: End of its period, UTC.
        spent: Grams or joules: in the period, or for one request; None where no request has ended.
        projected: What the whole period will cost at this rate; None for requests, and before a rate is known.
    """

    budget: Budget
    started_at: datetime
    ends_at: datetime
    spent: float | None
    projected: float | None

    @property
    def ratio(self) -> float | None:
        """Spent over limit."""
        return None if self.spent is None else self.spent / self.budget.limit

    @property
    def projected_ratio(self) -> float | None:
        """Projected over limit."""
        return None if self.projected is None else self.projected / self.budget.limit

    def to_fields(self) -> dict[str, object]:
        """As an event's fields; quantities wear their unit."""
        unit = {"grams": "g", "joules": "joules"}[self.budget.unit]
        return {
            "budget": self.budget.name,
            "endpoint": self.budget.endpoint,
            "per": self.budget.per,
            f"limit_{unit}": self.budget.limit,
            f"spent_{unit}": self.spent,
            f"projected_{unit}": self.projected,
            "ratio": self.ratio,
            "period_start": self.started_at.isoformat(),
            "period_end": self.ends_at.isoformat(),
        }


def budgets_of(given: object) -> tuple[Budget, ...]:
    """Budgets from the path of a TOML file, or from tables as that would hold.

    Args:
        given: A path, or an iterable of mappings or budgets.

    Raises:
        ValueError: Something in it cannot be used; the message says what.
    """
    tables = tables_in(Path(given).expanduser()) if isinstance(given, str | Path) else given
    if not isinstance(tables, Iterable):
        raise ValueError("it is neither a file nor a list of budgets")
    budgets = tuple(table if isinstance(table, Budget) else _budget(table) for table in tables)
    names = [budget.name for budget in budgets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two budgets are called {twice!r}; give one of them another name")
    if len(budgets) > MAXIMUM_BUDGETS:
        raise ValueError(f"there are more than {MAXIMUM_BUDGETS} budgets")
    return budgets


def tables_in(file: Path) -> Sequence[Mapping[str, Any]]:
    """The tables `[[budget]]` of a TOML file, as they stand there.

    Raises:
        ValueError: It cannot be read, or holds something else.
    """
    import tomllib  # noqa: PLC0415  # who has no such file does not wait for it

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # Windows may begin it with a mark
    except OSError as exc:
        raise ValueError(f"{file} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # no TOML, or no UTF-8
        raise ValueError(f"{file} is not TOML: {exc}") from exc
    unknown = content.keys() - {"budget"}
    if unknown or not isinstance(content.get("budget"), list):
        raise ValueError(f"{file} holds {sorted(unknown) or 'no budget'}; each budget begins with [[budget]]")
    tables: list[Mapping[str, Any]] = content["budget"]
    return tables


def _budget(table: object) -> Budget:
    if not isinstance(table, Mapping):
        raise ValueError(f"{str(table)[:60]!r} is not a budget")
    limits = table.keys() & LIMITS.keys()
    unknown = table.keys() - LIMITS.keys() - {"name", "endpoint"}
    if unknown:
        raise ValueError(f"{min(map(str, unknown))!r} means nothing in a budget")
    if len(limits) != 1:
        raise ValueError(f"a budget has one limit, of {', '.join(LIMITS)}")
    key = next(iter(limits))
    unit, per = LIMITS[key]
    limit: Any = table[key]
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit) or limit <= 0:
        raise ValueError(f"{key} is {str(limit)[:60]!r}, and not a number above 0")
    endpoint, name = (_text(table, field) for field in ("endpoint", "name"))
    return Budget(
        name=name or f"{endpoint or 'service'}: {key.replace('_', ' ')}",
        endpoint=endpoint,
        unit=unit,
        per=per,
        limit=float(limit),
    )


def _text(table: Mapping[str, object], field: str) -> str | None:
    text = table.get(field)
    if text is None:
        return None
    if not isinstance(text, str) or not 0 < len(text) <= MAXIMUM_TEXT or not text.isprintable():
        raise ValueError(f"{field} is {str(text)[:60]!r}, and not a text of 1 to {MAXIMUM_TEXT} printable characters")
    return text
