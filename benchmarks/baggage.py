"""CPU that following a request through services adds: to a call that goes out, and to a request that comes in.

Run: `python benchmarks/baggage.py`.
"""

import platform
import statistics
import time
from collections.abc import Callable

import httpx

from carbon_sdk import Carbon, track
from carbon_sdk.cpu.clock import Origin
from carbon_sdk.integrations.baggage import Reader, Writer, written
from carbon_sdk.integrations.httpx import instrument
from carbon_sdk.testing import FakeMeter, FixedIntensity

SECRET = "a secret of sixteen"
HEADERS = [(f"x-header-{number}".encode(), b"value") for number in range(8)]
ROUNDS, CALLS = 25, 4000


def nanoseconds(work: Callable[[], object]) -> float:
    """CPU of one call, as the median of rounds."""
    figures = []
    for _ in range(ROUNDS):
        begun = time.thread_time_ns()
        for _ in range(CALLS):
            work()
        figures.append((time.thread_time_ns() - begun) / CALLS)
    return statistics.median(figures)


def main() -> None:
    """Print the table."""
    reader = Reader(secrets=(SECRET,), trusted=False)
    members = written(Origin("shop", "POST /checkout"), secret=SECRET, now_seconds=time.time()) or ""
    carrying = [*HEADERS, (b"baggage", members.encode())]
    writer = Writer(service="shop", hosts=("cart.internal",), secret=SECRET)
    client = instrument(httpx.Client(), writer=writer)
    (mark,) = client.event_hooks["request"]
    carbon = Carbon(meters=[FakeMeter(20.0)], provider=FixedIntensity(), sinks={}, zone="DE")

    def call(url: str) -> httpx.Request:
        return httpx.Request("GET", url)

    with carbon, track("job"):
        bare = nanoseconds(lambda: call("http://cart.internal/items"))
        rows = {
            "a call to a host that was named": nanoseconds(lambda: mark(call("http://cart.internal/items"))) - bare,
            "a call to any other host": nanoseconds(lambda: mark(call("http://another.host/items"))) - bare,
            "a request that carries no baggage": nanoseconds(lambda: reader.origin(HEADERS)),
            "a request with a signed origin": nanoseconds(lambda: reader.origin(carrying)),
        }
    print(f"CPython {platform.python_version()}, {ROUNDS} rounds of {CALLS}\n| to | us |\n|---|---|")
    for name, figure in rows.items():
        print(f"| {name} | {figure / 1000:.2f} |")


if __name__ == "__main__":
    main()
