"""What circuit breakers cost a request: instructions of HAProxy and of the kernel for it, counted by `perf stat`.

Three gateways with 1,000 routes, traces and the request log, one thread each: no service has a breaker, all have one, all have
one that opens on slow answers too. Each is asked 25 times a second, on one connection, while nothing failed for a minute,
after another service failed, and after this one did. Instructions hardly depend on what else the machine does; what
HAProxy takes while nobody asks is counted as well and taken off. Half a minute; needs `perf` and the right to use it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from atoll.gateway.breaker import FIRST_LOOK
from atoll.gateway.config import Files
from atoll.gateway.intent import intend, topped_up
from atoll.gateway.render import render
from atoll.gateway.request_log import RequestLog
from atoll.model.breaker import Breaker, SlowCalls
from atoll.model.names import InstanceId, PathText, RouteName, ServiceName
from atoll.model.policy import Policy
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Instance, Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway
from bench.atoll_gateway import BENCH, snapshot_with_routes
from bench.peers import bundled_haproxy
from bench.policies import RING, reader
from bench.processes import free_port, stop, wait_for_port

OTHER = ServiceName("other")
SAID = {
    "none": Policy(),
    "breakers": Policy(circuit_breaker=Breaker(enabled=True)),
    "slow_calls": Policy(circuit_breaker=Breaker(enabled=True, slow_calls=SlowCalls(longer_than=2.0))),
}
SITUATIONS = {"calm": "", "another failed": "/other/fail", "this failed": "/route-1/fail"}
EVENTS = ("instructions:u", "instructions:k")
REQUESTS, PAUSE = 100, 0.04
"""Of a figure, and seconds between them."""


def facts(upstream: int, policy: Policy) -> Snapshot:
    """Two services with one instance each, both with `policy`."""
    snapshot = snapshot_with_routes(upstream, 1000)
    snapshot.services[BENCH] = msgspec.structs.replace(snapshot.services[BENCH], policy=policy)
    snapshot.services[OTHER] = Service(name=OTHER, mesh_index=1, check=Check(kind=CheckKind.TCP), policy=policy)
    one = Instance(service=OTHER, id=InstanceId("other-1"), host="127.0.0.1", port=upstream)
    snapshot.instances[OTHER, one.id] = one
    snapshot.routes[RouteName("other")] = Route(
        name=RouteName("other"), match=Match(path=PathText("/other")), shares=(Share(service=OTHER),)
    )
    return snapshot


def gateway(folder: Path, port: int, snapshot: Snapshot, log_to: Path) -> list[str]:
    """The command line of one HAProxy, its files written."""
    knobs = Gateway(port=port, mesh_port=free_port(), mesh_ports=free_port(), mesh_count=1, threads=1)
    config, files = topped_up(intend(snapshot, None, knobs).config, knobs), Files(folder)
    rendered = render(config, knobs, files, log=RequestLog(socket=log_to, ring_bytes=RING))
    files.config.write_text(rendered.config)
    for name, text in {
        **{files.map(each).name: text for each, text in rendered.maps.items()},
        **rendered.scripts,
    }.items():
        (folder / name).write_text(text)
    return [bundled_haproxy(), "-db", "-C", str(folder), "-f", str(files.config)]


async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An instance: 500 for `…/fail`, else 200."""
    with suppress(ConnectionError):
        while head := await reader.readline():
            while (await reader.readline()).strip():
                pass
            status = 500 if b"/fail" in head else 200
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok".encode())
    writer.close()


async def ask(port: int, path: str, times: int) -> None:
    """So many requests on one connection, PAUSE apart; without a path only the time passes."""
    if not path:
        await asyncio.sleep(times * PAUSE)
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(times):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        assert head.startswith(b"HTTP/1.1 500" if path.endswith("/fail") else b"HTTP/1.1 200"), head
        await asyncio.sleep(PAUSE)
    writer.close()


async def count(pid: int, port: int, path: str) -> tuple[float, float]:
    """Instructions of the process while it is asked, its own and the kernel's."""
    perf = await asyncio.create_subprocess_exec(
        "perf", "stat", "-x", ";", "-e", ",".join(EVENTS), "-p", str(pid), stderr=asyncio.subprocess.PIPE
    )  # fmt: skip
    await asyncio.sleep(0.3)
    await ask(port, path, REQUESTS)
    perf.send_signal(2)
    _, told = await perf.communicate()
    found = {line.split(";")[2]: float(line.split(";")[0]) for line in told.decode().splitlines() if ";" in line}
    return found[EVENTS[0]], found[EVENTS[1]]


async def each(running: dict[str, tuple[subprocess.Popen[bytes], int]], path: str) -> dict[str, tuple[float, float]]:
    """The figures of all gateways, at the same time."""
    found = await asyncio.gather(*(count(process.pid, port, path) for process, port in running.values()))
    return dict(zip(running, found, strict=True))


def started(command: list[str], port: int) -> subprocess.Popen[bytes]:
    """The process, once it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port, process)
    return process


async def run(base: Path) -> dict[str, dict[str, list[int]]]:
    """User and kernel instructions of a request, by situation and gateway."""
    server = await asyncio.start_server(origin, "127.0.0.1", 0)
    upstream = server.sockets[0].getsockname()[1]
    results: dict[str, dict[str, list[int]]] = {}
    with ExitStack() as end:
        end.enter_context(reader(base / "requests.sock"))
        running: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
        for name, policy in SAID.items():
            folder, port = base / name, free_port()
            folder.mkdir()
            command = gateway(folder, port, facts(upstream, policy), base / "requests.sock")
            running[name] = await asyncio.to_thread(started, command, port), port
            end.callback(stop, running[name][0])
        await asyncio.gather(*(ask(port, "/route-1/x", 10) for _, port in running.values()))
        await asyncio.sleep(FIRST_LOOK + 1)  # a new process is awake for a while
        idle = await each(running, "")
        for situation, fails in SITUATIONS.items():
            if fails:
                await asyncio.gather(*(ask(port, fails, 2) for _, port in running.values()))
            found = await each(running, "/route-1/items")
            results[situation] = {
                name: [round((now - before) / REQUESTS) for now, before in zip(found[name], idle[name], strict=True)]
                for name in running
            }
    server.close()
    await asyncio.sleep(0.1)  # connections of the gateways end
    return results


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as folder:
        results = asyncio.run(run(Path(folder)))
    print(f"{'user + kernel':16}" + "".join(f"{name:>24}" for name in SAID), file=sys.stderr)
    for situation, row in results.items():
        cells = (f"{user:,} + {kernel:,}" for user, kernel in row.values())
        print(f"{situation:16}" + "".join(f"{cell:>24}" for cell in cells), file=sys.stderr)
        for name, (user, kernel) in row.items():
            print(
                json.dumps(
                    {"bench": "breaker_cost", "breakers": name, "situation": situation, "user": user, "kernel": kernel}
                )
            )
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
