"""The one place where a provider's code is called: whatever it raises becomes one failed answer."""

from collections.abc import Awaitable
from typing import TypeVar

from carbon_sdk.errors import IntensityError

T = TypeVar("T")


async def told(source: str, answer: Awaitable[T]) -> T:
    """What the provider answers.

    Args:
        source: The provider's name.
        answer: Its call, not yet awaited.

    Raises:
        IntensityError: Its own, or one in place of whatever else it raised. The text of that is not repeated: it may
            hold a URL with a key in it.
    """
    try:
        return await answer
    except IntensityError:
        raise
    except Exception as exc:  # foreign code may raise anything; the caller counts it
        raise IntensityError(source, f"{type(exc).__name__} inside the provider") from exc
