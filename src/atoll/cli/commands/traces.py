"""`atoll traces`: the latest traces that match, followed as they come, or one of them as a waterfall."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import click

from atoll.cli.facts import V1
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import moment, of_iso, seconds, to_the_millisecond, took
from atoll.cli.options import command, complete_services
from atoll.cli.show import Cell, service_cell
from atoll.errors import BadRequest, InvalidValue
from atoll.kit.text import scrub
from atoll.model.trace import SpanSum, TraceComparison, TracePage, TraceRow, TraceView

COLUMNS = ("TIME", "TRACE", "DURATION", "SPANS", "ERRORS", "ROOT", "SERVICES")
SHORT = 12
"""Hex digits of an id that are shown; more where two on the page begin alike."""
QUESTION_SECONDS = 20.0
"""Seconds that a question may take: a search reads much more than a listing of facts."""
POLL = 1.0
"""Seconds between two looks of --follow."""
SETTLED = 2.0
"""Seconds after which --follow shows a trace: most of its spans have arrived by then."""
LOOK_BACK = 60.0
"""Seconds before now in which --follow looks: spans of a slow trace arrive when they end."""
REMEMBERED = 20_000


@command("traces", reads=True)
@click.argument("trace", required=False, metavar="[ID]")
@click.option("--compare", metavar="ID2", help="Show what changed from ID to this trace.")
@click.option("-s", "--service", metavar="NAME", shell_complete=complete_services, help="With a span of this service.")
@click.option("--route", metavar="ROUTE", help="… on this route (of the gateway, or of the service's framework).")
@click.option("--status", type=click.Choice(["error", "ok"]), help="… that failed; or: of which nothing failed.")
@click.option("--http", metavar="STATUS", help="… with this HTTP status (503, 5xx).")
@click.option("--min-duration", metavar="TIME", help="… that took at least so long (500ms, 2s).")
@click.option("--max-duration", metavar="TIME", help="… that took at most so long.")
@click.option("--attr", multiple=True, metavar="KEY=VALUE", help="… with this attribute (KEY: any value). Repeatable.")
@click.option("--degraded", is_flag=True, help="… in which something was given in place of a service that failed.")
@click.option("--grep", metavar="TEXT", help="… with TEXT in its name, attributes or events, or in a log line.")
@click.option("--since", metavar="TIME", help="From then on (10m, or 2026-11-21T14:30) [default: 1 day].")
@click.option("--until", metavar="TIME", help="Up to then.")
@click.option("--slowest", is_flag=True, help="The slowest first [of the last hour, unless --since].")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows at most.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new traces, until Ctrl-C.")
def traces(
    invocation: Invocation,
    trace: str | None,
    *,
    compare: str | None,
    service: str | None,
    route: str | None,
    status: str | None,
    http: str | None,
    min_duration: str | None,
    max_duration: str | None,
    attr: tuple[str, ...],
    degraded: bool,
    grep: str | None,
    since: str | None,
    until: str | None,
    slowest: bool,
    limit: int,
    follow: bool,
) -> None:
    """List traces, or draw one: all its spans, with its log lines; or compare two."""
    query: list[tuple[str, object]] = [
        (name, value)
        for name, value in (("service", service), ("route", route), ("status", status), ("http", http), ("text", grep))
        if value is not None
    ]
    for name, text in (("min_duration", min_duration), ("max_duration", max_duration)):
        if text is not None:
            query.append((name, seconds(text, name="--" + name.replace("_", "-")) * 1000))
    query += [("attribute", _attribute(one)) for one in (*attr, *(["atoll.fallback"] if degraded else []))]
    wall = invocation.clock.wall()
    for name, text in (("since", since), ("until", until)):
        if text is not None:
            query.append((name, moment(text, wall=wall, name=f"--{name}")))
    if trace is not None:
        if query or follow or slowest:
            raise BadRequest("an ID and conditions cannot be said together", hint="`atoll traces ID` draws that trace")
        if compare is None:
            _draw(invocation, trace)
        else:
            _compare(invocation, trace, compare)
    elif compare is not None:
        raise BadRequest("--compare needs a trace to compare with", hint="`atoll traces ID --compare ID2`")
    elif follow:
        if slowest or until is not None:
            raise BadRequest("--follow shows what comes: it goes with neither --slowest nor --until")
        _follow(invocation, [pair for pair in query if pair[0] != "since"], limit, query)
    else:
        _list(invocation, [*query, ("order", "slowest")] if slowest else query, limit)


def _attribute(text: str) -> str:
    key, equals, value = text.partition("=")
    if not key or ":" in key:
        raise InvalidValue(f"--attr: {scrub(text, limit=80)!r} is not KEY=VALUE", hint="write --attr user.id=u-1")
    return f"{key}:{value}" if equals else key


def _pages(invocation: Invocation, query: Sequence[tuple[str, object]], limit: int) -> list[TraceRow]:
    rows: list[TraceRow] = []
    more: tuple[tuple[str, object], ...] = ()
    while len(rows) < limit:
        asked = [*query, ("limit", min(1000, limit - len(rows))), *more]
        page = _ask(invocation, f"{V1}/traces", TracePage, asked)
        rows += page.traces
        if page.next is None or not page.traces:
            break
        more = (("cursor", page.next),)
    return rows


def _ask(invocation: Invocation, path: str, kind: Any, query: Sequence[tuple[str, object]] = ()) -> Any:
    api = invocation.api
    return api.get_as(path, kind, query, timeout=max(QUESTION_SECONDS, api.timeout))


def _list(invocation: Invocation, query: Sequence[tuple[str, object]], limit: int) -> None:
    rows = _pages(invocation, query, limit)
    show = invocation.show
    if show.as_json:
        show.json({"traces": rows})
        return
    if not rows:
        invocation.talk.note(
            "no trace matches" if query else "there is no trace yet: call a service through the gateway"
        )
        return
    show.table(COLUMNS, [cells(row, name) for row, name in zip(rows, short_ids([one.id for one in rows]), strict=True)])
    if len(rows) == limit:
        invocation.talk.note(f"the first {limit}; -n shows more, `atoll traces ID` draws one")


def short_ids(ids: Sequence[str]) -> list[str]:
    """Beginnings of the ids that tell them apart."""
    ordered = sorted(ids)
    needed = dict.fromkeys(ids, SHORT)
    for one, other in itertools.pairwise(ordered):
        same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        for each in (one, other):
            needed[each] = max(needed[each], same + 1)
    return [one[: needed[one]] for one in ids]


def cells(row: TraceRow, name: str) -> list[str | Cell]:
    """The columns of COLUMNS."""
    status = f" {row.http_status}" if row.http_status else ""
    return [
        to_the_millisecond(of_iso(row.start)),
        name,
        f"{took(row.duration_ms):>9}",
        str(row.spans),
        Cell(str(row.errors), "red") if row.errors else "",
        service_cell(row.service, f"{row.service} {row.root}{status}"),
        " ".join(row.services),
    ]


def _follow(
    invocation: Invocation, query: list[tuple[str, object]], limit: int, first: list[tuple[str, object]]
) -> None:
    """The latest, then each new one a moment after it began to be seen."""
    show = invocation.show
    heading = True

    def tell(rows: Iterable[TraceRow]) -> None:
        nonlocal heading
        for row in rows:
            if show.as_json:
                show.json_line(row)
                continue
            if heading:
                show.table(COLUMNS, [])
                heading = False
            sys.stdout.write("  ".join(_line(invocation, row)) + "\n")
        sys.stdout.flush()

    began = invocation.clock.wall()
    old = _pages(invocation, first, limit)
    tell(reversed(old))
    shown = dict.fromkeys(row.id for row in old)
    first_seen: dict[str, float] = {}
    while True:
        threading.Event().wait(POLL)
        wall = invocation.clock.wall()
        found = _pages(invocation, [*query, ("since", max(began - 1, wall - LOOK_BACK))], 1000)
        ready = []
        for row in reversed(found):
            if row.id not in shown and wall - first_seen.setdefault(row.id, wall) >= SETTLED - POLL:
                ready.append(row)
                shown[row.id] = None
                first_seen.pop(row.id, None)
        tell(ready)
        while len(shown) > REMEMBERED:
            shown.pop(next(iter(shown)))


def _line(invocation: Invocation, row: TraceRow) -> list[str]:
    from atoll.cli.tint import service_tint, tint

    color = invocation.use_color()
    time, name, duration, spans, errors, root, services = (
        scrub(cell.text if isinstance(cell, Cell) else cell, limit=300) for cell in cells(row, row.id[:SHORT])
    )
    return [
        time,
        name,
        duration,
        f"{spans:>5}",
        tint(f"{errors:>6}", "red" if errors else "", on=color),
        service_tint(root, row.service, on=color),
        services,
    ]


def _draw(invocation: Invocation, trace: str) -> None:
    found: TraceView = _ask(invocation, f"{V1}/traces/{quote(trace, safe='')}", TraceView)
    show = invocation.show
    if show.as_json:
        show.json(found)
        return
    from atoll.cli.waterfall import Drawing, glyphs

    drawing = Drawing(
        found,
        width=show.width,
        color=invocation.use_color(),
        verbose=invocation.verbose > 0,
        made_of=glyphs(sys.stdout.encoding),
    )
    for line in drawing.lines():
        sys.stdout.write(line + "\n")


def _compare(invocation: Invocation, trace: str, other: str) -> None:
    path = f"{V1}/traces/{quote(trace, safe='')}/compare/{quote(other, safe='')}"
    found: TraceComparison = _ask(invocation, path, TraceComparison)
    show = invocation.show
    if show.as_json:
        show.json(found)
        return
    show.table(COLUMNS, [cells(row, row.id[:SHORT]) for row in (found.first, found.second)])
    show.table(
        ("SERVICE", "SPAN", "FIRST", "SECOND", "OWN TIME", ""),
        [
            [
                service_cell(row.service, row.service),
                row.name,
                _side(row.first),
                _side(row.second),
                f"{'+' if row.change_ms > 0 else '−' if row.change_ms < 0 else ''}{took(abs(row.change_ms))}",
                Cell("new", "yellow") if row.first is None else Cell("gone", "yellow") if row.second is None else "",
            ]
            for row in found.spans
        ],
    )


def _side(found: SpanSum | None) -> str | Cell:
    """How often and how long in one trace."""
    if found is None:
        return "–"
    text = took(found.duration_ms) + (f" in {found.count}" if found.count > 1 else "")
    return Cell(f"{text} ✗", "red") if found.errors else text
