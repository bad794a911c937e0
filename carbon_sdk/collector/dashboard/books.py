"""Where the measured joules went, as one picture whose parts add up to the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carbon_sdk.collector.books import Books, books_of
from carbon_sdk.collector.dashboard.quantity import JOULES, column, percent
from carbon_sdk.collector.dashboard.sheet import SERVED
from carbon_sdk.collector.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the picture.

    Args:
        look: How it is drawn: the name of a style.
        title: What it is.
        words: One line about it.
        text: Its joules, in the picture's unit.
        percent: Its share, in words.
        start: Where it begins, in per cent of the width.
        width: How wide it is, in per cent.
        records: What its records have in common, as filters; None where it was derived and has none of its own.
    """

    look: str
    title: str
    words: str
    text: str
    percent: str
    start: float
    width: float
    records: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The parts, their unit, and what they add up to.

    Args:
        parts: From left to right.
        unit: Of all numbers.
        whole: All of it, in that unit.
        title: What the whole is.
        remark: What a reader must know beside it; empty where there is nothing.
        records: What the records of the whole have in common, as filters.
    """

    parts: tuple[Part, ...]
    unit: str
    whole: str
    title: str
    remark: str
    records: Mapping[str, str]


def books_picture(process: Sequence[Figure], machine: Sequence[Figure], service: str | None) -> Picture | None:
    """The books of all machines of a project; None where there is not one joule.

    Args:
        process: The process book by service and kind.
        machine: The machine book by kind.
        service: Whose accounts are set apart from those of the others; None: nobody's.
    """
    own = [one for one in process if service is None or one.key["service"] == service]
    books = books_of([], machine)
    accounts = _by_kind(own)
    others = sum(_by_kind(process).values()) - sum(accounts.values())
    booked = sum(accounts.values()) + others + (books.idle or 0.0) + (books.unattributed or 0.0)
    rest = None if books.measured is None else books.measured - booked
    pieces = [*_accounts(accounts, service), *_machine(books, others, rest)]
    if books.measured is None:
        return picture_of(pieces, "Booked by the services", _remark(books, rest), {})
    return picture_of(pieces, "Measured on all machines", _remark(books, rest), {"kind": "measured"})


def _by_kind(figures: Sequence[Figure]) -> dict[str, float]:
    kinds: dict[str, float] = {}
    for figure in figures:
        joules = figure.sums["energy_joules"]
        if joules is not None:
            kind = figure.key["kind"] or "other"
            kinds[kind] = kinds.get(kind, 0.0) + joules
    return kinds


Piece = tuple[str, str, str, float, Mapping[str, str] | None]


def _accounts(accounts: Mapping[str, float], service: str | None) -> list[Piece]:
    spans = sum(accounts.get(kind, 0.0) for kind in SERVED)
    whose = "of all services" if service is None else f"of {service}"
    own = {} if service is None else {"service": service}
    asked, alone = f"work that an endpoint or a job {whose} asked for", f"the processes {whose}, outside any request"
    many = "beyond the number of accounts that are told apart"
    return [
        ("spans", "Requests, jobs and spans", asked, spans, own),
        ("background", "Background", alone, accounts.get("background", 0.0), {**own, "kind": "background"}),
        ("sdk", "carbon_sdk", "measuring itself", accounts.get("sdk", 0.0), {**own, "kind": "sdk"}),
        ("other", "Other accounts", many, accounts.get("other", 0.0), {**own, "kind": "other"}),
    ]


def _machine(books: Books, others: float, rest: float | None) -> list[Piece]:
    idle, nobodys = books.idle or 0.0, books.unattributed or 0.0
    return [
        ("others", "Other services", "of this project, on any of its machines", others, None),
        ("rest", "Rest of the machines", "everything that does not report", max(rest or 0.0, 0.0), None),
        ("idle", "Idle", "what the machines use by being switched on", idle, {"kind": "idle"}),
        (
            "unattributed",
            "Unattributed",
            "measured, but nobody's share can be known",
            nobodys,
            {"kind": "unattributed"},
        ),
    ]


def _remark(books: Books, rest: float | None) -> str:
    if books.measured is None:
        return "No machine book in this period: what the machines used beside these services is not known."
    if rest is not None and rest < -1e-3 * books.measured:
        beyond = percent(-rest / books.measured)
        return f"The accounts exceed what was measured by {beyond}: windows of several processes do not end together."
    return ""


def picture_of(pieces: Sequence[Piece], title: str, remark: str, records: Mapping[str, str]) -> Picture | None:
    """The picture of some parts; None where there is not one joule.

    Args:
        pieces: Look, title, words, joules and filters of each.
        title: What they add up to.
        remark: What a reader must know beside it; empty where there is nothing.
        records: What the records of the whole have in common, as filters.
    """
    pieces = [piece for piece in pieces if piece[3] > 0.0]
    if not pieces:
        return None
    whole = sum(piece[3] for piece in pieces)
    unit, texts = column([*(piece[3] for piece in pieces), whole], JOULES)
    parts, start = [], 0.0
    for (look, name, words, joules, filters), text in zip(pieces, texts, strict=False):
        width = 100.0 * joules / whole
        parts.append(
            Part(
                look=look,
                title=name,
                words=words,
                text=text,
                percent=percent(joules / whole),
                start=start,
                width=width,
                records=filters,
            )
        )
        start += width
    return Picture(parts=tuple(parts), unit=unit, whole=texts[-1], title=title, remark=remark, records=records)
