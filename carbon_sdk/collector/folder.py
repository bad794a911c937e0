"""Where a collector keeps what it knows."""

from pathlib import Path

DEFAULT_FOLDER = Path("~/.local/share/carbon_sdk/collector")
"""Where the collector keeps its data, unless told otherwise (XDG Base Directory: user-specific data)."""
