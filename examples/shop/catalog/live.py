"""The live channel: the present price and stock of one product after another, and an echo of what you send."""

from __future__ import annotations

import json
from typing import Any

import anyio
from fastapi import WebSocket, WebSocketDisconnect
from products import Products
from request_log import INSTANCE
from starlette.concurrency import run_in_threadpool

EVERY = 0.5  # seconds between two ticks


def echo(message: dict[str, Any]) -> dict[str, Any]:
    """What we answer to a frame: its JSON, its text when it is none, its length when it is binary."""
    if (text := message.get("text")) is None:
        return {"type": "echo", "bytes": len(message.get("bytes") or b""), "instance": INSTANCE}
    try:
        return {"type": "echo", "message": json.loads(text), "instance": INSTANCE}
    except (ValueError, RecursionError):
        return {"type": "echo", "message": text, "instance": INSTANCE}


async def serve(socket: WebSocket, products: Products) -> None:
    """Talk until the client leaves."""
    await socket.accept()

    async def tick() -> None:
        try:
            while True:
                product = await run_in_threadpool(products.any)
                keys = ("id", "name", "price_cents", "stock")
                await socket.send_json({"type": "price", **{key: product[key] for key in keys}})
                await anyio.sleep(EVERY)
        except (WebSocketDisconnect, RuntimeError):  # RuntimeError: starlette's word for "already closed"
            return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        try:
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                await socket.send_json(echo(message))
        except WebSocketDisconnect:
            pass
        tasks.cancel_scope.cancel()
