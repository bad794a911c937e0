"""What tests of the providers share: a router that answers their requests, and a bench for one of them."""

from collections.abc import Callable, Iterator

import pytest
import respx

from tests.providers.bench import Bench, bench


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    """Answers every request that the HTTP client makes; one that no route matches fails the test."""
    with respx.mock(using="httpx", assert_all_called=False) as mocked:
        yield mocked


@pytest.fixture
def on_bench(router: respx.MockRouter) -> Callable[[str], Bench]:
    """Puts one provider on the bench."""
    return lambda name: bench(name, router)
