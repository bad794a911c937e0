"""The command `carbon-sdk`: argument parsing, nothing else; it loads little, since `run` starts a program here."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.output import say, written

_COMMANDS = {
    "demo": "run an example service under traffic and show what each endpoint emits",
    "quickstart": "run a collector and three services that deliver to it, and show what it knows",
    "intensity": "show how dirty a kWh is now, who says so, and how it is known",
    "run": "run any program and tell what its whole process tree cost",
    "explain": "show how a record's figures come about, with its own numbers",
    "doctor": "what can be measured here, why not, the remedy, and a self-test",
    "monitoring": "print Grafana's dashboard or Prometheus' rules",
    "collector": "one collector for all services: `carbon-sdk collector --help`",
    "report": "emissions for a greenhouse gas inventory: `carbon-sdk report --help`",
}
_OWN_PARSERS = ("collector", "report")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `carbon-sdk`; the process's own when None.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    return written(lambda: _main(words))


def _main(words: list[str]) -> int:
    command = words[0] if words else ""
    if command not in _COMMANDS:
        _overview().parse_args(words)  # which prints help, or what is wrong, and ends the process
        return 2
    if command in _OWN_PARSERS:  # `--help` included
        arguments = argparse.Namespace(words=words[1:])
    else:
        arguments = _parser(command).parse_args(words[1:])
    try:
        home = "carbon_sdk.command.verb" if command == "run" else "carbon_sdk.verbs"
        code: int = getattr(import_module(home), command)(arguments)
    except CarbonSDKError as exc:
        say(str(exc))
        return 2
    except ModuleNotFoundError as exc:
        extra = _extra_of(command, exc.name or "")
        if extra is None:
            raise
        say(f'{exc.name} is not installed. pip install "carbon-sdk[{extra}]"')
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _extra_of(command: str, module: str) -> str | None:
    """The extra that brings a missing module; None where it is none of ours."""
    if command in ("collector", "report"):
        return "collector" if not module.startswith("carbon_sdk") else None
    return {"fastapi": "demo", "uvicorn": "demo", "rich": "cli"}.get(module)


def _overview() -> argparse.ArgumentParser:
    """Knows the names of all commands."""
    parser = argparse.ArgumentParser(prog="carbon-sdk", description="Energy and carbon of Python services.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, told in _COMMANDS.items():
        commands.add_parser(name, help=told)
    return parser


def _parser(command: str) -> argparse.ArgumentParser:
    """The parser of one command: to build all takes milliseconds, which the program that `run` starts would wait."""
    parser = argparse.ArgumentParser(prog=f"carbon-sdk {command}", description=_COMMANDS[command])
    _FILL[command](parser)
    return parser


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_seconds, default=6.0, help="how long to send traffic (6)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--log", type=Path, default=Path("carbon.log"), help="file for the log lines (carbon.log)")


def _quickstart(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_seconds, help="how long to send traffic (until Ctrl-C)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--port", type=_port, default=8321, help="the collector's; 0 for any that is free (8321)")


def _intensity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", nargs="?", help="a zone as Electricity Maps names it, DE or DK-DK1; else as set")
    parser.add_argument("--forecast", action="store_true", help="draw the coming hours too")
    parser.add_argument("--watch", action="store_true", help="follow it until interrupted")
    parser.add_argument("--json", action="store_true", help="print one JSON object, a line for each look")


def _run(parser: argparse.ArgumentParser) -> None:
    parser.usage = "carbon-sdk run [--json] [--csv FILE] [--interval SECONDS] [--explain] -- COMMAND ..."
    parser.add_argument("--json", action="store_true", help="tell it as one JSON object, the last line on stderr")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="append a row to this file instead of telling it")
    parser.add_argument("--interval", type=_seconds, metavar="SECONDS", help="tell every so often how it goes")
    parser.add_argument("--explain", action="store_true", help="show how the figures come about, window by window")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="the program, its arguments")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "record",
        help="a record's JSON; a file of records (JSON, or a line for each); - for stdin; "
        "or its key INSTANCE/SEQUENCE at the collector of CARBON_SDK_COLLECTOR_URL",
    )
    parser.add_argument("--project", help="the collector's project, where the token does not say it")
    parser.add_argument("--json", action="store_true", help="print one JSON object, a line for each record")


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exit code: 0 it works as well as it can here, 1 it works and a meter has a remedy, "
        "2 a setting cannot be used, 3 no joule can be booked."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _monitoring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("grafana", "rules"), help="the dashboard's JSON, or the rule file")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not seconds from 0.1 to 86400")
    return seconds


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


_FILL: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "demo": _demo,
    "quickstart": _quickstart,
    "intensity": _intensity,
    "run": _run,
    "explain": _explain,
    "doctor": _doctor,
    "monitoring": _monitoring,
}

if __name__ == "__main__":
    sys.exit(main())
