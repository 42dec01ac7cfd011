"""From a real HAProxy through the receiver into the engine: one tree of spans, and what is missing is known exactly."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from atoll.gateway.request_log import RequestLog
from atoll.kit.clock import SystemClock
from atoll.telemetry.engine import Engine
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.requests.gaps import Gaps, read_gaps
from atoll.telemetry.requests.receiver import Receiver, receiving
from tests.contract.gateway.rig import Echo, Running, instance, running, service, small_settings, snapshot_of
from tests.unit.gateway.facts import route

SPAN_OF_CLIENT = "c1c1c1c1c1c1c1c1"


class Calling(Echo):
    """A service that calls `orders` on the mesh, with a client span of its own."""

    mesh = 0

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        trace = dict(asked["headers"])["traceparent"].split("-")[1]
        connection = http.client.HTTPConnection("127.0.0.1", self.mesh, timeout=5)
        headers = {"Host": "orders", "traceparent": f"00-{trace}-{SPAN_OF_CLIENT}-01", "x-atoll-caller": "web"}
        connection.request("GET", "/api/orders/9", headers=headers)
        connection.getresponse().read()
        connection.close()
        super().respond(handler, asked)


class Quick:
    """A service that answers in one packet: an Echo's two cost 40 ms."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.recv(65536).endswith(b"\r\n\r\n"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        self.server.close()


@pytest.fixture
async def reader(tmp_path: Path, pool: EnginePool) -> AsyncIterator[Receiver]:
    async with receiving(tmp_path / "requests.sock", pool, SystemClock()) as receiver:
        yield receiver


@contextlib.contextmanager
def shop(folder: Path, ring_bytes: int = 1 << 20) -> Any:
    with Echo("orders") as orders, Calling("web") as web, contextlib.closing(Quick()) as quick:
        facts = snapshot_of(
            [service("web"), service("orders"), service("quick")],
            [
                instance("web", web.port, "web-1"),
                instance("orders", orders.port, "orders-1"),
                instance("quick", quick.port),
            ],
            [
                route("shop", "web", path="/shop"),
                route("orders", "orders", path="/orders"),
                route("quick", "quick", path="/quick"),
            ],
        )
        log = RequestLog(socket=folder / "requests.sock", ring_bytes=ring_bytes)
        settings = small_settings()
        web.mesh = settings.mesh_port
        with running(facts, folder, settings, log) as haproxy:
            yield haproxy, web, orders


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def committed(receiver: Receiver, lines: int) -> None:
    await until(lambda: receiver.counts.committed >= lines)


async def test_one_request_is_one_tree_from_the_gateway_to_the_last_service(
    tmp_path: Path, reader: Receiver, engine: Engine
) -> None:
    with shop(tmp_path) as (haproxy, web, orders):
        answer = await asyncio.to_thread(haproxy.ask, "/shop/x")
        assert answer.status == 200
        await committed(reader, 2)
    trace = answer.header("x-trace-id")
    rows = engine.rows(
        "SELECT ServiceName, lower(hex(s.SpanId)) AS span, lower(hex(s.ParentSpanId)) AS parent, SpanAttributes AS said, "
        "toUnixTimestamp64Micro(Timestamp) AS began, intDiv(Duration, 1000) AS took "
        "FROM all_spans AS s WHERE TraceId = unhex({trace:String}) ORDER BY Timestamp",
        {"trace": trace},
    )
    gateway, mesh = rows
    assert (gateway["ServiceName"], mesh["ServiceName"]) == ("gateway", "mesh")
    seen = [dict(each.seen[0]["headers"])["traceparent"].split("-") for each in (web, orders)]
    assert [each[1] for each in seen] == [trace, trace]
    # what each service was told is its parent is the span of who sent the request to it
    assert gateway["parent"] == "0" * 16
    assert seen[0][2] == gateway["span"]
    assert mesh["parent"] == SPAN_OF_CLIENT
    assert seen[1][2] == mesh["span"]
    assert mesh["said"]["atoll.caller"] == "web"
    assert gateway["said"]["atoll.instance"] == "web-1"
    # and the child lies within its parent
    assert gateway["began"] <= mesh["began"]
    assert mesh["began"] + mesh["took"] <= gateway["began"] + gateway["took"] + 1000


@pytest.mark.slow
async def test_a_request_is_found_within_a_second_of_its_end(
    tmp_path: Path, reader: Receiver, pool: EnginePool
) -> None:
    with shop(tmp_path) as (haproxy, _, _):
        await asyncio.to_thread(haproxy.ask, "/orders/warm")
        await committed(reader, 1)
        waits = []
        for number in range(3):
            answer = await asyncio.to_thread(haproxy.ask, f"/orders/{number}")
            ended = time.monotonic()
            found = {"trace": answer.header("x-trace-id")}
            while not await pool.rows("SELECT 1 FROM all_spans WHERE TraceId = unhex({trace:String})", found):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            waits.append(time.monotonic() - ended)
    assert sorted(waits)[1] < 1.0, waits


def ask_many(haproxy: Running, count: int) -> int:
    """Requests one after the other on one connection; returns how many failed."""
    failed = 0
    connection = http.client.HTTPConnection("127.0.0.1", haproxy.settings.port, timeout=5)
    for number in range(count):
        connection.request("GET", f"/quick/{number}", headers={"Host": "t"})
        answer = connection.getresponse()
        answer.read()
        failed += answer.status != 200
    connection.close()
    return failed


async def test_while_nobody_reads_no_request_fails_and_what_was_lost_is_counted_exactly(
    tmp_path: Path, pool: EnginePool
) -> None:
    with shop(tmp_path, ring_bytes=1 << 16) as (haproxy, _, _):
        async with receiving(tmp_path / "requests.sock", pool, SystemClock()) as first:
            assert await asyncio.to_thread(ask_many, haproxy, 20) == 0
            await committed(first, 20)
        # away: the ring holds some 300 of these
        assert await asyncio.to_thread(ask_many, haproxy, 400) == 0
        async with receiving(tmp_path / "requests.sock", pool, SystemClock()) as second:
            await until(lambda: second.counts.lines > 0)
            # what was dropped last is known when there is room for another line
            assert await asyncio.to_thread(ask_many, haproxy, 1) == 0
            async with asyncio.timeout(10):
                while (gaps := await read_gaps(pool)).lines + gaps.lost < 421:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
    assert gaps.lines == first.counts.committed + second.counts.committed
    assert gaps.lost == 421 - gaps.lines
    assert 50 < gaps.lost < 300
    # HAProxy counts what it had no room for; what was on its way when the connection ended it does not know
    assert 0 < second.counts.dropped <= gaps.lost


PAUSED = """
import re, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
connection, _ = server.accept()
received = 0
print("ready", flush=True)
for line in connection.makefile("rb"):
    if line.endswith(b"dropped\\n"):
        print("said", line.split()[0].decode(), flush=True)
    received += line.endswith(b"\\t.2\\n")
    if last := re.search(rb"/orders/last-([0-9]+)", line):
        print("last", last[1].decode(), flush=True)
        break
print("received", received, flush=True)
"""


async def test_a_reader_that_stands_still_fails_no_request_and_haproxy_says_what_it_dropped(tmp_path: Path) -> None:
    path = tmp_path / "requests.sock"
    with shop(tmp_path, ring_bytes=1 << 16) as (haproxy, _, _):
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", PAUSED, str(path), stdout=subprocess.PIPE)
        assert child.stdout is not None
        try:
            await asyncio.to_thread(ask_many, haproxy, 1)
            assert await child.stdout.readline() == b"ready\n"
            os.kill(child.pid, 19)
            # what the socket and the ring hold is some 1,000 of these
            assert await asyncio.to_thread(ask_many, haproxy, 2500) == 0
            os.kill(child.pid, 18)
            reading = asyncio.ensure_future(child.stdout.read())
            for number in range(1, 100):  # the first ones may find the ring still full
                await asyncio.to_thread(haproxy.ask, f"/orders/last-{number}")
                if (await asyncio.wait([reading], timeout=0.2))[0]:
                    break
            told = [line.split() for line in (await asyncio.wait_for(reading, 10)).decode().splitlines()]
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    said = {word: [int(number) for other, number in told if other == word] for word in ("said", "last", "received")}
    assert sum(said["said"]) > 0
    assert said["received"][0] + sum(said["said"]) == 2501 + said["last"][0]


async def test_what_arrives_at_a_stop_is_still_committed(tmp_path: Path, pool: EnginePool) -> None:
    async with receiving(tmp_path / "requests.sock", pool, SystemClock()) as receiver:
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "requests.sock"))
        for number in range(200):
            writer.write(b"gateway\t-\t7\t%d" % number + b"\t-" * 22 + b"\t.2\n")
        await until(lambda: receiver.counts.connections == 1)
    writer.close()
    assert (receiver.counts.committed, receiver.counts.lost) == (200, 0)
    assert await read_gaps(pool) == Gaps(lines=200, lost=0)
    assert receiver.counts.connections == 0


async def test_what_is_asked_of_a_haproxy_that_ends_has_its_line(tmp_path: Path, reader: Receiver) -> None:
    with shop(tmp_path) as (haproxy, _, _), contextlib.ExitStack() as stack:
        held = [http.client.HTTPConnection("127.0.0.1", haproxy.settings.port, timeout=5) for _ in range(8)]
        for number, connection in enumerate(held):
            stack.callback(connection.close)
            await asyncio.to_thread(connection.request, "GET", f"/quick/{number}")
            assert (await asyncio.to_thread(connection.getresponse)).read() == b"ok"
        await until(lambda: reader.counts.lines == 8)
        assert haproxy.process is not None
        haproxy.process.send_signal(signal.SIGUSR1)  # as a reload does with the old process
        await until(lambda: reader.counts.connections == 0)
        for connection in held:
            await asyncio.to_thread(connection.request, "GET", "/quick/last")
            assert (await asyncio.to_thread(connection.getresponse)).read() == b"ok"
        await until(lambda: reader.counts.last_lines == 8)
        await committed(reader, 16)


async def test_only_whole_lines_of_requests_are_taken_as_last_ones(tmp_path: Path, reader: Receiver) -> None:
    line = b"gateway\t-\t7\t%d" + b"\t-" * 22 + b"\t.2"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for text in (b"Proxy gateway stopped.\n", b"\xff" * 9000, b"", line % 0, b"x\ty\n", line % 1 + b"\n"):
            sender.sendto(text, str(tmp_path / f"requests.last{len(text) % 8}"))
    await committed(reader, 2)
    assert (reader.counts.lines, reader.counts.last_lines, reader.counts.odd) == (2, 2, 0)


async def test_the_socket_is_for_this_user_only_and_takes_the_place_of_an_old_one(
    tmp_path: Path, pool: EnginePool
) -> None:
    path = tmp_path / "requests.sock"
    path.touch()
    async with receiving(path, pool, SystemClock()):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.with_suffix(".last7").stat().st_mode & 0o777 == 0o600


async def test_a_connection_without_lines_is_ended(tmp_path: Path, reader: Receiver) -> None:
    connection, writer = await asyncio.open_unix_connection(str(tmp_path / "requests.sock"))
    with contextlib.suppress(ConnectionError):
        for _ in range(20):
            writer.write(b"x" * 65536)
            await writer.drain()
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(connection.read(), 5) == b""
    writer.close()
    await until(lambda: reader.counts.connections == 0)
    assert reader.counts.refused == 1
    assert reader.counts.odd == 1
