"""httpx: calls made in a span carry who caused them, to the hosts of `CARBON_SDK_PROPAGATE_TO` alone.

```python
client = instrument(httpx.AsyncClient())
```
"""

from typing import TypeVar

try:
    import httpx
except ImportError as exc:  # pragma: no cover - httpx is a dependency of carbon_sdk itself
    raise ImportError('httpx is not installed: pip install "carbon-sdk"') from exc

from carbon_sdk.integrations.baggage import CurrentWriter, Writer

Client = TypeVar("Client", httpx.AsyncClient, httpx.Client)


def instrument(client: Client, *, writer: Writer | None = None) -> Client:
    """The same client, its calls marked; redirects too, each by the host that it leads to.

    Args:
        client: Of httpx, either kind; another client is not touched.
        writer: As the settings of the running `Carbon` say when None.
    """
    current = CurrentWriter()

    def mark(request: httpx.Request) -> None:
        before = _baggage(request.headers)
        header = (writer or current()).header(request.url.host, before)
        if header is not None:
            request.headers["baggage"] = header
        elif before is not None:
            del request.headers["baggage"]

    async def mark_async(request: httpx.Request) -> None:
        mark(request)

    client.event_hooks["request"].append(mark_async if isinstance(client, httpx.AsyncClient) else mark)
    return client


def _baggage(headers: httpx.Headers) -> str | None:
    """The header, as it stands; httpx's own `get` finds out the encoding of all headers first, which costs 1 us."""
    values = [value for name, value in headers.raw if len(name) == 7 and name.lower() == b"baggage"]
    return b",".join(values).decode("latin-1") if values else None
