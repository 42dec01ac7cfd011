"""The lines that HAProxy writes, read as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.gateway.request_log import RequestLog
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.lines import COLUMNS, Lines
from tests.contract.gateway.rig import Echo, Running, free_ports, instance, running, service, small_settings, snapshot_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def lines(folder: Path) -> Iterator[Lines]:
    with Lines(folder / "requests.sock") as reader:
        yield reader


@pytest.fixture(scope="module")
def haproxy(folder: Path, lines: Lines) -> Iterator[Running]:
    with Echo("one") as echo:
        (dead,) = free_ports(1)
        facts = snapshot_of(
            [service("orders"), service("dead"), service("empty"), service("web")],
            [instance("orders", echo.port), instance("dead", dead), instance("web", echo.port)],
            [
                Route(name=RouteName(name), match=Match(path=PathText(path)), shares=(Share(service=ServiceName(to)),))
                for name, path, to in (
                    ("orders", "/api/orders", "orders"),
                    ("dead", "/dead", "dead"),
                    ("empty", "/empty", "empty"),
                )
            ],
        )
        log = RequestLog(socket=lines.path, ring_bytes=1 << 20)
        with running(facts, folder, small_settings(), log) as running_one:
            yield running_one


def at(path: str):  # type: ignore[no-untyped-def]
    return lambda line: line["Path"] == path.replace("/", r"\/")


def test_a_request_has_a_line_with_all_that_is_known_of_it(haproxy: Running, lines: Lines) -> None:
    answer = haproxy.ask("/api/orders/7?card=4111", headers=[("User-Agent", "curl/8"), ("X-Request-Id", "mine-7")])
    line = lines.next(at("/api/orders/7"))
    print(line)
    assert answer.status == 200
    assert list(line) == COLUMNS
