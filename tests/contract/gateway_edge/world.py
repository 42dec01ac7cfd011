"""A real HAProxy under a driver, small upstreams that say who they are, and a client that hides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atoll.gateway.binary import Binary, find_binary
from atoll.gateway.config import Traits
from atoll.gateway.driver import Driver
from atoll.gateway.process import alive, identity, members, recorded
from atoll.gateway.readback import ServerRow, parse_servers
from atoll.gateway.rhythm import Rhythm
from atoll.gateway.runtime import Runtime
from atoll.kit.accepting import stop_accepting
from atoll.kit.clock import SystemClock
from atoll.model.names import InstanceId, PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Instance, Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway, Settings
from tests.ports import free_port, free_range

CHECK = Check(kind=CheckKind.HTTP, path="/health", interval=0.5, timeout=Traits().check_timeout)
QUICK = Rhythm(stats=0.1, unsettled=0.1, quiet=0.1, share=0.5, answer=5.0, silence=10.0)
"""A driver that looks often, so that nobody waits for it; and for which a machine that stands still is no HAProxy that does."""
IMPATIENT = replace(QUICK, silence=0.3)
"""One that soon has enough of a socket that answers nonsense, or is not there."""
HASTY = replace(QUICK, answer=0.3, silence=0.5)
"""One that soon takes a HAProxy which says nothing for hung; a machine that stands still may end one that is well, too."""
HELD = "a download that takes as long as it is held"
_BINARY: list[Binary] = []


def binary() -> Binary:
    """Looked for once a test run."""
    if not _BINARY:
        _BINARY.append(find_binary())
    return _BINARY[0]


def runs(pid: int) -> bool:
    """Whether a process with this pid runs; one that waits for its parent to look does not."""
    process = identity(pid)
    return process is not None and alive(process)


class Upstream:
    """An HTTP/1.1 server that answers its name; `/slow/N` sends N bytes, one each 20 ms; `/held` sends the beginning of
    `HELD`, and the rest once it is `released`; `/health` says what it is told;
    `…/fail` fails, or everything while it is `failing`; `…/fencing` also tells the fencing number it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.healthy = True
        self.failing = False
        self.unwell = 0
        """Checks that fail from now on, before it is healthy again."""
        self.checks = 0
        self.requests = 0
        self.released = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> Upstream:
        """On a port that is still there for it when it was stopped, and at which nobody answers meanwhile."""
        self.port = port or free_port()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def stop(self) -> None:
        assert self._server is not None
        await stop_accepting(self._server)
        self.released.set()
        for peer in tuple(self._peers):
            peer.transport.abort()
        while self._peers:  # noqa: ASYNC110 - streams have no "all closed"
            await asyncio.sleep(0.005)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.transport.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                if path == "/health":
                    self.checks += 1
                    well, self.unwell = self.healthy and not self.unwell, max(0, self.unwell - 1)
                    writer.write(_response("", status=200 if well else 500))
                elif path.endswith("/held"):
                    self.requests += 1
                    writer.write(_response(HELD)[:-5])
                    await writer.drain()
                    await self.released.wait()
                    writer.write(HELD[-5:].encode())
                elif "/slow/" in path:
                    self.requests += 1
                    count = int(path.rsplit("/", 1)[1])
                    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n".encode())
                    for _ in range(count):
                        if writer.transport.is_closing():
                            break
                        writer.write(b".")
                        await writer.drain()
                        await asyncio.sleep(0.02)
                else:
                    self.requests += 1
                    fails = self.failing or path.endswith("/fail")
                    body = f"{self.name} {_header(head, 'x-atoll-fencing')}" if path.endswith("/fencing") else self.name
                    writer.write(_response(body, status=500 if fails else 200))
                await writer.drain()
        self._peers.discard(writer)
        writer.close()


def _header(head: bytes, name: str) -> str:
    lines = (line.partition(":") for line in head.decode().lower().split("\r\n"))
    return ",".join(value.strip() for key, _, value in lines if key == name)


def _response(body: str, *, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@dataclass
class Answer:
    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


class Client:
    """One connection to the gateway, kept open between requests."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, *, host: str = "shop.test", headers: str = "") -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), None)
        if length is None:
            body = await reader.read()
        else:
            body = await reader.readexactly(length)
        if length is None or "connection: close" in head:
            self.close()
        lines = (line.partition(":") for line in head.split("\r\n")[1:])
        told = {name: value.strip() for name, _, value in lines if name}
        return Answer(int(head.split()[1]), body.decode(), told)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class World:
    """Facts, the driver that makes them true, and everything that has to be put away."""

    settings: Settings
    driver: Driver
    rhythm: Rhythm
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(1))
    upstreams: list[Upstream] = field(default_factory=list)

    async def upstream(self, name: str) -> Upstream:
        self.upstreams.append(await Upstream(name).start())
        return self.upstreams[-1]

    def service(self, name: str, **words: Any) -> ServiceName:
        service = Service(
            name=ServiceName(name), **{"check": CHECK, "mesh_index": len(self.snapshot.services), **words}
        )
        self.snapshot.services[service.name] = service
        return service.name

    def instance(self, service: str, name: str, port: int, **words: Any) -> tuple[ServiceName, InstanceId]:
        key = ServiceName(service), InstanceId(name)
        self.snapshot.instances[key] = Instance(service=key[0], id=key[1], host="127.0.0.1", port=port, **words)
        return key

    def gone(self, service: str, name: str) -> None:
        del self.snapshot.instances[ServiceName(service), InstanceId(name)]

    def route(self, name: str, path: str, *services: str, **words: Any) -> None:
        shares = tuple(Share(service=ServiceName(service)) for service in services)
        match = Match(path=PathText(path), **words)
        self.snapshot.routes[RouteName(name)] = Route(name=RouteName(name), match=match, shares=shares)

    def now(self) -> float:
        """Wall seconds."""
        return SystemClock().wall()

    def offer(self) -> None:
        self.snapshot.revision += 1
        self.driver.offer(self.snapshot)

    async def push(self, within: float = 20.0) -> None:
        """Offer the facts and wait until HAProxy runs them."""
        self.offer()
        await self.until(lambda: self.driver.config.revision == self.snapshot.revision, within)

    async def until(self, condition: Callable[[], bool], within: float = 20.0) -> None:
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(0.005)

    async def shown(self, condition: Callable[[dict[tuple[str, str], ServerRow]], bool], within: float = 20.0) -> None:
        """Wait until HAProxy's servers are so."""
        async with asyncio.timeout(within):
            while not condition(await self.rows()):  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(0.02)

    async def get(self, path: str, **words: Any) -> Answer:
        client = Client(self.settings.gateway.port)
        try:
            return await client.get(path, **words)
        finally:
            client.close()

    @property
    def runtime(self) -> Runtime:
        return Runtime(self.driver.files.runtime, SystemClock(), within=5.0)

    async def rows(self) -> dict[tuple[str, str], ServerRow]:
        """What HAProxy says of every server, those aside that are frontends of its own (fallbacks)."""
        rows = parse_servers(await self.runtime.ask("show servers state"))
        return {(row.backend, row.name): row for row in rows if not row.backend.startswith("edge:")}

    def master(self) -> int:
        pid = self.driver.report().pid
        assert pid is not None
        return pid

    async def worker(self) -> int:
        assert self.driver._master is not None
        current = (await self.driver._master.workers()).current
        assert current is not None
        return current

    def again(self, **changes: Any) -> Driver:
        """Another node's driver on the same folders."""
        settings = self.settings if not changes else make_settings(self.settings.state, self.settings, **changes)
        return make_driver(settings, self.rhythm)


def make_settings(state: Path, like: Settings | None = None, **knobs: Any) -> Settings:
    if like is None:
        ports = free_range(8)
        base: dict[str, Any] = {"port": ports, "mesh_port": ports + 1, "mesh_ports": ports + 2, "mesh_count": 6}
        base |= {"http_slots": 8, "grpc_slots": 2, "reload_interval": 0.3, "reload_after_start": 0.5, "hard_stop": 10.0}
    else:
        base = {name: getattr(like.gateway, name) for name in Gateway.__dataclass_fields__}
    return Settings(state=state, gateway=Gateway(**{**base, **knobs}))


def make_driver(settings: Settings, rhythm: Rhythm) -> Driver:
    return Driver(settings, environ=os.environ, clock=SystemClock(), binary=binary(), rhythm=rhythm)


@contextlib.asynccontextmanager
async def a_world(rhythm: Rhythm = QUICK, **knobs: Any) -> AsyncIterator[World]:
    """A world that is not running yet; in the end no process and no file of it is left."""
    # pytest's own temporary folders have names too long for a unix socket
    state = Path(tempfile.mkdtemp(prefix="atoll-"))
    settings = make_settings(state, **knobs)
    world = World(settings, make_driver(settings, rhythm), rhythm)
    try:
        yield world
    finally:
        for upstream in world.upstreams:
            await upstream.stop()
        end_all(world.driver)
        shutil.rmtree(state, ignore_errors=True)


def end_all(driver: Driver) -> None:
    """Kill whatever HAProxy still runs for this driver's folders."""
    found = recorded(driver.files.pid)
    orphans = driver._master.orphans if driver._master is not None else []
    for process in (*(members(found) if found is not None else ()), *filter(alive, orphans)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    if found is not None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(found.pid, 0)
