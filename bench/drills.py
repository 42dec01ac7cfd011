"""The drill table: one fault after the other over the demo shop, each under a load of its own; what callers felt of each.

Starts a shop of its own on free ports (three instances of the catalog), takes about a minute and a half, stops it. One
JSON line per drill, and the table as Markdown on stderr. `--part N` runs only every second drill (0 or 1), to be measured in two sittings.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from atoll.drill.words import span

SHOP = Path(__file__).parents[1] / "examples" / "shop"
ATOLL = [sys.executable, "-m", "atoll.cli.main"]
CATALOG = ("--path", "/api/catalog/products?q=pen", "--rate")
DRILLS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("kill -9 one of three", ("kill", "catalog-2", *CATALOG, "300", "--for", "8s")),
    ("SIGSTOP one of three for 4 s", ("pause", "catalog-2", *CATALOG, "300", "--for", "10s", "--hold", "4s")),
    ("one of three stutters for 4 s", ("slow", "catalog-2", *CATALOG, "300", "--for", "10s", "--hold", "4s")),
    ("kill -9 all three at once", ("kill", "catalog", *CATALOG, "300", "--for", "8s")),
    ("kill -9 the only one (orders)", ("kill", "orders", "--rate", "100", "--for", "6s")),
    ("kill -9 the only one (payments, gRPC)", ("kill", "payments", "--rate", "100", "--for", "6s")),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, choices=(0, 1))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="atoll-drills-"))
    shutil.copytree(SHOP, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", ".atoll", "__pycache__"))
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ATOLL_")},
        "ATOLL_GATEWAY_PORT": str(free_port()),
        "ATOLL_API_PORT": str(free_port()),
        "ATOLL_TELEMETRY_ENABLED": "0",
        "SHOP_DATA": str(folder / "data"),
    }

    def atoll(*words: str) -> str:
        done = subprocess.run([*ATOLL, *words], cwd=folder, env=environ, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    try:
        atoll("up", "-d", "--wait", "-q")
        atoll("scale", "catalog=3", "-q")
        atoll("wait", "--timeout", "30s", "-q")
        rows = []
        for number, (title, words) in enumerate(DRILLS):
            if given.part is None or number % 2 == given.part:
                report = json.loads(atoll("drill", *words, "--yes", "--json", "-q"))
                print(json.dumps({"bench": "drills", "drill": title, **report["verdict"]}), flush=True)
                rows.append(row(title, report))
                atoll("wait", "--timeout", "30s", "-q")
        print(*HEAD, *rows, sep="\n", file=sys.stderr)
    finally:
        subprocess.run([*ATOLL, "down", "-q"], cwd=folder, env=environ, check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


HEAD = (
    "| drill | requests | lost (on their way) | retried | last request to it | taken out | callers well again | all serve again | slowest answer |",
    "|---|---|---|---|---|---|---|---|---|",
)


def row(title: str, report: dict[str, Any]) -> str:
    said = report["verdict"]
    cells = [
        title,
        f"{said['requests']:,} at {report['rate']:g}/s",
        f"{said['lost']:,} ({said['in_flight']:,})",
        f"{said['retried']:,}",
        "–" if said["last_try"] is None else span(said["last_try"]),
        "–" if said["out"] is None else span(said["out"]),
        span(said["recovered"]),
        span(said["full"]),
        span(said["slowest"]),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
