"""The drill table: one fault after the other over the demo shop, each under a load of its own; what callers felt of each.

Starts a shop of its own on free ports (three instances of the catalog), takes about a minute and a half, stops it; then one with
telemetry and a breaker on the catalog. One JSON line per drill, and the tables as Markdown on stderr. `--part N` runs only every
second drill (0 or 1) or the one of the breaker (2), to be measured in several sittings.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from atoll.drill.words import span
from bench import breaker_drill

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
    parser.add_argument("--part", type=int, choices=(0, 1, 2))
    given = parser.parse_args()
    rows: list[str] = []
    if given.part != 2:
        with shop() as (_, _, atoll):
            atoll("scale", "catalog=3", "-q")
            atoll("wait", "--timeout", "30s", "-q")
            rows += HEAD
            for number, (title, words) in enumerate(DRILLS):
                if given.part is None or number % 2 == given.part:
                    report = json.loads(atoll("drill", *words, "--yes", "--json", "-q"))
                    print(json.dumps({"bench": "drills", "drill": title, **report["verdict"]}), flush=True)
                    rows.append(row(title, report))
                    atoll("wait", "--timeout", "30s", "-q")
    if given.part in {None, 2}:
        with shop(breaker_drill.with_breaker, telemetry=True) as (folder, environ, atoll):
            found = breaker_drill.run(folder, environ, atoll)
            print(json.dumps({"bench": "drills", "drill": breaker_drill.TITLE, **found}), flush=True)
            rows += ("", *breaker_drill.HEAD, breaker_drill.row(found))
    print(*rows, sep="\n", file=sys.stderr)


@contextlib.contextmanager
def shop(
    changed: Callable[[str], str] = str, *, telemetry: bool = False
) -> Iterator[tuple[Path, dict[str, str], breaker_drill.Atoll]]:
    """A demo shop that runs in a folder of its own: the folder, its environment, and `atoll` in it."""
    folder = Path(tempfile.mkdtemp(prefix="atoll-drills-"))
    shutil.copytree(SHOP, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", ".atoll", "__pycache__"))
    project = folder / "atoll.yaml"
    project.write_text(changed(project.read_text()))
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ATOLL_")},
        **{f"ATOLL_{name}_PORT": str(free_port()) for name in ("GATEWAY", "API", "TELEMETRY_HTTP", "TELEMETRY_GRPC")},
        "ATOLL_TELEMETRY_ENABLED": str(int(telemetry)),
        "SHOP_DATA": str(folder / "data"),
    }

    def atoll(*words: str) -> str:
        done = subprocess.run([*ATOLL, *words], cwd=folder, env=environ, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    try:
        atoll("up", "-d", "--wait", "-q")
        yield folder, environ, atoll
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
