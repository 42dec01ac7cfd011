from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli

WALL = 1_795_000_000.0


@pytest.fixture
def logs(folder: Path, cli: Cli) -> Path:
    cli.clock = FakeClock(wall=WALL)
    for service, lines in {
        "orders": ["100 =started: 7", "90 |order 1 created", "20 |evil \x1b[2J\x1b]0;x\x07 line", "10 +cut her"],
        "catalog": ["50 |ready", "5 |GET /items"],
    }.items():
        file = folder / f".atoll/logs/{service}/{service}-1.log"
        file.parent.mkdir(parents=True)
        file.write_text("".join(f"{WALL - float(line.split()[0]):.3f} {line.split(' ', 1)[1]}\n" for line in lines))
    return folder / ".atoll/logs"


def test_lines_of_all_services_come_merged_by_time_with_aligned_prefixes(cli: Cli, logs: Path) -> None:
    assert cli("logs").out.splitlines() == [
        "orders-1 | (started: 7)",
        "orders-1 | order 1 created",
        "catalog-1 | ready",
        "orders-1  | evil \\x1b[2J\\x1b]0;x\\x07 line",
        "orders-1  | cut her…",
        "catalog-1 | GET /items",
    ]


def test_lines_are_chosen_by_service_time_number_and_pattern(cli: Cli, logs: Path) -> None:
    def texts(*more: str) -> list[str]:
        result = cli("logs", *more)
        assert result.code == 0, result.err
        return [line.partition("| ")[2] for line in result.out.splitlines()]

    assert texts("catalog") == ["ready", "GET /items"]
    assert texts("--tail", "1") == ["GET /items"]
    assert texts("--since", "15s") == ["cut her…", "GET /items"]
    assert texts("--grep", "^(order|ready)") == ["order 1 created", "ready"]
    assert texts("--grep", "e", "-n", "1") == ["GET /items"]
    assert texts("--tail", "0") == []


def test_json_is_one_exact_line_each(cli: Cli, logs: Path) -> None:
    found = [json.loads(line) for line in cli("logs", "orders", "--json").out.splitlines()]
    assert [line["kind"] for line in found] == ["note", "line", "line", "cut"]
    assert found[2]["text"] == "evil \x1b[2J\x1b]0;x\x07 line"
    assert found[1]["time"] == WALL - 90


def test_timestamps_are_shown_when_asked_for(cli: Cli, logs: Path) -> None:
    assert all(line[:2] == "20" and line[4] == "-" for line in cli("logs", "-t").out.splitlines())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--grep", "("), "--grep: missing )"),
        (("--tail", "many"), "is no number of lines"),
        (("--since", "soon"), "neither a duration nor a time"),
        (("../../etc"), "is not 1-63"),
    ],
)
def test_what_cannot_be_meant_is_refused(cli: Cli, logs: Path, line: tuple[str, ...] | str, said: str) -> None:
    result = cli("logs", *((line,) if isinstance(line, str) else line))
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_an_unknown_service_is_told_with_a_suggestion(cli: Cli, logs: Path) -> None:
    result = cli("logs", "ordres")
    assert result.code == 1
    assert "did you mean `orders`?" in result.err


def test_following_shows_each_line_once(cli: Cli, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter(range(3))

    class Pause:
        def wait(self, _: float) -> None:
            number = next(rounds)
            if number == 2:
                raise KeyboardInterrupt
            with (logs / "orders/orders-1.log").open("a") as file:
                file.write(f"{WALL + number:.3f} |new {number}\n")

    monkeypatch.setattr("atoll.cli.log_files.threading", SimpleNamespace(Event=Pause))
    result = cli("logs", "orders", "-f", "-n", "1")
    assert result.code == 130
    assert [line.partition("| ")[2] for line in result.out.splitlines()] == ["cut her…", "new 0", "new 1"]
