"""`atoll red`: rate, errors and durations, without a line of code in the services."""

from __future__ import annotations

import sys
import threading

import click

from atoll.cli.facts import V1
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import moment, of_iso, took
from atoll.cli.options import command, complete_services
from atoll.cli.show import Cell, service_cell
from atoll.model.traffic import Figures, Red, RedSeries

QUESTION_SECONDS = 20.0
"""Seconds that a question may take."""
FIGURES = ("RPS", "ERRORS", "P50", "P95", "P99", "REQUESTS")
REFRESH = 2.0
"""Seconds between two pictures of `--watch`."""
LEVELS = "▁▂▃▄▅▆▇█"
TREND = 20
"""Characters of the rate's trend."""
BAD = 0.01
"""Share of errors from which a figure is red."""


@command("red", reads=True)
@click.argument("service", required=False, metavar="[SERVICE]", shell_complete=complete_services)
@click.option(
    "--by",
    type=click.Choice(["service", "route", "instance", "edge"]),
    help="What is told apart [default: service; of one SERVICE: route].",
)
@click.option("--since", metavar="TIME", default="15m", show_default=True, help="From then on (10m, 2026-11-21T14:30).")
@click.option("--until", metavar="TIME", help="Up to then.")
@click.option("-w", "--watch", is_flag=True, help="Show again every two seconds, until Ctrl-C.")
def red(
    invocation: Invocation, service: str | None, *, by: str | None, since: str, until: str | None, watch: bool
) -> None:
    """Show rate, errors and durations of services, routes, instances or edges."""
    kind = by or ("service" if service is None else "route")
    show = invocation.show
    while True:
        times, timeout = question_time(invocation, since, until)
        query: list[tuple[str, object]] = [("by", kind), *times]
        if service is not None:
            query.append(("service", service))
        found = invocation.api.get_as(f"{V1}/red", Red, query, timeout=timeout)
        if watch:
            show.screen()
        if show.as_json:
            show.json_line(found) if watch else show.json(found)
        elif found.series:
            _table(invocation, found, kind)
        else:
            invocation.talk.note("no requests in this time; --since 1d looks further back")
        if not watch:
            break
        show.flush()
        threading.Event().wait(REFRESH)


def question_time(invocation: Invocation, since: str, until: str | None) -> tuple[list[tuple[str, object]], float]:
    """`since` and `until` as parameters, and the seconds that the answer may take.

    Raises:
        InvalidValue: one of them is no time.
    """
    wall = invocation.clock.wall()
    query: list[tuple[str, object]] = [("since", moment(since, wall=wall, name="--since"))]
    if until is not None:
        query.append(("until", moment(until, wall=wall, name="--until")))
    return query, max(QUESTION_SECONDS, invocation.api.timeout)


def figure_cells(figures: Figures) -> list[str | Cell]:
    """The columns of FIGURES."""
    share = figures.error_share
    errors = f"{100 * share:.2g}%" if 0 < share < 0.995 else f"{100 * share:.0f}%"
    return [
        f"{figures.rps:>8.3g}" if figures.rps < 100 else f"{figures.rps:>8.0f}",
        Cell(f"{errors:>6}", "red" if share >= BAD else ""),
        *(f"{took(one):>9}" for one in (figures.p50_ms, figures.p95_ms, figures.p99_ms)),
        f"{figures.requests:>8}",
    ]


def trend(series: RedSeries, since: float, until: float, step: float) -> str:
    """The rate over time, as a line of bars: the last TREND steps before `until`; wall seconds."""
    first = max(since, until - TREND * step)
    counts = [0] * TREND
    for point in series.points:
        at = (of_iso(point.time) - first) / step
        if 0 <= at < TREND:
            counts[int(at)] += point.requests
    most = max(counts)
    return "".join(LEVELS[min(7, 8 * count // (most + 1))] if count else " " for count in counts).rstrip()


def _table(invocation: Invocation, found: Red, kind: str) -> None:
    since, until = of_iso(found.since), of_iso(found.until)
    drawn = _writable(sys.stdout.encoding)
    degraded = any(one.total.fallbacks for one in found.series)
    rows: list[list[str | Cell]] = []
    for one in found.series:
        part = one.route or one.instance or one.caller
        rows.append(
            [
                service_cell(one.service),
                part,
                *figure_cells(one.total),
                *([Cell(f"{one.total.fallbacks:>9}", "yellow" if one.total.fallbacks else "")] if degraded else []),
                trend(one, since, until, found.step) if drawn else "",
            ]
        )
    heading = {"service": "", "edge": "CALLER"}.get(kind, kind.upper())
    invocation.show.table(("SERVICE", heading, *FIGURES, *(["FALLBACKS"] if degraded else []), "TREND"), rows)
    if found.cut:
        invocation.talk.note(f"{found.cut} more are not shown; name a SERVICE")


def _writable(encoding: str | None) -> bool:
    """Whether the stream has the characters of a trend."""
    try:
        LEVELS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
