"""Django over ASGI: the endpoints' names, which Django tells nobody.

```python
MIDDLEWARE = ["carbon_sdk.integrations.django.endpoint_middleware", ...]
application = CarbonMiddleware(get_asgi_application())
```
"""

from collections.abc import Awaitable, Callable

try:
    from django.http import HttpRequest, HttpResponseBase
    from django.utils.decorators import async_only_middleware
except ImportError as exc:
    raise ImportError('The integration needs Django: pip install "carbon-sdk[django]"') from exc

Answer = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


@async_only_middleware  # type: ignore[untyped-decorator]
def endpoint_middleware(get_response: Answer) -> Answer:
    """Leaves the template of the URL that Django resolved where `CarbonMiddleware` looks for it.

    Args:
        get_response: The next of Django's middleware.
    """

    async def answer(request: HttpRequest) -> HttpResponseBase:
        response = await get_response(request)
        match, scope = request.resolver_match, getattr(request, "scope", None)
        if match is not None and scope is not None:
            scope["path_template"] = f"/{match.route}"
        return response

    return answer
