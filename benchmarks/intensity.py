"""What an intensity costs that is remembered, and how many requests 10,000 callers make at once on a cold cache.

The chain is the one that settings build, over the real HTTP client, before a local server that answers as Electricity
Maps does. Run: `python benchmarks/intensity.py`.
"""

import asyncio
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from carbon_sdk.intensity.intensity import Intensity
from carbon_sdk.log import Log, to_stream
from carbon_sdk.settings import from_environment
from carbon_sdk.sources import intensity_chain

ROUNDS = 15
ANSWERS = 20_000
CALLERS = 10_000


asked: list[bytes] = []


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One whole hour for every request, after 50 ms."""
    while line := await reader.readline():
        asked.append(line)
        while (await reader.readline()).strip():
            pass
        await asyncio.sleep(0.05)
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        body = json.dumps(
            {
                "zone": "DE",
                "carbonIntensity": 302,
                "datetime": hour.isoformat(),
                "isEstimated": False,
                "estimationMethod": None,
            }
        ).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    writer.close()


async def hits_us(ask: Callable[[], Awaitable[Intensity]]) -> float:
    """Microseconds of CPU of one remembered answer: the median of the rounds."""
    figures = []
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        for _ in range(ANSWERS):
            await ask()
        figures.append((time.process_time_ns() - begun) / ANSWERS / 1000)
    return statistics.median(figures)


async def main() -> None:
    """Print the table."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    settings = from_environment(
        {
            "CARBON_SDK_PROVIDER": "electricity_maps,yearly_averages",
            "CARBON_SDK_ELECTRICITY_MAPS_TOKEN": "benchmark",
            "CARBON_SDK_ELECTRICITY_MAPS_BASE_URL": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            "CARBON_SDK_ZONE": "DE",
        }
    )
    async with server, intensity_chain(settings, Log(to_stream(sys.stderr))) as (chain, place):
        begun = time.perf_counter()
        values = await asyncio.gather(*(chain.intensity(place) for _ in range(CALLERS)))
        seconds = time.perf_counter() - begun
        assert {(value.source, value.g_per_kwh) for value in values} == {("electricity_maps", 302.0)}
        figures = {"chain": await hits_us(lambda: chain.intensity(place))}
    print(f"CPython {platform.python_version()}\n| what | figure |\n|---|---|")
    print(f"| remembered answer, through the chain | {figures['chain']:.2f} us |")
    print(f"| {CALLERS:,} callers at once, nothing remembered: requests | {len(asked)} |")
    print(f"| until all have their answer, 50 ms of it the server's | {seconds * 1000:.0f} ms |")


if __name__ == "__main__":
    asyncio.run(main())
