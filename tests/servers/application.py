"""The application that real servers serve, as it is and measured; what happens inside goes to the file `EVENTS`."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.background import BackgroundTask

from carbon_sdk import CarbonMiddleware
from carbon_sdk.integrations.asgi import Receive
from carbon_sdk.integrations.asgi_request import Scope, Send

BURN_SECONDS = 0.02


def burn(seconds: float = BURN_SECONDS) -> None:
    """Use the CPU of this thread for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def happened(event: str) -> None:
    """Note it: one write, so that lines of several processes do not mix."""
    with open(os.environ["EVENTS"], "a", encoding="utf-8") as file:
        file.write(f"{event}\n")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
    happened("startup")
    yield {"greeting": "from the lifespan"}
    await asyncio.sleep(0)
    happened("shutdown")


bare = FastAPI(lifespan=lifespan)


@bare.api_route("/items/{number}", methods=["GET", "HEAD"])
async def item(number: int, request: Request) -> dict[str, int | str]:
    burn()
    return {"number": number, "greeting": request.state.greeting}


@bare.get("/sync")
def sync() -> PlainTextResponse:
    burn()
    return PlainTextResponse("from a thread")


@bare.post("/upload")
async def upload(request: Request) -> PlainTextResponse:
    pieces = [len(piece) async for piece in request.stream()]
    return PlainTextResponse(str(sum(pieces)))


@bare.get("/error")
async def error() -> None:
    await asyncio.sleep(0)
    raise ValueError("the application's own")


@bare.get("/late-error")
async def late_error() -> StreamingResponse:
    def chunks() -> Iterator[bytes]:
        yield b"begun,"
        raise ValueError("after the response has begun")

    return StreamingResponse(chunks())


@bare.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(4):
            burn(BURN_SECONDS / 4)
            yield f"{number},".encode()
            await asyncio.sleep(0.01)

    return StreamingResponse(chunks())


@bare.get("/endless")
async def endless() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.005)
        finally:
            happened("the endless stream was ended")

    return StreamingResponse(chunks())


@bare.get("/background")
async def background(tasks: BackgroundTasks) -> PlainTextResponse:
    async def after() -> None:
        await asyncio.sleep(0.2)
        burn()
        happened("the background task is done")

    tasks.add_task(after)
    return PlainTextResponse("accepted")


@bare.get("/file")
async def file() -> FileResponse:
    """A server that can sends the file by itself; then there is no body to be seen."""

    async def after() -> None:
        await asyncio.sleep(0.5)
        happened("the work after the file is done")

    return FileResponse(__file__, background=BackgroundTask(after))


@bare.websocket("/echo/{room}")
async def echo(socket: WebSocket, room: str) -> None:
    await socket.accept(subprotocol="chat", headers=[(b"x-room", room.encode())])
    try:
        while True:
            text = await socket.receive_text()
            if text == "leave":
                await socket.close(4001, "as you wish")
                return
            burn(BURN_SECONDS / 2)
            await socket.send_text(f"{room}: {text}")
    except WebSocketDisconnect as exc:
        happened(f"the socket of {room} was closed with {exc.code}")


@bare.websocket("/closed")
async def closed(socket: WebSocket) -> None:
    await socket.close()


measured = CarbonMiddleware(bare)


async def _without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("what is a lifespan?")
    burn()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


without_lifespan = CarbonMiddleware(_without_lifespan)
