"""Logging in and out, where there are tokens."""

import secrets
from collections.abc import Callable
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from carbon_sdk.collector.access import Caller, Rate
from carbon_sdk.collector.dashboard.session import LIFETIME_SECONDS, Sessions
from carbon_sdk.collector.dashboard.visit import ROOT

SESSION_COOKIE = "carbon_sdk_session"
FORM_COOKIE = "carbon_sdk_form"
ATTEMPTS_PER_SECOND = 1.0
_FORM_BYTES = 4096

Show = Callable[..., Response]
"""Makes a page of a template and what it shows."""


class Login:
    """The door of the pages.

    Args:
        sessions: Who is logged in.
        show: Makes a page.
    """

    def __init__(self, sessions: Sessions, show: Show) -> None:
        self._sessions = sessions
        self._show = show
        self._attempts = Rate(ATTEMPTS_PER_SECOND)

    def caller(self, request: Request) -> Caller | None:
        """Who asks; None where they must log in first."""
        if not self._sessions.are_needed:
            caller: Caller = request.state.caller
            return caller
        return self._sessions.caller(request.cookies.get(SESSION_COOKIE))

    def logout_value(self, request: Request) -> str | None:
        """What the form to log out carries; None where nobody is logged in."""
        cookie = request.cookies.get(SESSION_COOKIE)
        return self._sessions.form_value(cookie) if cookie and self._sessions.are_needed else None

    def ask(self, request: Request) -> Response:
        """Send somebody to log in, and back."""
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{ROOT}login?next={quote(wanted)}", status_code=303)

    async def page(self, request: Request) -> Response:
        """`GET login`: the form."""
        return self._form(request, _safe(request.query_params.get("next")), "")

    async def begin(self, request: Request) -> Response:
        """`POST login`: a token for a session."""
        form = await _form(request)
        after = _safe(form.get("next"))
        if not self._sessions.is_ours(request.cookies.get(FORM_COOKIE), form.get("form", "")):
            return self._form(request, after, "The form was too old. Please try again.", status=403)
        if self._attempts.wait_seconds(request.client.host if request.client else "unknown"):
            return self._form(request, after, "Too many attempts. Please wait a moment.", status=429)
        cookie = self._sessions.begin(form.get("token", ""))
        if cookie is None:
            return self._form(
                request, after, "This token does not open the dashboard. It needs the scope read.", status=403
            )
        answer = RedirectResponse(after, status_code=303)
        self._set(request, answer, SESSION_COOKIE, cookie, LIFETIME_SECONDS)
        answer.delete_cookie(FORM_COOKIE, path=ROOT)
        return answer

    async def end(self, request: Request) -> Response:
        """`POST logout`."""
        cookie = request.cookies.get(SESSION_COOKIE)
        answer = RedirectResponse(ROOT, status_code=303)
        if self._sessions.is_ours(cookie, (await _form(request)).get("form", "")):
            self._sessions.end(cookie)
            answer.delete_cookie(SESSION_COOKIE, path=ROOT)
        return answer

    def _form(self, request: Request, after: str, problem: str, *, status: int = 200) -> Response:
        cookie = secrets.token_urlsafe(32)
        value = self._sessions.form_value(cookie)
        answer = self._show("login.html", status, visit=None, after=after, problem=problem, form_value=value)
        self._set(request, answer, FORM_COOKIE, cookie, LIFETIME_SECONDS)
        return answer

    @staticmethod
    def _set(request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
        secure = request.url.scheme == "https"
        answer.set_cookie(name, value, max_age=seconds, path=ROOT, httponly=True, secure=secure, samesite="lax")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a short form; empty where it is none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES:
            return {}
    try:
        fields = parse_qs(body.decode(), max_num_fields=10)
    except ValueError:  # no UTF-8, or more fields than any form of ours has
        return {}
    return {name: values[0] for name, values in fields.items()}


def _safe(path: str | None) -> str:
    """Where to go after the login: a page of the dashboard, never another host."""
    return path if path is not None and path.startswith(ROOT) and "\\" not in path and "\n" not in path else ROOT
