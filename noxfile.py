"""The long tests: every interpreter, the suites of the frameworks with every application of theirs measured, and
CodeCarbon's own examples.

`make test` is the short tier. `nox -s full` is all of it; `nox --list` tells the rest.
"""

import shutil
import tarfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = ["tests", "lint"]
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"

PYTHONS = ["3.11", "3.12", "3.13"]
PEERS = {"starlette": ("full", "dev"), "fastapi": ("all", "tests")}
"""Whose suites run, and the extra and the group of dependencies that they need."""
CODECARBON = "codecarbon==3.3.*"
CONTRACT = [
    f"tests/collector/test_{name}.py" for name in ("figures", "roots", "units", "retention", "cluster", "days", "verbs")
]
"""Tests that every engine of the collector's store must pass, and those of ClickHouse's own."""


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole test suite, on each interpreter that is here."""
    session.install("--editable", ".[all]", "--group", "test")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Linter, formatter and type checker."""
    session.install("--editable", ".[all]", "--group", "dev")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def starlette(session: nox.Session) -> None:
    """Starlette's own suite with every application measured; `STARLETTE_CHECKOUT` names another source."""
    _peer(session, "starlette")


@nox.session
def fastapi(session: nox.Session) -> None:
    """FastAPI's own suite with every application measured; `FASTAPI_CHECKOUT` names another source."""
    _peer(session, "fastapi")


@nox.session
def codecarbon(session: nox.Session) -> None:
    """CodeCarbon's own examples, and tests of its public names, with one changed line: its import becomes ours."""
    folder = _source(session, "codecarbon", CODECARBON)
    session.install("--editable", ".", CODECARBON, "pandas", "pytest")
    session.run("python", "tests/peers/codecarbon_examples.py", str(folder))


@nox.session
def clickhouse(session: nox.Session) -> None:
    """What is asked of every engine, of ClickHouse's present version, which comes as a library."""
    session.install("--editable", ".[all]", "--group", "test", "chdb>=4")
    session.run(
        "pytest", *CONTRACT, "-k", "clickhouse or two_collectors or copied or days or verbs", env={"CLICKHOUSE": "chdb"}
    )


@nox.session(python=PYTHONS)
def accuracy(session: nox.Session) -> None:
    """The tables of how exact the CPU account is, alone and with the other cores busy; on a quiet machine."""
    session.install("--editable", ".[all]")
    for how in ([], ["--loop", "uvloop"], *([["--eager"]] if session.python != "3.11" else [])):
        for others in ([], ["--busy"]):
            session.run("python", "benchmarks/accuracy.py", *how, *others, *session.posargs)


@nox.session(python=False)
def full(session: nox.Session) -> None:
    """All of it."""
    for name in ("lint", *(f"tests-{python}" for python in PYTHONS), *PEERS, "codecarbon", "clickhouse"):
        session.notify(name)


def _peer(session: nox.Session, name: str) -> None:
    checkout = session.env.get(f"{name.upper()}_CHECKOUT")
    folder = Path(checkout).expanduser() if checkout else _source(session, name)
    extra, group = PEERS[name]
    session.install(
        "--upgrade", "--editable", ".", f"{folder}[{extra}]", "--group", f"{folder / 'pyproject.toml'}:{group}"
    )
    session.run("python", "tests/peers/twice.py", str(folder), *session.posargs)


def _source(session: nox.Session, name: str, wanted: str | None = None) -> Path:
    """The newest source distribution, or the newest that is wanted, unpacked; its tests are in it."""
    shelf = Path(session.create_tmp()) / name
    shutil.rmtree(shelf, ignore_errors=True)
    session.run("pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", str(shelf), wanted or name)
    (archive,) = shelf.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(shelf, filter="data")
    return shelf / archive.name.removesuffix(".tar.gz")
