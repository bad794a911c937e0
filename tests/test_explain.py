"""Explanations: the arithmetic that is shown gives the record's own figures."""

import dataclasses
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_sdk import Carbon, track
from carbon_sdk.cli import main
from carbon_sdk.cpu.clock import Account, Cut, Use
from carbon_sdk.emission import Emission
from carbon_sdk.errors import WireError
from carbon_sdk.explain import explain
from carbon_sdk.explanation import Equation, Term, number_text
from carbon_sdk.identity import Identity
from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.recent import Recent
from carbon_sdk.repricing import Repriced
from carbon_sdk.sampler import Energy, Window
from carbon_sdk.spans.ledger import Ledger
from carbon_sdk.statement import Statement, Terms
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink
from carbon_sdk.told_records import read
from carbon_sdk.wire import to_json

START = datetime(2026, 3, 29, 12, tzinfo=UTC)
SHOP = Identity(service="shop", release="1.2", instance="0" * 16, machine="m" * 16)
CHEAP, DEAR = FixedIntensity(100.0).answer, FixedIntensity(300.0, zone="PL", quality="estimated").answer
ACCOUNTS = (
    Account("request", "GET /a", "GET /a"),
    Account("span", "GET /a", "resize"),
    Account("sdk", "carbon_sdk", "carbon_sdk"),
)
MAKING = "watts; embodied 1042 kg over 4 years (default, formula of Cloud Carbon Footprint 2021)"


def amounts(highest: float) -> st.SearchStrategy[float]:
    """Nothing, or so much that a machine can tell it from nothing."""
    return st.just(0.0) | st.floats(1e-6, highest)


@st.composite
def windows(draw: st.DrawFn) -> list[Window]:
    """Seconds of a process: gaps, idle, GPUs, more CPU booked than used, quiet accounts."""
    found = []
    for second in range(draw(st.integers(1, 6))):
        cpu = draw(st.lists(amounts(1.5), min_size=3, max_size=3))
        process = draw(st.floats(0.5, 1.5)) * sum(cpu)
        energies = []
        for domain in ("package", "dram"):
            joules = draw(st.none() | amounts(500.0))
            energies.append(
                Energy(
                    domain=domain,
                    joules=joules,
                    method="model",
                    low_joules=None if joules is None else joules * 0.8,
                    high_joules=None if joules is None else joules * 1.5,
                    idle_joules=None if joules is None else joules * draw(amounts(1.0)),
                    gap=None if joules is not None else "unread",
                )
            )
        if draw(st.booleans()):
            energies.append(
                Energy(
                    domain="gpu",
                    joules=draw(amounts(700.0)),
                    method="counter",
                    idle_joules=0.0,
                    process_share=0.5,
                )
            )
        uses = {
            account: Use(
                cpu_seconds=used, requests=draw(st.integers(0, 3)), gpu_seconds=draw(st.sampled_from([0.0, 0.5]))
            )
            for account, used in zip(ACCOUNTS, cpu, strict=True)
        }
        uses[ACCOUNTS[0]].units["images"] = draw(amounts(9.0))
        found.append(
            Window(
                started_at=START + timedelta(seconds=second),
                ended_at=START + timedelta(seconds=second + 1),
                seconds=1.0,
                energies=tuple(energies),
                busy_cpu_seconds=process + draw(amounts(3.0)),
                cpus=8.0,
                container_cpu_seconds=process * 2.0,
                cut=Cut(accounts=uses, spans=(), process_cpu_seconds=process, late_cpu_seconds=0.0),
            )
        )
    return found


def booked(
    seconds: list[Window], prices: list[Intensity], *, policy: Any = "none", pue: float = 1.0, wall: float | None = None
) -> tuple[list[Emission], Recent]:
    """The records of some windows, and who remembers these."""
    ledger = Ledger(idle_policy=policy, reserved_share=0.25)
    statement = Statement(
        Terms(
            identity=SHOP,
            meter="fake",
            meter_scope="machine",
            basis=MAKING,
            idle_policy=policy,
            pue=pue,
            wall_factor=wall,
            embodied_g_per_second=1042_000.0 / 4 / 31_536_000.0,
        )
    )
    recent = Recent(SHOP.instance)
    for place, window in enumerate(seconds):
        page = ledger.book(window)
        price = prices[place % len(prices)]
        statement.add(page, price)
        recent.add(page, price, pue=pue, wall_factor=wall)
    return statement.close(), recent


def computed(shown: str) -> tuple[float, float]:
    """What the left side of a shown equation gives when somebody types it in, and the right side as it is shown."""
    left, _, right = shown.partition(" = ")
    typed = []
    for word in left.split():
        bare = word.strip("()")
        if word in "+-x/":
            typed.append(word.replace("x", "*"))
        elif re.fullmatch(r"-?[\d.]+(e-?\d+)?", bare):
            typed.append("(" * word.count("(") + bare + ")" * word.count(")"))
        elif word.endswith(")"):
            typed.append(")")
    return eval(" ".join(typed)), float(right.split()[0])


@given(
    windows(),
    st.lists(st.sampled_from([CHEAP, DEAR]), min_size=1, max_size=3),
    st.sampled_from(["none", "by_cpu", "reserved"]),
    st.floats(1.0, 3.0),
    st.none() | st.floats(1.0, 5.0),
)
def test_the_arithmetic_shown_gives_the_records_own_figures(
    seconds: list[Window], prices: list[Intensity], policy: str, pue: float, wall: float | None
) -> None:
    """Of any record of any windows: exactly as computed, and to the digits shown when somebody types it in."""
    records, recent = booked(seconds, prices, policy=policy, pue=pue, wall=wall)
    assert records
    for record in records:
        explanation = explain(record, windows=recent.of(record))

        assert explanation.holds, explanation.text()
        told = {equation.name: equation.told for equation in explanation.equations if equation.told is not None}
        for name, figure in (("energy", record.energy_joules), ("emissions", record.emissions_g)):
            assert told.get(name) == figure
        for equation in explanation.equations:
            if " = " in equation.text:
                typed, shown = computed(equation.text)
                added = [abs(term.value) for term in equation.terms if term.operator in "+-"]
                rounded = 1e-5 * max(added) if len(added) > 1 else 0.0  # digits that a difference has lost
                assert typed == pytest.approx(shown, rel=3e-5, abs=rounded)


@given(windows(), st.sampled_from([CHEAP, DEAR]))
def test_in_each_window_cpu_seconds_times_their_joules_are_the_accounts_joules(
    seconds: list[Window], price: Intensity
) -> None:
    """What is shown of a window is what the ledger did in it."""
    records, recent = booked(seconds, [price])
    for record in records:
        remembered = recent.of(record)
        assert len(remembered) == len(seconds)
        for window in remembered:
            if window.own_cpu_seconds is not None and window.joules_per_cpu_second is not None:
                assert window.own_joules == pytest.approx(
                    window.own_cpu_seconds * window.joules_per_cpu_second, rel=1e-9, abs=1e-12
                )


def test_a_gap_is_told_in_seconds_and_its_cpu_is_left_out_of_the_rate() -> None:
    """Unknown is not zero: the rate is that of the CPU seconds that had a reading."""
    read, unread = (plain(joules) for joules in (40.0, None))
    record = record_of(*booked([read, unread], [CHEAP]))
    explanation = explain(record)
    rate = next(equation for equation in explanation.equations if equation.name == "mean rate")

    assert rate.value == pytest.approx(10.0)
    assert "1 s without a reading; 1 CPU s of this account" in explanation.text(200)


def test_an_account_without_any_reading_has_unknown_energy_not_zero() -> None:
    """Nothing is computed from nothing."""
    explanation = explain(record_of(*booked([plain(None)], [CHEAP])))

    assert explanation.holds
    assert "unknown, which is not zero" in explanation.text()
    assert "energy" not in {equation.name for equation in explanation.equations}


def test_a_record_that_was_changed_is_told() -> None:
    """Grams that do not follow from the joules are shown beside those that do."""
    record = dataclasses.replace(record_of(*booked([plain(40.0)], [CHEAP])), emissions_g=1.0)
    explanation = explain(record)

    assert not explanation.holds
    assert "but the record says 1 g" in explanation.text(200)


def test_what_was_repriced_shows_both_prices() -> None:
    """The first price stays; the second, its source and the difference stand beside it."""
    record = record_of(*booked([plain(40.0)], [CHEAP]))
    again = dataclasses.replace(
        record, intensity_g_per_kwh=250.0, emissions_g=10.0 / 3.6e6 * 250.0, intensity_source="history"
    )
    explanation = explain(
        record, repriced=Repriced(emission=again, before=record, reason="measured by history replaces an estimate")
    )
    shown = explanation.text(200)

    assert explanation.holds
    assert "x 100 g/kWh" in shown
    assert "x 250 g/kWh" in shown
    assert "measured by history replaces an estimate" in shown
    assert next(one for one in explanation.equations if one.name == "difference").value == pytest.approx(
        10.0 / 3.6e6 * 150.0
    )


def test_windows_that_are_forgotten_are_told() -> None:
    """A part of the windows is not taken for all of them."""
    seconds = [plain(40.0, at=at) for at in range(4)]
    records, _ = booked(seconds, [CHEAP])
    recent = Recent(SHOP.instance, most_windows=2)
    for second in seconds:
        recent.add(Ledger().book(second), CHEAP, pue=1.0, wall_factor=None)
    record = next(record for record in records if record.name == "GET /a")

    assert len(recent.of(record)) == 2
    assert "2 s of 4 s: the rest is forgotten" in explain(record, windows=recent.of(record)).text(200)


def test_memory_of_windows_is_bounded_by_time_and_by_accounts() -> None:
    """Ten minutes at most, and less where a service has very many accounts."""
    recent = Recent(SHOP.instance)
    for at in range(700):
        recent.add(Ledger().book(plain(40.0, at=at)), CHEAP, pue=1.0, wall_factor=None)
    crowded = Recent(SHOP.instance, most_lines=30)
    for at in range(20):
        crowded.add(Ledger().book(plain(40.0, at=at)), CHEAP, pue=1.0, wall_factor=None)
    whole = dataclasses.replace(record_of(*booked([plain(40.0)], [CHEAP])), window_end=START + timedelta(seconds=1000))

    assert len(recent.of(whole)) == 601
    assert len(crowded.of(whole)) == 15
    assert recent.of(dataclasses.replace(whole, instance="f" * 16)) == []


async def test_a_fresh_record_is_explained_window_by_window_by_the_process_that_wrote_it() -> None:
    """Through the real line, also after it has ended."""
    sink = RecordingSink()
    async with Carbon(
        meters=[FakeMeter(20.0)], provider=FixedIntensity(100.0), sinks={"record": sink}, sample_interval_seconds=0.1
    ) as carbon:
        async with track("job") as span:
            sum(range(2_000_000))
        await span.settled()
    record = next(one for one in sink.emissions if one.name == "job")
    explanation = explain(record, windows=carbon.recent.of(record))

    assert explanation.holds, explanation.text()
    assert len(explanation.to_object()["windows"]) >= 1
    assert "Window by window" in explanation.text()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (12.0, "12"), (3.6e6, "3600000"), (0.00042515, "0.00042515"), (1234567.8, "1234568"), (2e-9, "2e-09")],
)
def test_numbers_are_shown_for_people(value: float, shown: str) -> None:
    """Six digits, no exponent where it can be read without."""
    assert number_text(value) == shown


def test_a_sum_that_is_divided_is_shown_in_brackets() -> None:
    """So that who types it in gets the same."""
    equation = Equation(
        name="x",
        terms=(Term(value=1.0, unit="g"), Term(value=2.0, unit="g"), Term(value=3.0, unit="requests", operator="/")),
        unit="g",
    )

    assert equation.text == "(1 g + 2 g) / 3 requests = 1 g"


def plain(joules: float | None, *, at: int = 0) -> Window:
    """A second in which GET /a used a quarter of 4 busy CPU seconds, nothing idle."""
    return Window(
        started_at=START + timedelta(seconds=at),
        ended_at=START + timedelta(seconds=at + 1),
        seconds=1.0,
        energies=(Energy(domain="package", joules=joules, method="counter", idle_joules=0.0),),
        busy_cpu_seconds=4.0,
        cpus=4.0,
        container_cpu_seconds=None,
        cut=Cut(accounts={ACCOUNTS[0]: Use(cpu_seconds=1.0)}, spans=(), process_cpu_seconds=2.0, late_cpu_seconds=0.0),
    )


def record_of(records: list[Emission], _recent: Recent) -> Emission:
    return next(record for record in records if record.name == "GET /a")


def test_the_command_explains_a_record_from_argument_file_and_stdin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text, whichever way it came."""
    line = to_json(record_of(*booked([plain(40.0)], [CHEAP])))
    file = tmp_path / "record.json"
    file.write_text(line)
    assert main(["explain", line]) == 0
    from_argument = capsys.readouterr().out
    assert main(["explain", str(file)]) == 0
    from_file = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert main(["explain", "-"]) == 0

    assert capsys.readouterr().out == from_file == from_argument
    assert "10 J / 3600000 J/kWh x 100 g/kWh x 1 PUE = 0.000277778 g" in from_file.replace("\n" + " " * 18, " ")


def test_the_command_explains_every_record_of_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log of this SDK holds other events too; those are passed over."""
    records, _ = booked([plain(40.0)], [CHEAP])
    log = tmp_path / "carbon.log"
    lines = ['{"event":"carbon.start","meter":"fake"}']
    lines += [json.dumps({"event": "carbon.emission", "level": "info"} | json.loads(to_json(one))) for one in records]
    log.write_text("\n".join(lines) + "\n")
    assert main(["explain", "--json", str(log)]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [one["record"]["sequence"] for one in told] == [record.sequence for record in records]
    assert all(one["holds"] for one in told)


def test_the_command_says_by_its_exit_code_that_a_record_does_not_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    """A script can check a log."""
    record = dataclasses.replace(record_of(*booked([plain(40.0)], [CHEAP])), emissions_g=1.0)

    assert main(["explain", to_json(record)]) == 1
    assert "but the record says 1 g" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("no/such/file", "is no file"),
        ("{}", "instance is missing"),
        ("{", "line 1: not JSON"),
        ("[]", "holds no record"),
        ('{"event":"carbon.start"}', "holds no record"),
    ],
)
def test_what_is_no_record_is_refused_with_its_place(words: str, said: str) -> None:
    """Exit code 2 and one line; the command never shows a traceback."""
    with pytest.raises(WireError, match=re.escape(said)):
        read(words)
    assert main(["explain", words]) == 2
