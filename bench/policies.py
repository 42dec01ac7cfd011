"""What a request costs with nothing, with traces and log, and with every policy on, against bare proxies, in one run.

`plain` is the gateway with 1,000 routes, `log` the same with trace context and request log, `guarded` also with retries, a
breaker and a limit, `all` with every policy that one line can say (a deadline, a timeout of each try …) besides; `mesh` and
`mesh-all` are the last two between two services. With `--awake` breakers and budgets count all the time, because something
else just failed. Short interleaved rounds; the CPU is of all rounds together, its ratio to bare HAProxy's.
One JSON line each; the request log is read and thrown away.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from atoll.gateway.breaker import FIRST_LOOK
from atoll.gateway.config import Files
from atoll.gateway.intent import intend, topped_up
from atoll.gateway.render import render
from atoll.gateway.request_log import RequestLog
from atoll.model.breaker import Breaker
from atoll.model.bulkhead import Priority
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.retry import Retry
from atoll.model.route import Match, Route, Share
from atoll.model.service import Service
from atoll.model.snapshot import Snapshot
from atoll.settings import Gateway
from bench import peers
from bench.atoll_gateway import BENCH, snapshot_with_routes
from bench.gateway import measure, summary
from bench.processes import free_port, free_ports, stop, wait_for_port

OURS = ("plain", "log", "guarded", "all", "mesh", "mesh-all")
PEERS = ("haproxy", "nginx", "traefik", "caddy", "envoy")
RING = 16 << 20
GUARDED = Policy(
    retry=Retry(on=("unavailable", "closed", "503")), circuit_breaker=Breaker(enabled=True), max_concurrency=10_000
)
EVERYTHING = Policy(
    timeout=5.0,
    try_timeout=2.0,
    retry=Retry(on=("unavailable", "closed", "timeout", "503")),
    circuit_breaker=Breaker(enabled=True),
    max_concurrency=10_000,
    priority=Priority.HIGH,
)
CALLER, DEAD = ServiceName("caller"), ServiceName("dead")
ROUTES = 1000
CALL = 3
"""Offset of the port of the call that is measured; the dead service has 1."""


def facts(upstream: int, policy: Policy | None) -> Snapshot:
    """One service behind many routes; a dead service; `policy` is said of all routes and of a call."""
    snapshot = snapshot_with_routes(upstream, ROUTES)
    snapshot.services[DEAD] = Service(name=DEAD, mesh_index=1)
    snapshot.routes[RouteName("dead")] = Route(
        name=RouteName("dead"), match=Match(path=PathText("/dead")), shares=(Share(service=DEAD),)
    )
    if policy is not None:
        for name, route in snapshot.routes.items():
            snapshot.routes[name] = msgspec.structs.replace(route, policy=policy)
        service = snapshot.services[BENCH]
        snapshot.services[BENCH] = msgspec.structs.replace(
            service, policy=Policy(circuit_breaker=Breaker(enabled=True))
        )
        snapshot.services[CALLER] = Service(
            name=CALLER, mesh_index=2, calls={BENCH: Call(policy=policy, mesh_index=CALL)}
        )
    return snapshot


def ours(name: str, folder: Path, port: int, upstream: int, log_to: Path) -> list[str]:
    """The command line of one of OURS; it listens for what is measured at `port`."""
    mesh = name.startswith("mesh")
    # of the mesh the caller's own port is measured
    knobs = Gateway(
        port=free_port() if mesh else port,
        mesh_port=free_port(),
        mesh_ports=port - CALL if mesh else free_port(),
        mesh_count=CALL + 1 if mesh else 1,
        threads=2,
    )
    said = {"guarded": GUARDED, "mesh": GUARDED, "all": EVERYTHING, "mesh-all": EVERYTHING}
    snapshot = facts(upstream, said.get(name))
    config = topped_up(intend(snapshot, None, knobs).config, knobs)
    files = Files(folder)
    log = None if name == "plain" else RequestLog(socket=log_to, ring_bytes=RING)
    rendered = render(config, knobs, files, log=log)
    files.config.write_text(rendered.config)
    for each, content in rendered.maps.items():
        files.map(each).write_text(content)
    for each, content in rendered.scripts.items():
        (folder / each).write_text(content)
    return [peers.bundled_haproxy(), "-W", "-db", "-C", str(folder), "-f", str(files.config)]


@contextmanager
def reader(path: Path) -> Iterator[None]:
    """Somebody who takes every line and keeps none."""

    def drain(connection: socket.socket) -> None:
        with connection:
            while connection.recv(1 << 16):
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drain, args=(connection,), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=accept, daemon=True).start()
        yield


def wake(name: str, port: int) -> None:
    """Something fails, so that breakers and budgets count from now on."""
    at = port - CALL + 1 if name.startswith("mesh") else port
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{at}/dead", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()


def run(names: tuple[str, ...], rounds: int, seconds: float, *, awake: bool) -> dict[str, list[dict[str, float]]]:
    """The rounds of every contender."""
    results: dict[str, list[dict[str, float]]] = {}
    running: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as scratch, reader(Path(scratch) / "requests.sock"):
        base = Path(scratch)
        upstream = free_port()
        origin = subprocess.Popen(peers.origin(base, upstream), **quiet)
        try:
            wait_for_port(upstream, origin)
            for name in names:
                folder = base / name
                port = free_ports(CALL + 1) + CALL if name.startswith("mesh") else free_port()
                folder.mkdir()
                command = (
                    ours(name, folder, port, upstream, base / "requests.sock")
                    if name in OURS
                    else peers.ALL[name](folder, port, upstream)
                )
                if command is None:
                    print(f"{name}: not installed, left out", file=sys.stderr)
                    continue
                process = subprocess.Popen(command, cwd=folder, **quiet)
                running[name] = process, port
                wait_for_port(port, process)
            time.sleep(1 if awake else FIRST_LOOK + 1)  # a new process is awake for a while
            for turn in range(rounds + 1):
                for name, (process, port) in running.items():
                    if awake and name in OURS:
                        wake(name, port)
                    figures = measure(port, process.pid, "/route-%d/items", 1, seconds if turn else min(seconds, 1))
                    if turn:  # the first one warms up
                        results.setdefault(name, []).append(figures)
        finally:
            for process, _ in running.values():
                stop(process)
            stop(origin)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="bare HAProxy and ours only, under a minute")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument(
        "--awake", action="store_true", help="breakers and retry budgets count: something fails now and then"
    )
    given = parser.parse_args()
    names = ("haproxy", *OURS) if given.short else (*PEERS, *OURS)
    medians = summary(run(names, given.rounds, given.seconds, awake=given.awake))
    print(f"{'':10}{'µs/req':>8}{'ratio':>8}{'rps':>9}{'p99 ms':>9}{'errors':>8}", file=sys.stderr)
    for name, row in sorted(medians.items(), key=lambda item: item[1]["cpu_us"]):
        ratio = row["ratio_to_bare_haproxy"]
        print(
            f"{name:10}{row['cpu_us']:8.1f}{ratio:8.2f}{row['rps']:9.0f}{row['p99_ms']:9.2f}{row['errors']:8.0f}",
            file=sys.stderr,
        )
        print(json.dumps({"bench": "policies", "contender": name, "awake": given.awake, "rounds": given.rounds, **row}))


if __name__ == "__main__":
    main()
