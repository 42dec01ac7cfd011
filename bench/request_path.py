"""What traces and the request log cost: CPU per request in HAProxy, CPU per line from there to committed, freshness.

Three gateways of the product, the same but for what is measured, in short interleaved rounds (A B C A B C …): `off`,
`trace` (trace context only) and `log` (trace context and request log, read by the real receiver into a real engine, in a
process of its own). A paired bootstrap over the rounds gives the ratio's uncertainty. Then one process reads lines from
a socket as fast as it can (`receiver`), and single requests are asked for until they are found (`freshness`; `busy`: while another client asks without a pause).
One JSON line each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from atoll.gateway.config import Files
from atoll.gateway.intent import intend, topped_up
from atoll.gateway.render import render
from atoll.gateway.request_log import RequestLog
from atoll.kit.clock import SystemClock
from atoll.settings import Gateway, Telemetry
from atoll.telemetry.chdb import open_engine
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.requests.receiver import receiving
from bench import peers
from bench.atoll_gateway import snapshot_with_routes
from bench.gateway import measure
from bench.processes import cost, free_port, stop, wait_for_port

VARIANTS = ("off", "trace", "log")
RING = 16 << 20


def gateway(variant: str, folder: Path, port: int, upstream: int, routes: int, log_to: Path) -> list[str]:
    """The command line of a gateway of this variant."""
    knobs = Gateway(port=port, mesh_port=free_port(), mesh_ports=free_port(), mesh_count=1, threads=2)
    config = topped_up(intend(snapshot_with_routes(upstream, routes), None, knobs).config, knobs)
    files = Files(folder)
    log = None if variant == "off" else RequestLog(socket=log_to, ring_bytes=RING)
    rendered = render(config, knobs, files, log=log)
    text = rendered.config
    if variant == "trace":  # what only the log needs is taken out again
        only_log = (
            "  log global",
            "  log-format",
            "  capture request header",
            "  tcp-request connection set-var(sess.from)",
        )
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(only_log))
    files.config.write_text(text)
    for name, content in rendered.maps.items():
        files.map(name).write_text(content)
    for name, content in rendered.scripts.items():
        (folder / name).write_text(content)
    return [peers.bundled_haproxy(), "-W", "-db", "-C", str(folder), "-f", str(files.config)]


def request_path(rounds: int, seconds: float, routes: int) -> dict[str, object]:
    """CPU per request of the three gateways."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    running: list[subprocess.Popen[bytes]] = []
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as scratch:
        base = Path(scratch)
        try:
            upstream = free_port()
            running.append(subprocess.Popen(peers.origin(base, upstream), **quiet))
            wait_for_port(upstream, running[-1])
            log_to = base / "requests.sock"
            reader = subprocess.Popen(
                [sys.executable, "-m", "bench.request_path", f"--receive={base}"], cwd=Path(__file__).parent.parent
            )
            running.append(reader)
            while not log_to.exists():
                time.sleep(0.05)
                if reader.poll() is not None:
                    raise RuntimeError("the receiver ended")
            gateways = {}
            for name in VARIANTS:
                folder = base / name
                folder.mkdir()
                port = free_port()
                process = subprocess.Popen(gateway(name, folder, port, upstream, routes, log_to), cwd=folder, **quiet)
                running.append(process)
                wait_for_port(port, process)
                gateways[name] = process.pid, port
            time.sleep(1)
            spent = 0.0
            for turn in range(rounds + 1):
                order = list(VARIANTS)
                random.shuffle(order)
                for name in order:
                    pid, port = gateways[name]
                    before = cost(reader.pid).cpu
                    figures = measure(port, pid, "/route-%d/items", 1, seconds if turn else min(seconds, 1))
                    if turn:  # the first one warms up
                        rows[name].append(figures)
                        spent += cost(reader.pid).cpu - before
            rss = cost(gateways["log"][0]).rss
            time.sleep(1.5)
        finally:
            for process in reversed(running):
                stop(process)
    return {
        "bench": "request_path",
        "rounds": rounds,
        "routes": routes,
        "cpu_us": {name: round(_cpu_us(rows[name]), 2) for name in VARIANTS},
        "trace_over_off": _ratio(rows["trace"], rows["off"]),
        "log_over_trace": _ratio(rows["log"], rows["trace"]),
        "log_over_off": _ratio(rows["log"], rows["off"]),
        "p99_ms": {name: statistics.median(row["p99_ms"] for row in rows[name]) for name in VARIANTS},
        "errors": sum(row["errors"] for each in rows.values() for row in each),
        "rss_mb_with_ring": round(rss / (1 << 20), 1),
        "receiver_us_per_line": round(spent / max(1.0, sum(row["requests"] for row in rows["log"])) * 1e6, 2),
    }


def _cpu_us(rows: list[dict[str, float]]) -> float:
    return sum(row["cpu_us"] * row["requests"] for row in rows) / sum(row["requests"] for row in rows)


def _ratio(rows: list[dict[str, float]], others: list[dict[str, float]]) -> list[float]:
    """Of all rounds together, with the 5 % and the 95 % quantile over resampled rounds."""
    draw = random.Random(1)
    again = sorted(
        _cpu_us([rows[at] for at in picked]) / _cpu_us([others[at] for at in picked])
        for picked in (draw.choices(range(len(rows)), k=len(rows)) for _ in range(500))
    )
    return [round(value, 3) for value in (_cpu_us(rows) / _cpu_us(others), again[25], again[475])]


async def receive(folder: Path) -> None:
    """Read the request log until ended."""
    engine = await asyncio.to_thread(open_engine, folder / "telemetry", Telemetry())
    pool = EnginePool(engine, SystemClock())
    async with receiving(folder / "requests.sock", pool, SystemClock()):
        await asyncio.Event().wait()


def sample_lines(count: int, now_us: int) -> list[bytes]:
    """Lines as the gateway writes them."""
    return [
        (
            f"gateway\t10.0.0.{number % 250}\t{now_us // 1000}\t{number}\t{now_us + number - 9000}\t{now_us + number}\t"
            f"00-{number * 7919 + 1:032x}-{number + 1:016x}-01\t-\troute-{number % 50}|orders|orders\t"
            f"orders-{number % 3}:12345678\t-\tGET\tHTTP/1.1\t200\t--\t0\t0\t0\t0\t{number % 40}\t{number % 40}\t187\t512\t"
            f"-\t{{|shop.example|Mozilla/5.0 (X11; Linux x86_64)}}\t/api/orders/{number % 1000}\t.2\n"
        ).encode()
        for number in range(count)
    ]


def send(path: Path, count: int) -> None:
    """Write lines to the socket as HAProxy does, 50 at a time, some 20,000 a second."""
    lines = sample_lines(count, int(time.time() * 1e6))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        for at in range(0, count, 50):
            connection.sendall(b"".join(lines[at : at + 50]))
            if at % 2000 == 0:
                time.sleep(0.1)


async def receiver(count: int) -> dict[str, object]:
    """CPU of this process from the socket to committed, background merges included."""
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as scratch:
        path = Path(scratch) / "requests.sock"
        engine = await asyncio.to_thread(open_engine, Path(scratch) / "telemetry", Telemetry())
        pool = EnginePool(engine, SystemClock())
        async with receiving(path, pool, SystemClock()) as reader:
            began, before = time.perf_counter(), time.process_time()
            sender = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.request_path", f"--send={path}", f"--lines={count}"
            )
            await sender.wait()
            while reader.counts.committed < count:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.02)
            await asyncio.sleep(1)
            spent, took = time.process_time() - before, time.perf_counter() - began
            done = reader.counts.committed
        await pool.close()
        await asyncio.to_thread(engine.close)
    return {
        "bench": "request_log_receiver",
        "lines": done,
        "cpu_us_per_line": round(spent / done * 1e6, 2),
        "lines_per_s": round(done / took),
        "commits": reader.counts.commits,
    }


async def freshness(requests: int, *, busy: bool) -> dict[str, object]:
    """From a request's end to its span in an answer of the engine, one request after the other; when `busy`, beside a
    connection that asks without a pause.
    """
    waits = []
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as scratch:
        base = Path(scratch)
        upstream, port = free_port(), free_port()
        engine = await asyncio.to_thread(open_engine, base / "telemetry", Telemetry())
        pool = EnginePool(engine, SystemClock())
        processes = [subprocess.Popen(peers.origin(base, upstream), **quiet)]  # noqa: ASYNC220 - before it matters
        try:
            wait_for_port(upstream, processes[0])
            async with receiving(base / "requests.sock", pool, SystemClock()) as receiver:
                folder = base / "log"
                folder.mkdir()
                command = gateway("log", folder, port, upstream, 10, base / "requests.sock")
                processes.append(subprocess.Popen(command, cwd=folder, **quiet))  # noqa: ASYNC220
                wait_for_port(port, processes[1])
                await asyncio.sleep(2)
                beside = f"http://127.0.0.1:{port}/route-%d/items"
                if busy:
                    command = [
                        sys.executable,
                        "-m",
                        "bench.load",
                        beside,
                        "--seconds=60",
                        "--connections=1",
                        "--paths=10",
                    ]
                    processes.append(subprocess.Popen(command, **quiet))  # noqa: ASYNC220
                before, began = receiver.counts.lines, time.perf_counter()
                for number in range(requests):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"GET /route-1/x HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                    answer = await reader.read()
                    ended = time.perf_counter()
                    writer.close()
                    trace = answer.lower().split(b"x-trace-id: ")[1][:32].decode()
                    while not await pool.rows(  # noqa: ASYNC110
                        "SELECT 1 FROM all_spans WHERE TraceId = unhex({id:String})", {"id": trace}
                    ):
                        await asyncio.sleep(0.01)
                    waits.append(time.perf_counter() - ended)
                    await asyncio.sleep(0.37 * (number % 3))
                rate = (receiver.counts.lines - before) / (time.perf_counter() - began)
        finally:
            for process in processes:
                stop(process)
        await pool.close()
        await asyncio.to_thread(engine.close)
    waits.sort()
    return {
        "bench": "request_freshness",
        "requests": requests,
        "lines_per_s": round(rate),
        "commits": receiver.counts.commits,
        "p50_s": round(statistics.median(waits), 3),
        "p95_s": round(waits[int(len(waits) * 0.95)], 3),
        "max_s": round(waits[-1], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument("--routes", type=int, default=1000)
    parser.add_argument("--only", choices=("path", "receiver", "freshness", "busy"))
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--receive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--send", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.send:
        send(given.send, given.lines)
        return
    if given.receive:
        uvloop.run(receive(given.receive))
        return
    if given.only in {None, "path"}:
        print(json.dumps(request_path(given.rounds, given.seconds, given.routes)), flush=True)
    # an engine takes one store a process
    if given.only == "receiver":
        print(json.dumps(uvloop.run(receiver(given.lines))))
    if given.only in {"freshness", "busy"}:
        print(json.dumps(uvloop.run(freshness(30, busy=given.only == "busy"))))
    if given.only is None:
        for part in ("receiver", "freshness", "busy"):
            subprocess.run([sys.executable, "-m", "bench.request_path", f"--only={part}"], check=True)


if __name__ == "__main__":
    main()
