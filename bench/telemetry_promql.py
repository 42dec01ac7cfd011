"""What typical dashboard queries cost to evaluate: 1,000 series over an hour at 15 s, here and in Debian's Prometheus.

`python -m bench.telemetry_promql` prints milliseconds of CPU a query: ours for parsing, evaluating and writing the JSON
(samples in memory: reading them from the engine comes on top), Prometheus' for the same question over HTTP.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from atoll.telemetry.metrics.series import NAME, SeriesSamples, labels_of
from atoll.telemetry.promql import answer, reply
from atoll.telemetry.promql.evaluate import evaluate, needs
from atoll.telemetry.promql.parse import parse
from atoll.telemetry.promql.value import Grid
from tests.contract.telemetry.promql import prometheus
from tests.unit.telemetry.promql.source import Memory

BEGIN = 1_700_000_010_000
EVERY = 15_000
COUNT = 240
SERVICES, INSTANCES, ROUTES = 10, 10, 10
QUERIES = (
    "sum by (service) (rate(requests_total[5m]))",
    "rate(requests_total[5m])",
    "requests_total",
    "topk(5, sum by (route) (rate(requests_total[1m])))",
    "histogram_quantile(0.95, sum by (le, service) (rate(took_bucket[5m])))",
    "sum by (service) (rate(requests_total[5m])) / on (service) group_left sum by (service) (rate(requests_total[1h]))",
    "max_over_time(requests_total[1h])",
    "quantile_over_time(0.9, requests_total[10m])",
    "max_over_time(rate(requests_total[1m])[10m:1m])",
)


def stored() -> list[SeriesSamples]:
    rng = random.Random(7)
    times = BEGIN + EVERY * np.arange(COUNT, dtype=np.int64)
    made = []
    for service in range(SERVICES):
        for instance in range(INSTANCES):
            for part in range(ROUTES):
                growth = np.array([rng.randrange(0, 60) for _ in range(COUNT)], dtype=np.float64)
                labels = {"service": f"service-{service}", "instance": f"i-{service}-{instance}"}
                made.append(
                    SeriesSamples(
                        labels_of({NAME: "requests_total", "route": f"/{part}", **labels}), times, np.cumsum(growth)
                    )
                )
                le = "+Inf" if part == ROUTES - 1 else f"{0.01 * 2**part:g}"
                made.append(
                    SeriesSamples(
                        labels_of({NAME: "took_bucket", "le": le, **labels}), times, np.cumsum(growth) * (part + 1)
                    )
                )
    return made


def run(memory: Memory, query: str, grid: Grid) -> int:
    expr = parse(query)
    data = {selector: memory.found(selector.matchers) for selector in needs(expr, grid)}
    began = time.process_time()
    value = evaluate(parse(query), grid, data)
    body = reply.content(answer.matrix(value, grid) if grid.count > 1 else answer.instant(value, grid))
    run.spent.append(time.process_time() - began)  # type: ignore[attr-defined]
    return len(body)


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median(work: Callable[[], object], times: int) -> list[float]:
    run.spent = []  # type: ignore[attr-defined]
    for _ in range(times):
        work()
    return run.spent  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    samples = stored()
    memory = Memory(samples)
    end = BEGIN + (COUNT - 1) * EVERY
    shapes = {"instant": Grid(end, end, 1), "1 h at 15 s": Grid(BEGIN, end, EVERY)}
    theirs: dict[tuple[str, str], float] = {}
    if prometheus.PROMETHEUS is not None:
        with tempfile.TemporaryDirectory() as folder, prometheus.running(Path(folder)) as url:
            prometheus.write(url, samples)
            pid = next(
                int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and folder in _command(one.name)
            )
            for shape, grid in shapes.items():
                for query in QUERIES:
                    form = {"query": query, "time": f"{grid.end / 1000}"}
                    if grid.count > 1:
                        form = {
                            "query": query,
                            "start": f"{grid.start / 1000}",
                            "end": f"{grid.end / 1000}",
                            "step": "15",
                        }
                    prometheus.ask(url, f"/api/v1/query{'_range' if grid.count > 1 else ''}", form)
                    before, repeat = cpu_of(pid), times * (4 if grid.count == 1 else 1)
                    for _ in range(repeat):
                        prometheus.ask(url, f"/api/v1/query{'_range' if grid.count > 1 else ''}", form)
                    theirs[shape, query] = (cpu_of(pid) - before) / repeat
    print(f"load {os.getloadavg()[0]:.1f}; {len(samples)} series stored, 1,000 of each metric")
    for shape, grid in shapes.items():
        for query in QUERIES:
            spent = median(lambda query=query, grid=grid: run(memory, query, grid), times)  # type: ignore[misc]
            other = f"{theirs[shape, query] * 1000:8.1f}" if theirs else "       –"
            print(f"{shape:12} {statistics.median(spent) * 1000:8.1f} ms   Prometheus {other} ms   {query}")


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
