"""From a changed fact to HAProxy running it, and to the first answer through it; alone and among 1,000 services.

    python bench/driver.py [--short] [--services N] [--json FILE]

Prints a table to stderr and one JSON line per figure to stdout. Milliseconds; `p99` of few samples is their worst. The
whole way is measured in one process: snapshot offered → intent → plan → socket → HAProxy, then one HTTP request on a
connection of its own. Platform and network are not in it (see discovery.py).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from atoll.gateway.binary import dotted, find_binary
from atoll.gateway.driver import Driver
from atoll.kit.clock import SystemClock
from atoll.model.cadence import cadence
from atoll.model.names import InstanceId, PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Instance, Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway, Settings

TARGETS = {
    "register → routed": 20.0,
    "new service, 3 instances, route → routed": 20.0,
    "all services: snapshot → applied (running)": 2000.0,
    "all services: snapshot → serving (cold start)": 2000.0,
    "one change among all → routed": 20.0,
}
MESH_PORTS = 1024
CHECK = Check(kind=CheckKind.HTTP, path="/health", interval=10.0, timeout=cadence(Check()).patience)
"""3,000 servers are checked 300 times a second, so that the measured process and not the upstream has the CPU. With the
time-out of spare slots, so that a new service needs no reload."""


@dataclass
class Figure:
    name: str
    samples: list[float] = field(default_factory=list)

    def line(self) -> dict[str, object]:
        ordered = sorted(self.samples)
        at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
        target = TARGETS.get(self.name)
        line: dict[str, object] = {"figure": self.name, "n": len(ordered), "p50_ms": round(at[0], 2)}
        return {**line, "p99_ms": round(at[1], 2), "max_ms": round(ordered[-1], 2), "target_ms": target}


@dataclass
class Bench:
    driver: Driver
    settings: Settings
    upstream: int
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(1))

    def service(self, name: str) -> None:
        index = len(self.snapshot.services)
        self.snapshot.services[ServiceName(name)] = Service(name=ServiceName(name), check=CHECK, mesh_index=index)
        share = Share(service=ServiceName(name))
        match = Match(path=PathText(f"/{name}"))
        self.snapshot.routes[RouteName(name)] = Route(name=RouteName(name), match=match, shares=(share,))

    def instance(self, service: str, name: str) -> tuple[ServiceName, InstanceId]:
        key = ServiceName(service), InstanceId(name)
        self.snapshot.instances[key] = Instance(service=key[0], id=key[1], host="127.0.0.1", port=self.upstream)
        return key

    async def push(self) -> None:
        self.snapshot.revision += 1
        self.driver.offer(self.snapshot)
        while self.driver.config.revision != self.snapshot.revision:  # noqa: ASYNC110 - as `wait --for` would
            await asyncio.sleep(0.0005)

    async def quiet(self) -> None:
        """Past the debounce, and past the writing of the files."""
        await asyncio.sleep(0.3)

    async def answers(self, path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.settings.gateway.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        head = await reader.read(64)
        writer.close()
        if b" 200 " not in head:
            raise SystemExit(f"{path} was not answered: {head!r}")


def free_ports(count: int) -> int:
    """The first of `count` ports below the kernel's range for outgoing connections, which could hold one of them."""
    for first in range(9000 + os.getpid() % 1000, 32000 - count, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise SystemExit("no free range of ports")


@contextlib.asynccontextmanager
async def a_bench(upstream: int) -> AsyncIterator[Bench]:
    state = Path(tempfile.mkdtemp(prefix="atoll-bench-"))
    first = free_ports(MESH_PORTS + 2)
    knobs = Gateway(port=first, mesh_port=first + 1, mesh_ports=first + 2, mesh_count=MESH_PORTS)
    settings = Settings(state=state, gateway=knobs)
    driver = Driver(settings, environ=os.environ, clock=SystemClock())
    try:
        yield Bench(driver, settings, upstream)
    finally:
        await driver.stop(0)
        shutil.rmtree(state, ignore_errors=True)


async def one_service(bench: Bench, rounds: int) -> list[Figure]:
    routed, answered = Figure("register → routed"), Figure("register → first 200")
    fresh, fresh_answered = Figure("new service, 3 instances, route → routed"), Figure("new service … → first 200")
    async with bench.driver.running():
        bench.service("orders")
        await bench.push()
        for number in range(rounds):
            # alone, so that the first 200 can only come from it
            key = bench.instance("orders", f"i{number}")
            await asyncio.sleep(0.06)
            began = time.perf_counter()
            await bench.push()
            await bench.driver.routed(*key)
            routed.samples.append((time.perf_counter() - began) * 1e3)
            await bench.answers("/orders/x")
            answered.samples.append((time.perf_counter() - began) * 1e3)
            del bench.snapshot.instances[key]
            await bench.push()
        for number in range(min(rounds, 40)):
            name = f"fresh{number}"
            bench.service(name)
            keys = [bench.instance(name, f"i{each}") for each in range(3)]
            await asyncio.sleep(0.06)
            began = time.perf_counter()
            await bench.push()
            for key in keys:
                await bench.driver.routed(*key)
            fresh.samples.append((time.perf_counter() - began) * 1e3)
            await bench.answers(f"/{name}/x")
            fresh_answered.samples.append((time.perf_counter() - began) * 1e3)
        if bench.driver.report().reloads:
            raise SystemExit(f"there was a reload: {bench.driver.report().last_reload}")
    return [routed, answered, fresh, fresh_answered]


async def many_services(bench: Bench, count: int, rounds: int) -> list[Figure]:
    running = Figure("all services: snapshot → applied (running)")
    one, answered = Figure("one change among all → routed"), Figure("one change among all → first 200")
    gone = Figure("one removal among all → out of the balancer")
    async with bench.driver.running():
        for number in range(count):
            bench.service(f"svc{number}")
            for each in range(3):
                bench.instance(f"svc{number}", f"i{each}")
        began = time.perf_counter()
        await bench.push()
        await bench.answers(f"/svc{count - 1}/x")
        running.samples.append((time.perf_counter() - began) * 1e3)
        # the checks of all new servers begin in these seconds
        await asyncio.sleep(3)
        for number in range(rounds):
            await bench.quiet()
            key = bench.instance(f"svc{number * 7 % count}", f"new{number}")
            began = time.perf_counter()
            await bench.push()
            one.samples.append((time.perf_counter() - began) * 1e3)
            await bench.answers(f"/{key[0]}/x")
            answered.samples.append((time.perf_counter() - began) * 1e3)
            await bench.quiet()
            del bench.snapshot.instances[key]
            began = time.perf_counter()
            await bench.push()
            gone.samples.append((time.perf_counter() - began) * 1e3)
        report = bench.driver.report()
        if report.errors:
            raise SystemExit(f"there was an error: {report.last_error}")
    return [running, one, answered, gone]


async def cold_start(bench: Bench, count: int) -> list[Figure]:
    figure = Figure("all services: snapshot → serving (cold start)")
    for number in range(count):
        bench.service(f"svc{number}")
        for each in range(3):
            bench.instance(f"svc{number}", f"i{each}")
    began = time.perf_counter()
    bench.driver.offer(bench.snapshot)
    async with bench.driver.running():
        await bench.answers(f"/svc{count - 1}/x")
        figure.samples.append((time.perf_counter() - began) * 1e3)
    return [figure]


async def upstream(port: Callable[[int], None]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    port(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def measure(services: int, rounds: int, port: int) -> list[Figure]:
    figures = []
    async with a_bench(port) as bench:
        figures += await one_service(bench, rounds * 3)
    async with a_bench(port) as bench:
        figures += await cold_start(bench, services)
    async with a_bench(port) as bench:
        figures += await many_services(bench, services, rounds)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="about 20 seconds")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="also append the JSON lines to this file")
    chosen = parser.parse_args()

    # a process of its own: answering health checks is not the driver's work
    mine, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        mine.close()
        uvloop.run(upstream(lambda port: theirs.sendall(str(port).encode())))
        os._exit(0)
    theirs.close()
    try:
        gc.freeze()
        figures = uvloop.run(measure(chosen.services, 10 if chosen.short else 100, int(mine.recv(16))))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    binary = find_binary()
    where = {"services": chosen.services, "haproxy": dotted(binary.version), "python": platform.python_version()}
    lines = [{"bench": "driver", **figure.line(), **where, "cores": os.cpu_count()} for figure in figures]
    for line in lines:
        print(json.dumps(line, ensure_ascii=False))
    if chosen.json:
        with chosen.json.open("a") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    width = max(len(figure.name) for figure in figures)
    for line in lines:
        limit = f"(target {line['target_ms']:g})" if line["target_ms"] else ""
        shown = f"p50 {line['p50_ms']:>9} ms   p99 {line['p99_ms']:>9} ms   n {line['n']:>4}  {limit}"
        print(f"{line['figure']:<{width}}   {shown}", file=sys.stderr)


if __name__ == "__main__":
    main()
