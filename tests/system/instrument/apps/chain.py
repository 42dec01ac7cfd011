"""A service of a chain: it asks the one after it, and answers with what its clock says and what theirs said."""

import json
import os
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NEXT = os.environ.get("NEXT", "").upper().replace("-", "_")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body leave together: apart, the second waits 40 ms for a delayed acknowledgement

    def do_GET(self) -> None:
        clocks = [time.time()]
        if NEXT and self.path != "/healthz":
            with urllib.request.urlopen(os.environ[f"{NEXT}_URL"]) as answer:
                clocks += json.load(answer)
        body = json.dumps(clocks).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
