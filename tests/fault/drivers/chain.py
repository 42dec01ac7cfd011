"""A chain of services inside the test: each asks the next over the mesh, passes baggage on as OpenTelemetry does, and
answers 502 when that fails. Any link can be made to fail, hang up or keep silent, and counts what reaches it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from atoll.kit.accepting import stop_accepting
from atoll.model.names import InstanceId, PathText, RouteName, ServiceName
from atoll.model.policy import Policy
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Instance, Service
from atoll.model.snapshot import Snapshot
from tests.contract.gateway.rig import Running, running, small_settings
from tests.fault.drivers.http import Broken, Client
from tests.fault.drivers.upstream import REQUEST_LIMIT, Mood

LINKS = ("a", "b", "c", "d")
TWINS = 2
"""Instances of each link."""
LAST_DATA_RECEIVED = struct.Struct("=52xI")
"""Of Linux's `tcp_info`: how many milliseconds ago the last data came."""


class Link:
    """One service of the chain, all its instances together."""

    def __init__(self, name: str, onward: str | None) -> None:
        self.name = name
        self.mood = Mood.ANSWER
        self.requests = 0
        self.all = 0
        """Requests before that number was set back."""
        self.late = 0
        """Requests that came after the deadline they carried."""
        self.mesh = 0
        self.dying: Counter[int] = Counter()
        """How many requests more an instance hangs up on, by its port: those that were on their way when it was killed."""
        self._onward = onward
        self._serving: set[asyncio.Task[None]] = set()

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the gateway."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def end(self) -> None:
        """Cut every connection."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        connection: socket.socket = writer.get_extra_info("socket")
        with Client(("127.0.0.1", self.mesh), headers={"Host": self._onward or ""}) as client:
            try:
                while True:
                    headers = _headers(await reader.readuntil(b"\r\n\r\n"))
                    self.requests += 1
                    self.late += _is_late(headers, _came(connection))
                    if self.mood is Mood.SILENT:
                        await reader.read()
                        return
                    if self.mood is Mood.HANG_UP:
                        return
                    if self.dying[port]:
                        self.dying[port] -= 1
                        return
                    status = await self._answer(client, headers)
                    writer.write(
                        b"HTTP/1.1 %d x\r\nx-instance: %s\r\ncontent-length: 2\r\n\r\nok" % (status, self.name.encode())
                    )
                    await writer.drain()
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.transport.abort()

    async def _answer(self, client: Client, headers: Mapping[str, str]) -> int:
        if self.mood is Mood.FAIL:
            return 503
        if self._onward is None:
            return 200
        try:
            passed = {name: headers[name] for name in ("baggage", "traceparent") if name in headers}
            return 200 if (await client.ask("GET", "/", headers=passed)).status < 500 else 502
        except Broken:
            return 502


class Chain(msgspec.Struct):
    """A HAProxy and the links behind it."""

    haproxy: Running
    links: dict[str, Link]
    ports: dict[str, tuple[int, ...]]

    @property
    def place(self) -> tuple[str, int]:
        """Where the gateway listens."""
        return "127.0.0.1", self.haproxy.settings.port


@asynccontextmanager
async def chain(folder: Path, policy: Policy, links: tuple[str, ...] = LINKS) -> AsyncIterator[Chain]:
    """gateway → a → b → c → d, each of them called under `policy`."""
    made = {name: Link(name, next_one) for name, next_one in zip(links, (*links[1:], None), strict=True)}
    async with AsyncExitStack() as stack:
        ports: dict[str, tuple[int, ...]] = {}
        for name, link in made.items():
            servers = [
                await asyncio.start_server(link.begin, "127.0.0.1", 0, limit=REQUEST_LIMIT, backlog=512)
                for _ in range(TWINS)
            ]
            stack.push_async_callback(link.end)
            for server in servers:
                stack.push_async_callback(stop_accepting, server)
            ports[name] = tuple(server.sockets[0].getsockname()[1] for server in servers)
        settings = small_settings()
        facts = _facts(ports, policy)
        haproxy = await asyncio.to_thread(stack.enter_context, running(facts, folder, settings))
        for link in made.values():
            link.mesh = settings.mesh_port
        yield Chain(haproxy, made, ports)


def _facts(ports: Mapping[str, tuple[int, ...]], policy: Policy) -> Snapshot:
    unchecked = Check(kind=CheckKind.NONE)
    services = {name: Service(name=ServiceName(name), check=unchecked, policy=policy) for name in ports}
    instances = [
        Instance(service=ServiceName(name), id=InstanceId(f"{name}-{at}"), host="127.0.0.1", port=port)
        for name, several in ports.items()
        for at, port in enumerate(several)
    ]
    first = ServiceName(next(iter(ports)))
    route = Route(name=RouteName("chain"), match=Match(path=PathText("/")), shares=(Share(service=first),))
    return Snapshot(
        revision=1,
        services={each.name: each for each in services.values()},
        instances={(each.service, each.id): each for each in instances},
        routes={route.name: route},
    )


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def _came(connection: socket.socket) -> float:
    """Wall time in milliseconds when the kernel had the last data; a busy machine may let us read it much later."""
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_DATA_RECEIVED.size)
    (ago,) = LAST_DATA_RECEIVED.unpack(told)
    return time.time() * 1000 - float(ago)


def _is_late(headers: Mapping[str, str], came: float) -> bool:
    for member in headers.get("baggage", "").split(","):
        name, _, value = member.partition("=")
        if name.strip() == "atoll.deadline":
            return came > int(value) + 20  # it was on its way
    return False
