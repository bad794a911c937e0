"""The connections below the HTTP client: httpx's API over aiohttp, with its trust, its proxy, and nothing kept.

Both libraries are imported when the first client is opened. What a server may not learn of its client is taken away
here: no cookies, no redirects followed, no variables of the environment read.
"""

import base64
import ssl
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

HIDDEN_QUERY = "carbon_sdk.hidden_query"
"""The extension of a request that holds secret query parameters, added where nothing logs them."""


def open_client(
    *,
    timeout_seconds: float,
    connect_timeout_seconds: float,
    max_connections: int,
    proxy: str | None,
    ca_file: str | None,
    user_agent: str,
) -> Any:
    """An `httpx.AsyncClient`.

    Args:
        timeout_seconds: Longest silence.
        connect_timeout_seconds: For the connection.
        max_connections: Open at once.
        proxy: As `http://user:password@host:port`.
        ca_file: PEM file of the authorities to trust instead of the bundled ones.
        user_agent: What we call ourselves.

    Raises:
        OSError: The authorities cannot be read, or are none (`ssl.SSLError`).
    """
    from http.cookiejar import CookieJar, DefaultCookiePolicy  # noqa: PLC0415 - late, as above

    import aiohttp  # noqa: PLC0415
    import httpx  # noqa: PLC0415
    from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415

    tls = _trust(ca_file)
    address, login = _parted(proxy)

    class Transport(AiohttpTransport):
        """Adds what httpx, whose log line prints the URL, shall not know: secret parameters, the proxy's password."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            secret = request.extensions.get(HIDDEN_QUERY)
            if secret:
                request = httpx.Request(
                    request.method,
                    request.url.copy_merge_params(secret),
                    headers=request.headers,
                    stream=request.stream,
                    extensions=request.extensions,
                )
            if request.url.scheme == "http":  # it goes to the proxy itself; the way to a tunnel has its own head
                request.headers.update(login)
            return await super().handle_async_request(request)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=tls, limit=max_connections, keepalive_timeout=30)
        made = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        made._retry_connection = False  # it would send a GET or PUT again by itself, unpaced and uncounted
        return made

    return httpx.AsyncClient(
        transport=Transport(client=session, proxy=httpx.Proxy(address, headers=login) if address else None),
        timeout=httpx.Timeout(timeout_seconds, connect=connect_timeout_seconds),
        headers={"user-agent": user_agent, "accept-encoding": "gzip, deflate"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )


def password_of(proxy: str | None) -> str:
    """The password in a proxy's address; empty where there is none."""
    return "" if proxy is None else unquote(urlsplit(proxy).password or "")


def _parted(proxy: str | None) -> tuple[str | None, dict[str, str]]:
    """The address without its login, and the header that holds it."""
    if proxy is None:
        return None, {}
    parts = urlsplit(proxy)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.username is None:
        return address, {}
    login = f"{unquote(parts.username)}:{password_of(proxy)}"
    return address, {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


@cache
def _trust(ca_file: str | None) -> ssl.SSLContext:
    """Reading the bundled authorities takes 30 ms, so once a process."""
    import httpx  # noqa: PLC0415 - late, as above

    return httpx.create_ssl_context(trust_env=False) if ca_file is None else ssl.create_default_context(cafile=ca_file)
