"""A record's figures traced back: joules, shares, price and making, with the record's own numbers.

What a record cannot hold is what each window held; a process remembers that of its last ten minutes (`recent.py`), and
an explanation made there shows it.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from carbon_sdk.embodied import SECONDS_PER_YEAR, from_basis
from carbon_sdk.emission import JOULES_PER_KWH, MACHINE_KINDS, Emission
from carbon_sdk.explanation import SAME, Equation, Explanation, Note, Section, Term, number_text
from carbon_sdk.recent import WindowFigure
from carbon_sdk.repricing import Repriced

LABEL_SECONDS = 0.05
"""Windows are measured by one clock and labelled by another; their lengths may differ by so much."""
IDLE_RULES = {
    "set": "idle watts are set; idle joules = watts x seconds of each window, the rest is active",
    "learnt": "idle watts were learnt from windows below 15 % load; idle joules = watts x seconds of each window",
    "usage_ratio": "idle watts are not known; idle joules = joules x (1 - busy CPU s / all CPU s) of each window",
    "model": "the model's own idle watts; idle joules = watts x seconds of each window, the rest is active",
    "none": "idle could not be told from active; all joules are taken as active",
}
IDLE_POLICIES = {
    "none": "no account carries idle joules",
    "by_cpu": "accounts carry idle joules by their CPU time",
    "reserved": "accounts carry the idle joules of the share that their container reserves",
}
SHARE_RULES = {
    "cpu_time": "of each window's active joules the part: own CPU s / all busy CPU s; it cannot see vector units, "
    "memory traffic or clock frequency",
    "codecarbon": "a whole run, as CodeCarbon counted it",
}
METHODS = {"counter": "by a counter", "power_integral": "power integrated over time", "model": "by a model"}


def explain(record: Emission, *, windows: Sequence[WindowFigure] = (), repriced: Repriced | None = None) -> Explanation:
    """Trace a record's figures back to its own numbers.

    Args:
        record: The record, with its first price.
        windows: What its windows held, where that is remembered.
        repriced: What it would weigh by today's knowledge, where that is known; both prices are shown.
    """
    sections = [_who(record), _energy(record), _emissions(record)]
    if repriced is not None:
        sections.append(_second_price(repriced))
    making = _making(record)
    if making.rows:
        sections.append(making)
    if windows:
        sections.append(_sums(record, windows))
    return Explanation(record=record, sections=tuple(sections))


def _who(record: Emission) -> Section:
    seconds = (record.window_end - record.window_start).total_seconds()
    release = f" {record.release}" if record.release else ""
    rows = [
        Note(name="record", text=f"{record.instance}/{record.sequence}, schema {record.schema}"),
        Note(name="account", text=f"{record.kind} {record.name!r} in {record.root!r}"),
        Note(name="service", text=f"{record.service}{release} on machine {record.machine}"),
        Note(
            name="interval",
            text=f"{_clock(record.window_start)} to {_clock(record.window_end)}, {number_text(seconds)} s",
        ),
    ]
    if record.kind in MACHINE_KINDS:
        rows.append(Note(name="book", text="the machine's: every process of it reports the same; never add them"))
    return Section(title=f"{record.name}: where its figures come from", rows=tuple(rows))


def _energy(record: Emission) -> Section:
    domains = {
        domain: joules
        for domain in ("package", "dram", "psys", "gpu")
        if (joules := getattr(record, f"energy_{domain}_joules")) is not None
    }
    known = from_basis(record.basis)
    basis = record.basis if known is None else record.basis.replace(known.basis, "").rstrip("; ")
    rows: list[Equation | Note] = [
        Note(name="meter", text=f"{record.meter}, joules of the {record.meter_scope}: {basis}"),
    ]
    for domain, joules in domains.items():
        method = METHODS.get(getattr(record, f"energy_{domain}_method") or "", "nobody says how")
        rows.append(Note(name=domain, text=f"{number_text(joules)} J, {method}"))
    rows += [
        Note(name="idle rule", text=f"{record.idle_rule}: {IDLE_RULES[record.idle_rule]}"),
        Note(
            name="share rule",
            text=f"{record.share_rule}: {SHARE_RULES.get(record.share_rule, 'this version does not know it')}",
        ),
        Note(name="gaps", text=_gaps(record)),
    ]
    rows += _rates(record, domains)
    rows.append(_energy_sum(record, domains))
    if record.energy_low_joules is not None and record.energy_high_joules is not None:
        rows.append(
            Note(
                name="bounds",
                text=f"{number_text(record.energy_low_joules)} J to {number_text(record.energy_high_joules)} J",
            )
        )
    rows += [Note(name=name, text=text) for name, text in _marks(record)]
    return Section(title="Energy", rows=tuple(rows))


def _energy_sum(record: Emission, domains: dict[str, float]) -> Equation | Note:
    if record.energy_joules is None:
        return Note(name="energy", text="unknown, which is not zero: no window had a reading")
    if not domains:
        return Note(name="energy", text=f"{number_text(record.energy_joules)} J; the record does not say of what")
    terms = tuple(Term(value=joules, unit=f"J {domain}") for domain, joules in domains.items())
    return Equation(name="energy", terms=terms, unit="J", told=record.energy_joules)


def _rates(record: Emission, domains: dict[str, float]) -> Iterator[Equation]:
    """CPU seconds that had a reading, and the mean joules of one of them."""
    if record.cpu_seconds is None:
        return
    used = [Term(value=record.cpu_seconds, unit="CPU s")]
    if record.gap_cpu_seconds:
        used.append(Term(value=record.gap_cpu_seconds, unit="CPU s in gaps", operator="-"))
    read = Equation(name="CPU", terms=tuple(used), unit="CPU s")
    yield read
    joules = sum(joules for domain, joules in domains.items() if domain != "gpu")
    if read.value <= 0.0 or not domains.keys() - {"gpu"}:
        return
    yield Equation(
        name="mean rate",
        terms=(Term(value=joules, unit="J of CPU domains"), Term(value=read.value, unit="CPU s", operator="/")),
        unit="J per CPU s",
    )


def _gaps(record: Emission) -> str:
    if not record.gap_seconds:
        return "none"
    own = ""
    if record.gap_cpu_seconds:
        own = f"; {number_text(record.gap_cpu_seconds)} CPU s of this account fell into them and have no joules"
    return f"{number_text(record.gap_seconds)} s without a reading{own}"


def _marks(record: Emission) -> Iterator[tuple[str, str]]:
    if record.partial:
        yield "partial", "a socket or device could not be read: the figure is a part of the whole"
    if record.approximate:
        yield "approximate", "the CPU time of this account is not exact"
    if record.late_cpu_seconds:
        yield "late CPU", f"{number_text(record.late_cpu_seconds)} CPU s arrived too late and got no joules"
    if record.cpu_overcount_seconds:
        yield "overcount", f"{number_text(record.cpu_overcount_seconds)} CPU s beyond the process's own, scaled away"


def _emissions(record: Emission) -> Section:
    rows: list[Equation | Note] = [Note(name="intensity", text=_intensity(record))]
    if record.energy_joules is not None and record.emissions_g is not None and record.intensity_g_per_kwh is not None:
        rows.append(_priced("emissions", record.energy_joules, record, told=record.emissions_g))
        for name, joules in (("low", record.energy_low_joules), ("high", record.energy_high_joules)):
            if joules is not None:
                rows.append(_priced(f"grams, {name}", joules, record))
        if record.requests:
            rows.append(_divided("per request", record.emissions_g, record.requests, "requests"))
        for unit, amount in record.units.items():
            if amount:
                rows.append(_divided(f"per {unit}", record.emissions_g, amount, unit))
    else:
        rows.append(Note(name="emissions", text="unknown, which is not zero"))
    rows.append(Note(name="idle policy", text=f"{record.idle_policy}: {IDLE_POLICIES[record.idle_policy]}"))
    if record.idle_energy_joules and record.idle_emissions_g is not None:
        factor = record.pue * (record.wall_factor or 1.0)
        own = record.idle_emissions_g / record.idle_energy_joules * JOULES_PER_KWH / factor
        rows.append(_priced("idle", record.idle_energy_joules, record, g_per_kwh=own, told=record.idle_emissions_g))
    return Section(title="Emissions", rows=tuple(rows))


def _intensity(record: Emission) -> str:
    if record.intensity_g_per_kwh is None:
        return "unknown"
    known = ", ".join(
        part for part in (record.intensity_quality, record.intensity_signal, record.intensity_scope) if part is not None
    )
    price, source = number_text(record.intensity_g_per_kwh), record.intensity_source
    text = f"{price} g/kWh of zone {record.zone or 'unknown'} by {source or 'nobody knows whom'}"
    text += f", {known}" if known else ""
    if record.intensity_observed_at is not None and record.intensity_valid_until is not None:
        text += f", valid {_clock(record.intensity_observed_at)} to {_clock(record.intensity_valid_until)}"
    if record.place not in (None, record.zone):
        text += f"; asked for {record.place}"
    if record.mixed:
        text += "; the mean of several: source, zone, quality, signal or scope changed within it"
    return text


def _priced(
    name: str, joules: float, record: Emission, *, g_per_kwh: float | None = None, told: float | None = None
) -> Equation:
    """`energy / 3.6e6 x intensity x pue`, and the factor to the wall where it was set."""
    price = g_per_kwh if g_per_kwh is not None else record.intensity_g_per_kwh
    assert price is not None, "only what has a price is priced"
    wall = () if record.wall_factor is None else (Term(value=record.wall_factor, unit="to the wall", operator="x"),)
    return Equation(
        name=name,
        terms=(
            Term(value=joules, unit="J"),
            Term(value=JOULES_PER_KWH, unit="J/kWh", operator="/"),
            Term(value=price, unit="g/kWh", operator="x"),
            Term(value=record.pue, unit="PUE", operator="x"),
            *wall,
        ),
        unit="g",
        told=told,
    )


def _divided(name: str, grams: float, amount: float, unit: str) -> Equation:
    return Equation(
        name=name, terms=(Term(value=grams, unit="g"), Term(value=amount, unit=unit, operator="/")), unit="g"
    )


def _second_price(repriced: Repriced) -> Section:
    """What was repriced shows both prices, and why."""
    before, after = repriced.before, repriced.emission
    rows: list[Equation | Note] = [Note(name="reason", text=repriced.reason)]
    if repriced.changed and after.energy_joules is not None and after.intensity_g_per_kwh is not None:
        rows.append(Note(name="intensity", text=_intensity(after)))
        rows.append(_priced("emissions", after.energy_joules, after, told=after.emissions_g))
    if before.emissions_g is not None and after.emissions_g is not None:
        terms = (
            Term(value=after.emissions_g, unit="g"),
            Term(value=before.emissions_g, unit="g at first", operator="-"),
        )
        rows.append(Equation(name="difference", terms=terms, unit="g", told=repriced.difference_g))
    return Section(title="Priced again, beside the first price", rows=tuple(rows))


def _making(record: Emission) -> Section:
    """The machine's making: M, and SCI where it is known."""
    known, grams = from_basis(record.basis), record.emissions_embodied_g
    rows: list[Equation | Note] = []
    if known is not None:
        rows.append(Note(name="machine", text=known.basis))
    if known is not None and grams is None and record.kind not in MACHINE_KINDS:
        rows.append(Note(name="embodied", text="unknown: no share of the machine is known to be reserved"))
    seconds = (record.window_end - record.window_start).total_seconds()
    if known is not None and grams is not None and seconds > 0.0 and known.emissions_g > 0.0:
        share = grams / (known.g_per_second * seconds)
        rows.append(
            Equation(
                name="embodied",
                terms=(
                    Term(value=known.emissions_g, unit="g of making"),
                    Term(value=known.lifetime_years, unit="years", operator="/"),
                    Term(value=SECONDS_PER_YEAR, unit="s/year", operator="/"),
                    Term(value=seconds, unit="s", operator="x"),
                    Term(value=share, unit="of the machine reserved", operator="x"),
                ),
                unit="g",
                told=grams,
            )
        )
    sci = record.sci_g_per_request
    if sci is not None and record.requests and record.emissions_g is not None and grams is not None:
        rows.append(
            Equation(
                name="SCI",
                terms=(
                    Term(value=record.emissions_g, unit="g"),
                    Term(value=sci * record.requests - record.emissions_g - grams, unit="g of reserved idle"),
                    Term(value=grams, unit="g of making"),
                    Term(value=record.requests, unit="requests", operator="/"),
                ),
                unit="g per request",
                told=sci,
            )
        )
    return Section(title="Making of the machine", rows=tuple(rows))


def _sums(record: Emission, windows: Sequence[WindowFigure]) -> Section:
    """The windows add up to the record; a part of them says that it is one."""
    seconds = math.fsum(window.seconds for window in windows)
    whole = (record.window_end - record.window_start).total_seconds()
    missing = whole - seconds > max(SAME * whole, LABEL_SECONDS)
    rows: list[Equation | Note] = []
    if missing:
        rows.append(
            Note(name="remembered", text=f"{number_text(seconds)} s of {number_text(whole)} s: the rest is forgotten")
        )
    if any(window.cpu_scale < 1.0 - SAME for window in windows):
        least = min(window.cpu_scale for window in windows)
        rows.append(
            Note(
                name="scaled",
                text="in some windows more CPU was booked than the process used, so that of each second of it only a "
                f"part counted, at the least {number_text(least)}",
            )
        )
    joules = [part for window in windows for part in (window.own_joules, window.own_gpu_joules) if part is not None]
    if joules:
        grams = math.fsum(window.own_g or 0.0 for window in windows)
        for name, total, unit, told in (
            ("energy", math.fsum(joules), "J", record.energy_joules),
            ("emissions", grams, "g", record.emissions_g),
        ):
            sum_of = (Term(value=total, unit=f"{unit} in {len(windows)} windows"),)
            rows.append(Equation(name=name, terms=sum_of, unit=unit, told=None if missing else told))
    return Section(title="Window by window", rows=tuple(rows), windows=tuple(windows))


def _clock(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(" ", "milliseconds")
    return text.replace("+00:00", "Z").replace(".000Z", "Z")
