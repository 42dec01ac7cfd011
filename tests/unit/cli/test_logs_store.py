from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi, Request

WALL = 1_795_000_000
NANO = 1_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
AWAY = (503, {"code": "telemetry-unavailable", "title": "x", "detail": "telemetry does not run", "status": 503})


def record(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {
        "time": "2026-11-18T11:06:40.000000000Z",
        "nanos": WALL * NANO + number,
        "service": "orders",
        "instance": "orders-1",
        "source": "stdout",
        "text": text,
        **more,
    }


class StoreApi(FakeApi):
    """A control plane with telemetry behind it: `records` in order of time, `news` one tail answer after another."""

    def __init__(self, socket: Path) -> None:
        super().__init__(socket)
        self.records: list[dict[str, Any]] = []
        self.news: list[Any] = []
        self.tails = 0

    def answer(self, request: Request) -> tuple[int, Any]:
        query = dict(request.query)
        if request.path == "/api/v1/telemetry/status":
            return 200, {}
        if request.path == "/api/v1/logs":
            order = self.records if query["order"] == "oldest" else self.records[::-1]
            begin = int(query.get("cursor", 0))
            end = begin + min(int(query["limit"]), 2)
            return 200, {"records": order[begin:end], "cursor": str(end) if end < len(order) else None}
        if request.path == "/api/v1/logs/tail":
            if "cursor" not in query:
                self.tails += 1
                return 200, {"records": [], "cursor": f"tail-{self.tails}", "skipped": 0}
            found = self.news.pop(0)
            return found if isinstance(found, tuple) else (200, {"records": found, "cursor": query["cursor"]})
        return super().answer(request)

    def asked(self, path: str) -> list[dict[str, str]]:
        return [dict(request.query) for request in self.requests if request.path == path]


@pytest.fixture
def store(folder: Path, cli: Cli) -> Any:
    cli.clock = FakeClock(wall=float(WALL))
    with StoreApi(folder / ".atoll/run/api.sock").running() as fake:
        yield fake


def test_records_are_shown_with_their_level_and_a_stack_trace_below_its_line(cli: Cli, store: StoreApi) -> None:
    store.records = [
        record(1, "started: 7", kind="note", severity=9, level="INFO"),
        record(2, "order 17 created", severity=9, level="INFO", scope="app"),
        record(3, "failed\nTraceback (most recent call last):\n  File x", severity=17, level="ERROR"),
        record(4, "plain"),
        record(5, "cut he", kind="cut"),
        record(6, "from afar", source="otlp", instance="", service="cart", severity=13, level="WARN"),
    ]
    result = cli("logs")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "orders-1 | (started: 7)",
        "orders-1 | INFO  order 17 created",
        "orders-1 | ERROR failed",
        "orders-1 | Traceback (most recent call last):",
        "orders-1 |   File x",
        "orders-1 | plain",
        "orders-1 | cut he…",
        "cart     | WARN  from afar",
    ]


def test_the_options_become_the_question(cli: Cli, store: StoreApi) -> None:
    store.put()
    words = ["--since", "10m", "--until", "5m", "--level", "WARN", "--grep", "a b", "-w", "--trace", TRACE.upper()]
    result = cli("logs", *words, "--instance", "orders-1", "-n", "7")
    assert result.code == 0, result.err
    (asked,) = store.asked("/api/v1/logs")
    assert asked == {
        "source": "stdout",
        "instance": "orders-1",
        "level": "warn",
        "words": "a b",
        "trace": TRACE,
        "since": str(WALL - 600.0),
        "until": str(WALL - 300.0),
        "order": "newest",
        "limit": "7",
    }
    assert cli("logs", "--platform").code == 0
    assert store.asked("/api/v1/logs")[-1]["source"] == "platform"


@pytest.mark.parametrize(("count", "texts"), [("3", "cde"), ("all", "abcde"), ("0", "")])
def test_the_last_records_come_in_order_over_all_pages(cli: Cli, store: StoreApi, count: str, texts: str) -> None:
    store.records = [record(number, text) for number, text in enumerate("abcde")]
    assert "".join(line[-1] for line in cli("logs", "-n", count).out.splitlines()) == texts


def test_following_shows_each_record_once_and_survives_a_restart_of_telemetry(
    cli: Cli, store: StoreApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, missed, last = (record(number, f"r{number}") for number in range(1, 5))
    store.records = [old]
    store.news = [[old, new], [], AWAY]

    class Pause:
        def wait(self, _: float) -> None:
            store.records += [new, missed]
            store.news = [[last], KeyboardInterrupt]

    monkeypatch.setattr("atoll.cli.log_store.threading", SimpleNamespace(Event=Pause))
    asking = StoreApi.answer

    def answer(fake: StoreApi, request: Request) -> tuple[int, Any]:
        found = asking(fake, request)
        if found[1] and isinstance(found[1], dict) and found[1].get("records") is KeyboardInterrupt:
            return 500, {"code": "internal", "title": "x", "detail": "the test ends", "status": 500}
        return found

    monkeypatch.setattr(StoreApi, "answer", answer)
    result = cli("logs", "-f")
    assert [line.rpartition(" ")[2] for line in result.out.splitlines()] == ["r1", "r2", "r3", "r4"]
    assert "telemetry is away" in result.err
    assert store.tails == 2
    assert float(store.asked("/api/v1/logs")[-1]["since"]) == pytest.approx(WALL, abs=1)


def test_json_has_the_usual_keys_and_what_only_the_store_knows(cli: Cli, store: StoreApi) -> None:
    store.records = [record(0, "x\x1b", severity=9, level="INFO", trace=TRACE, attributes={"a": "b"})]
    (line,) = cli("logs", "--json").out.splitlines()
    found = json.loads(line)
    assert (found.pop("scope"), found.pop("span"), found.pop("run")) == ("", "", "")
    assert found == {
        "time": float(WALL),
        "service": "orders",
        "instance": "orders-1",
        "kind": "line",
        "text": "x\x1b",
        "nanos": WALL * NANO,
        "source": "stdout",
        "severity": 9,
        "level": "INFO",
        "trace": TRACE,
        "attributes": {"a": "b"},
    }


HOSTILE = "\x1b[2J\x1b]0;t\x07 \r\n a\tb \x00 \x9b31m \u202e \u2028 \ud7ff" + "x" * (1 << 20)


def test_nothing_below_a_space_reaches_the_terminal(cli: Cli, store: StoreApi) -> None:
    hostile = {"service": HOSTILE, "instance": HOSTILE, "level": HOSTILE, "kind": HOSTILE, "scope": HOSTILE}
    store.records = [record(0, HOSTILE), record(1, "x", **hostile), record(2, HOSTILE, kind="note")]
    pattern = {
        "service": HOSTILE,
        "pattern": HOSTILE,
        "count": 1,
        "severity": 17,
        "level": HOSTILE,
        "example": HOSTILE,
        "first": "2026-11-18T11:06:40.000000000Z",
        "last": "2026-11-18T11:06:40.000000000Z",
        "new": True,
    }
    store.answers["GET", "/api/v1/logs/patterns"] = (200, {"patterns": [pattern], "deployed": {}, "more": False})
    for words in ((), ("-t",), ("--json",), ("--patterns",), ("--patterns", "--json")):
        result = cli("logs", *words)
        assert result.code == 0, result.err
        told = result.out.replace("\n", "") + result.err.replace("\n", "")
        assert [character for character in told if ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0] == []
        assert "\u202e" not in told
        assert len(result.out) < 200_000 or "--json" in words


def test_without_telemetry_the_files_are_read_and_it_is_said(cli: Cli, store: StoreApi, folder: Path) -> None:
    file = folder / ".atoll/logs/orders/orders-1.log"
    file.parent.mkdir(parents=True)
    lines = ["|INFO:app:fine", "|ERROR:app:failed", "|Traceback (most recent call last):", "|  File x", "|KeyError: 1"]
    lines.append(f"|later trace_id={TRACE}")
    file.write_text("".join(f"{WALL - 10}.000 {line}\n" for line in lines))
    store.answers["GET", "/api/v1/telemetry/status"] = AWAY

    def away(request: Request) -> tuple[int, Any]:
        return AWAY if request.path.startswith("/api/v1/telemetry") else FakeApi.answer(store, request)

    store.answer = away  # type: ignore[method-assign]
    result = cli("logs")
    assert result.out.splitlines()[0] == "orders-1 | INFO:app:fine"
    assert result.err == "only the files on this machine are read: telemetry does not run\n"
    assert [line.partition("| ")[2] for line in cli("logs", "--level", "error").out.splitlines()] == [
        "ERROR:app:failed",
        "Traceback (most recent call last):",
        "  File x",
        "KeyError: 1",
    ]
    assert len(cli("logs", "--trace", TRACE).out.splitlines()) == 1
    assert len(cli("logs", "--grep", "KeyError", "-w").out.splitlines()) == 1
    assert cli("logs", "--instance", "other").out == ""
    result = cli("logs", "--patterns")
    assert (result.code, result.out) == (1, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--level", "loud"), "is no level"),
        (("--trace", "zz"), "is no trace id"),
        (("-w",), "--word is about --grep"),
        (("-f", "--until", "5m"), "do not go together"),
        (("-f", "--patterns"), "do not go together"),
    ],
)
def test_what_cannot_be_meant_is_refused(cli: Cli, store: StoreApi, words: tuple[str, ...], said: str) -> None:
    result = cli("logs", *words)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_patterns_are_a_table_with_counts(cli: Cli, store: StoreApi) -> None:
    pattern = {
        "service": "orders",
        "pattern": "card <*> refused",
        "count": 12,
        "severity": 17,
        "level": "ERROR",
        "example": "card 7 refused",
        "first": "2026-11-18T11:06:40.000000000Z",
        "last": "2026-11-18T11:06:41.000000000Z",
        "new": True,
    }
    store.answers["GET", "/api/v1/logs/patterns"] = (200, {"patterns": [pattern], "deployed": {}, "more": False})
    result = cli("logs", "--patterns")
    assert result.code == 0, result.err
    assert result.out.splitlines()[1].split()[:3] == ["12", "ERROR", "orders"]
    assert result.out.splitlines()[1].endswith("new: card <*> refused")
    assert cli("logs", "--patterns", "--new", "--json").json["patterns"][0]["count"] == 12
    assert store.asked("/api/v1/logs/patterns")[-1]["new"] == "true"
