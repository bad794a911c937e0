"""A FastAPI service that logs what each endpoint emits: `uvicorn examples.service:app`."""

from fastapi import FastAPI

from carbon_sdk import CarbonMiddleware, track

app = FastAPI()
app.add_middleware(CarbonMiddleware)


@app.get("/squares/{count}")
async def squares(count: int) -> int:
    """The sum of so many squares."""
    async with track("sum"):
        return sum(number * number for number in range(count))
