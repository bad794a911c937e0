"""A statement: the pages of one emit interval, priced window by window, as emission records."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from carbon_sdk.cpu.accounts import Account, Origin
from carbon_sdk.emission import JOULES_PER_KWH, Emission, Kind, grams
from carbon_sdk.identity import Identity
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.meters.meter import Domain, IdlePolicy, IdleRule, Method, ScopeKind
from carbon_sdk.sinks.sink import Total
from carbon_sdk.spans.ledger import BACKGROUND, Entry, Page, weakest
from carbon_sdk.wire import legible


class Terms(NamedTuple):
    """What is the same in all records of one process's life.

    Args:
        identity: Who reports.
        meter: Names of the meters, joined by `+`; `none` where nothing can be measured.
        meter_scope: Whose joules the CPU meter reads.
        basis: What the joules rest on.
        idle_policy: Who carries idle energy.
        place: The place that was asked for.
        pue: Power usage effectiveness.
        wall_factor: From the domains to the wall; None when not set.
        embodied_g_per_second: Grams of making the whole machine, for one second of its life; None when unknown.
    """

    identity: Identity
    meter: str
    meter_scope: ScopeKind
    basis: str
    idle_policy: IdlePolicy = "none"
    place: str = "WORLD"
    pue: float = 1.0
    wall_factor: float | None = None
    embodied_g_per_second: float | None = None


@dataclass(slots=True)
class _Line:
    """One account's sums over an interval."""

    cpu_seconds: float = 0.0
    requests: int = 0
    errors: int = 0
    timeouts: int = 0
    cancelled: int = 0
    retries: int = 0
    duration_seconds: float = 0.0
    approximate: bool = False
    units: dict[str, float] = field(default_factory=dict)
    joules: dict[Domain, float] = field(default_factory=dict)
    low_joules: float = 0.0
    high_joules: float = 0.0
    idle_joules: float | None = 0.0
    reserved_joules: float | None = 0.0
    grams: float = 0.0
    idle_grams: float = 0.0
    reserved_grams: float = 0.0
    embodied_grams: float | None = 0.0
    by_source: dict[Intensity, float] = field(default_factory=dict)
    gap_cpu_seconds: float = 0.0

    def add(self, entry: Entry, page: Page, intensity: Intensity, terms: Terms) -> None:
        use = entry.use
        self.cpu_seconds += use.cpu_seconds
        self.requests += use.requests
        self.errors += use.errors
        self.timeouts += use.timeouts
        self.cancelled += use.cancelled
        self.retries += use.retries
        self.duration_seconds += use.duration_seconds
        self.approximate |= use.approximate
        for unit, amount in use.units.items():
            self.units[unit] = self.units.get(unit, 0.0) + amount
        self.book(entry.joules, intensity, terms)
        self.low_joules += entry.low_joules
        self.high_joules += entry.high_joules
        if page.gap_seconds:
            self.gap_cpu_seconds += use.cpu_seconds
        weight = _weight(intensity, terms)
        self.idle_joules = _sum(self.idle_joules, entry.idle_joules)
        self.idle_grams += (entry.idle_joules or 0.0) * weight
        self.reserved_joules = _sum(self.reserved_joules, entry.reserved_joules)
        self.reserved_grams += (entry.reserved_joules or 0.0) * weight
        rate, share = terms.embodied_g_per_second, entry.reserved_share
        part = None if rate is None or share is None else rate * page.seconds * share
        self.embodied_grams = _sum(self.embodied_grams, part)

    def book(self, joules: Mapping[Domain, float], intensity: Intensity, terms: Terms) -> None:
        total = sum(joules.values())
        for domain, own in joules.items():
            self.joules[domain] = self.joules.get(domain, 0.0) + own
        self.grams += total * _weight(intensity, terms)
        self.by_source[intensity] = self.by_source.get(intensity, 0.0) + total


@dataclass(slots=True)
class _Running:
    """One account's sums since the start."""

    cpu_seconds: float = 0.0
    requests: int = 0
    errors: int = 0
    timeouts: int = 0
    cancelled: int = 0
    retries: int = 0
    duration_seconds: float = 0.0
    joules: dict[Domain, float] = field(default_factory=dict)
    grams: float = 0.0
    units: dict[str, float] = field(default_factory=dict)

    def add(self, entry: Entry, weight: float) -> None:
        use = entry.use
        for unit, amount in use.units.items():
            self.units[unit] = self.units.get(unit, 0.0) + amount
        self.cpu_seconds += use.cpu_seconds
        self.requests += use.requests
        self.errors += use.errors
        self.timeouts += use.timeouts
        self.cancelled += use.cancelled
        self.retries += use.retries
        self.duration_seconds += use.duration_seconds
        for domain, joules in entry.joules.items():
            self.joules[domain] = self.joules.get(domain, 0.0) + joules
            self.grams += joules * weight


class Statement:
    """Adds priced pages and yields the records of an interval.

    Args:
        terms: What is the same in all records.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._sequence: Iterator[int] = itertools.count()
        self._totals: dict[Account, _Running] = {}
        self._clear()

    def _clear(self) -> None:
        self._lines: dict[Account, _Line] = {}
        self._book: dict[Kind, _Line] = {}
        self._rest: dict[Domain, float] = {}
        self._methods: dict[Domain, Method] = {}
        self._started_at: datetime | None = None
        self._ended_at: datetime | None = None
        self._idle_rules: dict[IdleRule, float] = {}
        self._partial = self._bounded = False
        self._gap_seconds = self._late = self._overcount = 0.0

    def amend(self, terms: Terms) -> None:
        """Other terms from now on; what was added so far goes with the old ones, so it is empty by now."""
        self._terms = terms

    @property
    def started_at(self) -> datetime | None:
        """Start of the first window in it; None while it is empty."""
        return self._started_at

    def add(self, page: Page, intensity: Intensity) -> None:
        """Add one page at the intensity of its time."""
        self._started_at = self._started_at or page.started_at
        self._ended_at = page.ended_at
        weight = _weight(intensity, self._terms)
        for account, entry in page.entries.items():
            shown = _shown(account)
            self._lines.setdefault(shown, _Line()).add(entry, page, intensity, self._terms)
            self._totals.setdefault(shown, _Running()).add(entry, weight)
        known = {domain: joules for domain, joules in page.measured.items() if joules is not None}
        for kind, joules in (("measured", known), ("idle", page.idle), ("unattributed", page.unattributed)):
            self._book.setdefault(kind, _Line()).book(joules, intensity, self._terms)  # type: ignore[arg-type]
        for domain, rest in page.rest.items():
            self._rest[domain] = self._rest.get(domain, 0.0) + rest
        self._methods.update(page.methods)
        self._idle_rules[page.idle_rule] = self._idle_rules.get(page.idle_rule, 0.0) + page.seconds
        self._partial |= page.partial
        self._bounded |= page.bounded
        self._gap_seconds += page.gap_seconds
        self._late += page.late_cpu_seconds
        self._overcount += page.overcount_cpu_seconds

    def close(self) -> list[Emission]:
        """The records of the interval, and begin the next: accounts that used something, then the machine's book."""
        records = []
        for account, line in self._lines.items():
            if line.cpu_seconds > 0.0 or line.requests or line.units or account == BACKGROUND:
                records.append(self._record(account.kind, account.root, account.name, line, account.origin, own=True))
        for kind, line in self._book.items():
            records.append(self._record(kind, kind, kind, line, None, own=False))
        self._clear()
        return records

    def totals(self) -> list[Total]:
        """What each account has used since the start."""
        return [
            Total(
                kind=account.kind,
                root=account.root,
                name=account.name,
                origin_service=None if account.origin is None else account.origin.service,
                origin_endpoint=None if account.origin is None else account.origin.endpoint,
                requests=line.requests,
                errors=line.errors,
                timeouts=line.timeouts,
                cancelled=line.cancelled,
                retries=line.retries,
                duration_seconds=line.duration_seconds,
                cpu_seconds=line.cpu_seconds,
                energy_joules=dict(line.joules),
                emissions_g=line.grams,
                units=dict(line.units),
            )
            for account, line in self._totals.items()
        ]

    def rest_joules(self) -> dict[Domain, float]:
        """What others on the machine used in the open interval, as this process sees it, by domain."""
        return dict(self._rest)

    def _record(self, kind: Kind, root: str, name: str, line: _Line, origin: Origin | None, *, own: bool) -> Emission:
        terms, identity = self._terms, self._terms.identity
        assert self._started_at is not None, "a statement without pages has no records"
        assert self._ended_at is not None, "a statement without pages has no records"
        return Emission(
            instance=identity.instance,
            sequence=next(self._sequence),
            service=identity.service,
            release=identity.release,
            machine=identity.machine,
            kind=kind,
            root=root,
            name=name,
            origin_service=None if origin is None else origin.service,
            origin_endpoint=None if origin is None else origin.endpoint,
            window_start=self._started_at,
            window_end=self._ended_at,
            meter=terms.meter,
            meter_scope=terms.meter_scope,
            basis=terms.basis,
            idle_rule=max(self._idle_rules, key=lambda one: self._idle_rules[one]),
            idle_policy=terms.idle_policy,
            requests=line.requests,
            errors=line.errors,
            timeouts=line.timeouts,
            cancelled=line.cancelled,
            retries=line.retries,
            duration_seconds=line.duration_seconds,
            cpu_seconds=line.cpu_seconds if own else None,
            partial=self._partial,
            approximate=line.approximate,
            gap_seconds=self._gap_seconds,
            gap_cpu_seconds=line.gap_cpu_seconds,
            late_cpu_seconds=self._late if kind == "measured" else 0.0,
            cpu_overcount_seconds=self._overcount if kind == "measured" else 0.0,
            units=dict(line.units),
            **self._energy(line, own=own),
            **self._price(line),
        )

    def _energy(self, line: _Line, *, own: bool) -> dict[str, Any]:
        """The fields that say joules and grams; only an account of the process has bounds, idle, embodied and SCI."""
        fields: dict[str, Any] = {}
        for domain, joules in line.joules.items():
            fields[f"energy_{domain}_joules"] = joules
            fields[f"energy_{domain}_method"] = self._methods[domain]
        if own:
            fields["emissions_embodied_g"] = line.embodied_grams
        if not line.joules:
            return fields
        fields["energy_joules"] = sum(line.joules.values())
        fields["energy_method"] = weakest(self._methods[domain] for domain in line.joules)
        fields["emissions_g"] = line.grams
        if own and self._bounded:
            fields["energy_low_joules"] = line.low_joules
            fields["energy_high_joules"] = line.high_joules
        if own and line.idle_joules is not None:
            fields["idle_energy_joules"] = line.idle_joules
            fields["idle_emissions_g"] = line.idle_grams
        if own and line.embodied_grams is not None and line.reserved_joules is not None:
            fields["sci_g"] = line.grams + line.reserved_grams + line.embodied_grams
            fields["sci_g_per_request"] = fields["sci_g"] / line.requests if line.requests else None
        return fields

    def _price(self, line: _Line) -> dict[str, Any]:
        """The fields that say what a kWh weighed and who said so: the source with most joules."""
        terms = self._terms
        fields: dict[str, Any] = {"place": terms.place, "pue": terms.pue, "wall_factor": terms.wall_factor}
        if not line.by_source:
            return fields
        source = max(line.by_source, key=lambda one: line.by_source[one])
        energy = sum(line.joules.values())
        factor = terms.pue * (terms.wall_factor or 1.0)
        fields["intensity_g_per_kwh"] = line.grams / factor / energy * JOULES_PER_KWH if energy else source.g_per_kwh
        fields["intensity_source"] = source.source
        fields["intensity_quality"] = source.quality
        fields["intensity_signal"] = source.signal
        fields["intensity_scope"] = source.emission_scope
        fields["intensity_observed_at"] = source.observed_at
        fields["intensity_valid_until"] = source.valid_until
        fields["zone"] = source.zone
        fields["mixed"] = len({_provenance(one) for one, joules in line.by_source.items() if joules > 0.0}) > 1
        return fields


def _shown(account: Account) -> Account:
    """The account by names that every sink can write: one with half a character would end a whole scrape."""
    root, name = legible(account.root), legible(account.name)
    return account if root is account.root and name is account.name else account._replace(root=root, name=name)


def _weight(intensity: Intensity, terms: Terms) -> float:
    """Grams of one joule."""
    return grams(1.0, intensity.g_per_kwh, terms.pue) * (terms.wall_factor or 1.0)


def _sum(total: float | None, part: float | None) -> float | None:
    return None if total is None or part is None else total + part


def _provenance(intensity: Intensity) -> tuple[str, ...]:
    return intensity.source, intensity.quality, intensity.zone, intensity.signal, intensity.emission_scope
