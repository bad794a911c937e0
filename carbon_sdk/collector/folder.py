"""Where a collector keeps what it knows."""

import argparse
from pathlib import Path

DEFAULT_FOLDER = Path("~/.local/share/carbon_sdk/collector")
"""Where the collector keeps its data, unless told otherwise (XDG Base Directory: user-specific data)."""


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The option `--data`, by which a command is told the collector's folder."""
    parser.add_argument(
        "--data", type=_expanded, default=str(DEFAULT_FOLDER), help="the collector's folder (%(default)s)"
    )


def _expanded(text: str) -> Path:
    return Path(text).expanduser()
