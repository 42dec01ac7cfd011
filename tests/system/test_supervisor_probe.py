"""The probe against real servers, good and bad ones."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from atoll.model.service import Check, CheckKind, Protocol
from atoll.supervisor.probe import PASSED, Outcome, ask
from tests.serving import Handler, serving


def saying(answer: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return handler


HTTP = Check(kind=CheckKind.HTTP, path="/readyz", timeout=0.5)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", PASSED),
        (b"HTTP/1.0 302 Found\r\n\r\n", PASSED),
        (b"HTTP/1.1 200\r\n", PASSED),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Outcome(False, "HTTP 503")),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Outcome(False, "HTTP 404")),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Outcome(False, "the answer is not HTTP")),
        (b"HTTP/1.1 2\x0000 OK\r\n\r\n", Outcome(False, "the answer is not HTTP")),
        (b"\xff" * 100_000, Outcome(False, "the answer is not HTTP")),
    ],
)
async def test_an_http_check_passes_on_2xx_and_3xx_only(answer: bytes, outcome: Outcome) -> None:
    async with serving(saying(answer)) as port:
        assert await ask(HTTP, Protocol.HTTP, port) == outcome


async def test_a_server_that_hangs_up_or_stays_silent_has_not_passed() -> None:
    async with serving(saying(b"")) as port:
        outcome = await ask(HTTP, Protocol.HTTP, port)
        assert not outcome.passed
        assert outcome.cause

    silent = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()

    async with serving(waits) as port:
        check = Check(kind=CheckKind.HTTP, timeout=0.05)
        assert await ask(check, Protocol.HTTP, port) == Outcome(False, "no answer within 0.05 s")
        silent.set()


async def test_a_tcp_check_asks_only_whether_somebody_listens() -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(nothing) as port:
        assert await ask(Check(kind=CheckKind.TCP), Protocol.TCP, port) == PASSED
    assert await ask(Check(kind=CheckKind.TCP), Protocol.TCP, port) == Outcome(
        False, f"nothing listens on port {port} yet"
    )


async def test_a_grpc_check_asks_the_standard_health_service() -> None:
    servicer = health.HealthServicer()
    servicer.set("payments.v1.Payments", health_pb2.HealthCheckResponse.NOT_SERVING)
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        for name, status, outcome in [
            ("", None, PASSED),
            ("payments.v1.Payments", None, Outcome(False, "NOT_SERVING")),
            ("payments.v1.Payments", health_pb2.HealthCheckResponse.SERVING, PASSED),
            ("nobody", None, Outcome(False, "the health service does not know it")),
        ]:
            if status is not None:
                servicer.set(name, status)
            check = Check(kind=CheckKind.GRPC, grpc_service=name, timeout=3.0)
            assert await ask(check, Protocol.GRPC, port) == outcome
    finally:
        server.stop(None).wait()


async def test_a_grpc_server_without_health_service_is_told_apart() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        check = Check(kind=CheckKind.GRPC, timeout=3.0)
        assert await ask(check, Protocol.GRPC, port) == Outcome(False, "it has no grpc.health.v1 service")
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 50_000, b"\xff" * 9])
async def test_a_grpc_check_of_something_else_fails_with_a_cause(answer: bytes) -> None:
    outcome = Outcome(True)
    async with serving(saying(answer)) as port:
        outcome = await ask(Check(kind=CheckKind.GRPC), Protocol.GRPC, port)
    assert not outcome.passed
    assert outcome.cause


async def test_an_http_check_of_an_h2c_service_speaks_http2() -> None:
    asked: list[bytes] = []

    async def h2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        talk.initiate_connection()
        while data := await reader.read(9999):
            for event in talk.receive_data(data):
                if isinstance(event, RequestReceived):
                    asked.extend(value for name, value in event.headers if name == b":path")
                    talk.send_headers(event.stream_id, [(":status", "204")], end_stream=True)
            writer.write(talk.data_to_send())

    async with serving(h2) as port:
        assert await ask(HTTP, Protocol.H2C, port) == PASSED
    assert asked == [b"/readyz"]
