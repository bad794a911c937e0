"""Providers on recorded answers: one case for each entry point, a clock at the time of its recording."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import respx

from carbon_sdk import plugins
from carbon_sdk.http import HTTP
from carbon_sdk.intensity.intensity import IntensityProvider, Place

GROUP = "carbon_sdk.providers"
RECORDED = Path(__file__).parent / "recorded"
SECRET = "secret-of-the-user"
CASES: Mapping[str, Mapping[str, Any]] = json.loads((RECORDED / "cases.json").read_text(encoding="utf-8"))


async def no_sleep(_seconds: float) -> None:
    """Tests do not wait between attempts."""


def body(name: str) -> bytes:
    """One recorded answer."""
    return (RECORDED / name).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One provider, its clock at the time of its recording.

    Args:
        provider: Built through its entry point.
        place: A place that it knows.
        case: Its row in `cases.json`.
        router: What answers its requests.
    """

    provider: IntensityProvider
    place: Place
    case: Mapping[str, Any]
    router: respx.MockRouter

    def answers(self, content: bytes | str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Every request but a login gets this answer."""
        self.router.clear()
        self._login()
        self.router.route().mock(return_value=httpx.Response(status, content=content, headers=dict(headers or {})))

    def recorded(self) -> None:
        """Requests get what was recorded for them."""
        self.router.clear()
        self._login()
        for path, name in self.case["routes"].items():
            self.router.route(path__regex=f"{path}(/|$|\\w|-)").respond(200, content=body(name))

    def _login(self) -> None:
        if "/login" in self.case["routes"]:
            self.router.route(path="/login").respond(200, content=body(self.case["routes"]["/login"]))


def build(name: str, options: Mapping[str, str], *, now: datetime) -> IntensityProvider:
    """A provider by entry point, with a clock that stands still."""
    http = HTTP(utcnow=lambda: now, sleep=no_sleep)
    made = cast(Callable[[Mapping[str, str], HTTP], IntensityProvider], plugins.load(GROUP, name))
    return made({key: value.replace("{recorded}", str(RECORDED)) for key, value in options.items()}, http)


def bench(name: str, router: respx.MockRouter) -> Bench:
    """The bench of one entry point, with its recorded answers."""
    case = CASES[name]
    made = Bench(
        provider=build(name, case["options"], now=datetime.fromisoformat(case["now"])),
        place=Place(**case["place"]),
        case=case,
        router=router,
    )
    made.recorded()
    return made
