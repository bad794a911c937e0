"""aiohttp: calls made in a span carry who caused them, to the hosts of `CARBON_SDK_PROPAGATE_TO` alone.

```python
session = instrument(aiohttp.ClientSession())
```
"""

from types import SimpleNamespace

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from carbon_sdk.integrations.baggage import CurrentWriter, Writer


def instrument(session: aiohttp.ClientSession, *, writer: Writer | None = None) -> aiohttp.ClientSession:
    """The same session, its calls marked; redirects too, each by the host that it leads to.

    Args:
        session: Of aiohttp; another session is not touched.
        writer: As the settings of the running `Carbon` say when None.
    """
    current = CurrentWriter()

    def mark(url: URL, headers: "CIMultiDict[str]") -> None:
        given = headers.getall("baggage", [])
        header = (writer or current()).header(url.host, ",".join(given) if given else None)
        if header is not None:
            headers["baggage"] = header
        elif given:
            del headers["baggage"]

    async def started(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, call: aiohttp.TraceRequestStartParams
    ) -> None:
        mark(call.url, call.headers)

    async def redirected(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, call: aiohttp.TraceRequestRedirectParams
    ) -> None:
        target = call.response.headers.get("Location") or call.response.headers.get("URI")
        if target is not None:
            mark(call.url.join(URL(target)), call.headers)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(started)
    trace.on_request_redirect.append(redirected)
    trace.freeze()
    session.trace_configs.append(trace)
    return session
