"""Quart: the endpoints' names, which Quart tells nobody.

```python
name_endpoints(app)
app = CarbonMiddleware(app)
```
"""

from collections.abc import MutableMapping
from typing import Any, cast

try:
    from quart import Quart, request
except ImportError as exc:
    raise ImportError('The integration needs Quart: pip install "carbon-sdk[quart]"') from exc


def name_endpoints(app: Quart) -> None:
    """Leave the rule that Quart matched where `CarbonMiddleware` looks for it, before each request.

    Args:
        app: Whose; its blueprints are included.
    """

    @app.before_request
    async def name() -> None:
        if request.url_rule is not None:
            cast(MutableMapping[str, Any], request.scope)["path_template"] = request.url_rule.rule
