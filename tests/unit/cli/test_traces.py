from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.cli.commands import traces
from atoll.cli.commands.red import trend
from atoll.cli.commands.traces import short_ids
from atoll.cli.numbers import took
from atoll.model.trace import ComparedSpans, SpanSum, TraceComparison, TracePage
from atoll.model.traffic import Figures, MapEdge, MapNode, Point, Red, RedSeries, ServiceMap
from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi
from tests.unit.cli.traces_stage import EVIL, TRACE, hostile, order, row

WALL = 1_795_000_000.0
FIGURES = Figures(requests=1200, errors=12, rps=1.33, error_share=0.01, p50_ms=12.34, p95_ms=99.96, p99_ms=12_345)


@pytest.fixture
def cli(folder: Path) -> Cli:
    return Cli(folder, FakeClock(wall=WALL))


def answers(api: FakeApi, path: str, answer: Any, status: int = 200) -> None:
    api.answers["GET", f"/api/v1/{path}"] = (status, json.loads(msgspec.json.encode(answer)))


def page(*rows: Any, more: str | None = None) -> TracePage:
    return TracePage(traces=rows, next=more)


def test_traces_are_listed_one_a_line(cli: Cli, api: FakeApi) -> None:
    answers(api, "traces", page(row(), row("4bf92f3577b3ffff" + "0" * 16, errors=0)))
    lines = cli("traces").out.splitlines()
    assert lines[0].split() == ["TIME", "TRACE", "DURATION", "SPANS", "ERRORS", "ROOT", "SERVICES"]
    assert re.fullmatch(
        r"2026-11-2\d \d\d:\d\d:11\.100  4bf92f3577b34 +182 ms  5 +1 +gateway POST /orders 502  gateway orders",
        lines[1],
    )
    assert "4bf92f3577b3f" in lines[2]


def test_ids_are_as_short_as_they_can_be_told_apart() -> None:
    assert short_ids(["a" * 32, "b" * 32]) == ["a" * 12, "b" * 12]
    assert short_ids(["a" * 31 + "1", "b" * 32, "a" * 31 + "2"]) == ["a" * 31 + "1", "b" * 12, "a" * 31 + "2"]
    assert short_ids(["a" * 32, "a" * 32]) == ["a" * 32] * 2
    assert short_ids([]) == []


def test_conditions_become_parameters(cli: Cli, api: FakeApi) -> None:
    answers(api, "traces", page())
    line = [
        "traces",
        "--service",
        "orders",
        "--status",
        "error",
        "--route",
        "/o",
        "--http",
        "5xx",
        "--min-duration",
        "1.5s",
        "--max-duration",
        "2m",
    ]
    result = cli(*line, "--attr", "user.id=a=b", "--attr", "cold", "--grep", "x y", "--since", "10m", "--slowest")
    assert (result.code, result.out) == (0, "")
    assert "no trace matches" in result.err
    assert api.requests[0].query == [
        ("service", "orders"),
        ("route", "/o"),
        ("status", "error"),
        ("http", "5xx"),
        ("text", "x y"),
        ("min_duration", "1500.0"),
        ("max_duration", "120000.0"),
        ("attribute", "user.id:a=b"),
        ("attribute", "cold"),
        ("since", str(WALL - 600)),
        ("order", "slowest"),
        ("limit", "20"),
    ]


def test_more_rows_than_a_page_has_are_fetched_page_by_page(cli: Cli, api: FakeApi) -> None:
    answers(api, "traces", page(*(row(f"{number:032x}") for number in range(1000)), more="c1"))
    result = cli("traces", "-n", "1500", "--json")
    assert len(result.json["traces"]) == 2000
    assert [dict(one.query).get("cursor") for one in api.requests] == [None, "c1"]
    assert dict(api.requests[1].query)["limit"] == "500"


def test_json_has_the_whole_ids_and_every_field(cli: Cli, api: FakeApi) -> None:
    answers(api, "traces", page(row()))
    (found,) = cli("traces", "--json").json["traces"]
    assert (found["id"], found["duration_ms"], found["http_status"]) == (TRACE, 182.4, 502)
    answers(api, f"traces/{TRACE}", order())
    assert len(cli("traces", TRACE, "--json").json["spans"]) == 5


def test_one_trace_is_drawn_by_the_beginning_of_its_id(cli: Cli, api: FakeApi) -> None:
    answers(api, "traces/4bf9", order())
    result = cli("traces", "4bf9")
    assert result.code == 0
    assert "orders GET /orders" in result.out
    assert "card was declined" in result.out
    assert "user.id = u-7" not in result.out
    assert "user.id = u-7" in cli("traces", "4bf9", "-v").out


def test_an_id_is_quoted_on_its_way(cli: Cli, api: FakeApi) -> None:
    cli("traces", "../services?x=1#")
    assert api.requests[0].path == "/api/v1/traces/..%2Fservices%3Fx%3D1%23"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("traces", "4bf9", "--service", "a"), "cannot be said together"),
        (("traces", "-f", "--slowest"), "--follow"),
        (("traces", "--attr", "=x"), "KEY=VALUE"),
        (("traces", "--attr", "a:b=c"), "KEY=VALUE"),
        (("traces", "--min-duration", "soon"), "duration"),
        (("traces", "--since", "never"), "--since"),
        (("traces", "--status", "meh"), "--status"),
        (("traces", "--limit", "0"), "--limit"),
        (("map", "--since", "x"), "--since"),
        (("red", "--by", "x"), "--by"),
    ],
)
def test_a_wrong_line_is_refused_with_the_option_that_is_wrong(
    cli: Cli, api: FakeApi, line: tuple[str, ...], words: str
) -> None:
    result = cli(*line)
    assert (result.code, result.out) == (2, "")
    assert words in result.err


def test_telemetry_that_is_away_says_what_to_do(cli: Cli, api: FakeApi) -> None:
    problem = {
        "code": "telemetry-unavailable",
        "title": "x",
        "status": 503,
        "detail": "telemetry is not installed",
        "hint": 'pip install "atoll[telemetry]", then `atoll up`',
    }
    for command, path in (("traces", "traces"), ("map", "map"), ("red", "red")):
        answers(api, path, problem, 503)
        result = cli(command)
        assert (result.code, result.out) == (1, "")
        assert result.err == (
            'error: telemetry is not installed\n  hint: pip install "atoll[telemetry]", then `atoll up`\n'
        )


def test_following_tells_each_trace_once(cli: Cli, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "POLL", 0.001)
    monkeypatch.setattr(traces, "SETTLED", 0.001)
    old, new, newer = row("a" * 32), row("b" * 32), row("c" * 32)
    pages = iter([page(old), page(new, old), page(newer, new, old), page(newer, new)])
    plain = FakeApi.answer

    def answer(self: FakeApi, request: Any) -> tuple[int, Any]:
        found = next(pages, None)
        return plain(self, request) if found is None else (200, json.loads(msgspec.json.encode(found)))

    monkeypatch.setattr(FakeApi, "answer", answer)
    result = cli("traces", "-f", "--service", "web")
    assert result.code == 1  # the fake has nothing more to say
    assert [line.split()[2] for line in result.out.splitlines()[1:]] == ["a" * 12, "b" * 12, "c" * 12]
    assert ("service", "web") in api.requests[2].query
    assert float(dict(api.requests[2].query)["since"]) == WALL - 1


def test_the_map_is_a_table_of_edges(cli: Cli, api: FakeApi) -> None:
    answers(
        api,
        "map",
        ServiceMap(
            since="",
            until="",
            nodes=(MapNode(name="redis", kind="database", figures=FIGURES),),
            edges=(
                MapEdge(caller="orders", callee="redis", source="spans", figures=FIGURES),
                MapEdge(caller="gateway", callee="orders", source="requests", figures=FIGURES),
            ),
        ),
    )
    lines = cli("map").out.splitlines()
    assert lines[1].split() == [
        "gateway",
        "orders",
        "1.33",
        "1%",
        "12.3",
        "ms",
        "100",
        "ms",
        "12.3",
        "s",
        "1200",
        "request",
        "log",
    ]
    assert lines[2].startswith("orders   redis (database)")
    assert dict(api.requests[0].query) == {"since": str(WALL - 3600)}
    assert len(cli("map", "--json").json["edges"]) == 2
    answers(api, "map", ServiceMap(since="", until=""))
    assert "--since" in cli("map").err


def test_red_is_a_table_of_services_or_of_a_services_routes(cli: Cli, api: FakeApi) -> None:
    points = tuple(
        Point(time=f"2026-11-18T11:0{minute}:00.000000Z", requests=10 * minute, rps=1) for minute in range(3, 6)
    )
    series = RedSeries(service="orders", route="api", source="requests", total=FIGURES, points=points)
    times = {"since": "2026-11-18T11:00:00Z", "until": "2026-11-18T11:06:00Z"}
    answers(api, "red", Red(**times, step=60, series=(series,), cut=4))
    result = cli("red", "orders")
    heading, line = result.out.splitlines()
    assert heading.split() == ["SERVICE", "ROUTE", "RPS", "ERRORS", "P50", "P95", "P99", "REQUESTS", "TREND"]
    assert line.split()[:4] == ["orders", "api", "1.33", "1%"]
    assert line.endswith("   ▅▇█")
    assert "4 more" in result.err
    assert dict(api.requests[0].query) == {"by": "route", "service": "orders", "since": str(WALL - 900)}
    cli("red")
    assert dict(api.requests[1].query)["by"] == "service"


def test_a_trend_is_of_the_last_steps_and_has_gaps() -> None:
    points = tuple(Point(time=f"1970-01-01T00:0{minute}:00Z", requests=9) for minute in (0, 1, 3))
    series = RedSeries(service="a", source="spans", total=FIGURES, points=points)
    assert trend(series, 0, 240, 60) == "██ █".replace("█", "▇█"[1])
    assert trend(series, 240, 480, 60) == ""


def test_hostile_text_never_reaches_the_terminal(cli: Cli, api: FakeApi) -> None:
    evil = row(services=(EVIL,))
    evil = msgspec.structs.replace(evil, root=EVIL, service=EVIL, start=EVIL)
    answers(api, "traces", page(evil))
    answers(api, "traces/abcd", hostile())
    edge = MapEdge(caller=EVIL, callee=EVIL, source=EVIL, figures=FIGURES)
    answers(api, "map", ServiceMap(since=EVIL, until=EVIL, edges=(edge,)))
    series = RedSeries(service=EVIL, route=EVIL, source=EVIL, total=FIGURES, points=(Point(time=EVIL),))
    answers(api, "red", Red(since=EVIL, until=EVIL, step=60, series=(series,)))
    for line in (("traces",), ("traces", "abcd"), ("map",), ("red",)):
        for more in ((), ("--json",), ("--color", "always")):
            result = cli(*line, *more)
            assert result.code == 0, (line, result.err)
            bare = re.sub(r"\x1b\[[0-9;]*m", "", result.out) if "always" in more else result.out
            assert all(character.isprintable() or character == "\n" for character in bare)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.42, "0.420 ms"),
        (1.234, "1.23 ms"),
        (99.94, "99.9 ms"),
        (99.97, "100 ms"),
        (1234.5, "1234 ms"),
        (12_345, "12.3 s"),
        (999_999, "1000 s"),
        (float("nan"), "?"),
    ],
)
def test_durations_have_three_digits(ms: float, text: str) -> None:
    assert took(ms) == text


def test_two_traces_are_shown_side_by_side(cli: Cli, api: FakeApi) -> None:
    slow = SpanSum(count=3, errors=1, duration_ms=90, self_ms=80, critical_ms=80)
    fast = SpanSum(count=1, errors=0, duration_ms=30, self_ms=30, critical_ms=30)
    found = TraceComparison(
        first=row("a" * 32),
        second=row("b" * 32),
        change_ms=50.0,
        spans=(
            ComparedSpans(service="orders", name=EVIL, first=fast, second=slow, change_ms=50.0),
            ComparedSpans(service="audit", name="write", second=fast, change_ms=30.0),
            ComparedSpans(service="cache", name="get", first=fast, change_ms=-30.0),
        ),
    )
    answers(api, "traces/aaaa/compare/bbbb", found)
    out = cli("traces", "aaaa", "--compare", "bbbb").out
    assert "\x1b" not in out
    rows = {words[0]: line for line in out.splitlines() if (words := line.split())}
    assert re.search(r"30.0 ms +90.0 ms in 3 ✗ +\+50.0 ms$", rows["orders"].rstrip())
    assert re.search(r"– +30.0 ms +\+30.0 ms +new$", rows["audit"])
    assert re.search(r"30.0 ms +– +−30.0 ms +gone$", rows["cache"])
    assert json.loads(cli("traces", "aaaa", "--compare", "bbbb", "--json").out)["change_ms"] == 50.0


@pytest.mark.parametrize("words", [("--compare", "bbbb"), ("aaaa", "--compare", "bbbb", "--slowest")])
def test_a_comparison_needs_two_traces_and_nothing_else(cli: Cli, api: FakeApi, words: tuple[str, ...]) -> None:
    result = cli("traces", *words)
    assert result.code != 0
    assert not api.requests
