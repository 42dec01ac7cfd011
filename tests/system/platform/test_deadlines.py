"""Deadlines and retries said in atoll.yaml, on a running platform: along a call from one service to another."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.system.platform.conftest import running
from tests.system.platform.stage import Platform, ask, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: hurried
services:
  front:
    command: python relay.py
    healthcheck: {http: /healthz}
    calls: {back: {timeout: 6s, retry: {attempts: 1, on: [503]}}}
  back: {command: python relay.py, replicas: 2, healthcheck: {http: /healthz}}
gateway:
  defaults: {timeout: 20s}
  routes:
    - {name: front, match: {path_prefix: /front}, service: front}
    - {name: back, match: {path_prefix: /back}, service: back}
"""
RELAY = '''
"""Asks the next service and passes baggage on, as OpenTelemetry does; the first instance of `back` is unwell."""
import json, os, urllib.error, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        headers = {name.lower(): text for name, text in self.headers.items()}
        status, said = 200, {"instance": os.environ["ATOLL_INSTANCE"], "headers": headers}
        if self.path != "/healthz" and os.environ["ATOLL_SERVICE"] == "front":
            passed = {name: headers[name] for name in ("baggage",) if name in headers}
            try:
                with urllib.request.urlopen(urllib.request.Request(os.environ["BACK_URL"], headers=passed)) as answer:
                    said = json.load(answer)
            except urllib.error.HTTPError as error:
                status, said = error.code, json.load(error)
        elif self.path != "/healthz" and os.environ["ATOLL_INSTANCE"] == "back-1":
            status = 503
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # a check resets its connection
            pass
    def log_message(self, *_): pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'''


@pytest.fixture(scope="module")
def hurried() -> Iterator[Platform]:
    with running(PROJECT, {"relay.py": RELAY}) as platform:
        yield platform


def test_a_caller_that_retries_never_meets_the_instance_that_is_unwell(hurried: Platform) -> None:
    port = hurried.gateway_port
    # at first: one that fails five times in a row is left alone for a while
    until(lambda: {ask(port, "/back/x").status for _ in range(2)} == {200, 503}, "who does not retry meets both")
    until(lambda: {ask(port, "/front/x").json.get("instance") for _ in range(6)} == {"back-2"}, "it is sent again")


def headers_behind(port: int) -> dict[str, str]:
    """What `back` was told; nothing when it failed."""
    answer = ask(port, "/front/x")
    found: dict[str, str] = answer.json["headers"] if answer.status == 200 else {}
    return found


def test_what_is_left_shrinks_on_the_way_and_what_is_over_is_not_sent_on(hurried: Platform) -> None:
    port = hurried.gateway_port
    before = time.time() * 1000
    # retries are few: who asks too often meets the instance that is unwell
    headers = until(lambda: headers_behind(port), "it answers")
    members = dict(member.partition("=")[::2] for member in headers["baggage"].split(","))
    # the call's six seconds, not the route's twenty
    assert before < int(members["atoll.deadline"]) <= time.time() * 1000 + 6000
    assert 0 < int(headers["x-atoll-left-ms"]) <= 6000
    assert members["atoll.retry"] == "1"
    over = ask(port, "/front/x", headers={"baggage": f"atoll.deadline={int(before)}"})
    assert (over.status, over.json["code"], over.json["service"]) == (504, "deadline-exceeded", "front")


def test_where_nobody_passes_the_answer_says_out_of_how_many_and_since_when(hurried: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        dead = {"g-1": one.getsockname()[1], "g-2": other.getsockname()[1]}
    for name, unheard in dead.items():
        hurried.done("PUT", f"/services/ghost/instances/{name}", {"port": unheard, "ttl": 60})
    hurried.done(
        "PUT", "/routes/ghost", {"name": "ghost", "match": {"path": "/ghost"}, "shares": [{"service": "ghost"}]}
    )
    port = hurried.gateway_port
    until(lambda: "since" in ask(port, "/ghost").json, "it is told")
    answer = ask(port, "/ghost")
    assert (answer.status, answer.json["code"], answer.json["passing"], answer.json["of"]) == (503, "no-instance", 0, 2)
    lost = datetime.fromisoformat(answer.json["since"])
    assert 0 <= (datetime.now(UTC) - lost).total_seconds() < 60


def test_explain_says_what_counts_for_the_call(hurried: Platform) -> None:
    (part,) = hurried("explain", "front", "back", "--json").json["parts"]
    told = {value["field"]: (value["text"], value["origin"]) for value in part["policy"]}
    assert told["timeout"] == ("6s", "services.front.calls.back")
    assert told["retry"] == ("1 more on 503, 10% of requests", "services.front.calls.back")
