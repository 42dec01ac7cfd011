"""Recommendations on 127.0.0.1:$PORT, with nothing but Python's standard library."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from ranking import rank

CATALOG_URL, ORDERS_URL = os.environ["CATALOG_URL"], os.environ["ORDERS_URL"]
TIMEOUT = 1.0  # seconds for each call; an opinion that comes late is worth nothing
GRACE = 10.0  # seconds for requests in flight when told to stop
PASSED_ON = ("traceparent", "tracestate", "x-request-id")
MOST = 12
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url: str, headers: dict[str, str]) -> Any:
    """GET JSON; raises OSError (not reachable, too slow, not 2xx) or ValueError (no JSON)."""
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            return json.load(answer)
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {type(error).__name__}") from error


def recommend(query: dict[str, list[str]], headers: dict[str, str]) -> dict[str, Any]:
    """The answer; without orders it is a poorer one and says so. Raises OSError, ValueError when the catalog is away."""
    customer = query.get("customer", [""])[0]
    product = query.get("product_id", [""])[0]
    about = [int(product)] if product.isdecimal() and len(product) < 10 else []
    products = ask(f"{CATALOG_URL}/products", headers)["products"]
    baskets: list[list[int]] = []
    owned: set[int] = set()
    degraded = []
    try:
        if customer:
            bought = ask(f"{ORDERS_URL}/orders?customer={quote(customer, safe='')}", headers)["orders"]
            owned = {item["product_id"] for order in bought for item in order["items"]}
            about = about or [item["product_id"] for order in bought[:1] for item in order["items"]]
        for product_id in about[:3]:
            baskets += ask(f"{ORDERS_URL}/baskets?product_id={product_id}", headers)["baskets"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"orders is away, recommending without it: {error}", flush=True)
        degraded = ["orders"]
    return {"recommendations": rank(products, about, baskets, owned, MOST), "degraded": degraded}


class Handler(BaseHTTPRequestHandler):
    """One connection; HTTP/1.1, so it is used for many requests."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "recommendations", ""
    timeout = 75  # seconds an idle connection may stay
    disable_nagle_algorithm = True
    wbufsize = 65_536  # head and body leave in one packet

    def do_GET(self) -> None:
        started = time.perf_counter()
        with self.server.in_flight():
            status = self.answer()
            self.wfile.flush()
        if self.path != "/healthz" or status != 200:  # a passing check every second is no news
            ms, request_id = (time.perf_counter() - started) * 1000, self.headers.get("x-request-id", "-")
            print(f"{self.command} {self.path} {status} {ms:.1f}ms id={request_id}", flush=True)

    do_HEAD = do_GET

    def answer(self) -> int:
        """Route the request, answer it, and return the status."""
        url = urlsplit(self.path)
        if url.path == "/healthz":
            return self.send(200, {"status": "ok"})
        if url.path != "/recommendations":
            return self.send(404, {"type": "about:blank", "title": "Not found", "status": 404})
        headers = {name: value for name in PASSED_ON if (value := self.headers.get(name))}
        try:
            return self.send(200, recommend(parse_qs(url.query, max_num_fields=20), headers))
        except (OSError, ValueError, KeyError, TypeError) as error:
            title = "The catalog cannot be reached, so there is nothing to recommend"
            return self.send(503, {"type": "about:blank", "title": title, "status": 503, "detail": str(error)})

    def send(self, status: int, body: dict[str, Any]) -> int:
        """Write one JSON answer."""
        data = json.dumps(body).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(data)))
        if self.server.stopping:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        return status

    def log_message(self, *_: Any) -> None:
        """Say nothing: requests are logged in do_GET."""


class Server(ThreadingHTTPServer):
    """A thread a connection, and a count of the requests that are being answered."""

    request_queue_size = 128
    daemon_threads = True  # an idle connection does not keep the process; requests in flight are waited for below
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that hung up is no error of ours
            super().handle_error(request, client_address)

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.stopping = False
        self._busy = 0
        self._changed = threading.Condition()

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count one more request until it ends."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def drain(self) -> None:
        """Wait until nothing is being answered, at most GRACE seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, GRACE)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    server = Server(int(os.environ["PORT"]))

    def stop(*_: object) -> None:
        server.stopping = True
        threading.Thread(target=server.shutdown).start()  # shutdown() waits for the loop this handler interrupted

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.serve_forever(poll_interval=0.1)
    server.socket.close()
    server.drain()


if __name__ == "__main__":
    main()
