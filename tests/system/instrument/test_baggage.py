"""What came in `baggage` goes on with the calls a service makes, whatever serves it: deadlines travel that way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.system.instrument.stage import Start
from tests.system.instrument.test_node import node  # noqa: F401 - a fixture

CAME = {"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01", "baggage": "atoll.deadline=1795291575123,user=ana"}


@pytest.fixture
def mirror() -> Iterator[str]:
    """Answers with the baggage it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.headers.get("baggage", "").encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "uvicorn", "--factory", "asks:fast", "--port", "{port}"),
        ("-m", "uvicorn", "asks:raw", "--port", "{port}"),
        ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "asks:flask()"),
        ("asks.py",),
    ],
    ids=["fastapi", "no framework", "flask", "pythons own"],
)
def test_a_python_service_passes_it_on(start: Start, clean: str, mirror: str, command: tuple[str, ...]) -> None:
    with start(clean, *command, extra={"MIRROR": mirror}) as app:
        said = {app.get(f"/orders/{number}", CAME) for number in range(3)}
        assert {(status, text.strip('"')) for status, text in said} == {(200, CAME["baggage"])}
        status, text = app.get("/orders/9", {"traceparent": CAME["traceparent"]})
        assert (status, text.strip('"')) == (200, "")


def test_a_node_service_passes_it_on_unless_it_says_its_own(start: Start, node: str, mirror: str) -> None:  # noqa: F811
    with start(node, "asks.mjs", extra={"MIRROR": mirror}) as app:
        assert app.get("/orders/get", CAME) == (200, CAME["baggage"])
        assert app.get("/orders/fetch", CAME) == (200, CAME["baggage"])
        assert app.get("/orders/own", CAME) == (200, "mine=1")
        assert app.get("/orders/get") == (200, "")
        assert not app.err
