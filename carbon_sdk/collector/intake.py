"""`POST /v1/emissions`: a body is read within limits, checked, kept, and answered record by record."""

import asyncio
import json
from dataclasses import dataclass

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from carbon_sdk.collector.decode import BodyError, Bounds, Form, TooManyError, decode
from carbon_sdk.collector.gate import problem, project_of
from carbon_sdk.collector.store import KEPT, OUTCOMES, Batch, BusyError, Store
from carbon_sdk.collector.unpack import ENCODINGS, TooLongError, UnpackError, unpack

FORMS: dict[str, Form] = {
    "application/json": "array",
    "application/x-ndjson": "ndjson",
    "application/vnd.carbon-sdk.columns+json": "columns",
}
"""Content types and what they hold. None is one that a foreign web page can send without being asked first (CORS)."""
INLINE_BYTES = 512 * 1024
"""Bodies longer than this, packed, are unpacked and checked on another thread, so that the event loop stays free."""
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """What one request may bring.

    Args:
        body_bytes: Of the body as it comes.
        unpacked_bytes: Of the body without its Content-Encoding.
        records: Of the batch.
        body_seconds: Until the whole body has come.
        bodies_at_once: Large bodies unpacked at the same time.
        bodies_bytes: Of all bodies under way together; who comes beyond is asked to come again.
    """

    body_bytes: int = 8 * 1024 * 1024
    unpacked_bytes: int = 32 * 1024 * 1024
    records: int = 10_000
    body_seconds: float = 30.0
    bodies_at_once: int = 2
    bodies_bytes: int = 256 * 1024 * 1024


class Intake:
    """The endpoint that takes records.

    Args:
        store: Where they go.
        limits: What one request may bring.
    """

    def __init__(self, store: Store, limits: IntakeLimits | None = None) -> None:
        self._store = store
        self._limits = limits or IntakeLimits()
        self._threads = anyio.CapacityLimiter(self._limits.bodies_at_once)
        self._turn = asyncio.Lock()
        self._bodies_bytes = 0

    async def take(self, request: Request) -> Response:
        """Take one batch."""
        held: list[bytes] = []
        try:
            return await self._take(request, held)
        except BusyError as exc:
            return problem(503, str(exc), retry_after_seconds=exc.retry_after_seconds)
        finally:
            self._bodies_bytes -= sum(map(len, held))

    async def _take(self, request: Request, held: list[bytes]) -> Response:  # noqa: PLR0911
        project = project_of(request, "write")
        if isinstance(project, Response):
            return project
        form = FORMS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
        if form is None:
            return problem(415, f"the Content-Type must be one of {', '.join(FORMS)}")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ENCODINGS:
            return problem(415, f"the Content-Encoding must be one of {', '.join(ENCODINGS)}")
        try:
            await self._read(request, held)
            batch = await self._batch(held[0] if len(held) == 1 else b"".join(held), encoding, form)
        except TooLongError:
            return problem(
                413,
                f"a body has at most {self._limits.body_bytes} bytes, {self._limits.unpacked_bytes} unpacked, "
                f"and {self._limits.records} records",
            )
        except (UnpackError, BodyError) as exc:
            return problem(400, str(exc))
        except TimeoutError:
            return problem(408, f"the body did not come within {self._limits.body_seconds:g} s")
        except ClientDisconnect:
            return Response(status_code=400)
        await self._store.ingest(project, batch)
        return _answer(batch)

    async def _read(self, request: Request, held: list[bytes]) -> None:
        """Read a body, chunk by chunk."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limits.body_bytes:
            raise TooLongError
        length = 0
        async with asyncio.timeout(self._limits.body_seconds):
            async for chunk in request.stream():
                length += len(chunk)
                if length > self._limits.body_bytes:
                    raise TooLongError
                if self._bodies_bytes + len(chunk) > self._limits.bodies_bytes:
                    raise BusyError("too many bodies are under way", retry_after_seconds=2)
                self._bodies_bytes += len(chunk)
                held.append(chunk)

    async def _batch(self, body: bytes, encoding: str, form: Form) -> Batch:
        def read() -> Batch:
            plain = unpack(body, encoding, self._limits.unpacked_bytes)
            try:
                return decode(plain, form, self._bounds())
            except TooManyError as exc:
                raise TooLongError from exc

        if len(body) <= INLINE_BYTES:
            async with self._turn:  # one body in each round of the loop: who asks for a figure need not wait for all
                batch = read()
                await asyncio.sleep(0)
            return batch
        return await anyio.to_thread.run_sync(read, limiter=self._threads)

    def _bounds(self) -> Bounds:
        return Bounds(
            records=self._limits.records,
            oldest_us=int(self._store.oldest() * 1e6),
            newest_us=int(self._store.now() * 1e6) + _DAY_US,
        )


def _answer(batch: Batch) -> Response:
    counts: dict[str, int] = {name: batch.outcomes.count(number) for number, name in enumerate(OUTCOMES)}
    body = {
        **counts,
        "outcomes": _runs(batch.outcomes),
        "reasons": [{"record": position, "reason": batch.reasons[position]} for position in sorted(batch.reasons)],
    }
    return Response(
        json.dumps(body, separators=(",", ":")),
        status_code=426 if counts[OUTCOMES[KEPT]] else 200,
        media_type="application/json",
    )


def _runs(outcomes: bytearray) -> list[dict[str, object]]:
    """The outcomes in order, equal neighbours together: `[{"outcome": "stored", "records": 500}]`."""
    runs: list[dict[str, object]] = []
    start = 0
    for position in range(1, len(outcomes) + 1):
        if position == len(outcomes) or outcomes[position] != outcomes[start]:
            runs.append({"outcome": OUTCOMES[outcomes[start]], "records": position - start})
            start = position
    return runs
