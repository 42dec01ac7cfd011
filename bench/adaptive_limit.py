"""Would a limit of concurrency that follows measured latency pay? A callee that loses most of what it can do, under load.

One instance with 16 workers of 40 ms each. After a while without crowding it is offered so many times what it can do
(`--load`), in three phases: well, degraded, well again. Degraded is a quarter of the workers (`fewer`), or each request taking
four times as long (`slower`); either way a quarter of the capacity. The instance's limit in HAProxy (the product's own
configuration) is none, 16 (`right`: what it can do), 32 (`double`: what people say who are not sure), or steered from 16 downwards by one
of `limit_rules`: somebody outside asks HAProxy 25 times a second, decides five times a second, and says `set maxconn server`.
The queue before it is short (8 requests, 30 ms), which is the best case for any limit. Good is an answer within twice
the median of the time without crowding. Under a minute, all in all at most 1,000 requests a second on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from atoll.gateway.config import Files
from atoll.gateway.intent import intend, topped_up
from atoll.gateway.render import render
from atoll.gateway.runtime import exchange
from atoll.model.bulkhead import Queue
from atoll.model.names import InstanceId, PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind, Instance, Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway
from bench.limit_rules import RULES, Limit, Look, Rule
from bench.peers import bundled_haproxy
from bench.processes import free_port, stop, wait_for_port

CALLEE = ServiceName("callee")
WORKERS, TAKES = 16, 0.04
QUARTER = 4
QUEUE = Queue(size=8, timeout=0.03)
CONTENDERS: dict[str, tuple[int | None, str]] = {
    "none": (None, ""),
    "right": (16, ""),
    "double": (32, ""),
    "aimd": (16, "aimd"),
    "gradient": (16, "gradient"),
    "asking": (16, "asking"),
}
"""The instance's limit in the product's configuration, and the rule that steers it from there."""
PHASES = {"warm": 1.5, "quiet": 2.0, "degraded": 3.0, "recovered": 2.0}
"""Seconds of each, in this order."""
CALM = 0.5
"""Load of the first phase, of what the callee can do."""
PATIENCE = 1.0
"""Seconds after which a client leaves."""
LOOK, DECIDE = 0.04, 0.2


class Callee(asyncio.Protocol):
    """An instance: first come, first served by `workers`; what clients that have left asked for is done as well."""

    workers, takes, busy = WORKERS, TAKES, 0
    waiting: ClassVar[deque[Callee]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        words = data.split(b" ", 2)[1].decode().split("/")
        if words[1] == "be":
            Callee.workers, Callee.takes = int(words[2]), float(words[3])
            self.answer()
            return
        Callee.waiting.append(self)
        self.serve()

    @staticmethod
    def serve() -> None:
        while Callee.waiting and Callee.busy < Callee.workers:
            one = Callee.waiting.popleft()
            Callee.busy += 1
            asyncio.get_running_loop().call_later(Callee.takes, one.ended)

    def ended(self) -> None:
        Callee.busy -= 1
        self.answer()
        self.serve()

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # type: ignore[attr-defined]


async def serve(port: int) -> None:
    """Run as a process of its own."""
    server = await asyncio.get_running_loop().create_server(Callee, "127.0.0.1", port)
    await server.serve_forever()


@dataclass
class Asked:
    """One request: when it was sent, in seconds since the load began, how long it took, and what came (0: nothing)."""

    at: float
    took: float
    status: int


@dataclass
class Client:
    """Sends at a steady rate whatever comes back; connections that are free are used again."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def one(self, at: float) -> None:
        began = time.perf_counter()
        status, writer = 0, None
        with suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE):
                reader, writer = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(b"GET /callee HTTP/1.1\r\nHost: bench\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
                await reader.readexactly(length)
                status = int(head.split(b" ", 2)[1])
                self.free.append((reader, writer))
        if status == 0 and writer is not None:
            writer.close()
        self.asked.append(Asked(at, time.perf_counter() - began, status))

    async def run(self, began: float, start: float, seconds: float, rate: float) -> None:
        """From `start` on, so many a second; times are seconds after `began` of the loop's clock."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(seconds * rate)):
                due = start + number / rate
                await asyncio.sleep(max(0.0, began + due - loop.time()))
                tasks.create_task(self.one(due))

    def close(self) -> None:
        for _, writer in self.free:
            writer.close()


@dataclass
class Steering:
    """Whoever asks HAProxy and tells it the limit."""

    runtime: Path
    server: str
    rule: Rule
    ceiling: int
    limits: list[tuple[float, int]]

    async def run(self, began: float) -> None:
        loop = asyncio.get_running_loop()
        limit, ended, seen, since = Limit(now=float(self.ceiling)), await self._look(), list[int](), loop.time()
        while True:
            await asyncio.sleep(LOOK)
            current, total = await self._look()
            seen.append(current)
            if loop.time() - since < DECIDE:
                continue
            look = Look(under_way=statistics.mean(seen), ended=total - ended[1], seconds=loop.time() - since)
            before, limit = limit.said, self.rule(limit, look, self.ceiling)
            ended, seen, since = (current, total), [], loop.time()
            if limit.said != before:
                await exchange(self.runtime, f"set maxconn server {self.server} {limit.said}\n")
            self.limits.append((round(loop.time() - began, 2), limit.said))

    async def _look(self) -> tuple[int, int]:
        """Requests under way, and ended ones so far."""
        head, *rows = (await exchange(self.runtime, f"show stat {self.server.partition('/')[0]} 4 -1\n")).splitlines()
        names = head.removeprefix("# ").split(",")
        row = dict(zip(names, rows[0].split(","), strict=False))
        return int(row["scur"]), sum(int(row[f"hrsp_{kind}"] or 0) for kind in ("2xx", "4xx", "5xx"))


def gateway(folder: Path, port: int, upstream: int, each: int | None) -> tuple[list[str], str]:
    """The command line of HAProxy as the product configures it, and the name of the instance's server."""
    snapshot = Snapshot(revision=1)
    queue = None if each is None else QUEUE
    snapshot.services[CALLEE] = Service(
        name=CALLEE, check=Check(kind=CheckKind.NONE), instance_concurrency=each, queue=queue
    )
    one = Instance(service=CALLEE, id=InstanceId("one"), host="127.0.0.1", port=upstream)
    snapshot.instances[CALLEE, one.id] = one
    share = (Share(service=CALLEE),)
    snapshot.routes[RouteName("all")] = Route(name=RouteName("all"), match=Match(path=PathText("/")), shares=share)
    knobs = Gateway(port=port, mesh_port=free_port(), mesh_ports=free_port(), mesh_count=1, threads=1)
    config, files = topped_up(intend(snapshot, None, knobs).config, knobs), Files(folder)
    rendered = render(config, knobs, files)
    files.config.write_text(rendered.config)
    texts = {files.map(name).name: text for name, text in rendered.maps.items()} | rendered.scripts
    for name, text in texts.items():
        (folder / name).write_text(text)
    backend = next(each for each in config.backends if each.service == CALLEE)
    return [bundled_haproxy(), "-db", "-C", str(folder), "-f", str(files.config)], (
        f"{backend.name}/{backend.servers[0].name}"
    )


def started(command: list[str], port: int) -> subprocess.Popen[bytes]:
    """The process, once it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port, process)
    return process


async def be(port: int, workers: int, takes: float) -> None:
    """Tell the callee what it can do."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /be/{workers}/{takes} HTTP/1.1\r\n\r\n".encode())
    await reader.readuntil(b"ok")
    writer.close()


async def contend(name: str, load: float, how: str) -> dict[str, Any]:
    """One contender through all phases."""
    each, rule = CONTENDERS[name]
    with ExitStack() as end:
        folder = Path(end.enter_context(tempfile.TemporaryDirectory(prefix="atoll-bench-")))
        upstream, port = free_port(), free_port()
        callee = [sys.executable, "-m", "bench.adaptive_limit", "--callee", str(upstream)]
        end.callback(stop, await asyncio.to_thread(started, callee, upstream))
        command, server = gateway(folder, port, upstream, each)
        end.callback(stop, await asyncio.to_thread(started, command, port))
        client, loop = Client(port), asyncio.get_running_loop()
        end.callback(client.close)
        began, at, limits = loop.time() + 0.1, 0.0, list[tuple[float, int]]()
        steers = None
        if rule and each is not None:
            steers = loop.create_task(Steering(Files(folder).runtime, server, RULES[rule], each, limits).run(began))
        sends = []
        for phase, seconds in PHASES.items():
            rate = (CALM if phase == "warm" else load) * WORKERS / TAKES
            sends.append(loop.create_task(client.run(began, at, seconds, rate)))
            at += seconds
        degraded = PHASES["warm"] + PHASES["quiet"]
        await asyncio.sleep(began + degraded - loop.time())
        await be(upstream, *((WORKERS // QUARTER, TAKES) if how == "fewer" else (WORKERS, TAKES * QUARTER)))
        await asyncio.sleep(began + degraded + PHASES["degraded"] - loop.time())
        await be(upstream, WORKERS, TAKES)
        await asyncio.gather(*sends)
        if steers is not None:
            steers.cancel()
            with suppress(asyncio.CancelledError):
                await steers
        return {"contender": name, **scored(client.asked), "limits": limits}


def scored(asked: list[Asked]) -> dict[str, Any]:
    """Of each phase: what was offered, answered and good a second, and the 99th percentile of answers in ms."""
    found: dict[str, Any] = {}
    at, bound = 0.0, 0.0
    for phase, seconds in PHASES.items():
        here = [one for one in asked if at <= one.at < at + seconds]
        answers = sorted(one.took for one in here if one.status == 200)
        if phase == "warm":
            bound = 2 * statistics.median(answers)
            found["bound_ms"] = round(bound * 1000, 1)
        found[phase] = {
            "offered": round(len(here) / seconds),
            "answered": round(len(answers) / seconds),
            "good": round(sum(took <= bound for took in answers) / seconds),
            "p50_ms": round(statistics.median(answers) * 1000) if answers else None,
            "p99_ms": round(answers[int(0.99 * (len(answers) - 1))] * 1000) if answers else None,
        }
        at += seconds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=float, default=2.0, help="times what the callee can do")
    parser.add_argument("--how", choices=("fewer", "slower"), default="fewer")
    parser.add_argument("--only", choices=tuple(CONTENDERS))
    parser.add_argument("--callee", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.callee:
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(given.callee))
        return
    told = f"{'':10}" + "".join(f"{phase:>26}" for phase in PHASES) + "   good / answered / p99 ms"
    print(told, file=sys.stderr)
    for name in CONTENDERS if given.only is None else (given.only,):
        row = asyncio.run(contend(name, given.load, given.how))
        cells = (f"{row[one]['good']} / {row[one]['answered']} / {row[one]['p99_ms']}" for one in PHASES)
        print(f"{name:10}" + "".join(f"{cell:>26}" for cell in cells), file=sys.stderr)
        print(json.dumps({"bench": "adaptive_limit", "load": given.load, "how": given.how, **row}))


if __name__ == "__main__":
    main()
