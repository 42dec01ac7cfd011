"""Services of several frameworks that ask MIRROR for every request, and know nothing of baggage."""

import asyncio
import os
import urllib.request


def ask() -> bytes:
    with urllib.request.urlopen(os.environ["MIRROR"]) as answer:
        return bytes(answer.read())


def healthy() -> str:
    return ""


def fast():  # type: ignore[no-untyped-def]
    from fastapi import FastAPI

    app = FastAPI()
    app.get("/healthz")(healthy)

    @app.get("/orders/{number}")
    def order(number: int) -> str:
        return ask().decode()

    return app


def flask():  # type: ignore[no-untyped-def]
    from flask import Flask

    app = Flask("asks")
    app.add_url_rule("/healthz", "healthz", healthy)
    app.add_url_rule("/orders/<number>", "order", lambda **_: ask())
    return app


async def raw(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001
    if scope["type"] != "http":
        return
    body = b"" if scope["path"] == "/healthz" else await asyncio.to_thread(ask)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = b"" if self.path == "/healthz" else ask()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
