"""The breaker's row of the drill table: a service that fails every request, under 300 requests a second.

The failure is the service's own, as after a migration gone wrong: a column of its table has another name, so every question for products
is answered with its own 503, while its health check passes. What it saw is counted in its own log, by the trace of each request.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from atoll.drill.aim import Place, by_path
from atoll.drill.history import Asked
from atoll.drill.load import Load
from atoll.drill.words import span
from atoll.kit.clock import SystemClock

TITLE = "the only one fails every request for 5 s, behind a breaker"
RATE, LASTS = 300.0, 10.0
FAULT, WELL = 1.5, 6.5
"""Seconds after the load began."""
LEAST, PROBES = 20, 3
BREAKER = f"circuit_breaker: {{min_requests: {LEAST}, open: 2s, probes: {PROBES}}}"
PATH = "/api/catalog/products?q=pen"
SETTLE = 4.0
"""Seconds: the node looks once a second, telemetry commits once a second."""

Atoll = Callable[..., str]


@dataclass(frozen=True)
class Seen:
    """What the drill's own load and the service's own log say."""

    requests: Sequence[Asked]
    fault: float
    well: float
    reached: frozenset[str]
    """Traces of the requests that the service logged."""


def with_breaker(project: str) -> str:
    """The shop's file, with one instance of the catalog and a breaker on it."""
    return project.replace("    replicas: 2\n", f"    {BREAKER}\n", 1)


def run(folder: Path, environ: dict[str, str], atoll: Atoll) -> dict[str, Any]:
    """The drill on a shop that runs; what came of it."""
    log = folder / ".atoll" / "logs" / "catalog" / "catalog-1.log"
    place = Place(host="127.0.0.1", port=int(environ["ATOLL_GATEWAY_PORT"]))
    before = time.time()
    requests, fault, well = asyncio.run(_loaded(place, Path(environ["SHOP_DATA"]) / "catalog.db"))
    time.sleep(SETTLE)
    found = verdict(Seen(requests, fault, well, _reached(log)))
    row = next(
        one for one in json.loads(atoll("breakers", "--json")) if (one["service"], one["caller"]) == ("catalog", "")
    )
    told = [one for one in json.loads(atoll("breakers", "history", "catalog", "--json")) if one["at"] >= before]
    marks = {
        mark: len(json.loads(atoll("traces", "--attr", f"atoll.mark={mark}", "-n", "10000", "--json"))["traces"])
        for mark in ("open", "probe")
    }
    return {
        **found,
        "state": row["state"],
        "opened": row["seen"]["opened"],
        "rejected_breakers": row["seen"]["rejected"],
        "rejected_metric": _metric(environ, folder, "rejected_total"),
        "opened_metric": _metric(environ, folder, "opened_total"),
        "traces_open": marks["open"],
        "traces_probe": marks["probe"],
        "history": [one["state"] for one in told],
        "reason": told[0]["reason"] if told else "",
    }


def verdict(seen: Seen) -> dict[str, Any]:
    """Times in seconds, counted from the fault or the recovery."""
    asked = sorted(seen.requests, key=lambda one: one.start)
    rejected = [one for one in asked if one.code == "breaker-open"]
    failures = sorted(one.end for one in asked if one.trace in seen.reached and one.status >= 500)
    opened = min((one.end for one in rejected), default=None)
    after = [one for one in asked if one.start > seen.well]
    closed = max((one.end for one in after if one.lost), default=seen.well)
    during = [one for one in asked if opened is not None and opened < one.start <= seen.well]
    return {
        "requests": len(asked),
        "reached": sum(one.trace in seen.reached for one in asked),
        "failed_in_service": len(failures),
        "failed_until_open": sum(opened is not None and end <= opened for end in failures),
        "open_after_least": None if opened is None or len(failures) < LEAST else opened - failures[LEAST - 1],
        "open_after_fault": None if opened is None else opened - seen.fault,
        "asked_while_open": len(during),
        "reached_while_open": sum(one.trace in seen.reached for one in during),
        "rejected": len(rejected),
        "lost_otherwise": sum(
            one.lost and one.code != "breaker-open" and one.trace not in seen.reached for one in asked
        ),
        "closed_after": closed - seen.well,
        "rejected_after_recovery": sum(one.code == "breaker-open" for one in after),
        "lost_after_recovery": sum(one.lost for one in after),
    }


HEAD = (
    "| drill | requests | opened | reached it while open | kept away: load = `breakers` = metric = traces | history | closed again | lost until then |",
    "|---|---|---|---|---|---|---|---|",
)


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    least = found["open_after_least"]
    kept = (found[name] for name in ("rejected", "rejected_breakers", "rejected_metric", "traces_open"))
    cells = [
        TITLE,
        f"{found['requests']:,} at {RATE:g}/s",
        "never" if least is None else f"{span(max(0.0, least))} after the {LEAST}th failure",
        f"{found['reached_while_open']} of {found['asked_while_open']:,} ({found['opened']} times open)",
        " = ".join(f"{count:,}" for count in kept),
        ", ".join(found["history"]),
        span(found["closed_after"]),
        f"{found['lost_after_recovery']:,}",
    ]
    return f"| {' | '.join(cells)} |"


async def _loaded(place: Place, table: Path) -> tuple[list[Asked], float, float]:
    clock = SystemClock()
    began = clock.now()
    aim = by_path(PATH, place, way="route:catalog")
    load = Load(msgspec.structs.replace(aim, traced=True), clock, rate=RATE, began=began)
    running = asyncio.create_task(load.run(LASTS))
    await clock.sleep(began + FAULT - clock.now())
    await asyncio.to_thread(_rename, table, "description", "description_moved")
    fault = clock.now() - began
    try:
        await clock.sleep(began + WELL - clock.now())
    finally:
        await asyncio.to_thread(_rename, table, "description_moved", "description")
    well = clock.now() - began
    await running
    return load.requests, fault, well


def _rename(table: Path, old: str, new: str) -> None:
    with sqlite3.connect(table, timeout=5) as db:
        db.execute(f"ALTER TABLE products RENAME COLUMN {old} TO {new}")
    db.close()


def _reached(log: Path) -> frozenset[str]:
    """The traces of the requests for products in the catalog's log: `… GET /products?q=pen 503 0.6ms id=TRACE-SPAN`."""
    lines = (line for line in log.read_text().splitlines() if "|GET /products?" in line)
    return frozenset(line.rpartition(" id=")[2].partition("-")[0] for line in lines)


def _metric(environ: dict[str, str], folder: Path, name: str) -> int:
    token = (folder / ".atoll" / "token").read_text().strip()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{environ['ATOLL_API_PORT']}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        text = answer.read().decode()
    start = f'atoll_breaker_{name}{{node="local",service="catalog",caller=""}} '
    return round(float(next(line for line in text.splitlines() if line.startswith(start)).rpartition(" ")[2]))
