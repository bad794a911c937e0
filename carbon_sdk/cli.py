"""The command `carbon-sdk`: argument parsing, nothing else."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from carbon_sdk.errors import CarbonSDKError
from carbon_sdk.settings import environment, from_environment

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `carbon-sdk`; the process's own when None.

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    try:
        return command(arguments)
    except CarbonSDKError as exc:
        sys.stderr.write(f"carbon-sdk: {exc}\n")
        return 2
    except ModuleNotFoundError as exc:
        extra = {"fastapi": "demo", "uvicorn": "demo", "rich": "cli"}.get(exc.name or "")
        if extra is None:
            raise
        sys.stderr.write(f'carbon-sdk: {exc.name} is not installed. pip install "carbon-sdk[{extra}]"\n')
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="carbon-sdk", description="Energy and carbon of Python services.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run an example service under traffic and show what each endpoint emits")
    demo.add_argument("--seconds", type=float, default=6.0, help="how long to send traffic (6)")
    demo.add_argument("--json", action="store_true", help="print one JSON object")
    demo.add_argument("--log", type=Path, default=Path("carbon.log"), help="file for the log lines (carbon.log)")
    demo.set_defaults(command=_demo)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from carbon_sdk.demo import drive  # noqa: PLC0415  # needs the extra `demo`

    from_environment()  # a setting that cannot be used is told before anything starts
    return drive.main(environment(), seconds=arguments.seconds, as_json=arguments.json, log=arguments.log)


if __name__ == "__main__":
    sys.exit(main())
