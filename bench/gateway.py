"""CPU per request of atoll's gateway with 1,000 routes, against bare proxies, in one run.

Each contender forwards keep-alive GETs to the same upstream. Many short rounds are interleaved (A B C A B C …) so that a
machine that slows down slows all of them; CPU and its ratio to bare HAProxy are of all rounds together, the rest medians.
`atoll` asks for one of the 1,000 routes again and again, as every contender does; `atoll-all-routes` asks for all of them
in turn, which also pays for a lookup table that no cache holds. One JSON line per contender, a table on stderr, and last
a JSON line with `ratio_to_bare_haproxy` of `atoll` and `ratio_all_routes`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import peers
from bench.atoll_gateway import gateway_with_routes
from bench.processes import cost, free_port, stop, wait_for_port

SHORT = ("haproxy", "atoll")
ALL_ROUTES = "atoll-all-routes"
FULL = ("haproxy", "atoll", "nginx", "traefik", "caddy", "envoy")


def contender(name: str, folder: Path, port: int, upstream: int, routes: int) -> list[str] | None:
    if name == "atoll":
        return gateway_with_routes(folder, port, upstream, routes)
    return peers.ALL[name](folder, port, upstream)


def measure(port: int, pid: int, path: str, paths: int, seconds: float) -> dict[str, float]:
    before = cost(pid)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench.load",
            f"http://127.0.0.1:{port}{path}",
            f"--seconds={seconds}",
            f"--paths={paths}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 30,
        cwd=Path(__file__).parent.parent,
    )
    after = cost(pid)
    figures: dict[str, float] = json.loads(done.stdout)
    figures["cpu_us"] = round((after.cpu - before.cpu) / max(1, figures["requests"]) * 1e6, 2)
    figures["rss_mb"] = round(after.rss / (1 << 20), 1)
    return figures


def run(names: tuple[str, ...], rounds: int, seconds: float, routes: int) -> dict[str, list[dict[str, float]]]:
    running: dict[str, tuple[subprocess.Popen[bytes], int, int]] = {}
    results: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as scratch:
        upstream = free_port()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        origin = subprocess.Popen(peers.origin(Path(scratch), upstream), **quiet)
        try:
            wait_for_port(upstream, origin)
            for name in names:
                folder = Path(scratch) / name
                folder.mkdir()
                port = free_port()
                command = contender(name, folder, port, upstream, routes)
                if command is None:
                    print(f"{name}: not installed, left out", file=sys.stderr)
                    continue
                process = subprocess.Popen(command, cwd=folder, **quiet)
                running[name] = process, port, 1
                wait_for_port(port, process)
            process, port, _ = running["atoll"]
            running[ALL_ROUTES] = process, port, routes
            time.sleep(1)
            for turn in range(rounds + 1):
                for name, (process, port, paths) in running.items():
                    figures = measure(port, process.pid, "/route-%d/items", paths, seconds if turn else min(seconds, 1))
                    if turn:  # the first one warms up
                        results.setdefault(name, []).append(figures)
        finally:
            for process, _, _ in running.values():
                stop(process)
            stop(origin)
    return results


def summary(results: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    medians = {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for name, rows in results.items()
    }
    for name, row in medians.items():  # of all rounds together: a machine that stutters does so for every contender
        row["cpu_us"] = round(_cpu_us(results[name]), 2)
        row["ratio_to_bare_haproxy"] = round(_cpu_us(results[name]) / _cpu_us(results["haproxy"]), 3)
    return medians


def _cpu_us(rows: list[dict[str, float]]) -> float:
    return sum(row["cpu_us"] * row["requests"] for row in rows) / sum(row["requests"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="bare HAProxy and atoll only, under a minute")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--routes", type=int, default=1000)
    given = parser.parse_args()
    rounds = given.rounds or (12 if given.short else 10)
    seconds = given.seconds or (0.8 if given.short else 1.5)
    medians = summary(run(SHORT if given.short else FULL, rounds, seconds, given.routes))
    print(f"{'':18}{'µs/req':>8}{'ratio':>8}{'rps':>9}{'p99 ms':>9}{'RSS MB':>8}", file=sys.stderr)
    for name, row in sorted(medians.items(), key=lambda item: item[1]["cpu_us"]):
        print(
            f"{name:18}{row['cpu_us']:8.1f}{row['ratio_to_bare_haproxy']:8.2f}{row['rps']:9.0f}{row['p99_ms']:9.2f}{row['rss_mb']:8.1f}",
            file=sys.stderr,
        )
        print(json.dumps({"bench": "gateway", "contender": name, "rounds": rounds, **row}))
    print(
        json.dumps(
            {
                "bench": "gateway",
                "routes": given.routes,
                "rounds": rounds,
                "ratio_to_bare_haproxy": medians["atoll"]["ratio_to_bare_haproxy"],
                "ratio_all_routes": medians[ALL_ROUTES]["ratio_to_bare_haproxy"],
                "errors": sum(row["errors"] for row in medians.values()),
            }
        )
    )


if __name__ == "__main__":
    main()
