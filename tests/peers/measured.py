"""A pytest plugin for other projects' suites: every application that they make is measured, outermost.

Applications are wrapped where Starlette and FastAPI build their stack, and where Starlette's test client takes any
other. Where a folder is named, each process leaves the faults that carbon_sdk has counted in it.
"""

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from carbon_sdk import CarbonMiddleware
from carbon_sdk.process import default


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--carbon-faults", type=Path, help="the folder for faults that carbon_sdk has counted")


def pytest_configure(config: pytest.Config) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    _measure_stacks(Starlette)
    try:
        from fastapi import FastAPI
    except ImportError:
        pass
    else:
        _measure_stacks(FastAPI)
    _measure_clients(TestClient)


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder: Path | None = session.config.getoption("--carbon-faults")
    if folder is not None:
        (folder / f"{os.getpid()}.json").write_text(json.dumps(default().log.faults), encoding="utf-8")


def _measure_stacks(cls: Any) -> None:
    build = cls.build_middleware_stack

    @functools.wraps(build)
    def build_measured(self: Any) -> Any:
        return CarbonMiddleware(build(self))

    cls.build_middleware_stack = build_measured


def _measure_clients(cls: Any) -> None:
    init = cls.__init__

    @functools.wraps(init)
    def init_measured(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.app = self._transport.app = CarbonMiddleware(self.app)

    cls.__init__ = init_measured
