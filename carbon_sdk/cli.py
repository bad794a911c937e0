"""The command `carbon-sdk`: argument parsing, nothing else."""

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from carbon_sdk.emission import Emission
from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.log import Log, to_stream
from carbon_sdk.settings import environment, from_environment

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `carbon-sdk`; the process's own when None.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] in (["collector"], ["report"]):  # they have parsers of their own, `--help` included
        chosen = _collector if words[0] == "collector" else _report
        arguments = argparse.Namespace(command=chosen, words=words[1:])
    else:
        arguments = _parser().parse_args(words)
    command: Command = arguments.command
    try:
        return command(arguments)
    except CarbonSDKError as exc:
        sys.stderr.write(f"carbon-sdk: {exc}\n")
        return 2
    except ModuleNotFoundError as exc:
        extra = _extra_of(arguments, exc.name or "")
        if extra is None:
            raise
        sys.stderr.write(f'carbon-sdk: {exc.name} is not installed. pip install "carbon-sdk[{extra}]"\n')
        return 2
    except KeyboardInterrupt:
        return 130


def _extra_of(arguments: argparse.Namespace, module: str) -> str | None:
    """The extra that brings a missing module; None where it is none of ours."""
    if arguments.command in (_collector, _report):
        return "collector" if not module.startswith("carbon_sdk") else None
    return {"fastapi": "demo", "uvicorn": "demo", "rich": "cli"}.get(module)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="carbon-sdk", description="Energy and carbon of Python services.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run an example service under traffic and show what each endpoint emits")
    demo.add_argument("--seconds", type=float, default=6.0, help="how long to send traffic (6)")
    demo.add_argument("--json", action="store_true", help="print one JSON object")
    demo.add_argument("--log", type=Path, default=Path("carbon.log"), help="file for the log lines (carbon.log)")
    demo.set_defaults(command=_demo)

    quickstart = commands.add_parser(
        "quickstart", help="run a collector and two services that deliver to it, and show what it knows"
    )
    quickstart.add_argument("--seconds", type=float, help="how long to send traffic (until Ctrl-C)")
    quickstart.add_argument("--json", action="store_true", help="print one JSON object at the end")
    quickstart.add_argument("--port", type=int, default=8321, help="the collector's; 0 for any that is free (8321)")
    quickstart.set_defaults(command=_quickstart)

    intensity = commands.add_parser("intensity", help="show how dirty a kWh is now, who says so, and how it is known")
    intensity.add_argument("zone", nargs="?", help="a zone as Electricity Maps names it, DE or DK-DK1; else as set")
    intensity.add_argument("--forecast", action="store_true", help="draw the coming hours too")
    intensity.add_argument("--watch", action="store_true", help="follow it until interrupted")
    intensity.add_argument("--json", action="store_true", help="print one JSON object, a line for each look")
    intensity.set_defaults(command=_intensity)

    run = commands.add_parser(
        "run",
        usage="carbon-sdk run [--json] [--csv FILE] [--interval SECONDS] [--explain] -- COMMAND ...",
        help="run any program and tell what its whole process tree cost",
    )
    run.add_argument("--json", action="store_true", help="tell it as one JSON object, the last line on stderr")
    run.add_argument("--csv", type=Path, metavar="FILE", help="append a row to this file instead of telling it")
    run.add_argument("--interval", type=_seconds, metavar="SECONDS", help="tell every so often how it goes, on stderr")
    run.add_argument("--explain", action="store_true", help="show how the figures come about, window by window")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="the program and its arguments")
    run.set_defaults(command=_run)

    explain = commands.add_parser("explain", help="show how a record's figures come about, with its own numbers")
    explain.add_argument(
        "record",
        help="a record's JSON; a file of records (JSON, or a line for each); - for stdin; "
        "or its key INSTANCE/SEQUENCE at the collector of CARBON_SDK_COLLECTOR_URL",
    )
    explain.add_argument("--project", help="the collector's project, where the token does not say it")
    explain.add_argument("--json", action="store_true", help="print one JSON object, a line for each record")
    explain.set_defaults(command=_explain)

    doctor = commands.add_parser(
        "doctor",
        help="what can be measured here, why not, the remedy, and a self-test",
        epilog="Exit code: 0 it works as well as it can here, 1 it works and a meter has a remedy, "
        "2 a setting cannot be used, 3 no joule can be booked.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(command=_doctor)

    monitoring = commands.add_parser("monitoring", help="print Grafana's dashboard or Prometheus' rules")
    monitoring.add_argument("what", choices=("grafana", "rules"), help="the dashboard's JSON, or the rule file")
    monitoring.set_defaults(command=_monitoring)

    commands.add_parser("collector", help="one collector for all services: `carbon-sdk collector --help`")
    commands.add_parser("report", help="emissions for a greenhouse gas inventory: `carbon-sdk report --help`")
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from carbon_sdk.demo import drive  # noqa: PLC0415  # needs the extra `demo`

    from_environment()  # a setting that cannot be used is told before anything starts
    return drive.main(environment(), seconds=arguments.seconds, as_json=arguments.json, log=arguments.log)


def _monitoring(arguments: argparse.Namespace) -> int:
    from carbon_sdk.monitoring import grafana, rules  # noqa: PLC0415  # no other command needs them

    sys.stdout.write(grafana.text() if arguments.what == "grafana" else rules.rules())
    return 0


def _quickstart(arguments: argparse.Namespace) -> int:
    from carbon_sdk.demo import quickstart  # noqa: PLC0415  # needs the extras `demo` and `collector`

    from_environment()
    return quickstart.main(environment(), seconds=arguments.seconds, as_json=arguments.json, port=arguments.port)


def _intensity(arguments: argparse.Namespace) -> int:
    from carbon_sdk.assembly import intensity_chain  # noqa: PLC0415  # `demo` and `--help` do not wait for it
    from carbon_sdk.intensity import terminal  # noqa: PLC0415  # needs the extra `cli`

    settings = from_environment(**({} if arguments.zone is None else {"zone": arguments.zone}))
    to_stderr = to_stream(sys.stderr)

    def write(level: str, event: str, fields: Mapping[str, Any]) -> None:
        if arguments.json or not str(fields.get("fault")).startswith("intensity."):  # those stand below the table
            to_stderr(level, event, fields)

    log = Log(write)

    async def show() -> int:
        async with intensity_chain(settings, log) as (chain, place):
            log.flush()
            code = await terminal.show(
                chain, place, forecast=arguments.forecast, watch=arguments.watch, as_json=arguments.json
            )
            log.flush()
            return code

    return asyncio.run(show())


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400.0:
        raise ValueError
    return seconds


def _run(arguments: argparse.Namespace) -> int:
    from carbon_sdk.command import terminal  # noqa: PLC0415  # `demo` and `--help` do not wait for it

    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not words:
        sys.stderr.write("carbon-sdk: run what? carbon-sdk run -- COMMAND ...\n")
        return 2
    return terminal.run(
        words,
        environment(),
        as_json=arguments.json,
        csv=arguments.csv,
        interval_seconds=arguments.interval,
        explained=arguments.explain,
    )


def _explain(arguments: argparse.Namespace) -> int:
    from carbon_sdk import asked_record, told_records  # noqa: PLC0415  # `demo` and `--help` do not wait for it
    from carbon_sdk.explain import explain  # noqa: PLC0415

    if asked_record.is_key(arguments.record):
        record, repriced = asyncio.run(asked_record.ask(arguments.record, from_environment(), arguments.project))
        explanations = [explain(record, repriced=repriced)]
    else:
        explanations = [explain(record) for record in told_records.read(arguments.record)]
    if arguments.json:
        sys.stdout.writelines(json.dumps(one.to_object()) + "\n" for one in explanations)
    else:
        columns = shutil.get_terminal_size().columns
        sys.stdout.write("\n\n".join(one.text(columns) for one in explanations))
    return 0 if all(one.holds for one in explanations) else 1


def _doctor(arguments: argparse.Namespace) -> int:
    settings = from_environment()
    if arguments.json:
        from carbon_sdk import doctor  # noqa: PLC0415  # the stations load for it

        return doctor.main(settings, sys.stdout)
    from carbon_sdk import doctor_table  # noqa: PLC0415  # needs the extra `cli`

    return doctor_table.main(settings)


def _collector(arguments: argparse.Namespace) -> int:
    from carbon_sdk.collector import __main__ as collector  # noqa: PLC0415  # needs the extra `collector`

    return collector.main(arguments.words)


def _report(arguments: argparse.Namespace) -> int:
    from carbon_sdk.assembly import history_of  # noqa: PLC0415  # `demo` and `--help` do not wait for it
    from carbon_sdk.collector.inventory import command  # noqa: PLC0415  # needs the extra `collector`
    from carbon_sdk.repricing import reprice  # noqa: PLC0415

    def price_again(provider: str, records: Sequence[Emission]) -> list[Emission | None]:
        async def ask() -> list[Emission | None]:
            async with history_of(from_environment(), provider) as history:
                return [one.emission if one.changed else None for one in await reprice(records, history)]

        return asyncio.run(ask())

    return command.main(arguments.words, price_again)


if __name__ == "__main__":
    sys.exit(main())
