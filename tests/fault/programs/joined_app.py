"""A service of somebody's own, started by nobody's node: it joins by itself with the SDK. Runs on uvicorn.

`/?ms=20` answers after 20 ms with who it is; `/block?s=5` blocks the event loop for 5 s, as a careless handler does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from typing import Any
from urllib.parse import parse_qs

import uvicorn

import atoll

INSTANCE = os.environ["ATOLL_INSTANCE"]


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "lifespans are unknown here"
    asked = {name: float(values[0]) for name, values in parse_qs(scope["query_string"].decode()).items()}
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(asked.get("ms", 0.0) / 1000)
    time.sleep(asked.get("s", 0.0))  # noqa: ASYNC251  the fault
    body = json.dumps({"instance": INSTANCE, "pid": os.getpid()}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    node = atoll.attach(app, ttl=float(os.environ["TTL"]) if "TTL" in os.environ else None)
    uvicorn.run(node, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
