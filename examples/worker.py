"""A worker whose jobs are spans: `python -m examples.worker`."""

import asyncio

import carbon_sdk


async def main() -> None:
    """Three jobs, one after the other."""
    for size in (100_000, 200_000, 400_000):
        async with carbon_sdk.track("squares") as span:
            sum(number * number for number in range(size))
            await asyncio.sleep(0.1)
        await span.settled()  # its joules are final when the window of its last CPU has closed
        print(f"{size}: {span.cpu_seconds} CPU s, {span.energy_joules} J, {span.emissions_g} g CO2e")


if __name__ == "__main__":
    carbon_sdk.run(main())
