"""The drivers tell the truth about what they saw, and bound what they do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from atoll.testing import FaultProxy, History, Outcome
from atoll.testing.promises import Happened
from atoll.testing.watched import Heard
from tests.fault.checks.schedule import until
from tests.fault.drivers.driver_api_watch import StreamEnded, stream
from tests.fault.drivers.driver_register import Registrant, driver_register
from tests.fault.drivers.driver_requests import answered_by, driver_requests, no_request_failed
from tests.fault.drivers.guests import Guests
from tests.fault.drivers.http import Broken, Client
from tests.fault.drivers.upstream import Upstream
from tests.fault.scenario import Scenario
from tests.serving import serving

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"


@asynccontextmanager
async def server(*answers: bytes) -> AsyncIterator[tuple[str, int]]:
    """Gives each request the next of `answers` (then the last again); an empty one ends the connection."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = b"x"
        while answer:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
            await reader.readexactly(int(length[0]) if length else 0)
            answer = left.pop(0) if len(left) > 1 else left[0]
            writer.write(answer)

    async with serving(serve) as port:
        yield "127.0.0.1", port


async def test_a_client_keeps_its_connection_and_opens_a_new_one_after_a_failure() -> None:
    async with server(HELLO) as place, FaultProxy(place) as proxy:
        with Client(("127.0.0.1", proxy.port)) as client:
            for _ in range(3):
                assert (await client.ask("GET", "/")).body == b"one"
            assert proxy.counts.connections == 1
            proxy.to_client.half = True
            with pytest.raises(Broken) as broken:
                await client.ask("GET", "/")
            assert broken.value.sent
            proxy.heal()
            assert (await client.ask("GET", "/")).body == b"one"
            assert proxy.counts.connections == 2


async def test_a_request_that_cannot_have_been_acted_on_is_known_as_such() -> None:
    async with server(HELLO) as place:
        pass
    with Client(place) as client, pytest.raises(Broken) as broken:
        await client.ask("GET", "/")
    assert not broken.value.sent


async def test_silence_ends_at_the_deadline_and_garbage_is_no_answer() -> None:
    async with server(HELLO) as place, FaultProxy(place) as proxy:
        with Client(("127.0.0.1", proxy.port)) as client:
            proxy.black_hole()
            with pytest.raises(Broken, match="timeout"):
                await client.ask("GET", "/", timeout=0.05)
            proxy.heal()
            proxy.to_client.garbage = b"\x00\xff not http \r\n\r\n"
            with pytest.raises(Broken, match="Pars"):
                await client.ask("GET", "/")


async def test_requests_are_recorded_with_who_answered_and_failures_are_breaches(scenario: Scenario) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    history = scenario.history()
    began, stop = time.monotonic(), asyncio.Event()
    async with server(HELLO, HELLO, busy, b"", HELLO) as place, asyncio.TaskGroup() as group:
        group.create_task(driver_requests(history, place, rate=200, seconds=20, connections=1, stop=stop))
        await until(lambda: len(history.calls) >= 20, "twenty requests")
        stop.set()
    took = time.monotonic() - began
    assert answered_by(history.calls).keys() == {"one"}
    outcomes = [call.outcome for call in history.calls[:5]]
    assert outcomes == [Outcome.OK, Outcome.OK, Outcome.REFUSED, Outcome.UNKNOWN, Outcome.OK]
    assert len(no_request_failed(history.calls)) == 2
    assert len(history.calls) <= 200 * took + 2


async def test_registrants_show_their_lease_and_forget_one_that_was_refused(scenario: Scenario) -> None:
    def answer(status: str, body: str) -> bytes:
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    history = scenario.history()
    new = answer("201 Created", '{"lease":"L1","revision":4}')
    gone = answer("410 Gone", '{"code":"lease-expired"}')
    async with server(new, gone, new) as place:
        registrant = Registrant("sim", "sim-1", 1234)
        with Client(place) as client:
            leases = []
            for _ in range(3):
                await registrant.renew(client, history)
                leases.append(registrant.lease)
        assert leases == ["L1", "", "L1"]
        stop = asyncio.Event()
        stop.set()
        await driver_register(history, place, "token", [registrant], rng=random.Random(1), stop=stop)
    assert [call.call for call in history.calls] == ["register", "renew", "register"]
    assert [call.error for call in history.calls] == [None, "lease-expired", None]


async def test_a_guest_whose_goodbye_was_not_heard_stays_and_renews(scenario: Scenario) -> None:
    def answer(status: str, body: str) -> bytes:
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    history = scenario.history()
    new, renewed = answer("201 Created", '{"lease":"L1","revision":4}'), answer("200 OK", '{"lease":"L1","revision":4}')
    busy, gone = answer("503 Busy", '{"code":"overloaded"}'), answer("404 Not Found", '{"code":"not-found"}')
    async with server(new, b"", busy, renewed, gone) as place:
        guests = Guests("guests", [Upstream("g-0")], history, ttl=0.0)
        with Client(place) as client:
            await guests.turn(client, 0)
            for _ in range(2):  # the control plane dies, then has no time: it may still be registered
                await guests.turn(client, 0)
                assert guests.here
            await guests.renew(client)
            await guests.turn(client, 0)
    assert not guests.here
    assert guests.not_heard == 2
    assert [call.call for call in history.calls] == ["register", "deregister", "deregister", "renew", "deregister"]


async def test_a_stream_tells_changes_and_marks_in_order_and_why_it_ended() -> None:
    frames = (
        b'retry: 500\n\nid: 4\nevent: change\ndata: {"revision":4,"events":[{"kind":"put","key":"services/a",'
        b'"value":{"check":{"path":"/x"}}},{"kind":"delete","key":"services/b","value":null}]}\n\n'
        b'id: 5\nevent: progress\ndata: {"revision":5,"events":[]}\n\nevent: resync\ndata: {"code":"resync"}\n\n'
    )
    body = b"".join(
        f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (frames[:60], frames[60:200], frames[200:])
    )
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    heard = []
    async with server(answer) as place:
        with pytest.raises(StreamEnded, match="resync"):
            async for message in stream(place, "token", "services/", 1):
                heard.append(Heard(message.revision, message.events))  # noqa: PERF401  what came before the end counts
    assert heard == [Heard(4, (Happened("put", "services/a", "/x"), Happened("delete", "services/b"))), Heard(5)]


async def test_a_history_of_a_driver_is_a_file_that_can_be_judged_again(scenario: Scenario) -> None:
    from atoll.testing import read_history

    history = scenario.history("again")
    async with server(HELLO) as place:
        await driver_requests(history, place, rate=100, seconds=0.05, connections=2)
    assert history.calls
    assert read_history(scenario.folder / "histories" / "again.jsonl") == sorted(
        history.calls, key=lambda call: call.start
    )
    assert isinstance(history, History)
