"""An ASGI and a WSGI app of no framework."""

from typing import Any


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    print(f"asked for {scope['path']}", flush=True)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    print(f"asked for {environ['PATH_INFO']}", flush=True)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
