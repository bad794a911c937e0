"""What the documentation shows in Python runs as it is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Every Python block of the pages, and where it stands."""
    return [
        (f"{page.relative_to(DOCS)}:{text.count(chr(10), 0, match.start()) + 1}", match[1])
        for page in sorted(DOCS.rglob("*.md"))
        for text in [page.read_text(encoding="utf-8")]
        for match in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize("code", [code for _, code in blocks()], ids=[place for place, _ in blocks()])
def test_each_block_of_python_runs(code: str, tmp_path: Path) -> None:
    """On its own, in an empty folder, without a setting."""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
