"""The command `carbon-sdk`: argument parsing, nothing else; it loads little, since `run` starts a program here."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from carbon_sdk.errors import CarbonSDKError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `carbon-sdk`; the process's own when None.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] in (["collector"], ["report"]):  # they have parsers of their own, `--help` included
        arguments = argparse.Namespace(command=words[0], words=words[1:])
    else:
        arguments = _parser().parse_args(words)
    command: str = arguments.command
    try:
        home = "carbon_sdk.command.verb" if command == "run" else "carbon_sdk.verbs"
        code: int = getattr(import_module(home), command)(arguments)
    except CarbonSDKError as exc:
        sys.stderr.write(f"carbon-sdk: {exc}\n")
        return 2
    except ModuleNotFoundError as exc:
        extra = _extra_of(command, exc.name or "")
        if extra is None:
            raise
        sys.stderr.write(f'carbon-sdk: {exc.name} is not installed. pip install "carbon-sdk[{extra}]"\n')
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _extra_of(command: str, module: str) -> str | None:
    """The extra that brings a missing module; None where it is none of ours."""
    if command in ("collector", "report"):
        return "collector" if not module.startswith("carbon_sdk") else None
    return {"fastapi": "demo", "uvicorn": "demo", "rich": "cli"}.get(module)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="carbon-sdk", description="Energy and carbon of Python services.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run an example service under traffic and show what each endpoint emits")
    demo.add_argument("--seconds", type=float, default=6.0, help="how long to send traffic (6)")
    demo.add_argument("--json", action="store_true", help="print one JSON object")
    demo.add_argument("--log", type=Path, default=Path("carbon.log"), help="file for the log lines (carbon.log)")
    demo.set_defaults(command="demo")

    quickstart = commands.add_parser(
        "quickstart", help="run a collector and three services that deliver to it, and show what it knows"
    )
    quickstart.add_argument("--seconds", type=float, help="how long to send traffic (until Ctrl-C)")
    quickstart.add_argument("--json", action="store_true", help="print one JSON object at the end")
    quickstart.add_argument("--port", type=int, default=8321, help="the collector's; 0 for any that is free (8321)")
    quickstart.set_defaults(command="quickstart")

    intensity = commands.add_parser("intensity", help="show how dirty a kWh is now, who says so, and how it is known")
    intensity.add_argument("zone", nargs="?", help="a zone as Electricity Maps names it, DE or DK-DK1; else as set")
    intensity.add_argument("--forecast", action="store_true", help="draw the coming hours too")
    intensity.add_argument("--watch", action="store_true", help="follow it until interrupted")
    intensity.add_argument("--json", action="store_true", help="print one JSON object, a line for each look")
    intensity.set_defaults(command="intensity")

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
    run.set_defaults(command="run")

    explain = commands.add_parser("explain", help="show how a record's figures come about, with its own numbers")
    explain.add_argument(
        "record",
        help="a record's JSON; a file of records (JSON, or a line for each); - for stdin; "
        "or its key INSTANCE/SEQUENCE at the collector of CARBON_SDK_COLLECTOR_URL",
    )
    explain.add_argument("--project", help="the collector's project, where the token does not say it")
    explain.add_argument("--json", action="store_true", help="print one JSON object, a line for each record")
    explain.set_defaults(command="explain")

    doctor = commands.add_parser(
        "doctor",
        help="what can be measured here, why not, the remedy, and a self-test",
        epilog="Exit code: 0 it works as well as it can here, 1 it works and a meter has a remedy, "
        "2 a setting cannot be used, 3 no joule can be booked.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(command="doctor")

    monitoring = commands.add_parser("monitoring", help="print Grafana's dashboard or Prometheus' rules")
    monitoring.add_argument("what", choices=("grafana", "rules"), help="the dashboard's JSON, or the rule file")
    monitoring.set_defaults(command="monitoring")

    commands.add_parser("collector", help="one collector for all services: `carbon-sdk collector --help`")
    commands.add_parser("report", help="emissions for a greenhouse gas inventory: `carbon-sdk report --help`")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400.0:
        raise ValueError
    return seconds


if __name__ == "__main__":
    sys.exit(main())
