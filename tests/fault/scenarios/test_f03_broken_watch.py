"""F3: a watch that is cut, garbled, lied to or drowned: a typed error, resumed by revision, nothing missed, memory bounded."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import atoll
from atoll.errors import AtollError, NotReady
from atoll.kit.clock import SystemClock
from atoll.model.snapshot import Snapshot
from atoll.sdk.control_plane import ControlPlane
from atoll.sdk.place import Place
from atoll.sdk.watch import Watch
from atoll.testing import FaultProxy
from atoll.testing.promises import Breach
from tests.fault.checks.schedule import eventually, until
from tests.fault.control_plane import ControlPlane as PlaneProcess
from tests.fault.control_plane import control_plane
from tests.fault.faults.process import memory
from tests.fault.scenario import Scenario
from tests.serving import serving

PREFIX = "instances/payments/"
FAULTS = ("cut", "reset", "half", "garbage", "silence", "refuse")
View = dict[str, int]
"""Weight by instance: each write gives one of them a new one."""
RISE = 128 << 20
"""Bytes that this process may grow by, of a GiB that is sent: one event or answer of 32 MiB, read, joined and parsed."""


class Follower:
    """A watch over a bad connection, and what it believed at each revision."""

    def __init__(self, place: Place) -> None:
        self.line = ControlPlane(place, SystemClock())
        self.watch = Watch(self.line, [PREFIX], SystemClock())
        self.believed: list[tuple[int, View]] = []

    async def follow(self) -> None:
        snapshot = Snapshot()
        async for batch in self.watch:
            snapshot = batch.apply(snapshot)
            self.believed.append((batch.revision, {i.id: i.weight for i in snapshot.instances.values()}))


async def disturb(scenario: Scenario, proxy: FaultProxy, fault: str) -> None:
    """One fault, long enough to bite, and its end."""
    way = proxy.to_client
    if fault == "cut":
        way.cut_after = scenario.rng.randrange(1, 2000)
    elif fault == "half":
        way.half = True
    elif fault == "garbage":
        way.garbage = scenario.rng.randbytes(64)
    elif fault == "silence":
        proxy.black_hole()
    elif fault == "refuse":
        proxy.refuse = True
        proxy.reset_all()
    else:
        proxy.reset_all()
    await asyncio.sleep(scenario.rng.uniform(0.1, 0.5))
    proxy.heal()


async def test_a_watch_over_a_bad_connection_misses_nothing_and_invents_nothing(scenario: Scenario) -> None:
    truth: dict[int, View] = {}
    faults = scenario.times(1, 20) * len(FAULTS)
    async with control_plane(scenario.state()) as server, FaultProxy(server.place) as proxy:
        follower = Follower(Place(f"http://127.0.0.1:{proxy.port}", server.token))

        async def write() -> None:
            now: View = {}
            with server.client() as client:
                for number in range(1 << 30):
                    name = f"p-{number % 5}"
                    now = {**now, name: number % 257}
                    said = {"port": 20_000 + number % 5, "weight": number % 257, "ttl": 3600}
                    answer = await client.ask("PUT", f"/api/v1/services/payments/instances/{name}", said)
                    assert answer.status in {200, 201}, answer
                    truth[answer.json()["revision"]] = now
                    await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            following = group.create_task(follower.follow())
            writing = group.create_task(write())
            await until(lambda: len(follower.believed) > 3, "the watch began")
            for number in range(faults):
                await disturb(scenario, proxy, FAULTS[number % len(FAULTS)])
            writing.cancel()
            await asyncio.wait([writing])
            await until(lambda: follower.believed[-1][0] >= max(truth), "the watch has caught up", within=30)
            following.cancel()
        await follower.line.close()
    watch, revisions = follower.watch, [revision for revision, _ in follower.believed]
    scenario.measured(
        faults=faults, writes=len(truth), batches=len(revisions), failures=watch.failures, listed_anew=watch.resets
    )
    assert watch.failures >= faults // 2, "the faults did not bite"
    assert watch.resets == 0, "resumed by revision, never listed anew"
    assert all(earlier < later for earlier, later in itertools.pairwise(revisions)), "order"
    assert [believed for believed in follower.believed if truth.get(believed[0], believed[1]) != believed[1]] == []
    assert set(truth) - set(revisions) == {revision for revision in truth if revision < revisions[0]}, "a gap"


def http(kind: str, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n\r\n".encode() + body


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
LIST = http("application/json", b'{"revision":1,"facts":[],"more":false}')
LIES = {
    "html": (http("text/html", b"<html>Welcome</html>"), b""),
    "truncated": (http("application/json", b'{"revision":7,"facts":[{"key":"inst'), b""),
    "half": (http("application/json", b'{"revision":7', 5000), b""),
    "deep": (http("application/json", b"[" * 200_000), b""),
    "numbers": (http("application/json", b'{"revision":1e400,"facts":[]}'), b""),
    "not-http": (b"\x00\xff\x16\x03\x01 garbage\r\n\r\n", b""),
    "redirect": (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", b""),
    "problem": (http("application/problem+json", b'{"code":["x"],"detail":7}').replace(b"200 OK", b"500 No"), b""),
    "html-stream": (LIST, http("text/html", b"<html>Welcome</html>")),
    "garbage-event": (LIST, STREAM + b"event: change\ndata: \xff\x00\x1b[31m\n\n"),
    "wrong-event": (LIST, STREAM + b'event: change\ndata: {"revision":[],"events":7}\n\n'),
    "odd-resync": (LIST, STREAM + b"event: resync\ndata: no\n\n"),
}


class Liar:
    """Answers lists with one text and watches with another; `flood` follows each, up to a GiB."""

    def __init__(self, listed: bytes, watched: bytes, flood: bytes = b"") -> None:
        self.listed, self.watched, self.flood = listed, watched, flood
        self.sent = self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            watched = head.startswith(b"GET /api/v1/watch")
            writer.write(self.watched if watched else self.listed)
            while self.flood and self.sent < 1 << 30 and (watched or not self.watched):
                writer.write(self.flood)
                await writer.drain()
                self.sent += len(self.flood)
        writer.close()


@asynccontextmanager
async def lying(liar: Liar) -> AsyncIterator[tuple[str, int]]:
    async with serving(liar.serve) as port:
        yield "127.0.0.1", port


async def test_what_is_no_control_plane_is_a_typed_error_and_the_known_list_stays(scenario: Scenario) -> None:
    failures: dict[str, int] = {}
    async with control_plane(scenario.state()) as server:
        answer = await server.ask("PUT", "/api/v1/services/payments/instances/p-1", {"port": 20_000, "ttl": 3600})
        assert answer.status == 201
        for lie in LIES:
            try:
                failures[lie] = await lied_to(server, lie)
            except Exception as error:
                error.add_note(f"the lie: {lie}")
                raise
    scenario.measured(failures=failures)


async def lied_to(server: PlaneProcess, lie: str) -> int:
    """A client meets the lie after the truth, and then the truth again; returns what it counted as failures."""
    async with lying(Liar(*LIES[lie])) as liar, FaultProxy(server.place) as proxy:
        environ = {"ATOLL_URL": f"http://127.0.0.1:{proxy.port}", "ATOLL_TOKEN": server.token}
        async with atoll.endpoints("payments", environ=environ) as found:
            known = await found.ready()
            upstream, proxy.upstream = proxy.upstream, liar
            proxy.reset_all()
            failures = found.failures
            await until(lambda: found.failures > failures + 1, "the lie is noticed")
            assert isinstance(found.trouble, AtollError)
            assert str(found.trouble).isprintable()
            assert found.all() == known
            proxy.upstream = upstream
            proxy.reset_all()

            async def right() -> list[Breach]:
                right = found.connected and found.all() == known
                return [] if right else [Breach("recovered", str(found.trouble))]

            await eventually(right, within=20, every=0.02)
            return found.failures


@pytest.mark.parametrize("lie", sorted(set(LIES) - {"wrong-event", "odd-resync", "garbage-event", "html-stream"}))
async def test_a_first_list_that_is_a_lie_is_not_believed(scenario: Scenario, lie: str) -> None:
    async with lying(Liar(*LIES[lie])) as liar:
        environ = {"ATOLL_URL": f"http://{liar[0]}:{liar[1]}", "ATOLL_TOKEN": "t" * 43}
        async with atoll.endpoints("payments", environ=environ) as found:
            await until(lambda: found.failures > 1, "the lie is noticed")
            with pytest.raises(NotReady):
                found.all()


@pytest.mark.parametrize("where", ["event", "list"])
async def test_a_line_of_a_gigabyte_costs_bounded_memory_and_is_a_typed_error(scenario: Scenario, where: str) -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    liar = Liar(LIST, STREAM + b"data: ", b"a" * 65536) if where == "event" else Liar(endless, b"", b"[" * 65536)
    before, most = memory(os.getpid()), 0
    async with lying(liar) as address:
        environ = {"ATOLL_URL": f"http://{address[0]}:{address[1]}", "ATOLL_TOKEN": "t" * 43}
        async with atoll.endpoints("payments", environ=environ) as found:
            while found.failures == 0 or liar.sent < 32 << 20:
                most = max(most, memory(os.getpid()))
                await asyncio.sleep(0.02)
            assert isinstance(found.trouble, AtollError)
            assert "bytes" in str(found.trouble)
    scenario.measured(offered_mib=liar.sent >> 20, rise_mib=(most - before) >> 20)
    assert most - before <= RISE
