"""How soon a change is true for callers, through a whole platform: control plane, store on disk, node, HAProxy.

    python -m bench.discovery [--short] [--services 1000] [--json FILE]

Starts real platforms with `atoll up -d --wait` in temporary folders, registers instances over plain HTTP as a service
in any language would, and asks the gateway on one kept connection until the answer changes. So each figure holds the
registration's fsync, the watch, the gateway's plan and commands, and one request. Prints a table to stderr and one JSON
line per figure to stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from bench.processes import free_port, stop, wait_for_port

ROOT = Path(__file__).resolve().parent.parent
SHOP = ROOT / "examples" / "shop"
PROJECT = """
name: bench
services:
  idle: {command: sleep 3600, port: none}
  probe: {healthcheck: {tcp: true}}
gateway:
  routes: [{match: {path_prefix: /probe}, service: probe}]
"""
TARGET_MS = 20.0
PLATFORM_READY = 2.0
SHOP_READY = 10.0
POLL = 0.0005
"""Seconds between two requests of who waits: without it, asking takes the two processors that answering needs."""
QUIET = 0.03
"""Seconds between two changes, so that each is a change by itself (the gateway gathers what comes within 10 ms)."""
GIVE_UP = 20.0
"""Seconds after which a change counts as lost."""


class Lateness(threading.Thread):
    """How late the machine itself is: what a sleep of a millisecond takes more than that, beside everything measured.

    Where its p99 is near a figure's, the figure tells of the machine's other work and not of atoll.
    """

    def __init__(self) -> None:
        super().__init__(name="lateness", daemon=True)
        self.seen: list[float] = []

    def run(self) -> None:
        while True:
            began = time.perf_counter()
            time.sleep(0.001)
            self.seen.append((time.perf_counter() - began) * 1000 - 1)


class Bench:
    """A platform in a folder of its own, and connections to it."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.gateway_port, self.api_port = free_port(), free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ATOLL_")}
        self.environ = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "ATOLL_GATEWAY_PORT": str(self.gateway_port),
            "ATOLL_API_PORT": str(self.api_port),
            **environ,
        }

    def atoll(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "atoll.cli.main", *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=180,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"atoll {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def up(self, *, wait: bool = True) -> float:
        """Seconds until it is ready, as `up` tells them: from its own first moment on, Python's start included."""
        told: dict[str, float] = json.loads(self.atoll("up", "-d", *(["--wait"] if wait else []), "--json"))
        self.token = (self.folder / ".atoll" / "token").read_text().strip()
        return told["seconds"]

    def connect(self) -> None:
        self.gateway = http.client.HTTPConnection("127.0.0.1", self.gateway_port, timeout=GIVE_UP)
        self.control = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=GIVE_UP)

    def api(self, method: str, path: str, body: Any = None, control: http.client.HTTPConnection | None = None) -> Any:
        control = control or self.control
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        control.request(method, f"/api/v1{path}", None if body is None else json.dumps(body).encode(), headers)
        answer = control.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {content.decode()[:500]}")
        return json.loads(content)

    def status(self, path: str) -> int:
        self.gateway.request("GET", path)
        answer = self.gateway.getresponse()
        answer.read()
        return answer.status

    def until(self, path: str, status: int, began: float) -> float:
        """Milliseconds from `began` to the first answer with this status."""
        while self.status(path) != status:
            time.sleep(POLL)
            if time.perf_counter() - began > GIVE_UP:
                raise SystemExit(f"{path} does not answer {status} after {GIVE_UP:g} s")
        return (time.perf_counter() - began) * 1000

    def reloads(self) -> int:
        return int(self.node()["gateway"].get("reloads", 0))

    def node(self) -> Any:
        while not (nodes := self.api("GET", "/nodes")["nodes"]):
            time.sleep(0.05)
        return nodes[0]["report"]

    def settled(self) -> float:
        """Wait until the gateway runs the newest facts; milliseconds that took (to about a report's interval)."""
        began = time.perf_counter()
        newest = int(self.api("GET", "/status")["revision"])
        while int(self.node()["gateway"].get("revision", 0)) < newest:
            if time.perf_counter() - began > 4 * GIVE_UP:
                raise SystemExit("the gateway does not reach the newest facts")
            time.sleep(0.05)
        return (time.perf_counter() - began) * 1000

    def resident(self) -> dict[str, float]:
        """MB of the processes that are atoll's own."""
        report = self.node()
        plane = int(self.api("GET", "/status")["pid"])
        proxy = psutil.Process(int(report["gateway"]["pid"]))
        workers = [proxy, *proxy.children()]
        return {
            "node": psutil.Process(int(report["pid"])).memory_info().rss / 1e6,
            "control plane": psutil.Process(plane).memory_info().rss / 1e6,
            "HAProxy": sum(one.memory_info().rss for one in workers) / 1e6,
        }


@contextlib.contextmanager
def running(source: Path | str, **environ: str) -> Iterator[tuple[Bench, float]]:
    """A platform that runs, and the seconds it took to be ready; stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="atoll-bench-"))
    if isinstance(source, Path):
        ignored = shutil.ignore_patterns("data", ".atoll", "__pycache__")
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=ignored)
        environ = {**environ, "SHOP_DATA": str(folder / "data")}
    else:
        (folder / "atoll.yaml").write_text(source)
    bench = Bench(folder, **environ)
    try:
        seconds = bench.up(wait=isinstance(source, Path))
        bench.connect()
        yield bench, seconds
    finally:
        with contextlib.suppress(SystemExit):
            bench.atoll("down")
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def backend() -> Iterator[int]:
    """The service that is registered: answers on every loopback address, so one process stands for many endpoints."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.discovery", "--serve", str(port)], cwd=ROOT)
    try:
        wait_for_port(port, process)
        yield port
    finally:
        stop(process)


async def serve(port: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", port, backlog=4096)
    await server.serve_forever()


def instance_changes(bench: Bench, port: int, repetitions: int, prefix: str) -> list[dict[str, Any]]:
    """One instance comes, is called, goes, is called no more; again and again."""
    came, acknowledged, went = [], [], []
    before = bench.reloads()
    bench.until("/probe", 503, time.perf_counter())
    for turn in range(repetitions):
        path = f"/services/probe/instances/probe-{turn}"
        began = time.perf_counter()
        bench.api("PUT", path, {"port": port, "ttl": 60})
        acknowledged.append((time.perf_counter() - began) * 1000)
        came.append(bench.until("/probe", 200, began))
        time.sleep(QUIET)
        began = time.perf_counter()
        bench.api("DELETE", path)
        went.append(bench.until("/probe", 503, began))
        time.sleep(QUIET)
    reloads = bench.reloads() - before
    note = f"{repetitions} times, {reloads} reloads"
    return [
        *spread(f"{prefix}register → first routed request", came, note, target=TARGET_MS),
        *spread(f"{prefix}register → acknowledged, on disk", acknowledged, ""),
        *spread(f"{prefix}deregister → routed no more", went, note),
    ]


def new_services(bench: Bench, port: int, repetitions: int) -> list[dict[str, Any]]:
    """A service nobody knew, with three instances and a route of its own."""
    whole, after = [], []
    before = bench.reloads()
    for turn in range(repetitions):
        name = f"fresh-{turn}"
        began = time.perf_counter()
        for number in (1, 2, 3):
            said = {"host": f"127.7.{turn}.{number}", "port": port, "ttl": 60}
            bench.api("PUT", f"/services/{name}/instances/{name}-{number}", said)
        route = {"name": name, "match": {"path": f"/{name}"}, "shares": [{"service": name}]}
        bench.api("PUT", f"/routes/{name}", route)
        written = time.perf_counter()
        whole.append(bench.until(f"/{name}", 200, began))
        after.append((time.perf_counter() - written) * 1000)
        bench.api("DELETE", f"/routes/{name}")
        bench.api("DELETE", f"/services/{name}?force=true")
        time.sleep(QUIET)
    note = f"{repetitions} times, {bench.reloads() - before} reloads"
    return [
        *spread("new service, 3 instances and route, 4 writes → routed", whole, note),
        *spread("… after the last write was acknowledged", after, note, target=TARGET_MS),
    ]


def fill(bench: Bench, port: int, services: int) -> list[dict[str, Any]]:
    """Many services with three instances each; they are not checked, so that the checks are not what is measured."""
    before, began = bench.reloads(), time.perf_counter()

    def some(part: int) -> None:
        control = http.client.HTTPConnection("127.0.0.1", bench.api_port, timeout=GIVE_UP)
        for number in range(part, services, 8):
            name = f"many-{number}"
            bench.api("PUT", f"/services/{name}", {"name": name, "check": {"kind": "none"}}, control)
            for each in (1, 2, 3):
                said = {"host": f"127.{100 + number // 250}.{number % 250}.{each}", "port": port, "ttl": 3600}
                bench.api("PUT", f"/services/{name}/instances/{name}-{each}", said, control)
        control.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(some, range(8)))
    written = time.perf_counter() - began
    behind = bench.settled() / 1000
    note = f"{services * 4 / written:,.0f} durable writes/s, {bench.reloads() - before} reloads"
    return [
        figure(f"{services:,} services × 3 instances, registered one by one", written, "s", note),
        figure("… until the gateway runs the last of them", behind, "s", "reloads keep their distance of 2 s"),
    ]


def spread(name: str, values: list[float], note: str, target: float | None = None) -> list[dict[str, Any]]:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    if target is not None:
        note = f"target {target:g}: {'met' if p99 <= target else 'MISSED'}; {note}"
    return [
        figure(f"{name}, p50", statistics.median(ordered), "ms"),
        figure(f"{name}, p99", p99, "ms", note),
    ]


def figure(name: str, value: float, unit: str, note: str = "") -> dict[str, Any]:
    found = {"bench": "discovery", "name": name, "value": round(value, 3), "unit": unit}
    print(f"{name:<64} {value:>10,.2f} {unit:<4} {note}", file=sys.stderr, flush=True)
    return {**found, "note": note} if note else found


def ready_times(rounds: int) -> list[dict[str, Any]]:
    found = []
    for name, source, target in (("platform", PROJECT, PLATFORM_READY), ("shop", SHOP, SHOP_READY)):
        taken = []
        for _ in range(rounds):
            with running(source) as (_, seconds):
                taken.append(seconds)
        told = f"target {target:g}: {'met' if max(taken) < target else 'MISSED'}; slowest of {rounds}: {max(taken):.2f}"
        found.append(figure(f"up -d → {name} ready, median", statistics.median(taken), "s", told))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer repetitions, no thousand services")
    parser.add_argument("--services", type=int, default=1000, help="services with 3 instances each (0: leave it out)")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--json", type=Path, help="also append the JSON lines to this file")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        asyncio.run(serve(chosen.serve))
        return
    repetitions = 50 if chosen.short else chosen.repetitions
    figures = ready_times(2 if chosen.short else 5)
    late = Lateness()
    late.start()
    # every service has a port of its own on the mesh, and there are 256 unless more are asked for
    room = {"ATOLL_GATEWAY_MESH_COUNT": str(chosen.services + 300)}
    with backend() as port, running(PROJECT, **room) as (bench, _):
        figures += instance_changes(bench, port, repetitions, "")
        figures += new_services(bench, port, max(10, repetitions // 5))
        if chosen.services and not chosen.short:
            figures += fill(bench, port, chosen.services)
            figures += instance_changes(bench, port, repetitions // 2, f"among {chosen.services:,} × 3: ")
            figures += [figure(f"RSS, {name}, then", mb, "MB") for name, mb in bench.resident().items()]
    figures += spread("the machine: 1 ms of sleep is late by", late.seen[:], f"worst {max(late.seen):.0f} ms")
    where = {"python": platform.python_version(), "cores": os.cpu_count()}
    lines = [json.dumps({**one, **where}) for one in figures]
    print("\n".join(lines))
    if chosen.json:
        with chosen.json.open("a") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
