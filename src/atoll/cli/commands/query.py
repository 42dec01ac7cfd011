"""`atoll query`: a PromQL expression as a table now, or as lines over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from atoll.cli.invocation import Invocation
from atoll.cli.numbers import clock_time, moment, seconds
from atoll.cli.options import command
from atoll.cli.show import Cell, Show, service_cell
from atoll.cli.sparkline import sparkline
from atoll.errors import AtollError, InvalidValue, Unreachable
from atoll.kit.text import scrub

API = "/prometheus/api/v1"
ANSWER_SECONDS = 25.0
"""A query may take 20 s."""
POINTS = 60
"""Steps of a range when none are named."""
GRAPH = 60
"""Characters of a line at most."""
LABEL_COLUMNS = 5
"""With more labels than these a series is written as Prometheus does, in one column."""
NAME = "__name__"


@command("query", reads=True)
@click.argument("promql")
@click.option(
    "--at", "at", metavar="TIME", help="Then (10m ago, or 2026-11-21T14:30); the end of a range [default: now]."
)
@click.option("--range", "span", metavar="TIME", help="Over so long (1h), as a line for each series.")
@click.option("--step", metavar="TIME", help=f"Between two points of a range [default: a {POINTS}th].")
@click.option("--values", is_flag=True, help="With --range: every point as a row.")
def query(
    invocation: Invocation, promql: str, *, at: str | None, span: str | None, step: str | None, values: bool
) -> None:
    """Evaluate PromQL and print a table or spark-lines.

    Without --range: the value of each series now, the greatest first. With it: the course of each. Series of every
    service are there without code: `atoll_requests_total`, `atoll_request_duration_seconds_bucket`.
    """
    if span is None and (step is not None or values):
        raise InvalidValue("--step and --values are about --range", hint="say over how long with --range 1h")
    wall = invocation.clock.wall()
    end = wall if at is None else moment(at, wall=wall, name="--at")
    if span is None:
        data = _ask(invocation, promql, "query", {"time": f"{end:.3f}"})
        if invocation.json:
            invocation.show.json(data)
        else:
            _instant(invocation.show, data)
        return
    length = seconds(span, name="--range")
    every = seconds(step, name="--step") if step is not None else max(1.0, length / POINTS)
    asked = {"start": f"{end - length:.3f}", "end": f"{end:.3f}", "step": f"{every:.3f}"}
    data = _ask(invocation, promql, "query_range", asked)
    if invocation.json:
        invocation.show.json(data)
    elif values:
        _points(invocation.show, data["result"])
    else:
        _lines(invocation.show, data["result"], (end - length, every, int(length / every) + 1))


def _ask(invocation: Invocation, promql: str, path: str, more: dict[str, str]) -> Any:
    try:
        answer = invocation.api.get(f"{API}/{path}", {"query": promql, **more}, timeout=ANSWER_SECONDS)
    except AtollError as error:
        if invocation.json or not isinstance(error.fields.get("column"), int):
            raise
        raise type(error)(f"{error.detail}\n{_caret(promql, error.fields)}", hint=error.hint) from None
    for warning in answer.get("warnings") or ():
        invocation.talk.warning(str(warning))
    data = answer.get("data")
    if not isinstance(data, dict) or "result" not in data:
        raise Unreachable("the answer is not one of Prometheus' API", hint="`atoll doctor` shows what is wrong")
    return data


def _caret(promql: str, fields: dict[str, Any]) -> str:
    """The line that is wrong, and under it the place."""
    lines = promql.split("\n")
    line = fields.get("line")
    shown = lines[line - 1] if isinstance(line, int) and 0 < line <= len(lines) else promql
    return f"  {scrub(shown)}\n  {' ' * len(scrub(shown[: fields['column'] - 1]))}^"


def _instant(show: Show, data: dict[str, Any]) -> None:
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        show.text(str(result[1]))
        return
    if kind == "matrix":
        _points(show, result)
        return
    ordered = sorted(result, key=lambda entry: _rank(_value(entry)), reverse=True)
    columns, rows = _labels([entry["metric"] for entry in ordered])
    table = [[*row, _text(entry)] for row, entry in zip(rows, ordered, strict=True)]
    if table:
        show.table((*columns, "VALUE"), table)
    else:
        show.text("no series")


def _lines(show: Show, result: Sequence[dict[str, Any]], grid: tuple[float, float, int]) -> None:
    drawn = [(entry, _numbers(entry, grid)) for entry in result]
    drawn.sort(key=lambda pair: _rank(_last(pair[1])), reverse=True)
    columns, rows = _labels([entry["metric"] for entry, _ in drawn])
    table: list[list[str | Cell]] = []
    for row, (entry, numbers) in zip(rows, drawn, strict=True):
        said = [value for _, value in entry.get("values", ())]
        known = sorted((value for value in said if _rank(float(value))[0]), key=float) or ["", ""]
        last = said[-1] if said else _histogram(entry["histograms"][-1][1])
        table.append([*row, sparkline(numbers, GRAPH), known[0], known[-1], last])
    if table:
        show.table((*columns, "GRAPH", "MIN", "MAX", "LAST"), table)
    else:
        show.text("no series")


def _points(show: Show, result: Sequence[dict[str, Any]]) -> None:
    columns, rows = _labels([entry["metric"] for entry in result])
    table = [
        [*row, clock_time(float(at)), value if isinstance(value, str) else _histogram(value)]
        for row, entry in zip(rows, result, strict=True)
        for at, value in (*entry.get("values", ()), *entry.get("histograms", ()))
    ]
    if table:
        show.table((*columns, "TIME", "VALUE"), table)
    else:
        show.text("no series")


def _labels(metrics: Sequence[dict[str, str]]) -> tuple[tuple[str, ...], list[list[str | Cell]]]:
    """A column for each label; with too many of them one column for all."""
    names = sorted({name for metric in metrics for name in metric}, key=lambda name: (name != NAME, name))
    if len([name for name in names if name != NAME]) > LABEL_COLUMNS:
        return ("SERIES",), [[_series(metric)] for metric in metrics]
    headings = tuple("METRIC" if name == NAME else name for name in names)
    rows: list[list[str | Cell]] = [
        [service_cell(metric.get(name, "")) if name == "service" else metric.get(name, "") for name in names]
        for metric in metrics
    ]
    return headings, rows


def _series(metric: dict[str, str]) -> str:
    inside = ", ".join(f'{name}="{value}"' for name, value in sorted(metric.items()) if name != NAME)
    return metric.get(NAME, "") + (f"{{{inside}}}" if inside else "")


def _numbers(entry: dict[str, Any], grid: tuple[float, float, int]) -> list[float | None]:
    """The values of a series at every step; None where it has none."""
    start, every, count = grid
    numbers: list[float | None] = [None] * count
    for at, value in entry.get("values", ()):
        place = round((float(at) - start) / every)
        if 0 <= place < count:
            numbers[place] = float(value)
    return numbers


def _last(numbers: Sequence[float | None]) -> float | None:
    return next((number for number in reversed(numbers) if number is not None), None)


def _value(entry: dict[str, Any]) -> float | None:
    return float(entry["value"][1]) if "value" in entry else None


def _rank(value: float | None) -> tuple[bool, float]:
    """For sorting: NaN and nothing at the end."""
    good = value is not None and value == value
    return (good, value if good and value is not None else 0.0)


def _text(entry: dict[str, Any]) -> str:
    return str(entry["value"][1]) if "value" in entry else _histogram(entry["histogram"][1])


def _histogram(told: dict[str, Any]) -> str:
    return f"count {told['count']}, sum {told['sum']}"
