"""Python's own server, which calls another service for every request, as `recommendations` in the shop does."""

import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/healthz" and not self.path.startswith("/inner"):
            headers = {"traceparent": self.headers["traceparent"]}  # the habit of an app that passes headers on
            urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{os.environ['PORT']}/inner", headers=headers)
            )
            print(f"order {self.path} printed", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None: ...


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
