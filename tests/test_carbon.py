"""Carbon: one in a process, started when needed, closed twice without complaint, safe after a fork."""

import asyncio
import functools
import gc
import json
import os
import pathlib
import subprocess
import sys
import textwrap
import time
import types
import weakref
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

import carbon_sdk
from carbon_sdk import Carbon, CarbonSDKError, SettingsError, Span, track
from carbon_sdk.environment import environment
from carbon_sdk.settings import Settings
from carbon_sdk.sinks.sink import Sink, Totals, TotalsSink
from carbon_sdk.testing import FakeMeter, FixedIntensity, RecordingSink

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_collection")]


def measured(sink: RecordingSink, *, sample_interval_seconds: float = 1.0) -> Carbon:
    return Carbon(
        meters=[FakeMeter(20.0)],
        provider=FixedIntensity(100.0),
        sinks={"record": sink},
        sample_interval_seconds=sample_interval_seconds,
        emit_interval_seconds=3600,  # a test that meets the end of a minute must not see two records
        first_record_seconds=3600,
    )


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_closing_hands_over_the_last_window() -> None:
    """A job of a tenth of a second leaves its record when the process closes."""
    sink = RecordingSink()
    async with measured(sink), track("job") as span:
        burn(0.1)

    (job,) = [emission for emission in sink.emissions if emission.name == "job"]
    assert job.cpu_seconds == pytest.approx(0.1, rel=0.2)
    assert job.energy_joules is not None
    assert not span.provisional
    assert span.energy_joules == pytest.approx(job.energy_joules)
    assert sink.closed


async def test_closing_twice_and_starting_again_is_fine() -> None:
    """A test client makes five lives for five requests."""
    sink = RecordingSink()
    carbon = measured(sink)
    for _ in range(3):
        carbon.start()
        with track("job"):
            burn(0.01)
        await carbon.aclose()
        await carbon.aclose()

    assert sum(emission.requests for emission in sink.emissions if emission.name == "job") == 3


async def test_a_second_carbon_in_one_process_is_refused() -> None:
    """Two would count the same joules."""
    async with measured(RecordingSink()):
        with pytest.raises(CarbonSDKError, match="another Carbon"):
            measured(RecordingSink()).start()


class RecordingTotals:
    """A sink of running totals."""

    def __init__(self) -> None:
        self.seen: list[Totals] = []

    def update(self, totals: Totals, /) -> None:
        self.seen.append(totals)

    async def aclose(self) -> None:
        pass


async def test_a_sink_of_totals_stands_among_the_sinks_and_is_handed_no_records() -> None:
    """Nothing of it goes wrong, and its requests are those that the records count."""
    totals, records = RecordingTotals(), RecordingSink()
    sinks: dict[str, Sink | TotalsSink] = {"totals": totals, "records": records}
    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(zone="DE"), sinks=sinks, zone="DE")
    async with carbon, track("job"):
        pass

    assert [account.name for account in totals.seen[-1].accounts if account.kind == "worker"] == ["job"]
    assert [record.name for record in records.emissions if record.kind == "worker"] == ["job"]
    assert carbon.log.faults == {}


async def test_a_sink_that_is_not_there_is_named() -> None:
    """A `Carbon` built in code raises; the message has the setting."""
    with pytest.raises(SettingsError, match="CARBON_SDK_SINKS"):
        await Carbon(Settings(sinks=("nowhere",)), meters=[]).__aenter__()


@pytest.mark.parametrize("sinks", ["jsonlines", ["jsonlines"], ("jsonlines",)])
async def test_sinks_may_be_named_where_others_are_built_by_hand(
    sinks: str | list[str] | tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the variable: the rest of their settings comes from the environment."""
    monkeypatch.setenv("CARBON_SDK_JSONLINES_PATH", str(tmp_path / "records.jsonl"))
    async with Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(zone="DE"), sinks=sinks):
        with track("resize"):
            sum(range(300_000))

    assert '"resize"' in (tmp_path / "records.jsonl").read_text()


@pytest.mark.parametrize("sinks", [[RecordingSink()], RecordingSink()])
def test_a_sink_without_a_name_is_refused_and_the_remedy_said(sinks: Any) -> None:
    """Sinks built by hand come under names."""
    with pytest.raises(SettingsError, match=r'CARBON_SDK_SINKS: .*sinks=\{"mine": sink\}'):
        Carbon(sinks=sinks)


def test_names_of_sinks_beside_settings_are_refused() -> None:
    """The settings have names already."""
    with pytest.raises(SettingsError, match="CARBON_SDK_SINKS: names stand beside settings="):
        Carbon(Settings(), sinks="jsonlines")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12 warns of a fork beside threads, which is the point
def test_a_forked_child_begins_anew() -> None:
    """It measures for itself, under an instance of its own, and waits on no lock of its parent."""
    sink = RecordingSink()
    with measured(sink), track("parent"):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            own = RecordingSink()
            with measured(own), track("child"):
                burn(0.02)
            names = {emission.name for emission in own.emissions}
            os.write(write, b"ok" if "child" in names and "parent" not in names else b"no")
            os._exit(0)
        os.waitpid(child, 0)
        answer = os.read(read, 2)

    assert answer == b"ok"
    assert "child" not in {emission.name for emission in sink.emissions}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("parent_measures", [True, False])
def test_a_forked_childs_step_is_booked_over_several_windows(parent_measures: bool) -> None:
    """A step is cut by its thread's CPU clock, which in the child is another than in the parent."""
    read, write = os.pipe()
    if parent_measures:
        with measured(RecordingSink()), track("parent"):
            child = os.fork()
    else:
        child = os.fork()
    if child == 0:
        with measured(RecordingSink(), sample_interval_seconds=0.1), track("child") as span:
            burn(0.35)
        os.write(write, f"{span.cpu_seconds:.3f}".encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert float(os.read(read, 10)) == pytest.approx(0.35, rel=0.1)


def test_a_block_of_a_program_that_is_run_is_a_job() -> None:
    """It is outermost: of kind worker, its ends counted, also in a task that the program makes; how they ended too."""
    code = textwrap.dedent(
        """
        import asyncio
        import carbon_sdk

        async def job(error):
            async with carbon_sdk.track("job"):
                await asyncio.sleep(0)
                if error is not None:
                    raise error

        async def main():
            errors = None, ValueError(), TimeoutError(), asyncio.CancelledError()
            await asyncio.gather(*map(job, errors), return_exceptions=True)

        carbon_sdk.run(main())
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    records = [json.loads(line) for line in done.stderr.splitlines() if '"carbon.emission"' in line]
    (job,) = (record for record in records if record["name"] == "job")
    assert (job["kind"], job["requests"], job["errors"], job["timeouts"], job["cancelled"]) == ("worker", 4, 3, 1, 1)
    assert not job["approximate"]


async def test_nested_spans_are_exclusive() -> None:
    """Exclusive CPU of nested spans adds up to the outermost's inclusive CPU."""
    async with measured(RecordingSink()):
        with track("outer") as outer:
            burn(0.03)
            with track("inner") as inner:
                burn(0.02)
                await asyncio.sleep(0)

    assert inner.cpu_seconds == pytest.approx(0.02, rel=0.2)
    assert outer.cpu_seconds == pytest.approx(0.03, rel=0.2)
    assert outer.inclusive_cpu_seconds == pytest.approx(0.05, rel=0.2)


async def test_a_job_that_never_ends_keeps_none_of_the_spans_that_did() -> None:
    """A worker's loop within a span: their CPU stays in its inclusive seconds, whatever outlives whom."""

    async def work() -> list[weakref.ref[Span]]:
        outlived, outliving = track("outlived"), track("outliving")
        middle, inner = outlived.__enter__(), outliving.__enter__()
        burn(0.02)
        outlived.__exit__(None, None, None)
        with track("last") as last:
            burn(0.01)
        await last.settled()
        assert not middle.provisional
        assert inner.provisional
        outliving.__exit__(None, None, None)
        await inner.settled()
        return [weakref.ref(span) for span in (inner, last)]

    async with measured(RecordingSink(), sample_interval_seconds=0.1), track("loop") as loop:
        gone = await asyncio.create_task(work())
        await asyncio.sleep(0.3)
        gc.collect()

        assert [one() for one in gone] == [None, None]
        assert loop.inclusive_cpu_seconds == pytest.approx(0.03, rel=0.2)


async def test_a_block_in_a_generator_that_nobody_exhausts_is_no_error() -> None:
    """It was left by whoever took from it, as a page of which the first lines are enough."""

    def numbers() -> Generator[int, None, None]:
        with track("job"):
            yield from range(10)

    async def later() -> AsyncGenerator[int, None]:
        async with track("job"):
            for number in range(10):
                yield number

    sink = RecordingSink()
    async with measured(sink):
        taken = numbers()
        assert next(taken) == 0
        taken.close()
        async with aclosing(later()) as some:
            assert await anext(some) == 0

    (job,) = [emission for emission in sink.emissions if emission.name == "job"]
    assert (job.requests, job.errors) == (2, 0)


async def test_spans_may_be_nested_as_deep_as_the_stack_allows() -> None:
    """Whoever asks for the inclusive seconds of the outermost needs no deeper one."""
    async with measured(RecordingSink()):
        with ExitStack() as deep:
            outer, *_ = (deep.enter_context(track("deep")) for _ in range(5_000))

            assert outer.inclusive_cpu_seconds is not None


async def test_a_partial_and_an_object_that_can_be_called_are_named_after_what_they_are() -> None:
    """Neither has a name of its own."""

    class Resize:
        def __call__(self) -> int:
            return 7

    def add(left: int, right: int) -> int:
        return left + right

    sink = RecordingSink()
    async with measured(sink):
        assert track(Resize())() == 7
        assert track(functools.partial(add, 1))(2) == 3

    names = {record.name.rpartition(".")[2] for record in sink.emissions if record.kind == "worker"}
    assert names == {"Resize", "add"}


async def test_what_is_no_name_no_function_and_no_kind_is_refused_with_the_remedy() -> None:
    """When the code is written, not in production."""
    with pytest.raises(TypeError, match=r"not int: give str\(5\)"):
        track(5)  # type: ignore[call-overload]
    ways: list[Any] = [track, track("job")]
    wraps: list[Any] = [classmethod, staticmethod, property, functools.cached_property]
    for wrap in wraps:
        for decorate in ways:
            with pytest.raises(TypeError, match=f"write @{wrap.__name__} above @track"):
                decorate(wrap(print))
    for decorate in ways:
        with pytest.raises(TypeError, match="the class Path: put @track on its methods"):
            decorate(Path)
    with pytest.raises(TypeError, match="decorates functions, not list"):
        track("job")([])  # type: ignore[type-var]
    with pytest.raises(ValueError, match="no kind 'idle': give one of worker, request"):
        track("job", kind="idle")  # type: ignore[call-overload]


async def test_an_object_whose_call_is_awaited_is_measured_until_it_has_returned() -> None:
    """And so is a generator that `types.coroutine` made one to await."""

    class Job:
        async def __call__(self) -> int:
            await asyncio.sleep(0)
            burn(0.02)
            return 7

    def generated() -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        burn(0.02)
        return 8

    old = track("old")(types.coroutine(generated))

    sink = RecordingSink()
    async with measured(sink):
        assert await track("job")(Job())() == 7
        assert await old() == 8

    cpu = {record.name: record.cpu_seconds or 0.0 for record in sink.emissions if record.kind == "worker"}
    assert min(cpu["job"], cpu["old"]) >= 0.02


def test_a_meter_that_ends_the_interpreter_ends_the_measuring_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that ends by `sys.exit` says nothing of its own accord."""

    class Leaving(FakeMeter):
        def read(self) -> Any:
            raise SystemExit(4)

    with Carbon(meters=[Leaving()], provider=FixedIntensity(100.0)), track("job"):
        pass

    assert any("SystemExit: 4" in record.getMessage() for record in caplog.records)


def test_a_program_whose_packages_lie_in_a_zip_is_measured(tmp_path: Path) -> None:
    """As zipapp packs it: our tables are in the archive, too."""
    root = pathlib.Path(carbon_sdk.__file__).parent
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in root.rglob("*"):
            if file.suffix in (".py", ".csv"):
                zipped.write(file, file.relative_to(root.parent))
    code = "import carbon_sdk; print(carbon_sdk.__file__)\nwith carbon_sdk.track('job'): sum(range(10**6))"
    variables = {
        **environment(),
        "PYTHONPATH": str(archive),
        "CARBON_SDK_COUNTRY": "DE",
        "CARBON_SDK_STATE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.stdout.startswith(str(archive))
    assert [line for line in lines if line["event"] == "carbon.fault"] == []
    assert [line["zone"] for line in lines if line.get("name") == "job"] == ["DE"]


async def test_functions_of_every_kind_can_be_tracked() -> None:
    """Plain, coroutine, generator and async generator; they stay what they are."""
    sink = RecordingSink()

    @track
    def plain() -> int:
        burn(0.005)
        return 1

    @track("named")
    async def coroutine() -> int:
        await asyncio.sleep(0)
        return 2

    @track("generated")
    def generator() -> Generator[Any, Any, None]:
        got = yield 3
        yield got

    @track("streamed")
    async def stream() -> AsyncIterator[int]:
        yield 4
        await asyncio.sleep(0)
        yield 5

    async with measured(sink):
        assert plain() == 1
        assert await coroutine() == 2
        iterator = generator()
        assert (next(iterator), iterator.send("x")) == (3, "x")
        iterator.close()
        assert [item async for item in stream()] == [4, 5]

    names = {emission.name for emission in sink.emissions if emission.kind == "worker"}
    assert {"named", "generated", "streamed"} <= names
    assert any(name.endswith("plain") for name in names)
    assert asyncio.iscoroutinefunction(coroutine)


async def test_a_disabled_carbon_measures_nothing() -> None:
    """Figures are None, and nothing starts."""
    carbon = Carbon(disabled=True)
    carbon.start()

    assert not carbon.running


def test_with_settings_from_the_environment_alone_a_bad_one_is_told_and_the_default_serves() -> None:
    """An unknown zone, provider and sink: one line each, and records still come, priced by the world's average."""
    code = textwrap.dedent(
        """
        import carbon_sdk

        with carbon_sdk.track("job") as span:
            sum(range(10**6))
        span.wait_settled(10)
        print(span.emissions_g is not None, span.intensity.zone)
        """
    )
    bad = {
        "CARBON_SDK_ZONE": "QQ-XX",
        "CARBON_SDK_PROVIDER": "nowhere",
        "CARBON_SDK_SINKS": "structlog,nothing",
        "CARBON_SDK_SERVCE": "misspelt",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**environment(), **bad}
    )

    assert done.stdout.split() == ["True", "WORLD"]
    for name in ("CARBON_SDK_ZONE", "CARBON_SDK_PROVIDER", "CARBON_SDK_SINKS", "CARBON_SDK_SERVICE"):
        assert name in done.stderr


FIRST_BLOCK = {
    "carbon_sdk.run": "carbon_sdk.run(main())",
    "asyncio.run": "asyncio.run(main())",
    "a plain block": """
with carbon_sdk.track("job") as span:
    burn(0.05)
print(span.cpu_seconds)
""",
}


@pytest.mark.parametrize("start", FIRST_BLOCK.values(), ids=FIRST_BLOCK.keys())
def test_the_first_block_of_a_script_has_joules_for_all_of_its_cpu(start: str, tmp_path: pathlib.Path) -> None:
    """The meters are read before it opens, and the start of our own thread takes nothing from it."""
    program = """
import asyncio, time
import carbon_sdk

def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

async def main():
    async with carbon_sdk.track("job") as span:
        burn(0.05)
    print(span.cpu_seconds)

"""
    file = tmp_path / "records.jsonl"
    more = {"CARBON_SDK_SINKS": "jsonlines", "CARBON_SDK_JSONLINES_PATH": str(file), "CARBON_SDK_ZONE": "DE"}
    done = subprocess.run(
        [sys.executable, "-c", program + start],
        capture_output=True,
        text=True,
        check=True,
        env={**environment(), **more},
    )

    records = [json.loads(line) for line in file.read_text().splitlines()]
    (job,) = [record for record in records if record["name"] == "job"]
    assert job["cpu_seconds"] == pytest.approx(float(done.stdout), rel=0.05)
    assert (job["gap_cpu_seconds"], job["late_cpu_seconds"]) == (0.0, 0.0)
    assert job["energy_joules"] > 0.0


async def test_a_source_that_is_refused_is_told_once_by_the_sdks_own_log(caplog: pytest.LogCaptureFixture) -> None:
    """It answered for another zone than was asked: one event, by the same way as every other."""
    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(zone="DE"), sinks={}, zone="FR")
    async with carbon:
        with track("job"):
            sum(range(100_000))
    told = [record for record in caplog.records if record.getMessage().startswith("carbon.fault fault=intensity")]

    assert len(told) == 1
    assert "zone 'DE' answered for 'FR'" in told[0].getMessage()
    assert "remedy=" in told[0].getMessage()


def test_a_process_that_ends_before_its_meters_stand_hands_its_record_over(tmp_path: Path) -> None:
    """From 3.12 on an interpreter that ends starts no thread any more: what needs one to be read does not serve."""
    code = textwrap.dedent(
        """
        import asyncio
        import carbon_sdk

        async def main():
            with carbon_sdk.track("job"):
                sum(range(1000))

        asyncio.run(main())
        """
    )
    records = tmp_path / "records"
    sink = {"CARBON_SDK_SINKS": "jsonlines", "CARBON_SDK_JSONLINES_PATH": str(records)}
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment(), **sink})

    assert '"name":"job"' in records.read_text(encoding="utf-8")
