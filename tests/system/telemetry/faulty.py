"""A service that fails as its path asks for, and passes the trace on when it calls another one."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

MESH = Path(".atoll/mesh.json")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(split.query).items()}
        time.sleep(float(asked.get("ms", 0)) / 1000)
        what = split.path.rsplit("/", 1)[-1]
        if what == "crash":
            print("the sky is falling", flush=True)
            os._exit(7)
        if what == "hang":
            self.close_connection = True
            self.connection.close()
            return
        if what == "full":
            print("ERROR: cannot write: [Errno 28] No space left on device", flush=True)
        if what == "call":
            self.answer(*self.called(asked))
            return
        if what == "bug":
            print("ERROR: KeyError: 'price'", flush=True)
        self.answer(
            {"full": 500, "bug": 500}.get(what) or int(what) if what.isdecimal() or what in {"full", "bug"} else 200
        )

    def do_POST(self) -> None:
        self.do_GET()

    def called(self, asked: dict[str, str]) -> tuple[int, str]:
        """Another service, by the mesh; its failure is ours."""
        mesh = http.client.HTTPConnection(
            "127.0.0.1", json.loads(MESH.read_text())["mesh_port"], timeout=float(asked.get("within", 10))
        )
        headers = {"Host": asked["who"], "traceparent": self.headers["traceparent"]}
        try:
            mesh.request("GET", f"/{asked['who']}/{asked['what']}?ms={asked.get('wait', 0)}", headers=headers)
            status = mesh.getresponse().status
        except TimeoutError:
            return 504, "no patience"
        finally:
            mesh.close()
        return (502 if status >= 500 else 200), str(status)

    def answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


if sys.argv[1:] == ["loops"]:
    print("no configuration here", flush=True)
    sys.exit(3)
ThreadingHTTPServer.request_queue_size = 64
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
