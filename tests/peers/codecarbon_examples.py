"""CodeCarbon's own examples and tests, with one changed line: its import becomes ours.

Run with the folder of CodeCarbon's unpacked source distribution, in an environment that has codecarbon, pandas and
pytest: what its README and docstrings show runs as it is, and those of its tests that use nothing but its public names.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

OURS = "carbon_sdk.integrations.codecarbon"
IMPORT = re.compile(r"^(\s*)from codecarbon(?:\.emissions_tracker)? import", re.MULTILINE)
BLOCK = re.compile(r"^( *)```py(?:thon)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
TESTS = {
    "test_emissions_tracker_flush.py": "",
    "test_emissions_tracker_constant.py": "online_constant or offline_constant and not force and not pue or decorator",
    "test_logging_output.py": "",
}
"""Files of its suite, and which of their tests patch none of its insides."""
BEFORE = """
from codecarbon import EmissionsTracker
from codecarbon.emissions_tracker import TaskEmissionsTracker
tracker = EmissionsTracker()
model = param_grid = None
class GridSearchCV:
    def __init__(self, **given): pass
"""
"""What its docstrings take for granted."""


def changed(text: str) -> str:
    """The one changed line."""
    return IMPORT.sub(rf"\1from {OURS} import", text)


def blocks(file: Path) -> Iterator[str]:
    """The Python that a file shows."""
    for match in BLOCK.finditer(file.read_text(encoding="utf-8")):
        margin = len(match[1])
        yield "".join(line[margin:] or "\n" for line in match[2].splitlines(keepends=True))


def run_block(code: str, where: str) -> bool:
    """Whether it runs, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", changed(code)], cwd=folder, capture_output=True, text=True, check=False
        )
        written = Path(folder, "emissions.csv").exists()
    good = done.returncode == 0 and "Traceback" not in done.stderr and (written or ".stop()" not in code)
    sys.stdout.write(f"{'passed' if good else 'FAILED'}: {where}\n")
    if not good:
        sys.stdout.write(done.stdout + done.stderr)
    return good


def run_tests(source: Path) -> bool:
    """Whether its own tests pass."""
    with tempfile.TemporaryDirectory() as folder:
        passed = []
        for name, chosen in TESTS.items():
            Path(folder, name).write_text(changed((source / "tests" / name).read_text(encoding="utf-8")))
            words = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                name,
                *(["-k", chosen] * bool(chosen)),
            ]
            passed.append(subprocess.run(words, cwd=folder, check=False).returncode == 0)
    return all(passed)


def main() -> int:
    """Run all of it."""
    source = Path(sys.argv[1])
    good = [run_block(code, "README.md") for code in blocks(source / "README.md")]
    good += [
        run_block(BEFORE + code, "emissions_tracker.py") for code in blocks(source / "codecarbon/emissions_tracker.py")
    ]
    assert len(good) >= 3, "its examples have moved"
    return 0 if all([*good, run_tests(source)]) else 1


if __name__ == "__main__":
    sys.exit(main())
