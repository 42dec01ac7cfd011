"""A service that logs by Python's `logging`, prints, and fails: `GET /<word>` logs `said <word>`, `/fail` a traceback."""

from __future__ import annotations

import logging
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
log = logging.getLogger("talker")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        word = self.path.strip("/")
        if word == "fail":
            try:
                dict(os.environ)["missing"]
            except KeyError:
                log.exception("this went wrong")
        elif word == "print":
            print('{"level":"warn","msg":"printed as json","time":"2031-01-01T00:00:00Z"}', flush=True)
        elif word.startswith("twice-"):
            log.info("said %s", word)
            log.info("said %s", word)
        else:
            log.info("said %s", word)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
