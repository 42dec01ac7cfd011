"""Retries that somebody asked for, on a real HAProxy: after what, how often, with which methods, and by whom of many hops."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from atoll.gateway import budget
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Call, Policy
from atoll.model.retry import NEVER, Retry
from atoll.model.route import Match, Route, Share
from tests.contract.gateway.rig import (
    Echo,
    Running,
    free_range,
    instance,
    running,
    service,
    small_settings,
    snapshot_of,
)
from tests.contract.gateway.test_traps_retry import Hangup, split_request

S = ServiceName("s")


class Says(Echo):
    """Answers with the status that the path names, late when it is `/slow`."""

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        word = asked["path"].strip("/").split("/")[-1]
        if word == "slow":
            time.sleep(1)
        handler.send_response(int(word) if word.isdigit() else 200)
        handler.send_header("content-length", "0")
        handler.end_headers()


@contextmanager
def behind(tmp_path: Path, retry: Retry | None, *upstreams: Echo, **policy: Any) -> Iterator[Running]:
    """A route `/` with this retry, to these."""
    route = Route(name=RouteName("r"), shares=(Share(service=S),), policy=Policy(retry=retry, **policy))
    several = [instance("s", each.port, each.name) for each in upstreams]
    with running(snapshot_of([service("s")], several, [route]), tmp_path) as haproxy:
        yield haproxy


def test_a_status_is_a_reason_only_when_it_is_said(tmp_path: Path) -> None:
    with Says("s") as says, behind(tmp_path, Retry(attempts=2, on=("503",)), says) as haproxy:
        for status, asked in ((503, 3), (500, 1), (502, 1), (404, 1), (429, 1), (200, 1)):
            says.seen.clear()
            assert haproxy.ask(f"/{status}").status == status
            assert len(says.seen) == asked, status


def test_without_a_word_a_failing_answer_is_passed_on_at_once(tmp_path: Path) -> None:
    with Says("s") as says, behind(tmp_path, None, says) as haproxy:
        for status in (500, 502, 503, 504):
            says.seen.clear()
            assert haproxy.ask(f"/{status}").status == status
            assert len(says.seen) == 1


def test_it_is_sent_to_another_instance(tmp_path: Path) -> None:
    class Unwell(Says):
        def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
            super().respond(handler, asked | {"path": "/503"})

    with (
        Unwell("a") as unwell,
        Echo("b") as well,
        behind(tmp_path, Retry(attempts=1, on=("503",)), unwell, well) as haproxy,
    ):
        answers = [haproxy.ask("/") for _ in range(12)]
        assert {each.status for each in answers} == {200}
        assert {each.json()["name"] for each in answers} == {"b"}
        assert unwell.seen


def test_a_slow_try_is_given_up_for_another_when_it_is_said(tmp_path: Path) -> None:
    class Slow(Echo):
        def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
            over.wait(20)
            super().respond(handler, asked)

    over = threading.Event()
    retry = Retry(attempts=1, on=("timeout",))
    with Slow("a") as slow, Echo("b") as quick, behind(tmp_path, retry, slow, quick, timeout=1.5) as haproxy:
        while not slow.seen:
            assert haproxy.ask("/").status == 200
        over.set()


@pytest.mark.parametrize(
    ("retry", "sent"),
    [
        (None, {"GET": 4, "PUT": 4, "POST": 1, "PATCH": 1}),
        (NEVER, {"GET": 1, "PUT": 1, "POST": 1}),
        (Retry(attempts=1), {"GET": 2, "PUT": 2, "POST": 1}),
        (Retry(attempts=1, methods=("POST", "GET")), {"GET": 2, "POST": 2, "PUT": 1, "PATCH": 1}),
        (Retry(attempts=1, methods=("HEAD",)), {"GET": 1, "HEAD": 2, "POST": 1, "PUT": 1}),
    ],
    ids=["usual", "never", "once", "post too", "head only"],
)
def test_only_methods_that_are_safe_or_said_are_sent_again(
    tmp_path: Path, retry: Retry | None, sent: dict[str, int]
) -> None:
    with Hangup("bad") as bad, behind(tmp_path, retry, bad) as haproxy:
        for method, times in sent.items():
            bad.seen.clear()
            if method in {"GET", "HEAD"}:
                assert haproxy.ask("/", method=method).status == 502
            else:
                assert split_request(haproxy, method).startswith(b"HTTP/1.1 502 ")
                assert {each["body"] for each in bad.seen} == {"hello"}
            assert len(bad.seen) == times, method


def test_a_request_that_no_instance_saw_is_sent_again_even_where_nothing_is(tmp_path: Path) -> None:
    with ExitStack() as stack:
        gone = Echo("gone")
        gone.close()
        well = stack.enter_context(Echo("well"))
        haproxy = stack.enter_context(behind(tmp_path, NEVER, gone, well))
        assert {haproxy.ask("/", method="POST", body=b"x").status for _ in range(8)} == {200}
        assert len(well.seen) == 8


def test_a_caller_and_a_route_with_words_of_their_own_do_not_change_what_others_get(tmp_path: Path) -> None:
    ports = free_range(3)
    web = service(
        "web", mesh_index=1, calls={S: Call(policy=Policy(retry=Retry(attempts=1, on=("503",))), mesh_index=2)}
    )
    route = Route(
        name=RouteName("r"),
        match=Match(path=PathText("/r")),
        shares=(Share(service=S),),
        policy=Policy(retry=Retry(attempts=2, on=("500", "503"))),
    )
    plain = Route(name=RouteName("p"), match=Match(path=PathText("/p")), shares=(Share(service=S),))
    with Says("s") as says:
        facts = snapshot_of([service("s"), web], [instance("s", says.port)], [route, plain])
        with running(facts, tmp_path, small_settings(mesh_ports=ports, mesh_count=3)) as haproxy:
            assert len({each.name for each in haproxy.config.backends if each.service == "s"}) == 3
            for path, port, asked in (
                ("/r/503", None, 3),
                ("/p/503", None, 1),
                ("/503", ports, 1),
                ("/503", ports + 2, 2),
            ):
                says.seen.clear()
                assert haproxy.ask(path, port=port).status == 503
                assert len(says.seen) == asked, (path, port)


def test_who_retries_on_a_status_says_so_to_those_behind_and_nobody_else_does(tmp_path: Path) -> None:
    with Echo("e") as echo:
        for number, (retry, timeout, marked) in enumerate(
            [
                (Retry(on=("503",)), None, ["atoll.retry=1,a=b"]),
                (Retry(on=("timeout",)), 5.0, None),
                (Retry(), None, ["a=b"]),
                (None, None, ["a=b"]),
            ]
        ):
            folder = tmp_path / str(number)
            folder.mkdir()
            with behind(folder, retry, echo, timeout=timeout) as haproxy:
                seen = haproxy.ask("/", headers=[("baggage", "a=b")]).seen_header("baggage")
                assert (seen == marked) if marked else (",atoll.retry=1,a=b" in seen[0]), retry


def test_requests_that_somebody_before_us_retries_are_hardly_ever_sent_again(tmp_path: Path) -> None:
    with Says("s") as says, behind(tmp_path, Retry(attempts=2, on=("503",)), says) as haproxy:
        mark = [("baggage", "x=y,atoll.retry=1")]
        assert {haproxy.ask("/503", headers=mark).status for _ in range(100)} == {503}
        assert 100 < len(says.seen) <= 100 + budget.MARKED_FLOOR + 2 * 2


def test_a_share_of_ones_own_bounds_what_is_sent_again(tmp_path: Path) -> None:
    offered = 120
    with Says("s") as says, behind(tmp_path, Retry(attempts=2, on=("503",), budget=50), says) as haproxy:
        assert {haproxy.ask("/503").status for _ in range(offered)} == {503}
        extra = len(says.seen) - offered
        assert budget.FLOOR + offered / budget.SHARE + 4 < extra <= budget.FLOOR + offered / 2 + 4
